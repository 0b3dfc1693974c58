"""The work of `kerasxai info`: print the settings of a run, its state and its evaluations."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kerasxai.cli.info_config import InfoConfig
from kerasxai.evaluation.evaluated_runs import EVALUATION
from kerasxai.evaluation.tables import name_of
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import read_csv, read_json, read_text
from kerasxai.tools.json_output import print_json
from kerasxai.tools.model_settings import RUN_MODEL
from kerasxai.tools.printable import printable
from kerasxai.tools.settings import from_options
from kerasxai.tools.text_tables import print_table

_FIGURES = ("top1_accuracy", "gt_known_loc", "mean_iou")


def run(options: argparse.Namespace) -> None:
    """Print the facts about a run."""
    config = from_options(InfoConfig, options)
    facts = facts_of(Path(config.run))
    print_json(facts)
    print_table(("run", printable(config.run)), [(name, _shown(facts[name])) for name in ("command", "state", "best")])
    chosen = {name: value for name, value in facts["config"].items() if value not in (None, {}, [], "")}
    print_table(("setting", "value"), chosen.items())
    if facts["evaluations"]:
        columns = ("evaluation", "data", "split", "threshold>", *(f"{name}>" for name in _FIGURES))
        print_table(columns, [_row(one) for one in facts["evaluations"]], turn=True)


def facts_of(run: Path) -> dict[str, Any]:
    """Return what is known about a run: `command`, `config`, `state`, `best`, `evaluations`.

    Args:
        run: The folder of `kerasxai train`.

    Raises:
        KerasxaiError: It is not the folder of a run.
    """
    if not (run / "config.json").is_file():
        got = "no folder" if not run.is_dir() else "a folder without config.json"
        raise KerasxaiError(f"expected the folder of a training run, got {got}, {printable(str(run))}")
    config = read_json(run / "config.json")
    chosen = read_json(run / "choices.json") if (run / "choices.json").is_file() else {}
    rows = read_csv(run / "history.csv") if (run / "history.csv").is_file() else []
    metrics = read_json(run / "metrics.json") if (run / "metrics.json").is_file() else {}
    epochs = f"{len(rows)} epochs"
    return {
        "command": read_text(run / "command.txt").strip() if (run / "command.txt").is_file() else None,
        "state": f"finished after {epochs}" if (run / RUN_MODEL).is_file() else f"not finished, {epochs} completed",
        "best": metrics.get("best"),
        "config": config | {name: value for name, value in chosen.items() if name != "reasons"},
        "evaluations": list(_evaluations(run)),
    }


def _evaluations(run: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(run.rglob(EVALUATION)):
        evaluation = read_json(path)
        figures = evaluation.get("chosen", evaluation)
        yield {
            "name": name_of(evaluation),
            "folder": str(path.parent.relative_to(run)),
            **{name: evaluation.get(name) for name in ("data", "split", "images")},
            **{name: figures.get(name, evaluation.get(name)) for name in ("threshold", *_FIGURES)},
        }


def _row(evaluation: dict[str, Any]) -> list[str]:
    cells = [evaluation[name] for name in ("name", "data", "split", "threshold", *_FIGURES)]
    return [f"{cell:.3f}" if isinstance(cell, float) else "" if cell is None else str(cell) for cell in cells]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{name} {one:.4g}" if isinstance(one, float) else f"{name} {one}" for name, one in value.items()
        )
    return "" if value is None else str(value)
