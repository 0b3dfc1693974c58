"""The settings of an evaluation. Nothing here imports TensorFlow."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kerasxai.data.box_files.reading import BOXES_HELP
from kerasxai.data.information import CLASS_MASKS_HELP, LABELS_HELP, READINGS
from kerasxai.methods import METHODS
from kerasxai.refinements import REFINE_HELP, has_auto
from kerasxai.tools.arguments import auto_or_threshold, listed, positive_int
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.input_range import Preprocess
from kerasxai.tools.lazy import resolve
from kerasxai.tools.model_settings import CLASS_SCORES, FIT_HELP, FITS, OUTPUTS, OUTPUTS_HELP, SCORE_HELP
from kerasxai.tools.settings import setting

if TYPE_CHECKING:
    import keras

DATA, METHOD, BOXES, MODEL = "data", "method", "boxes", "model"


def _split_or_none(text: str) -> str | None:
    return None if text == "none" else text


def _method_names(text: str) -> str:
    """Check names of methods with commas between them."""
    for name in listed(text):
        if name not in METHODS:
            raise argparse.ArgumentTypeError(str(unknown("method", name, METHODS)))
    return text


@dataclass(frozen=True)
class EvaluateConfig:
    """The settings of `evaluate`; the flags of the command are made of those that are described.

    Attributes:
        name_or_path: As for `kerasxai.data.load`.
        split: The split to evaluate.
        method: A name in `kerasxai.METHODS`.
        layer: As for `kerasxai.Explainer`.
        refine: As for `kerasxai.Explainer`.
        tune_split: The split on which the best threshold is chosen; None: no split, so that only a rule can choose it.
        threshold: `"auto"` for the model's own threshold: the best one on `tune_split`, or where it has no boxes, the
            median of what a rule chooses for its heatmaps; without a `tune_split` for those of 64 images, which are
            spread over the split of a folder. A number in [0, 1) fixes it. With `"auto"` there are figures at 20 % as
            well.
        limit: Measure at most so many images of each split; those of a folder, which is sorted by class, are spread
            evenly over it, of a data set of TFDS, which is not, they are the first ones.
        image_size: Side in pixels, or height and width, for models that accept any size; None for 224.
        fit: How images of another aspect ratio are fitted to the input, see `kerasxai.data.load`; None: as the model
            was trained, or stretched.
        preprocess: Input range or function, as for `kerasxai.Explainer`. None leaves images in [0, 255], with a
            warning if the model has no rescaling layer.
        data_dir: As for `kerasxai.data.load`.
        boxes_csv: As for `kerasxai.data.load`.
        labels: As for `kerasxai.data.load`; `"auto"` is `"single"` for a model that ends in a softmax.
        class_masks: As for `kerasxai.data.load`.
        oracle: Also measure MaxBoxAccV2, whose thresholds and boxes are chosen on the evaluated images.
        protocol: How heatmaps become boxes and boxes are compared, see `kerasxai.metrics.protocols`: `"kerasxai"`, or
            `"wsolevaluation"` for figures that compare with the literature on CUB and ImageNet: heatmaps in the
            method's own size, resized as the reference does, and MaxBoxAcc and MaxBoxAccV2 as well.
        score: As for `kerasxai.Explainer`, by name.
        outputs: As for `kerasxai.Explainer`.
        method_options: Options of the method.
        batch_size: Images at once; does not influence the figures.

    Example:
        >>> EvaluateConfig("shapes", method="gradcam", threshold=0.3).split
        'test'
    """

    name_or_path: str = setting(
        "name of a data set, or a folder with one folder for each class", DATA, flag="--data", metavar="DATA"
    )
    split: str = setting("split to evaluate", DATA, "test")
    method: str = setting(
        "explainer; on the command line also several, which make one table",
        METHOD,
        "cam",
        metavar="NAME[,NAME]",
        parse=_method_names,
    )
    layer: "str | keras.Layer | None" = setting("layer to explain, for layer-based methods", METHOD, None, parse=str)
    refine: str | Sequence[object] | None = setting(
        f"{REFINE_HELP}; on the command line none,NAME is a row of the table without and one with it",
        METHOD,
        None,
        metavar="NAME[,NAME]",
        parse=str,
    )
    tune_split: str | None = setting(
        "split on which the best threshold is chosen, other than the evaluated one; none: by a rule, without boxes",
        DATA,
        "validation",
        parse=_split_or_none,
    )
    threshold: float | str = setting(
        "of a heatmap's maximum, for boxes and masks; auto: the model's own, chosen on --tune-split, or by a rule if "
        "that has no boxes",
        BOXES,
        "auto",
        metavar="SHARE",
        parse=auto_or_threshold,
    )
    limit: int | None = setting(
        "maximum number of measured images of each split; of a folder they are spread evenly over it",
        DATA,
        None,
        parse=positive_int,
    )
    image_size: int | tuple[int, int] | None = None
    fit: str | None = setting(FIT_HELP, DATA, None, choices=FITS, metavar="{crop,pad,stretch}")
    preprocess: str | Preprocess | None = None
    data_dir: str | None = setting("where TensorFlow Datasets keeps its files", DATA, None)
    boxes_csv: str | None = setting(
        BOXES_HELP,
        DATA,
        None,
        flag="--boxes",
        metavar="FILE",
    )
    oracle: bool = False
    protocol: str = setting(
        "how boxes are made and compared; wsolevaluation: as in the literature on CUB and ImageNet, with MaxBoxAcc and "
        "MaxBoxAccV2",
        BOXES,
        "kerasxai",
        choices=("kerasxai", "wsolevaluation"),
        metavar="{kerasxai,wsolevaluation}",
    )
    score: str | None = setting(SCORE_HELP, METHOD, None, choices=CLASS_SCORES, metavar="{relative,logit}")
    outputs: str | None = setting(OUTPUTS_HELP, MODEL, None, choices=OUTPUTS, metavar="{logits,probabilities}")
    method_options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = setting("images at once", METHOD, 32, parse=positive_int)
    # New fields come last, because older ones may be given by position.
    labels: str = setting(f"{LABELS_HELP} and in the model", DATA, "auto", choices=READINGS)
    class_masks: str | None = setting(CLASS_MASKS_HELP, DATA, None, metavar="FOLDER")

    @classmethod
    def of(cls, name_or_path: str, **settings: Any) -> Self:
        """Make a config from keywords; keywords that are not fields are options of the method."""
        names = {item.name for item in fields(cls)} - {"method_options"}
        own = {name: value for name, value in settings.items() if name in names}
        options = {name: value for name, value in settings.items() if name not in names}
        return cls(name_or_path, **own, method_options=options)

    def figure_settings(self) -> dict[str, Any]:
        """Return the settings that the figures depend on, by name."""
        given = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "batch_size"}
        # Newer settings at their defaults are left out, so that figures of version 0.1.0 keep their settings.
        newer = {"labels": "auto", "class_masks": None}
        found = {name: value for name, value in given.items() if name not in newer or value != newer[name]}
        # Version 0.2.0 measured the first images of a folder, and chose thresholds and refinements on them.
        spread = {
            "limited_to": self.limit is not None,
            "threshold_of": self.tune_split is None and self.threshold == "auto",
            "refinement_of": has_auto(self.refine),
        }
        for name, applies in spread.items():
            if applies and self._is_of_folder():
                found[name] = "images spread over the split"
        return found

    def _is_of_folder(self) -> bool:
        if not Path(self.name_or_path).expanduser().is_dir():
            return False
        # The name of a data set wins over a folder of that name.
        return not resolve("kerasxai.data.preparing:is_dataset")(str(self.name_or_path))


def config_from(name_or_path: str | EvaluateConfig, split: str | None, settings: Mapping[str, Any]) -> EvaluateConfig:
    """Return the given config, or make one from keywords.

    Raises:
        KerasxaiError: Both are given.
    """
    keywords = dict(settings) if split is None else {"split": split, **settings}
    if not isinstance(name_or_path, EvaluateConfig):
        return EvaluateConfig.of(name_or_path, **keywords)
    if keywords:
        raise KerasxaiError(
            f"expected an EvaluateConfig without further settings, got {', '.join(keywords)}; "
            "use dataclasses.replace on the config"
        )
    return name_or_path
