"""Settings of `kerasxai explain`, and its arguments made of them. Nothing here imports TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasxai.refinements import REFINE_HELP
from kerasxai.streaming.config import StreamSettings
from kerasxai.tools.arguments import listed
from kerasxai.tools.json_output import JsonOutput
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


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(StreamSettings, MethodOptions, FileInputSettings, ClassNameSettings, ModelSettings):
    """Settings of `kerasxai explain`, with those of the model, of its images, of the method and of shards.

    Attributes:
        images: Image files, or folders of them; none with `data`.
        method: Names in `kerasxai.METHODS`, or "all".
        layer: As for `kerasxai.Explainer`.
        target: Index or name of a class; None for each image's predicted class, or of a model with several labels, for
            its predicted classes, at least one and at most `top`.
        class_threshold: A class of a model with several labels is predicted from this probability.
        refine: As for `kerasxai.Explainer`.
        batch_size: Images explained at once.
        score: As for `kerasxai.Explainer`, by name.
        outputs: As for `kerasxai.Explainer`.
        out: Folder of the results.
        top: How many predicted classes are listed.
    """

    images: Sequence[str] = setting(
        "image files, folders of them, or example:cat, which is installed",
        DATA,
        positional=True,
        nargs="+",
        metavar="IMAGE",
    )
    method: Sequence[str] = setting(
        "one or more of `kerasxai methods`, or all (default: gradcam)",
        METHOD,
        ("gradcam",),
        metavar="NAME[,NAME]",
        parse=listed,
    )
    layer: str | None = setting(
        "for methods that explain at a layer; see `kerasxai layers` (default: chosen)", METHOD, None
    )
    target: str | None = setting(
        "class index or name (default: the predicted class, or classes)", METHOD, None, metavar="CLASS"
    )
    class_threshold: float = setting(
        "of models with several labels: the probability from which a class is explained",
        METHOD,
        0.5,
        limits=Limits(0, 1),
    )
    refine: str | None = setting(REFINE_HELP, METHOD, None, metavar="NAME[,NAME]")
    batch_size: int = setting("images explained at once", METHOD, 16, limits=Limits(least=1))
    score: str | None = setting(SCORE_HELP, METHOD, None, choices=CLASS_SCORES, metavar="{relative,logit}")
    outputs: str | None = setting(OUTPUTS_HELP, MODEL, None, choices=OUTPUTS, metavar="{logits,probabilities}")
    out: Path = setting("folder to write to", OUTPUT, Path("explanations"))
    top: int = setting(
        "how many predicted classes are listed, and explained of several labels", OUTPUT, 3, limits=Limits(least=1)
    )


EXPLAIN = SettingsCommand(
    "Draw where a model looks in images.",
    [
        "kerasxai explain imagenet:EfficientNetLite0 example:cat",
        "kerasxai explain imagenet:EfficientNetLite0 cat.jpg",
        "kerasxai explain imagenet:EfficientNetLite0 cat.jpg --method cam,gradcam --target tabby --out out/",
        "kerasxai explain runs/gap/model.keras photos/ --method gradcam --layer backbone/block3_1",
        "kerasxai explain runs/gap/model.keras --data photos/ --shards 100 --out shards/",
    ],
    (ExplainConfig, JsonOutput),
    replaced_by={"images": "--data"},
)
