"""Measure other libraries and kerasxai in the same process and the same rounds, as ratios to one forward pass.

The environment of the peers is `.venv-peers`, which is made if this one has no peers. A peer that is not installed or
that fails on a method is named. Rounds, figures and the naive floor are those of `python -m benchmarks speed`.
"""

import argparse
from collections.abc import Iterator
from types import MappingProxyType

from benchmarks.cases import CASES
from benchmarks.peers import PEERS
from benchmarks.peers_environment import installed
from benchmarks.speed import OURS, Measured, Subject, add_case_arguments, first_calls, label, notes_on, target_of
from benchmarks.tables import Cell, Table, in_rounds, report

QUICK = MappingProxyType({"models": ["MobileNetV2:0.35"], "size": 96, "repeats": 2, "methods": ["gradcam", "saliency"]})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_case_arguments(parser, ["MobileNetV2"], repeats=6)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))


def run(arguments: argparse.Namespace) -> Iterator[Table]:
    found, missing = installed()
    peers = [name for name in arguments.peers if name in found]
    if missing:
        report(f"peers that are not installed, and not measured: {', '.join(missing)}")
    for name in arguments.models:
        subject = Subject(name, arguments.size)
        subject.peers = {peer: PEERS[peer](subject.model) for peer in peers}
        measured = []
        for case in CASES:
            offered = any(case.name in methods for methods in subject.peers.values())
            if offered and case.name in arguments.methods and case.batch in arguments.batches:
                measured.append(subject.measure(case, arguments.repeats))
        many = in_rounds(max(1, arguments.repeats // 3))
        notes = (notes_on(arguments.repeats)[0], f"Methods of many passes {many}.")
        yield _table(name, measured, peers, notes)
        yield first_calls(name, measured, peers)


def _table(name: str, measured: list[Measured], peers: list[str], notes: tuple[str, ...]) -> Table:
    columns = ("method", "images", "target", OURS, "naive floor", *peers)
    rows: list[tuple[Cell, ...]] = []
    for one in measured:
        cells = ["failed" if peer in one.failed else one.ratios.get(peer) for peer in peers]
        rows.append((label(one.case), one.case.batch, target_of(one.case), one.ratios[OURS], one.naive, *cells))
    return Table(name, f"{name}, with peers", columns, tuple(rows), notes).without_empty_columns()
