"""Settings of `kerasxai segment`, and its arguments. Nothing here imports TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from kerasxai.methods import METHODS
from kerasxai.refinements import REFINE_HELP
from kerasxai.segmentation.cut_settings import NAME as LABELCUT
from kerasxai.segmentation.cut_settings import LabelCut, parsed_cut
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.json_output import JsonOutput
from kerasxai.tools.options import BOX_THRESHOLD, CERTAIN_BACKGROUND, CERTAIN_CLASS
from kerasxai.tools.settings import (
    COUNT,
    POSITIVE_SHARE,
    SEED,
    SHARE,
    Limits,
    SettingsCommand,
    check_settings,
    setting,
)
from kerasxai.training.config import DATA, DATA_DIR_HELP, MODEL, TRAINING, RunOutput
from kerasxai.training.names import argument, check_backbone
from kerasxai.training.run_config import RunConfig

SEEDS, MEASURING = "seeds", "measuring"
"""Headings of `--help`."""
REFINE = "graphcut:high=0.7:low=0.4"
"""Class maps of stride 8 and more reach beyond the object: the colors are fitted to their upper part."""
CUT_HELP = f"{LABELCUT} with options as {LABELCUT}:trust=1:smooth=4; '': none"
FLIP = "flip"
PREDICTION_CUT = LabelCut(trust=1.0)
"""Probabilities of a segmenter reach as far as the object: they count for more than class maps."""
_THRESHOLD = Limits(least=0, below=1)
_SCALE = Limits(least=0.1, most=10)


def prediction_steps(text: str) -> tuple[bool, LabelCut | None]:
    """Parse the refinements of predictions: whether images are also mirrored, and the cut.

    Raises:
        KerasxaiError: A step that does not exist, or is not in its place.
    """
    first, _, rest = text.partition(",")
    flip = first.strip() == FLIP
    cut = parsed_cut((rest if flip else text).strip(), PREDICTION_CUT)
    if cut is not None and (cut.low, cut.high) != (PREDICTION_CUT.low, PREDICTION_CUT.high):
        raise KerasxaiError(f"expected low and high for --cut alone, the cut of class maps, got {text!r}")
    return flip, cut


@dataclass(frozen=True)
class SegmentConfig(RunConfig):
    """All settings that influence the weights of a segmenter.

    Attributes:
        data: As for `TrainConfig`; it has several labels an image, or one.
        seeds: The classifier that makes the seeds: the folder of a run of `kerasxai train`, or a model file.
        method: The method of the class maps, a name in `kerasxai.METHODS`.
        method_options: Options of the method.
        refine: Refinements of the class maps, a chain as for `kerasxai.Explainer`; empty: none.
        foreground: As for `kerasxai.segmentation.Confidence`.
        background: As for `kerasxai.segmentation.Confidence`.
        refined: As for `kerasxai.segmentation.Confidence`.
        cut: The cut of all classes of an image at once that labels the pixels of pseudo-masks, `labelcut` with options;
            empty: the refined maps, joined.
        images: The number of training images, spread evenly over a folder, the first ones of TFDS; None: all.
        validation_images: The number of validation images, whose pseudo-masks choose the best epoch; None: all.
        backbone: A name in `kerasxai.BACKBONES` or a model file; None: the classifier of the seeds up to its last
            feature map, with its weights.
        weights: "imagenet", "none", or a path, for a named backbone.
        width: Channels of the decoder.
        epochs: Passes over the training images.
        batch_size: Images in a step.
        learning_rate: The peak rate of the decoder; it falls to 0 by a cosine.
        backbone_rate: The rate of the backbone as a share of it.
        backbone_share: Share of the backbone's layers that are trained, counted from the top.
        smallest: The smallest factor by which training images are scaled.
        largest: The largest one.
        seed: Seed of weights, order and augmentation.
        data_dir: The folder of TensorFlow Datasets.
        class_masks: A folder of palette PNGs with true masks; read for measuring only.
    """

    older_defaults: ClassVar[Mapping[str, object]] = {"cut": ""}

    data: str = setting("name of a data set, or a folder of images with their labels", DATA)
    seeds: str = setting(
        "the classifier that makes the seeds: the folder of a run, or a model file", SEEDS, metavar="RUN|FILE"
    )
    method: str = setting("method of the class maps", SEEDS, "cam", choices=METHODS)
    method_options: Mapping[str, Any] = setting("an option of the method", SEEDS, flag="--method-option", collect=dict)
    refine: str = setting(f"{REFINE_HELP.replace(' (default: nothing)', '')}; '': none", SEEDS, REFINE, parse=str)
    foreground: float = setting(
        "share of a class map's maximum above which its class can be certain", SEEDS, CERTAIN_CLASS, limits=_THRESHOLD
    )
    background: float = setting(
        "share up to which all class maps must be where the background is certain",
        SEEDS,
        CERTAIN_BACKGROUND,
        limits=_THRESHOLD,
    )
    refined: float = setting("threshold of the refined maps", SEEDS, BOX_THRESHOLD, limits=_THRESHOLD)
    cut: str = setting(
        f"cut of all classes of an image at once that labels pseudo-masks, {CUT_HELP}", SEEDS, LABELCUT, parse=str
    )
    images: int | None = setting(
        "number of training images, spread evenly over a folder (default: all)", DATA, None, limits=COUNT
    )
    validation_images: int | None = setting(
        "number of validation images, whose pseudo-masks choose the best epoch (default: all)", DATA, None, limits=COUNT
    )
    backbone: str | None = setting(
        "a name, see `kerasxai backbones`, or a model file (default: the classifier of the seeds, without its head)",
        MODEL,
        None,
        metavar="NAME|FILE",
        parse=argument(check_backbone),
    )
    weights: str = setting("weights of a named backbone: imagenet, none, or a file", MODEL, "imagenet")
    width: int = setting("channels of the decoder", MODEL, 64, limits=Limits(least=1, most=4096))
    epochs: int = setting("passes over the training images", TRAINING, 10, limits=Limits(least=1, most=10_000))
    batch_size: int = setting("images in a step", TRAINING, 16, limits=COUNT)
    learning_rate: float = setting("peak rate of the decoder", TRAINING, 3e-3, limits=Limits(above=0, most=10))
    backbone_rate: float = setting("rate of the backbone as a share of it", TRAINING, 0.2, limits=POSITIVE_SHARE)
    backbone_share: float = setting(
        "share of the backbone's layers to train, from the top", TRAINING, 0.5, limits=SHARE
    )
    smallest: float = setting("smallest factor of the scale of training images", TRAINING, 0.75, limits=_SCALE)
    largest: float = setting("largest factor of the scale of training images", TRAINING, 1.5, limits=_SCALE)
    seed: int = setting("of weights, order and augmentation", TRAINING, 0, limits=SEED)
    data_dir: str | None = setting(DATA_DIR_HELP, DATA, None)
    class_masks: str | None = setting(
        "folder of palette PNGs with true masks, joined by file name, for measuring", DATA, None, metavar="FOLDER"
    )

    def __post_init__(self) -> None:
        check_settings(self)
        parsed_cut(self.cut)
        if self.smallest > self.largest:
            raise KerasxaiError(f"smallest must be at most largest, {self.largest}, got {self.smallest}")


@dataclass(frozen=True)
class Measuring:
    """What is measured; without influence on the weights.

    Attributes:
        true_masks: Whether the same network is also trained on true masks, in a subfolder, as the upper bound.
        test_images: The number of test images on which seeds and the segmenter are measured; None: all.
        sheet_images: Validation images drawn each epoch.
        refine_predictions: Refinements of predicted label maps, from the image alone: `flip` (the mean with the
            mirrored image) and `labelcut` with options; empty: none.
    """

    true_masks: bool = setting(
        "also train the same network on the true masks, in a subfolder, as the upper bound", MEASURING, False
    )
    test_images: int | None = setting("number of measured test images (default: all)", MEASURING, None, limits=COUNT)
    sheet_images: int = setting("validation images drawn each epoch", MEASURING, 6, limits=Limits(least=0, most=1000))
    refine_predictions: str = setting(
        f"refinements of predicted masks, from the image alone: {FLIP} (the mean with the mirrored image), and "
        f"{CUT_HELP}",
        MEASURING,
        f"{FLIP},{LABELCUT}",
        parse=str,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        prediction_steps(self.refine_predictions)


SEGMENT = SettingsCommand(
    "Train a segmenter from image labels: seeds, pseudo-masks, an encoder-decoder, and their mean IoU.",
    [
        "kerasxai segment --data shapes_two --seeds runs/x --out runs/seg",
        "kerasxai segment --data shapes_two --seeds runs/x --true-masks --out runs/seg",
        "kerasxai segment --data voc/2012 --seeds runs/voc --refine scales,walker --out runs/voc_seg",
        "kerasxai segment --data photos/ --seeds runs/photos --class-masks masks/ --images 1000 --out runs/photos_seg",
    ],
    (SegmentConfig, Measuring, RunOutput, JsonOutput),
)
