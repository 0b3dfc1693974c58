"""The work of `kerasxai evaluate --shards`: an evaluation of a large data set in shards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.evaluation.saved_results import settings_of_figures
from kerasxai.streaming.config import ShardSettings, shard_count
from kerasxai.streaming.evaluate import EvaluateTask, identity_of
from kerasxai.streaming.shards import ShardFolder
from kerasxai.streaming.tables import import_pyarrow
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.folders import check_output_folder


def check_shards(shards: ShardSettings, rows: int, out: Path | None) -> None:
    """Check the settings of shards, before the model is loaded.

    Args:
        shards: The settings.
        rows: The number of methods and refinements.
        out: The folder.

    Raises:
        KerasxaiError: A setting that shards need is missing, there are several methods, or pyarrow is not installed.
    """
    if shards.shards is None:
        if shards.shard is not None:
            raise KerasxaiError(f"expected --shards with --shard, got --shard {shards.shard} alone; add --shards")
        return
    if out is None:
        raise KerasxaiError("expected --out with --shards, got none; name the folder that all calls write to")
    if rows > 1:
        raise KerasxaiError(f"expected one method and refinement with --shards, got {rows}; evaluate one at a time")
    check_output_folder(out)
    import_pyarrow()


def evaluate_shards(
    model: keras.Model, config: EvaluateConfig, shards: ShardSettings, out: Path, about: Mapping[str, object]
) -> dict[str, Any] | None:
    """Measure the shards that are left, and when all are done, write and return the figures of all images.

    Args:
        model: The model.
        config: The settings.
        shards: The shards.
        out: The folder.
        about: Entries to keep with the figures.
    """
    task = EvaluateTask(model, config, out)
    stored = settings_of_figures(model, config.figure_settings())
    count = shard_count(shards.shards, task.count)
    folder = ShardFolder(out, {**stored, "images_sha256": identity_of(config, out)}, task.count, count)
    folder.compute(folder.left(shards.shard), task.compute)
    left = folder.left()
    if left:
        print(f"{count - len(left)} of {count} shards are done; the same command without --shard goes on")
        return None
    return task.merge(folder.complete(), stored, about)
