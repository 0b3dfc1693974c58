"""The work of `kerasxai localize --data`: boxes of a large data set, in shards."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from kerasxai.cli.localize_config import LocalizeConfig
from kerasxai.cli.localize_model import load_mapper
from kerasxai.cli.localize_threshold import announce, resolve_threshold, threshold_phrase
from kerasxai.cli.record_tables import JSON
from kerasxai.cli.shard_commands import compute_left, images_of, open_shards, report_skipped_rows, sum_of
from kerasxai.streaming.images import REFINEMENT, choose_refinements
from kerasxai.streaming.localize import IMAGES, LocalizeTask, merge_boxes
from kerasxai.streaming.shards import Shard, waiting
from kerasxai.tools.files import read_json, write_json

_THRESHOLD = "threshold.json"


def localize_shards(config: LocalizeConfig, settings: JSON) -> int:
    """Localize in the shards that are left, and join the tables when all are done.

    Args:
        config: The settings.
        settings: Everything that the results depend on, with the threshold as it was given.

    Returns:
        0, or 1 if images were skipped.
    """
    images = images_of(config)
    folder = open_shards(config.out, settings, images, config.shards)
    threshold, origin = _kept_threshold(config)
    config = replace(config, threshold=threshold)
    if folder.left(config.shard):
        announce(config, images.count, origin)
    if not compute_left(folder, config, partial(_work, config, images.identity)):
        return 0
    with folder.joining() as shards:
        table = merge_boxes(shards, config.out)
    skipped = sum_of(shards, "skipped")
    found = f"{sum_of(shards, 'with_box')} of {images.count - skipped} images have a box"
    print(f"{found} at {threshold_phrase(threshold)}; boxes: {table}")
    return report_skipped_rows(skipped, images.count, IMAGES)


def _work(config: LocalizeConfig, identity: str) -> Callable[[Shard], None]:
    mapper, classes = load_mapper(config)
    images = images_of(config, identity)
    choose_refinements([mapper.explainer], images, mapper.model_input, config.out / REFINEMENT)
    task = LocalizeTask(mapper, classes, config.threshold, config.all_boxes, config.batch_size, config.input_range)
    return lambda shard: task.compute(shard, images)


def _kept_threshold(config: LocalizeConfig) -> tuple[float | str, str]:
    """Return the threshold of the first call: a later evaluation would change it for the shards that are left."""
    path = config.out / _THRESHOLD
    with waiting(config.out / ".lock-threshold"):
        if not path.exists():
            resolved = resolve_threshold(config)
            if resolved.refinement is not None:
                write_json(config.out / REFINEMENT, resolved.refinement)
            write_json(path, {"threshold": resolved.threshold, "origin": resolved.origin})
    kept = read_json(path)
    return kept["threshold"], kept["origin"]
