"""The parts of the benchmarks. Modules are imported when a part runs, because they import TensorFlow."""

import argparse
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from benchmarks.tables import Table


class Module(Protocol):
    """What the module of a part has; it may also have `QUICK`, the defaults of its arguments for `--quick`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of the part."""

    def run(self, arguments: argparse.Namespace) -> Iterator[Table]:
        """Measure, and yield each table when it is complete."""


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        name: As on the command line, in the files of results and in the markers of pages.
        module: The module in `benchmarks`.
        summary: What it measures, one line of `--help`.
        by_onednn: Whether figures depend on oneDNN, so that they are measured with and without.
        without_onednn: Further arguments of the measurement without oneDNN; None measures only with it.
        with_peers: Whether it runs in the environment of the peers.
        alone: Whether it runs without further arguments, and so in `make bench`.
    """

    name: str
    module: str
    summary: str
    by_onednn: bool = False
    without_onednn: tuple[str, ...] | None = ()
    with_peers: bool = False
    alone: bool = True

    def load(self) -> Module:
        """Import the module."""
        return cast(Module, importlib.import_module(f"benchmarks.{self.module}"))

    def quick_defaults(self) -> Mapping[str, object]:
        """Return the arguments that `--quick` changes."""
        return getattr(self.load(), "QUICK", {})


PARTS: Mapping[str, Part] = {
    part.name: part
    for part in (
        Part("passes", "passes", "the cost of one image in a batch of 1 to 32", by_onednn=True),
        Part("memory", "memory", "peak memory for growing numbers of samples", by_onednn=True),
        Part("training", "training_step", "training steps, in steps with the GAP head"),
        Part("drawing", "drawing", "the share of an epoch that callbacks take"),
        Part("streaming", "streaming", "reading a folder and explaining it in shards"),
        Part("features", "features_memory", "memory of functions that read a whole data set"),
        Part("localization", "localization_sweep", "the sweep over thresholds of a box measure"),
        Part("nested", "nested", "which libraries explain which kinds of models", with_peers=True),
        Part("accuracy", "accuracy", "how many passes a map needs"),
        Part(
            "speed",
            "speed",
            "every method, in forward passes",
            by_onednn=True,
            without_onednn=("--models", "MobileNetV2"),
        ),
        Part(
            "peers",
            "peers_speed",
            "the methods of other libraries, in the same rounds",
            by_onednn=True,
            without_onednn=None,
            with_peers=True,
        ),
        Part("shortcuts", "shortcuts", "whether planted shortcuts are found", alone=False),
        Part("versions", "versions", "this kerasxai and another installation, in turn", alone=False),
    )
}
"""By name, in the order of `make bench`: what takes longest comes last."""
