"""The threshold of `kerasxai localize`: given, from an evaluation of the same model, or by a rule."""

import json
from pathlib import Path

from kerasxai.cli.localize_config import LocalizeConfig
from kerasxai.evaluation.found_thresholds import find_threshold
from kerasxai.localization import AUTO_RULE
from kerasxai.tools.digests import model_identity
from kerasxai.tools.input_range import name_of_range
from kerasxai.tools.model_settings import is_model_name


def resolve_threshold(config: LocalizeConfig) -> tuple[float | str, str]:
    """Return the threshold of boxes, as for `kerasxai.localization.chosen_threshold`, and a phrase about its origin."""
    if config.threshold != "auto":
        return config.threshold, "given"
    name = is_model_name(config.model)
    settings = {
        "method": config.method,
        "layer": config.layer,
        "refine": config.refine,
        "score": config.score,
        "outputs": config.outputs,
        "image_size": config.image_size,
        "preprocess": name_of_range(config.input_range),
        "method_options": dict(config.option),
    }
    # Through JSON, as the settings of an evaluation were: tuples become lists.
    settings = json.loads(json.dumps(settings, default=str))
    found = find_threshold([Path() if name else Path(config.model).parent], model_identity(config.model), settings)
    if found is not None:
        return found.threshold, f"chosen on boxes by {found.file}"
    refine = f" --refine {config.refine}" if config.refine else ""
    return AUTO_RULE, f"chosen for each image without boxes; kerasxai evaluate{refine} chooses it on images with boxes"
