"""The results of a benchmark so far, as JSON, CSV, Markdown and pictures."""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasxai import viz
from kerasxai.tools.commands import command_line
from kerasxai.tools.files import null_for_nan, write_csv, write_json, write_text
from kerasxai.tools.printable import percent
from kerasxai.training.benchmark_pictures import contact_sheet, threshold_plot
from kerasxai.training.benchmark_tables import (
    MEASURES,
    csv_table,
    differences,
    figures_of,
    markdown_table,
    summarize,
    table_of,
)
from kerasxai.version import __version__

BASELINES = {"whole_image": "whole image", "centered_box": "centered box", "centered_gaussian": "centered Gaussian"}
_NOTE = """\
All figures but n are percentages: mean ± standard deviation over n seeds (of a sample: divided by n - 1). The boxes of
GT-known Loc (IoU at least 0.5) and of the mean IoU are those of the largest part of the true class's map above a
threshold. The fixed threshold is {threshold} of the maximum; the tuned one was chosen, run by run, on validation
images. MaxBoxAccV2 is an oracle: its thresholds and boxes are chosen on the test images themselves. Recall of a part
of the object and precision are taken at half of the map, stretched to its own range. The baselines do not look at
images."""


class BenchmarkReport:
    """Collects the runs of a benchmark, and writes tables and pictures.

    Args:
        out: Output folder.
        references: For each row of the table the row to compare with; the row itself for none.
        about: Settings of the runs, ready for JSON; has `data`, `method` and `threshold`.
        gaussian_max_box_acc_v2: `max_box_acc_v2` of the centered Gaussian.
    """

    def __init__(
        self, out: Path, references: Mapping[str, str], about: Mapping[str, Any], gaussian_max_box_acc_v2: float
    ) -> None:
        self.out = out
        self.references = dict(references)
        self.about = {
            "command": command_line(),
            **about,
            "versions": {
                "kerasxai": __version__,
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy", "scikit-image")},
            },
        }
        self.gaussian_max_box_acc_v2 = gaussian_max_box_acc_v2
        self.runs: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in references}
        self.evaluations: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in references}
        self.models: dict[str, Path] = {}

    def add(self, name: str, seed: int, model: Path, evaluation: dict[str, Any], details: Mapping[str, Any]) -> None:
        """Add a run.

        Args:
            name: Its row.
            seed: Its seed.
            model: The file of the trained model.
            evaluation: The result of `evaluate`.
            details: `seconds`, `epochs` and `labels` of the run.
        """
        self.runs[name][seed] = {"figures": figures_of(evaluation), **details}
        self.evaluations[name][seed] = evaluation
        self.models.setdefault(name, model)

    def time_left(self, runs: int) -> str:
        """Return the estimated time of so many runs, as text; empty before the first run."""
        known = [run["seconds"] for row in self.runs.values() for run in row.values()]
        return f", about {max(1, round(np.mean(known) * runs / 60))} min left" if known else ""

    def figures(self, name: str) -> dict[int, dict[str, float]]:
        """Return the figures of a row by seed."""
        return {seed: run["figures"] for seed, run in self.runs[name].items()}

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return mean and standard deviation of each row with runs."""
        return {name: summarize(list(self.figures(name).values())) for name, runs in self.runs.items() if runs}

    def baselines(self) -> dict[str, dict[str, Any]]:
        """Return the figures of the baselines, which are the same for all runs."""
        found = next(one for row in self.evaluations.values() for one in row.values())["baselines"]
        found["centered_gaussian"]["max_box_acc_v2"] = self.gaussian_max_box_acc_v2
        return {label: summarize([figures_of(found[name])]) | {"n": None} for name, label in BASELINES.items()}

    def differences(self) -> dict[str, dict[str, Any]]:
        """Return the paired differences of each row to its reference, by the names of both."""
        return {
            f"{name} - {reference}": differences(self.figures(name), self.figures(reference))
            for name, reference in self.references.items()
            if name != reference and self.runs[name].keys() & self.runs[reference].keys()
        }

    def content(self) -> dict[str, Any]:
        """Return all results, ready for JSON."""
        return {
            **self.about,
            "measures": {name: measure.label for name, measure in MEASURES.items()},
            "rows": self.rows(),
            "baselines": self.baselines(),
            "differences": self.differences(),
            "runs": {name: {str(seed): run for seed, run in runs.items()} for name, runs in self.runs.items() if runs},
        }

    def write(self) -> None:
        """Write the tables."""
        content = self.content()
        write_json(self.out / "benchmark.json", null_for_nan(content))
        for name, text in (
            ("command.txt", self.about["command"] + "\n"),
            ("benchmark.csv", csv_table(content["rows"] | content["baselines"])),
            ("benchmark.md", self.markdown()),
        ):
            write_text(self.out / name, text)
        rows = (
            [name, seed, run["seconds"], *(run["figures"].get(measure, "") for measure in MEASURES)]
            for name, runs in self.runs.items()
            for seed, run in runs.items()
        )
        write_csv(self.out / "runs.csv", ["row", "seed", "seconds", *MEASURES], rows)

    def markdown(self) -> str:
        """Return the tables as a Markdown page."""
        pieces = [
            f"# Benchmark on {self.about['data']}",
            f"```\n{self.about['command']}\n```",
            ", ".join(f"{name} {version}" for name, version in self.about["versions"].items()) + ".",
            _NOTE.format(threshold=percent(self.about["threshold"])),
            markdown_table(*table_of(self.rows() | self.baselines())).strip(),
        ]
        if found := self.differences():
            pieces += [
                "Differences, seed by seed, in percentage points:",
                markdown_table(*table_of(found, sign=True)).strip(),
            ]
        if labels := self.labels():
            pieces += ["What the training labels were:", markdown_table(*labels).strip()]
        return "\n\n".join(pieces) + "\n"

    def labels(self) -> tuple[list[str], list[list[str]]] | None:
        """Return a table of weak labels, or None if all labels are those of the data."""
        weak = [
            (name, seed, run["labels"])
            for name, runs in self.runs.items()
            for seed, run in runs.items()
            if run.get("labels")
        ]
        if not weak:
            return None
        head = list(dict.fromkeys(key for _, _, labels in weak for key in labels))
        return (
            ["", "seed", *(key.replace("_", " ") for key in head)],
            [[name, str(seed), *(_number(labels.get(key)) for key in head)] for name, seed, labels in weak],
        )

    def draw(self, samples: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> None:
        """Draw accuracy against threshold, and the samples with the first seed of each row."""
        curves = {name: [one["curve"] for one in runs.values()] for name, runs in self.evaluations.items() if runs}
        viz.save_png(self.out / "thresholds.png", threshold_plot(curves, self.about["threshold"]))
        if samples:
            first = {name: next(iter(runs.values())) for name, runs in self.evaluations.items() if runs}
            rows = {name: (self.models[name], one["tuned"]["threshold"]) for name, one in first.items()}
            viz.save_png(self.out / "sheet.png", contact_sheet(rows, samples, self.about["method"], class_names))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
