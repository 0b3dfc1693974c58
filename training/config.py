"""Settings of a training run, and the arguments of `kerasxai train` made of them. Nothing here imports TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from kerasxai.data.box_files.reading import BOXES_HELP
from kerasxai.data.information import CLASS_MASKS_HELP, LABELS_HELP, READINGS
from kerasxai.models import HEADS
from kerasxai.tools.arguments import stride_or_layer
from kerasxai.tools.config_file import ConfigFile
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.image_options import parse_size
from kerasxai.tools.input_range import RANGES
from kerasxai.tools.model_settings import FITS, EndReport
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
from kerasxai.training.distributed_config import WorkerSettings
from kerasxai.training.drawing import Drawing
from kerasxai.training.losses import DEFAULT_LOSS, LOSSES, MULTI_LABEL_LOSSES
from kerasxai.training.names import argument, check_augment, check_backbone
from kerasxai.training.recipes import RECIPES, head_of
from kerasxai.training.run_config import RunConfig

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "steps", "constant")
HEAD_PHASES = ("auto", "probe", "epochs")
BALANCED = "balanced"
CLASS_WEIGHTS = ("none", BALANCED)
JIT = ("auto", "on", "off")
MONITORS = (
    "val_loss",
    "val_calibrated_loss",
    "val_accuracy",
    "val_balanced_accuracy",
    "val_mean_average_precision",
    "val_gt_known_loc",
    "val_best_gt_known_loc",
)
"""Figures that choose the best epoch; the last two need boxes, mean average precision several labels an image."""

DATA, MODEL, TRAINING, WEAK, OUTPUT = "data", "model", "training", "weak labels", "output"
"""Headings of `--help`."""
DATA_DIR_HELP = "where TensorFlow Datasets keeps its files"
_EPOCHS = Limits(least=0, most=10_000)
_PATIENCE = Limits(least=1, most=10_000)
_RATE = Limits(above=0, most=10)


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """All settings that influence the weights of a run.

    Attributes:
        data: A name of `kerasxai.data.DATASETS`, of TensorFlow Datasets, or a folder of images.
        labels: "single", "multi" for several labels an image, or "auto", see `kerasxai.data.load`.
        backbone: A name in `kerasxai.BACKBONES`, `hub:PRESET` of KerasHub, or a model file: a Keras classifier, whose
            part up to its last feature map gets a new head.
        recipe: A name in `kerasxai.RECIPES`, or None.
        recipe_options: Options of the recipe, or of its head.
        head: A name in `kerasxai.HEADS`; empty: the recipe's, or gap.
        head_options: Options of that head, as for `build_classifier`; on an early map of the backbone the defaults are
            `depth=2` for gap and conv1x1, and `width=128` for all heads.
        weights: "imagenet", "none", or a path.
        features: The stride (8, 16, 32) or the layer of the backbone that feeds the head; None: the recommendation of
            the data set if there is no `output_stride`, or the last map of the backbone.
        output_stride: The stride of the map of the head (8, 16, 32); None: the stride of the backbone.
        image_size: Side in pixels, or height and width; None: the recommendation of the data set, or chosen by the
            backbone and the images, see `kerasxai.training.input_size`.
        final_image_size: Side in pixels, or height and width, that the finished model takes; None: larger than
            `image_size` after fine-tuning with random crops if that was chosen too and validation does not speak
            against it, else `image_size`. See `kerasxai.training.final_size`.
        fit: How images of another aspect ratio are fitted to that size, see `kerasxai.data.load`; saved with the model.
        input_range: The range that a model file as backbone takes, a name in `kerasxai.tools.input_range.RANGES`; None:
            [0, 255] if it has preprocessing of its own, else the range with which it is most accurate.
        resize: Side in pixels of training images before a random crop of `image_size`; None: no crop.
        augment: The augmentation of training images: a name in `kerasxai.data.AUGMENTATIONS`, `"auto"` (by the number
            of images), or `"module:function"`, a function of images, labels and a seed that returns images and labels.
        head_phase: The first phase, which trains the head alone: "probe", a logistic regression on the features of the
            frozen backbone, computed once; "epochs"; "auto", the probe where it applies (see
            `kerasxai.training.plan`), which also decides the defaults of the second phase.
        head_epochs: Epochs of the first phase; 0: no first phase.
        epochs: Epochs of the second phase: the head and the upper backbone; None: 8 after a probe, else 5.
        batch_size: Images in a step; None: 16 after a probe, else 32.
        learning_rate: The peak rate of the first phase.
        finetune_rate: The same for the second phase; None: 1e-3 after a probe, else 3e-4.
        finetune_share: Share of the backbone's layers that the second phase trains, counted from the top; None: 0.35
            after a probe, else 0.5.
        start_decay: Share of the way back to its weights before the second phase that the backbone goes in each step of
            it at the peak rate (L2-SP, Li 2018, arXiv:1802.01483); None: 0.01 after a probe, else 0.
        averages: Number of weighted averages of the models before and after the second phase that are tried, as in
            Wortsman 2022, arXiv:2109.01903; None: 1 after a probe, else 0. One that is better on validation is kept.
        finetunings: How often the second phase trains after a probe, each time from it, in another order; the averages
            are those with the mean of all (Wortsman 2022, arXiv:2203.05482); None: 3 for few images, else 1.
        optimizer: "adamw", or "sgd" with Nesterov momentum 0.9, as in the literature on CUB and ImageNet.
        schedule: The decay of the rate within a phase: "cosine", "steps" (x 0.1 after each 30 % of it), "constant".
        head_rate: The learning rate of the head as a multiple of that of the backbone; 10 in the literature.
        monitor: The validation figure that chooses the best epoch, one of `MONITORS`. "val_calibrated_loss" is the loss
            after temperature scaling; figures of localization need boxes, which then choose the epoch, but are never
            trained on. None: "val_calibrated_loss" after a probe with one label an image, else "val_loss".
        patience: Epochs without a better monitored figure after which a phase ends; None: never after a probe, because
            the best epochs are the last ones, at the end of the schedule; else 5.
        mixed_precision: Compute in half precision, keep the weights in single.
        label_fraction: Share of training labels to use, chosen by the seed, evenly over the classes; below 1 a third
            phase trains with pseudo-labels, see `confidence`. An epoch has as many steps as with all labels.
        confidence: Minimum probability of a pseudo-label.
        label_noise: Share of the training labels to replace by another class, chosen by the seed.
        loss: A name in `kerasxai.training.losses.LOSSES`, or of several labels an image in `MULTI_LABEL_LOSSES`, where
            the default is binary cross-entropy.
        loss_options: Options of its Keras class.
        label_smoothing: Share of each training label that is spread over all classes (Szegedy 2016, arXiv:1512.00567);
            None: 0.1 after a probe, else 0; of several labels the share that is replaced by 1/2, None: 0. Validation
            labels are not smoothed.
        class_weights: "balanced" weights each training image by the inverse frequency of its class, "none" all alike.
        positive_weights: "balanced" weights the presence of each class by the number of images without it for each
            image with it, at most 100, with several labels an image; "none" presence and absence alike.
        seed: Seed of weights, order, augmentation and weak labels.
        data_dir: The folder of TensorFlow Datasets.
        boxes_csv: Boxes for a folder of images; read for measuring, never for training; those of validation images also
            choose the size of the images, unless `image_size` is given.
        class_masks: Class masks of images with several labels; read for measuring, never for training.
        jit: Whether XLA compiles the training steps: "on", "off", or "auto", only on a GPU.
    """

    older_defaults: ClassVar[Mapping[str, object]] = {"head_phase": "epochs", "augment": "flip"}

    data: str = setting("name of a data set, or a folder with one folder for each class", DATA)
    backbone: str = setting(
        "a name, see `kerasxai backbones`, hub:PRESET of KerasHub, or a model file whose head is replaced",
        MODEL,
        "EfficientNetLite0",
        metavar="NAME|FILE",
        parse=argument(check_backbone),
    )
    recipe: str | None = setting(f"one of {', '.join(RECIPES)}; see `kerasxai recipes`", MODEL, None, choices=RECIPES)
    recipe_options: dict[str, Any] = setting(
        "an option of the recipe, or of its head", MODEL, flag="--recipe-option", collect=dict
    )
    head: str = setting(f"one of {', '.join(HEADS)} (default: the recipe's, or gap)", MODEL, "", choices=HEADS)
    head_options: dict[str, Any] = setting("an option of the head", MODEL, flag="--head-option", collect=dict)
    weights: str = setting("imagenet, none, or a file of weights", MODEL, "imagenet")
    features: int | str | None = setting(
        "stride (8, 16, 32) or layer of the backbone that feeds the head", MODEL, None, parse=stride_or_layer
    )
    output_stride: int | None = setting(
        "stride of the map of the head (8, 16, 32): the last strides are removed",
        MODEL,
        None,
        limits=Limits(least=1, most=1024),
    )
    image_size: int | tuple[int, int] | None = setting(
        "side in pixels, or height and width as 240x320 (default: by the data set, the backbone and the objects)",
        DATA,
        None,
        limits=COUNT,
        metavar="SIDE|HxW",
        parse=parse_size,
    )
    fit: str = setting(
        "how images of another aspect ratio are fitted to that size: crop, pad or stretch; boxes and masks follow",
        DATA,
        "stretch",
        choices=FITS,
        metavar="{crop,pad,stretch}",
    )
    input_range: str | None = setting(
        f"what a model file as backbone takes in place of pixels in [0, 255]: {', '.join(RANGES)} (default: found out)",
        MODEL,
        None,
        choices=RANGES,
        metavar="RANGE",
    )
    resize: int | None = setting("side of training images before a random square crop", DATA, None, limits=COUNT)
    augment: str = setting(
        "augmentation of training images: auto (by their number), none, flip, light, strong, or a function "
        "MODULE:FUNCTION of images, labels and a seed",
        TRAINING,
        "auto",
        metavar="NAME|MODULE:FUNCTION",
        parse=argument(check_augment),
    )
    head_phase: str = setting(
        "first phase, the head alone: probe (logistic regression on frozen features), epochs, or auto",
        TRAINING,
        "auto",
        choices=HEAD_PHASES,
    )
    head_epochs: int = setting("epochs of the first phase, unless it is a probe", TRAINING, 3, limits=_EPOCHS)
    epochs: int | None = setting(
        "epochs of the second phase: head and upper backbone (default: 8 after a probe, else 5)",
        TRAINING,
        None,
        limits=_EPOCHS,
    )
    batch_size: int | None = setting(
        "images in a step (default: 16 after a probe, else 32)", TRAINING, None, limits=COUNT
    )
    learning_rate: float = setting("peak rate of the first phase", TRAINING, 3e-3, limits=_RATE)
    finetune_rate: float | None = setting(
        "peak rate of the second phase (default: 1e-3 after a probe, else 3e-4)", TRAINING, None, limits=_RATE
    )
    finetune_share: float | None = setting(
        "share of the backbone's layers that the second phase trains (default: 0.35 after a probe, else 0.5)",
        TRAINING,
        None,
        limits=SHARE,
    )
    start_decay: float | None = setting(
        "decay of the backbone toward its weights before the second phase, in a step at the peak rate "
        "(default: 0.01 after a probe, else 0)",
        TRAINING,
        None,
        limits=Limits(least=0, below=1),
    )
    averages: int | None = setting(
        "weighted averages of the models before and after the second phase to try (default: 1 after a probe, else 0)",
        TRAINING,
        None,
        limits=Limits(least=0, most=99),
    )
    finetunings: int | None = setting(
        "how often the second phase trains from the probe; their mean is averaged with it (default: 3 for few images, "
        "else 1)",
        TRAINING,
        None,
        limits=Limits(least=1, most=99),
    )
    optimizer: str = setting(f"one of {', '.join(OPTIMIZERS)}", TRAINING, "adamw", choices=OPTIMIZERS)
    schedule: str = setting(f"learning rate schedule: {', '.join(SCHEDULES)}", TRAINING, "cosine", choices=SCHEDULES)
    head_rate: float = setting(
        "learning rate of the head as a multiple of that of the backbone",
        TRAINING,
        1.0,
        limits=Limits(above=0, most=1000),
    )
    monitor: str | None = setting(
        f"figure that chooses the best epoch: {', '.join(MONITORS)} (default: val_calibrated_loss after a probe, "
        "else val_loss)",
        TRAINING,
        None,
        choices=MONITORS,
    )
    patience: int | None = setting(
        "epochs without a better monitored figure after which a phase ends (default: never after a probe, else 5)",
        TRAINING,
        None,
        limits=_PATIENCE,
    )
    mixed_precision: bool = setting("compute in half precision", TRAINING, False)
    label_fraction: float = setting(
        "share of the training labels to use; the rest gets pseudo-labels", WEAK, 1.0, limits=POSITIVE_SHARE
    )
    confidence: float = setting("minimum probability of a pseudo-label", WEAK, 0.9, limits=POSITIVE_SHARE)
    label_noise: float = setting(
        "share of the training labels to replace by a wrong class", WEAK, 0.0, limits=Limits(least=0, below=1)
    )
    loss: str = setting(
        f"one of {', '.join(LOSSES)}; with several labels an image one of {', '.join(MULTI_LABEL_LOSSES)}, where the "
        "default is the first of them",
        TRAINING,
        DEFAULT_LOSS,
        choices={**LOSSES, **MULTI_LABEL_LOSSES},
        metavar="NAME",
    )
    loss_options: dict[str, Any] = setting("an option of the loss", TRAINING, flag="--loss-option", collect=dict)
    label_smoothing: float | None = setting(
        "share of each training label to spread over all classes (default: 0.1 after a probe, else 0)",
        TRAINING,
        None,
        limits=Limits(least=0, below=1),
    )
    class_weights: str = setting(
        "weight of the training images: none, or balanced, the inverse frequency of the class",
        TRAINING,
        "none",
        choices=CLASS_WEIGHTS,
    )
    seed: int = setting("of weights, order and augmentation, and of weak labels", TRAINING, 0, limits=SEED)
    data_dir: str | None = setting(DATA_DIR_HELP, DATA, None)
    boxes_csv: str | None = setting(
        f"{BOXES_HELP}; no gradient comes from boxes, but those of validation images choose the size of the images, "
        "unless --image-size is given",
        DATA,
        None,
        flag="--boxes",
        metavar="FILE",
    )
    # New fields come last, because older ones may be given by position.
    labels: str = setting(LABELS_HELP, DATA, "auto", choices=READINGS)
    positive_weights: str = setting(
        "weight of the presence of a class with several labels an image: none, or balanced, its rarity",
        TRAINING,
        "none",
        choices=CLASS_WEIGHTS,
    )
    class_masks: str | None = setting(CLASS_MASKS_HELP, DATA, None, metavar="FOLDER")
    jit: str = setting(
        "compile the training steps by XLA: on, off, or auto (only on a GPU)", TRAINING, "auto", choices=JIT
    )
    final_image_size: int | tuple[int, int] | None = setting(
        "size of the images that the finished model takes (default: larger than --image-size where that is chosen)",
        DATA,
        None,
        limits=COUNT,
        metavar="SIDE|HxW",
        parse=parse_size,
    )

    def __post_init__(self) -> None:
        # The head is filled in, so that config.json says which one it is.
        object.__setattr__(self, "head", head_of(self.recipe, self.head))
        check_settings(self)
        check_backbone(self.backbone)
        check_augment(self.augment)
        if self.epochs is not None and self.head_epochs + self.epochs == 0:
            raise KerasxaiError("head_epochs + epochs must be 1 or more, got 0")


@dataclass(frozen=True)
class RunOutput:
    """The folder that a command writes to.

    Attributes:
        out: The folder.
    """

    out: Path = setting("folder of the run; an unfinished run in it continues", OUTPUT)


TRAIN = SettingsCommand(
    "Fine-tune a classifier and watch where it looks.",
    [
        "kerasxai train --data shapes --backbone EfficientNetLite0 --head gap --out runs/gap",
        "kerasxai train --data shapes --recipe acol --recipe-option erase_threshold=0.5 --out runs/acol",
        "kerasxai train --data oxford_iiit_pet --backbone ResNet50 --features 16 --epochs 10 --out runs/pets",
        "kerasxai train --data shapes --optimizer sgd --head-rate 10 --schedule steps --finetune-rate 1e-3 "
        "--out runs/sgd",
        "kerasxai train --data photos/ --boxes boxes.csv --out runs/photos",
        "kerasxai train --data photos/ --backbone mine.keras --input-range 0,1 --out runs/mine",
        "kerasxai train --data photos/ --image-size 240x320 --fit crop --augment strong --out runs/landscape",
        "kerasxai train --data shapes --label-fraction 0.1 --confidence 0.95 --out runs/few",
        "kerasxai train --data shapes_two --labels multi --out runs/two",
        "kerasxai train --data shapes --log mlflow --log tensorboard --out runs/logged",
        "kerasxai train --data photos/ --workers 10.0.0.1:12345,10.0.0.2:12345 --worker 0 --out runs/two",
        "kerasxai train --config train.toml --epochs 3 --out runs/short",
        "kerasxai train --data shapes --label-noise 0.2 --loss categorical_generalized_cross_entropy --out runs/noisy",
    ],
    (TrainConfig, Drawing, RunOutput, WorkerSettings, EndReport, ConfigFile),
)
