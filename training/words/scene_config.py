"""What a run of `kerasxai caption` or `kerasxai vqa` is told, and its arguments. Nothing here imports TensorFlow."""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from kerasxai.methods import METHODS
from kerasxai.models import BACKBONES
from kerasxai.tools.arguments import natural_int, positive_float, positive_int, seed_number, stride_or_layer
from kerasxai.tools.options import choice, whole
from kerasxai.training.config import RunConfig


@dataclass(frozen=True)
class SceneConfig(RunConfig):
    """Everything that decides what a captioner or an answerer learns.

    Attributes:
        task: "caption" or "vqa".
        backbone: A name in `kerasxai.BACKBONES`.
        weights: "imagenet" or "none".
        features: The stride or the layer of the backbone whose map is read; the backbone stays frozen up to there.
        width: Channels of the map that is read, and of everything above it.
        epochs: How often all images are seen.
        batch_size: Images a step.
        learning_rate: AdamW's peak rate, cosine decay.
        patience: Training ends when the validation loss has not improved for so many epochs.
        train_images: Learn from so many images only; None: all.
        seed: Of weights and order.
        data_dir: Where TensorFlow Datasets keeps its files.
    """

    task: Literal["caption", "vqa"]
    backbone: str = "EfficientNetLite0"
    weights: str = "imagenet"
    features: int | str = "block5c_add"
    width: int = 128
    epochs: int = 8
    batch_size: int = 32
    learning_rate: float = 2e-3
    patience: int = 5
    train_images: int | None = None
    seed: int = 0
    data_dir: str | None = None

    def __post_init__(self) -> None:
        choice("backbone", self.backbone, BACKBONES)
        choice("weights", self.weights, ("imagenet", "none"))
        if self.train_images is not None:
            whole("train_images", self.train_images, least=1)
        self.check_limits(
            {
                "width": (8, 4096),
                "seed": (0, 2**32 - 1),
                "epochs": (1, 10_000),
                "batch_size": (1, 65_536),
                "learning_rate": (1e-9, 10),
                "patience": (1, 10_000),
            }
        )


_DEFAULTS: dict[str, Any] = {item.name: item.default for item in fields(SceneConfig)}


def add_scene_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds one argument for each field of `SceneConfig`, and what is measured and drawn afterwards."""

    def add(flag: str, help: str, **settings: Any) -> None:
        default = _DEFAULTS[flag.lstrip("-").replace("-", "_")]
        shown = "" if default is None else " (default: %(default)s)"
        parser.add_argument(flag, help=help + shown, default=default, **settings)

    parser.add_argument("--out", required=True, type=Path, help="folder of the run; given again, the run goes on")
    add("--backbone", "see `kerasxai backbones`", choices=sorted(BACKBONES), metavar="NAME")
    add("--weights", "imagenet or none", choices=("imagenet", "none"))
    add("--features", "stride or layer of the backbone whose map is read", type=stride_or_layer)
    add("--width", "channels of the map that is read", type=positive_int)
    add("--epochs", "how often all images are seen", type=positive_int)
    add("--batch-size", "images a step", type=positive_int)
    add("--learning-rate", "peak rate", type=positive_float)
    add("--patience", "epochs without a better validation loss before training ends", type=positive_int)
    add("--train-images", "learn from so many images only (default: all)", type=positive_int)
    add("--seed", "of weights and order", type=seed_number)
    add("--data-dir", "where TensorFlow Datasets keeps its files")
    able = [name for name, row in METHODS.items() if row.takes_score]
    parser.add_argument(
        "--method", default="gradcam", choices=able, metavar="NAME", help="explainer (default: %(default)s)"
    )
    parser.add_argument("--limit", type=positive_int, help="measure so many test images only (default: all)")
    parser.add_argument(
        "--gallery", type=natural_int, default=6, help="test images that are drawn (default: %(default)s)"
    )


def scene_config_of(task: Literal["caption", "vqa"], options: argparse.Namespace) -> SceneConfig:
    """Returns the config that parsed arguments mean."""
    return SceneConfig(task, **{name: getattr(options, name) for name in _DEFAULTS if name != "task"})
