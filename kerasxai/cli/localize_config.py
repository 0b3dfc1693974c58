"""Settings of `kerasxai localize`, and its arguments made of them. Nothing here imports TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasxai.methods import METHODS
from kerasxai.refinements import REFINE_HELP
from kerasxai.streaming.config import StreamedDataSettings
from kerasxai.tools.model_settings import (
    CLASS_SCORES,
    DATA,
    METHOD,
    MODEL,
    OUTPUT,
    OUTPUTS,
    OUTPUTS_HELP,
    SCORE_HELP,
    ClassNameSettings,
    FileInputSettings,
    MethodOptions,
    ModelSettings,
)
from kerasxai.tools.settings import Limits, SettingsCommand, setting

BOXES = "boxes"


def _threshold(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _refine(text: str) -> str | None:
    return None if text == "none" else text


@dataclass(frozen=True, kw_only=True)
class LocalizeConfig(StreamedDataSettings, MethodOptions, FileInputSettings, ClassNameSettings, ModelSettings):
    """Settings of `kerasxai localize`, with those of the model, of its images, of the method and of shards.

    Attributes:
        images: Image files, or folders of them; none with `data`.
        method: A name in `kerasxai.METHODS`.
        refine: As for `kerasxai.Explainer`; `none` on the command line is None.
        layer: As for `kerasxai.Explainer`.
        target: Index or name of a class; None for each image's predicted class, or of a model with several labels, for
            its predicted classes, perhaps none.
        class_threshold: A class of a model with several labels is predicted from this probability.
        top: The most classes of an image, of a model with several labels.
        batch_size: Images at once.
        score: As for `kerasxai.Explainer`, by name.
        outputs: As for `kerasxai.Explainer`.
        threshold: As for `kerasxai.localization.heatmap_to_mask`; or `"auto"` for the threshold that the latest
            evaluation of the model with the same settings has chosen on boxes, and without one, a rule.
        all_boxes: Whether each connected region has a box, not only the largest.
        out: Folder of the results.
    """

    images: Sequence[str] = setting(
        "image files, folders of them, or example:cat, which is installed",
        DATA,
        positional=True,
        nargs="+",
        metavar="IMAGE",
    )
    method: str = setting("explainer", METHOD, "cam", choices=METHODS)
    refine: str | None = setting(
        REFINE_HELP.replace(" (default: nothing)", "; none: the plain heatmap"),
        METHOD,
        "auto",
        metavar="NAME[,NAME]",
        parse=_refine,
    )
    layer: str | None = setting("for methods that explain at a layer", METHOD, None)
    target: str | None = setting(
        "class index or name (default: each image's predicted class, or classes)", METHOD, None, metavar="CLASS"
    )
    class_threshold: float = setting(
        "of models with several labels: the probability from which a class is explained",
        METHOD,
        0.5,
        limits=Limits(0, 1),
    )
    top: int = setting("of models with several labels: the most classes of an image", METHOD, 5, limits=Limits(least=1))
    batch_size: int = setting("images at once", METHOD, 16, limits=Limits(least=1))
    score: str | None = setting(SCORE_HELP, METHOD, None, choices=CLASS_SCORES, metavar="{relative,logit}")
    outputs: str | None = setting(OUTPUTS_HELP, MODEL, None, choices=OUTPUTS, metavar="{logits,probabilities}")
    threshold: float | str = setting(
        "share of a heatmap's maximum above which the object is, 0 to 1, or a rule that chooses it for each heatmap: "
        "deviation, otsu, multiotsu, area; auto: chosen on boxes by an earlier kerasxai evaluate, else deviation",
        BOXES,
        "auto",
        metavar="SHARE",
        parse=_threshold,
    )
    all_boxes: bool = setting("a box for each connected region, not only for the largest", BOXES, False)
    out: Path = setting("folder to write to", OUTPUT, Path("boxes"))


LOCALIZE = SettingsCommand(
    "Write boxes (COCO JSON, CSV) and masks (PNG) of what a model sees in images.",
    [
        "kerasxai localize imagenet:EfficientNetLite0 photos/ --out boxes/",
        "kerasxai localize runs/gap/model.keras cat.jpg dog.jpg --method gradcam --refine none --threshold 0.3",
        "kerasxai localize imagenet:EfficientNetLite0 photos/*.jpg --target tabby --all-boxes",
        "kerasxai localize runs/gap/model.keras --data photos/ --shards 100 --out shards/",
    ],
    (LocalizeConfig,),
    replaced_by={"images": "--data"},
)
