"""The model of `kerasxai localize`, ready to explain images."""

from kerasxai import models
from kerasxai.cli.localize_config import LocalizeConfig
from kerasxai.cli.models_in import load_named
from kerasxai.engine.images.builtin_preprocessing import input_for_files
from kerasxai.engine.outputs.kinds import class_count, class_index
from kerasxai.explainer import Explainer
from kerasxai.streaming.class_maps import ClassMapper


def load_mapper(config: LocalizeConfig) -> tuple[ClassMapper, list[str] | None]:
    """Load the model, and return what makes its maps, and the names of its classes."""
    model = load_named(config.model, config.custom_objects, config.class_names)
    model_input = input_for_files(model, config.image_size, config.input_range, config.fit)
    classes = models.class_names(model)
    target = None if config.target is None else class_index(config.target, classes, class_count(model))
    explainer = Explainer(
        model,
        config.method,
        layer=config.layer,
        batch_size=config.batch_size,
        refine=config.refine,
        score=config.score,
        outputs=config.outputs,
        progress=False,
        **config.option,
    )
    by_class = target is None and models.is_multi_label(model)
    return ClassMapper(explainer, model_input, target, by_class, config.class_threshold, config.top), classes
