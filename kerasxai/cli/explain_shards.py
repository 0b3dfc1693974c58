"""The work of `kerasxai explain --data`: a large data set, explained in shards."""

from collections.abc import Callable, Sequence
from functools import partial

from kerasxai import models
from kerasxai.cli.explain_config import ExplainConfig
from kerasxai.cli.models_in import load_named
from kerasxai.cli.record_tables import JSON
from kerasxai.cli.shard_commands import compute_left, images_of, open_shards, report_skipped_rows, sum_of
from kerasxai.engine.images.builtin_preprocessing import input_for_files
from kerasxai.engine.outputs.kinds import class_count, class_index
from kerasxai.explainer import Explainer
from kerasxai.methods import METHODS
from kerasxai.streaming.explain import ExplainTask, merge_explanations
from kerasxai.streaming.images import REFINEMENT, choose_refinements
from kerasxai.streaming.shards import Shard
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.json_output import print_json


def explain_shards(config: ExplainConfig, methods: Sequence[str], settings: JSON) -> int:
    """Explain the shards that are left, and join the tables when all are done.

    Args:
        config: The settings.
        methods: Names in `kerasxai.METHODS`.
        settings: Everything that the results depend on.

    Returns:
        0, or 1 if images were skipped.
    """
    images = images_of(config)
    folder = open_shards(config.out, settings, images, config.shards)
    if not compute_left(folder, config, partial(_work, config, methods, images.identity)):
        return 0
    with folder.joining() as shards:
        table = merge_explanations(shards, config.out)
    skipped = sum_of(shards, "skipped")
    print_json({"images": images.count, "skipped": skipped, "shards": folder.shards, "table": str(table)})
    print(f"{images.count - skipped} of {images.count} images are explained, in {folder.shards} shards: {table}")
    return report_skipped_rows(skipped, images.count, table.name)


def _work(config: ExplainConfig, methods: Sequence[str], identity: str) -> Callable[[Shard], None]:
    task, images = _task(config, methods), images_of(config, identity)
    choose_refinements(task.explainers, images, task.taken, config.out / REFINEMENT)
    return lambda shard: task.compute(shard, images)


def _task(config: ExplainConfig, methods: Sequence[str]) -> ExplainTask:
    model = load_named(config.model, config.custom_objects, config.class_names)
    taken = input_for_files(model, config.image_size, config.input_range, config.fit)
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
