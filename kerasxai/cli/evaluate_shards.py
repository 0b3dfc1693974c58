"""The work of `kerasxai evaluate --shards`: an evaluation of a large data set in shards."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras

from kerasxai.cli.shard_commands import check_engine, compute_left
from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.evaluation.saved_results import settings_of_figures
from kerasxai.streaming.config import ShardSettings, shard_count
from kerasxai.streaming.evaluate import EvaluateTask, identity_of
from kerasxai.streaming.images import check_identity
from kerasxai.streaming.shards import Shard, ShardFolder
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
        if shards.engine != "local" or shards.workers_per_node is not None:
            raise KerasxaiError(f"expected --shards with --engine {shards.engine}, got none; add --shards")
        return
    if out is None:
        raise KerasxaiError("expected --out with --shards, got none; name the folder that all calls write to")
    if rows > 1:
        raise KerasxaiError(f"expected one method and refinement with --shards, got {rows}; evaluate one at a time")
    check_output_folder(out)
    check_engine(shards)


def evaluate_shards(
    load: Callable[[], keras.Model],
    config: EvaluateConfig,
    shards: ShardSettings,
    out: Path,
    about: Mapping[str, object],
) -> dict[str, Any] | None:
    """Measure the shards that are left, and when all are done, write and return the figures of all images.

    Args:
        load: Loads the model.
        config: The settings.
        shards: The shards.
        out: The folder.
        about: Entries to keep with the figures.
    """
    model = load()
    task = EvaluateTask(model, config, out)
    stored = settings_of_figures(model, config.figure_settings())
    count = shard_count(shards.shards, task.count)
    identity = identity_of(config, out)
    folder = ShardFolder(out, {**stored, "images_sha256": identity}, task.count, count)
    if shards.engine == "ray" and folder.left(shards.shard):
        # Here, so that not each worker measures the tuning split.
        task.choose()
    work = partial(_work, load, config, out, identity) if shards.engine == "ray" else lambda: task.compute
    if not compute_left(folder, shards, work):
        return None
    with folder.joining() as computed:
        return task.merge(computed, stored, about)


def _work(load: Callable[[], keras.Model], config: EvaluateConfig, out: Path, identity: str) -> Callable[[Shard], None]:
    check_identity(identity_of(config, out), identity)
    return EvaluateTask(load(), config, out).compute
