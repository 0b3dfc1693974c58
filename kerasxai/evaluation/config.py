"""The settings of an evaluation. Nothing here imports TensorFlow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from kerasxai.engine.outputs.kinds import OUTPUTS, OUTPUTS_HELP
from kerasxai.methods import METHODS
from kerasxai.refinements import REFINE_HELP
from kerasxai.tools.arguments import box_threshold, positive_int
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.image_options import parse_size
from kerasxai.tools.input_range import RANGE_HELP, Preprocess

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class EvaluateConfig:
    """The settings of `evaluate`.

    Attributes:
        name_or_path: As for `kerasxai.data.load`.
        split: The split that is measured.
        method: A name in `kerasxai.METHODS`.
        layer: As for `kerasxai.Explainer`.
        refine: As for `kerasxai.Explainer`.
        tune_split: The split on which the best threshold is chosen; None leaves it out.
        threshold: The fixed threshold, in [0, 1).
        limit: Measure at most so many images of each split.
        image_size: Side in pixels, or height and width, for models that accept any size; None for 224.
        preprocess: Input range or function, as for `kerasxai.Explainer`. None leaves images in [0, 255], with a
            warning if the model has no rescaling of its own.
        data_dir: As for `kerasxai.data.load`.
        boxes_csv: As for `kerasxai.data.load`.
        oracle: Also measure MaxBoxAccV2, whose thresholds and boxes are chosen on the measured images themselves.
        protocol: How heatmaps become boxes and boxes are compared, see `kerasxai.metrics.protocols`: `"kerasxai"`, or
            `"wsolevaluation"` for figures that compare with the literature on CUB and ImageNet: heatmaps in the
            method's own size, resized as the reference does, and MaxBoxAcc and MaxBoxAccV2 as well.
        outputs: As for `kerasxai.Explainer`.
        method_options: Options of the method.
        batch_size: Images at once; has no influence on the figures.

    Example:
        >>> EvaluateConfig("shapes", method="gradcam", threshold=0.3).split
        'test'
    """

    name_or_path: str = field(
        metadata={
            "flag": "--data",
            "group": "data",
            "help": "name of a data set, or a folder with one folder for each class",
        }
    )
    split: str = field(default="test", metadata={"group": "data", "help": "the split that is measured"})
    method: str = field(
        default="cam", metadata={"group": "method", "choices": METHODS, "metavar": "NAME", "help": "explainer"}
    )
    layer: "str | keras.Layer | None" = field(
        default=None, metadata={"group": "method", "help": "the layer to explain, for layer-based methods"}
    )
    refine: str | Sequence[object] | None = field(
        default=None, metadata={"group": "method", "metavar": "NAME[,NAME]", "help": REFINE_HELP}
    )
    tune_split: str | None = field(
        default="validation",
        metadata={
            "group": "boxes",
            "help": "the split on which the best threshold is chosen, which must not be the measured one; "
            "none: only the fixed threshold",
        },
    )
    threshold: float = field(
        default=0.2,
        metadata={
            "group": "boxes",
            "type": box_threshold,
            "help": "fraction of a heatmap's maximum, for boxes and masks",
        },
    )
    limit: int | None = field(
        default=None,
        metadata={"group": "data", "type": positive_int, "help": "measure at most so many images of each split"},
    )
    image_size: int | tuple[int, int] | None = field(
        default=None,
        metadata={
            "group": "model",
            "type": parse_size,
            "metavar": "SIDE|HxW",
            "help": "side in pixels, or height and width as 240x320, for models that accept any size (default: 224)",
        },
    )
    preprocess: str | Preprocess | None = field(
        default=None,
        metadata={"flag": "--input-range", "group": "model", "metavar": "RANGE", "help": RANGE_HELP},
    )
    data_dir: str | None = field(
        default=None, metadata={"group": "data", "help": "where TensorFlow Datasets keeps its files"}
    )
    boxes_csv: str | None = field(
        default=None,
        metadata={
            "flag": "--boxes",
            "group": "data",
            "metavar": "FILE",
            "help": "CSV with boxes by file name, or wsolevaluation's localization.txt",
        },
    )
    oracle: bool = field(default=False, metadata={"help": "also measure MaxBoxAccV2"})
    protocol: str = field(
        default="kerasxai",
        metadata={
            "group": "boxes",
            "choices": ("kerasxai", "wsolevaluation"),
            "help": "how boxes are made and compared; wsolevaluation: as in the literature on CUB and ImageNet, with "
            "MaxBoxAcc and MaxBoxAccV2",
        },
    )
    outputs: str | None = field(default=None, metadata={"group": "model", "choices": OUTPUTS, "help": OUTPUTS_HELP})
    method_options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = field(default=32, metadata={"group": "model", "type": positive_int, "help": "images at once"})

    @classmethod
    def of(cls, name_or_path: str, **settings: Any) -> Self:
        """Make a config from keywords; those that are no fields are options of the method."""
        names = {item.name for item in fields(cls)} - {"method_options"}
        own = {name: value for name, value in settings.items() if name in names}
        options = {name: value for name, value in settings.items() if name not in names}
        return cls(name_or_path, **own, method_options=options)

    def figure_settings(self) -> dict[str, Any]:
        """Return the settings that the figures depend on, by name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "batch_size"}

    @property
    def source(self) -> dict[str, str | None]:
        """The keywords with which `kerasxai.data` finds the data set."""
        return {"data_dir": self.data_dir, "boxes_csv": self.boxes_csv}


def config_from(name_or_path: str | EvaluateConfig, split: str | None, settings: Mapping[str, Any]) -> EvaluateConfig:
    """Return the config given, or the one of the keywords given in its place.

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
