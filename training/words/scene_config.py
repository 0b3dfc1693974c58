"""Settings and arguments of `kerasxai caption` and `kerasxai vqa`. Nothing here imports TensorFlow."""

from dataclasses import dataclass
from typing import Literal

from kerasxai.methods import METHODS
from kerasxai.models import BACKBONES
from kerasxai.tools.arguments import stride_or_layer
from kerasxai.tools.json_output import JsonOutput
from kerasxai.tools.settings import COUNT, SEED, Limits, SettingsCommand, check_settings, setting
from kerasxai.training.config import DATA, DATA_DIR_HELP, MODEL, OUTPUT, TRAINING, RunOutput
from kerasxai.training.run_config import RunConfig

_LONG = Limits(least=1, most=10_000)
_SCORED = [name for name, row in METHODS.items() if row.takes_score]


@dataclass(frozen=True)
class SceneConfig(RunConfig):
    """Settings of the training of a captioner or an answerer.

    Attributes:
        task: "caption" or "vqa".
        backbone: A name in `kerasxai.BACKBONES`.
        weights: "imagenet" or "none".
        features: The stride or the layer of the backbone whose map is read; the backbone is frozen.
        width: Channels of the map, and of all layers above it.
        epochs: Maximum number of epochs.
        batch_size: Images in a step.
        learning_rate: AdamW's peak rate, cosine decay.
        patience: Epochs without a lower validation loss after which training ends.
        train_images: Number of training images; None: all.
        seed: Seed of weights and order.
        data_dir: The folder of TensorFlow Datasets.
    """

    task: Literal["caption", "vqa"]
    backbone: str = setting("see `kerasxai backbones`", MODEL, "EfficientNetLite0", choices=BACKBONES)
    weights: str = setting(
        "imagenet or none", MODEL, "imagenet", choices=("imagenet", "none"), metavar="{imagenet,none}"
    )
    features: int | str = setting(
        "stride or layer of the backbone whose map is read", MODEL, "block5c_add", parse=stride_or_layer
    )
    width: int = setting(
        "channels of the map and of the layers above it", MODEL, 128, limits=Limits(least=8, most=4096)
    )
    epochs: int = setting("maximum number of epochs", TRAINING, 8, limits=_LONG)
    batch_size: int = setting("images in a step", TRAINING, 32, limits=COUNT)
    learning_rate: float = setting("peak learning rate", TRAINING, 2e-3, limits=Limits(above=0, most=10))
    patience: int = setting(
        "epochs without a lower validation loss after which training ends", TRAINING, 5, limits=_LONG
    )
    train_images: int | None = setting("number of training images (default: all)", DATA, None, limits=Limits(least=1))
    seed: int = setting("of weights and order", TRAINING, 0, limits=SEED)
    data_dir: str | None = setting(DATA_DIR_HELP, DATA, None)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class WordMeasurement:
    """Settings of measuring and drawing after training.

    Attributes:
        method: A name in `kerasxai.METHODS` that explains any score.
        limit: Number of measured test images; None: all.
        gallery: Number of drawn test images.
    """

    method: str = setting("explainer", OUTPUT, "gradcam", choices=_SCORED)
    limit: int | None = setting("number of measured test images (default: all)", OUTPUT, None, limits=Limits(least=1))
    gallery: int = setting("number of drawn test images", OUTPUT, 6, limits=Limits(least=0))


def _command(name: str, summary: str) -> SettingsCommand:
    examples = [
        f"kerasxai {name} --out runs/{name}",
        f"kerasxai {name} --out runs/{name} --method hirescam",
        f"kerasxai {name} --out runs/quick --train-images 500 --epochs 2 --limit 50",
    ]
    return SettingsCommand(summary, examples, (SceneConfig, WordMeasurement, RunOutput, JsonOutput))


CAPTION = _command("caption", "Train a captioner on drawn scenes, and measure where it looks for each word.")
VQA = _command(
    "vqa", "Train a model that answers questions about drawn scenes, and measure where it looks for the answer."
)
