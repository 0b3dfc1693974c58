"""The settings of an audit. Nothing here imports TensorFlow."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kerasxai.audit.measures import DEFAULT_MEASURES, MEASURES
from kerasxai.data.box_files.reading import BOXES_HELP
from kerasxai.methods import METHODS
from kerasxai.tools.arguments import listed
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.model_settings import (
    CLASS_SCORES,
    DATA,
    METHOD,
    MODEL,
    OUTPUTS,
    OUTPUTS_HELP,
    SCORE_HELP,
    InputSettings,
)
from kerasxai.tools.settings import SEED, Limits, check_settings, setting

DEFAULT_METHODS = ("gradcam", "saliency", "integrated_gradients", "guided_backprop", "occlusion")
FAILURES = ("shortcut", "insane")
"""What an audit may fail on: a confirmed shortcut, or a method whose maps do not depend on the model."""
AUDIT = "audit"


def _names(kind: str, known: Sequence[str]) -> Any:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(listed(text)))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(str(unknown(kind, name, known)))
        return names

    return parse


@dataclass(frozen=True, kw_only=True)
class AuditConfig(InputSettings):
    """The settings of `kerasxai.audit.audit.audit`, with those of the images.

    Attributes:
        data: As for `kerasxai.data.load`.
        split: The audited split.
        images: How many images are explained, evenly over the classes; predictions are of up to `predicted`.
        predicted: How many images accuracy, calibration and confusions are measured on at most.
        seed: Of the choice of images, of the random map and of the bootstrap.
        data_dir: As for `kerasxai.data.load`.
        boxes_csv: As for `kerasxai.data.load`.
        ignore_labels: Whether the data have other classes than the model: predicted classes are explained, and nothing
            is said of accuracy, confusions and shortcuts.
        methods: Names in `kerasxai.METHODS`; None for DEFAULT_METHODS, without those that cannot explain the model.
        measures: Names in MEASURES; None for those of DEFAULT_MEASURES that the data allow.
        layer: As for `kerasxai.Explainer`, for methods that use one.
        score: As for `kerasxai.Explainer`, by name.
        outputs: As for `kerasxai.Explainer`.
        batch_size: Images at once; does not influence the figures but for rounding.
        method_options: Options, each for the methods that have it.

    Example:
        >>> AuditConfig(data="shapes").images
        100
    """

    data: str = setting("name of a data set, or a folder with one folder for each class", DATA, metavar="DATA")
    split: str = setting("split to audit", DATA, "test")
    images: int = setting("images to explain, evenly over the classes", DATA, 100, limits=Limits(4, 2000))
    predicted: int = setting(
        "images for accuracy, calibration and confusions at most", DATA, 1000, limits=Limits(4, 100_000)
    )
    seed: int = setting("of the choice of images and of the intervals", DATA, 0, limits=SEED)
    data_dir: str | None = setting("where TensorFlow Datasets keeps its files", DATA, None)
    boxes_csv: str | None = setting(BOXES_HELP, DATA, None, flag="--boxes", metavar="FILE")
    ignore_labels: bool = setting(
        "the data have other classes than the model: explain predicted classes, without accuracy, confusions and "
        "shortcuts",
        DATA,
        False,
    )
    methods: Sequence[str] | None = setting(
        f"methods to audit (default: {', '.join(DEFAULT_METHODS)}; without those that cannot explain the model)",
        METHOD,
        None,
        metavar="NAME[,NAME]",
        parse=_names("method", tuple(METHODS)),
    )
    measures: Sequence[str] | None = setting(
        f"measures (default: {', '.join(DEFAULT_MEASURES)}; also: "
        f"{', '.join(name for name in MEASURES if name not in DEFAULT_MEASURES)})",
        AUDIT,
        None,
        metavar="NAME[,NAME]",
        parse=_names("measure", tuple(MEASURES)),
    )
    layer: str | None = setting("layer to explain, for layer-based methods", METHOD, None)
    score: str | None = setting(SCORE_HELP, METHOD, None, choices=CLASS_SCORES, metavar="{relative,logit}")
    outputs: str | None = setting(OUTPUTS_HELP, MODEL, None, choices=OUTPUTS, metavar="{logits,probabilities}")
    batch_size: int = setting("images at once", METHOD, 32, limits=Limits(1, 4096))
    method_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_settings(self)
        for kind, names, known in (("method", self.methods, METHODS), ("measure", self.measures, MEASURES)):
            if names is not None and not names:
                raise KerasxaiError(f"expected one or more {kind}s, got none")
            for name in names or ():
                if name not in known:
                    raise unknown(kind, name, known)

    def figure_settings(self) -> dict[str, Any]:
        """Return the settings that the figures depend on, by name."""
        return {name: value for name, value in vars(self).items() if name not in ("batch_size", "input_range")} | {
            "preprocess": self.input_range
        }
