"""What scripts of several trainings share: stages that are timed, and evaluations that are not made twice."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kerasxai import models
from kerasxai.evaluation.evaluate import evaluate
from kerasxai.evaluation.saved_results import keep_former
from kerasxai.tools.files import read_json, write_json


class Clock:
    """Keeps how long each stage took, also where a later call finds it done.

    Args:
        path: The JSON file it is kept in.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = read_json(path) if path.exists() else {}

    def measure(self, stage: str, work: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Does a stage and returns its result; of several calls the longest time is kept."""
        begun = time.monotonic()
        result = work(*arguments, **keywords)
        self.seconds[stage] = max(round(time.monotonic() - begun, 1), self.seconds.get(stage, 0.0))
        write_json(self.path, self.seconds)
        return result


def evaluated(model: Path, data: str, out: Path, progress: bool = True, **settings: Any) -> dict[str, Any]:
    """Evaluates a model, or reads what an earlier call with the same settings measured of it; other figures are kept.

    Args:
        model: A `.keras` file.
        data: As for `evaluate`.
        out: The evaluation's folder.
        progress: As for `evaluate`.
        **settings: As for `evaluate`; they have to be ready for JSON.
    """
    written, kept = out / "evaluation.json", out / "settings.json"
    asked = json.loads(json.dumps({"data": data, **settings}))
    if (
        kept.exists()
        and written.exists()
        and min(written.stat().st_mtime, kept.stat().st_mtime) > model.stat().st_mtime
        and read_json(kept) == asked
    ):
        return read_json(written)
    if written.exists():
        keep_former([out])
    evaluation = evaluate(models.load(model), data, out=out, progress=progress, **settings)
    write_json(kept, asked)
    return evaluation
