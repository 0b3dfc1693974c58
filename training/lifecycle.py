"""Timed stages and cached evaluations, for scripts that train several models."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from kerasxai import models
from kerasxai.evaluation.evaluate import evaluate
from kerasxai.evaluation.saved_results import keep_former
from kerasxai.tools.digests import model_identity
from kerasxai.tools.files import read_json, write_json

P = ParamSpec("P")
T = TypeVar("T")


class Clock:
    """Records the duration of each stage in a file, over several runs of a script.

    Args:
        path: The JSON file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = read_json(path) if path.exists() else {}

    def measure(self, stage: str, work: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Run a stage and return its result; record the longest time of all runs."""
        begun = time.monotonic()
        result = work(*arguments, **keywords)
        # The longest, because a later run of the script finds the stage done and returns at once.
        self.seconds[stage] = max(round(time.monotonic() - begun, 1), self.seconds.get(stage, 0.0))
        write_json(self.path, self.seconds)
        return result


def evaluated(model: Path, data: str, out: Path, progress: bool = True, **settings: Any) -> dict[str, Any]:
    """Evaluate a model, or read the figures of an earlier call with the same settings; other figures are kept.

    Args:
        model: A `.keras` file.
        data: As for `evaluate`.
        out: Folder of the evaluation.
        progress: As for `evaluate`.
        **settings: As for `evaluate`; they must be ready for JSON.
    """
    written, kept = out / "evaluation.json", out / "settings.json"
    requested = json.loads(json.dumps({"data": data, **settings}))
    # Newer than the model: a model that was trained again has the same path.
    if (
        kept.exists()
        and written.exists()
        and min(written.stat().st_mtime, kept.stat().st_mtime) > model.stat().st_mtime
        and read_json(kept) == requested
        and "chosen" in (figures := read_json(written))  # Not from a version without a chosen threshold.
    ):
        return figures
    if written.exists():
        keep_former([out])
    about = {"model": model_identity(str(model))}
    evaluation = evaluate(models.load(model), data, out=out, progress=progress, about=about, **settings)
    write_json(kept, requested)
    return evaluation
