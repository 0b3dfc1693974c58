"""What a training run is told; kept in its folder, so that it can be gone on with and repeated."""

import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from kerasxai.tools.commands import command_line
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import read_json, write_json, write_text
from kerasxai.tools.options import within
from kerasxai.tools.printable import printable
from kerasxai.training.losses import DEFAULT_LOSS
from kerasxai.training.recipes import head_of

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "steps", "constant")

_RUN_FILES = ("model.keras", "history.csv", "history.png", "metrics.json", "labels.csv", "command.txt", "checkpoints")


@dataclass(frozen=True)
class RunConfig:
    """What every run's config can do: it is written into the run's folder, and compared with what lies there."""

    def write(self, folder: Path) -> None:
        """Writes `config.json` and the exact command that made the run, `command.txt`."""
        write_json(folder / "config.json", asdict(self))
        write_text(folder / "command.txt", command_line() + "\n")

    def check_same(self, folder: Path) -> None:
        """Refuses to go on in a folder that holds another run.

        Raises:
            KerasxaiError: The folder's config differs, and the message says in what; or there is none, but a file that
                a run would replace, or take for its own.
        """
        path = folder / "config.json"
        if not path.exists():
            foreign = next((name for name in _RUN_FILES if (folder / name).exists()), None)
            if foreign is not None:
                raise KerasxaiError(
                    f"expected a new folder or one of a run, got {folder} with a {foreign} but without config.json; "
                    "choose another --out"
                )
            return
        kept = _settings_in(path)
        now = json.loads(json.dumps(asdict(self)))
        # What an older version did not write was as it is by default.
        before = self._defaults() | kept
        differing = [
            f"{item.name} was {before.get(item.name)!r}, is {now[item.name]!r}"
            for item in fields(self)
            if before.get(item.name) != now[item.name]
        ]
        if differing:
            raise KerasxaiError(f"{folder} holds another run ({'; '.join(differing)}); choose another --out")

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        return {
            item.name: item.default_factory() if item.default_factory is not MISSING else item.default
            for item in fields(cls)
        }

    def check_limits(self, limits: dict[str, tuple[float, float]]) -> None:
        """Refuses numbers out of range, and fractions where a whole number is meant.

        Raises:
            KerasxaiError: A field is below the first or above the second number given for it.
        """
        kinds = {item.name: str(item.type) for item in fields(self)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is None and "None" in kinds[name]:
                continue
            if "int" in kinds[name] and isinstance(value, float):
                raise KerasxaiError(f"{name} must be a whole number, got {value!r}")
            within(name, value, low, high)


def _settings_in(path: Path) -> dict[str, Any]:
    """Returns the settings that a run's folder keeps."""
    remedy = "choose another --out, or remove the damaged file"
    try:
        found = read_json(path)
    except KerasxaiError as error:
        raise KerasxaiError(f"cannot read the settings of a run: {error}; {remedy}") from error
    if not isinstance(found, dict):
        raise KerasxaiError(f"expected settings of a run in {printable(path)}, got a {type(found).__name__}; {remedy}")
    return found


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """Everything that decides what a run learns.

    Attributes:
        data: A name of `kerasxai.data.DATASETS`, of TensorFlow Datasets, or a folder of images.
        backbone: A name in `kerasxai.BACKBONES`.
        recipe: A name in `kerasxai.RECIPES`, or None.
        recipe_options: Options of the recipe; those that its own piece does not take are the head's.
        head: A name in `kerasxai.HEADS`; empty: the recipe's, or gap.
        head_options: Options of that head, as `build_classifier` takes them; on an early map of the backbone gap and
            conv1x1 have `depth=2`, and all heads `width=128`, unless it says otherwise.
        weights: "imagenet", "none", or a path.
        features: The stride (8, 16, 32) or the layer of the backbone that the head stands on; None: the data set's
            own recommendation where no `output_stride` is given, or the backbone's last map.
        output_stride: By how much the head's map is smaller than the image (8, 16, 32); None: by as much as there.
        image_size: Side in pixels; None: the data set's own recommendation, or the backbone's.
        resize: Side in pixels that training images are resized to, from which a square of `image_size` is cut at
            random; None cuts nothing.
        head_epochs: Epochs of the first phase: the head alone, the backbone frozen.
        epochs: Epochs of the second phase: the head and the upper backbone.
        batch_size: Images a step.
        learning_rate: The peak rate of the first phase.
        finetune_rate: The same for the second phase.
        finetune_share: Share of the backbone's layers that the second phase trains, counted from the top.
        optimizer: "adamw", or "sgd": with Nesterov's momentum 0.9, as the literature on CUB and ImageNet has it.
        schedule: How the rate falls within a phase: "cosine", "steps" (to a tenth after each 30 % of it), "constant".
        head_rate: How many times as fast as the backbone the layers above it learn; 10 in the literature.
        patience: A phase ends when the validation loss has not improved for so many epochs.
        mixed_precision: Compute in half precision, keep the weights in single.
        label_fraction: The share of training labels that is used, chosen by the seed, evenly over the classes; below 1
            a third phase goes on with what the model itself is sure of, see `confidence`. An epoch has as many steps as
            with all labels.
        confidence: The probability from which on an image without a label is given the predicted class.
        label_noise: The share of the labels that is replaced by that of another class, chosen by the seed. Validation
            labels stay as they are.
        loss: A name in `kerasxai.training.losses.LOSSES`.
        loss_options: Options of that loss, as its Keras class takes them.
        seed: Of weights, order and augmentation, and of weak labels.
        data_dir: Where TensorFlow Datasets keeps its files.
        boxes_csv: Boxes for a folder of images; read for measuring, never for training.
    """

    data: str
    backbone: str = "EfficientNetLite0"
    recipe: str | None = None
    recipe_options: dict[str, Any] = field(default_factory=dict)
    head: str = ""
    head_options: dict[str, Any] = field(default_factory=dict)
    weights: str = "imagenet"
    features: int | str | None = None
    output_stride: int | None = None
    image_size: int | None = None
    resize: int | None = None
    head_epochs: int = 3
    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 3e-3
    finetune_rate: float = 3e-4
    finetune_share: float = 0.5
    optimizer: str = "adamw"
    schedule: str = "cosine"
    head_rate: float = 1.0
    patience: int = 5
    mixed_precision: bool = False
    label_fraction: float = 1.0
    confidence: float = 0.9
    label_noise: float = 0.0
    loss: str = DEFAULT_LOSS
    loss_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    data_dir: str | None = None
    boxes_csv: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "head", head_of(self.recipe, self.head))
        limits: dict[str, tuple[float, float]] = {
            "image_size": (1, 65_536),
            "resize": (1, 65_536),
            "output_stride": (1, 1024),
            "seed": (0, 2**32 - 1),
            "head_epochs": (0, 10_000),
            "epochs": (0, 10_000),
            "batch_size": (1, 65_536),
            "learning_rate": (1e-9, 10),
            "finetune_rate": (1e-9, 10),
            "finetune_share": (0, 1),
            "head_rate": (1e-9, 1000),
            "patience": (1, 10_000),
            "label_fraction": (1e-9, 1),
            "confidence": (1e-9, 1),
            "label_noise": (0, 0.999),
        }
        self.check_limits(limits)
        for kind, name, known in (("optimizer", self.optimizer, OPTIMIZERS), ("schedule", self.schedule, SCHEDULES)):
            if name not in known:
                raise unknown(kind, name, known)
        if self.head_epochs + self.epochs == 0:
            raise KerasxaiError("head_epochs and epochs are both 0: there is nothing to train")
