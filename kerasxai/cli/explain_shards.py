"""The work of `kerasxai explain --data`: a large data set, explained in shards."""

import argparse
from collections.abc import Sequence

from kerasxai import models
from kerasxai.cli.explain_config import ExplainConfig
from kerasxai.cli.ledger import JSON
from kerasxai.engine.images.image_input import image_input
from kerasxai.engine.outputs.kinds import class_count, class_index
from kerasxai.explainer import Explainer
from kerasxai.methods import METHODS
from kerasxai.streaming.config import StreamSettings, shard_count
from kerasxai.streaming.explain import ExplainTask, merge_explanations
from kerasxai.streaming.images import open_images
from kerasxai.streaming.shards import ShardFolder
from kerasxai.streaming.tables import import_pyarrow
from kerasxai.tools.commands import print_line
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import read_json
from kerasxai.tools.settings import described

_STREAM = frozenset(described(StreamSettings))


def check_stream(config: ExplainConfig) -> None:
    """Check the settings of shards, before images are read.

    Raises:
        KerasxaiError: Settings contradict each other, or pyarrow is not installed.
    """
    if config.data is None:
        for name in sorted(_STREAM - {"split"}):
            if getattr(config, name) is not None:
                raise KerasxaiError(f"expected --data with --{name.replace('_', '-')}, got image files; write --data")
        return
    if config.images:
        raise KerasxaiError(f"expected image files or --data, got both, {config.images[0]} and {config.data}; omit one")
    if config.refine is not None and config.heatmaps == "layer":
        raise KerasxaiError("heatmaps must be image or none with --refine, whose maps have the image's size, got layer")
    import_pyarrow()


def without_stream(options: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments without those of shards, which have no effect on single images."""
    return argparse.Namespace(**{name: value for name, value in vars(options).items() if name not in _STREAM})


def explain_shards(config: ExplainConfig, methods: Sequence[str], settings: JSON) -> int:
    """Explain the shards that are left, and join the tables when all are done.

    Args:
        config: The settings.
        methods: Names in `kerasxai.METHODS`.
        settings: Everything that the results depend on.

    Returns:
        0, or 1 if images were skipped.
    """
    assert config.data is not None
    images = open_images(config.data, config.split, config.out, config.data_dir, config.bits)
    shards = shard_count(config.shards, images.count)
    kept = {name: value for name, value in settings.items() if name not in ("shard", "shards")}
    folder = ShardFolder(config.out, {**kept, "images_sha256": images.identity}, images.count, shards)
    left = folder.left(config.shard)
    if left:
        task = _task(config, methods)
        folder.compute(left, lambda shard: task.compute(shard, images))
    left = folder.left()
    if left:
        print(f"{shards - len(left)} of {shards} shards are done; the same command without --shard goes on")
        return 0
    complete = folder.complete()
    table = merge_explanations(complete, config.out)
    skipped = sum(read_json(shard.folder / "shard.json")["skipped"] for shard in complete)
    print(f"{images.count - skipped} of {images.count} images are explained, in {shards} shards: {table}")
    if skipped:
        print_line(f"{skipped} of {images.count} images were skipped; the column error says why")
    return 1 if skipped else 0


def _task(config: ExplainConfig, methods: Sequence[str]) -> ExplainTask:
    model = models.load_classifier(config.model, config.custom_objects)
    taken = image_input(model, config.image_size, config.input_range, config.fit)
    classes = models.class_names(model)
    target = None if config.target is None else class_index(config.target, classes, class_count(model))
    if target is None and models.is_multi_label(model):
        raise KerasxaiError(
            "expected a model of one class an image with --data, got one of several labels; give a --target"
        )
    explainers = [
        Explainer(
            model,
            name,
            layer=config.layer if METHODS[name].takes_layer or len(methods) == 1 else None,
            batch_size=config.batch_size,
            refine=config.refine,
            score=config.score,
            outputs=config.outputs,
            progress=False,
            resize=config.refine is not None or config.heatmaps == "image",
            **config.option,
        )
        for name in methods
    ]
    return ExplainTask(
        explainers,
        taken,
        classes,
        target,
        config.top,
        config.batch_size,
        config.heatmaps != "none",
        config.input_range,
    )
