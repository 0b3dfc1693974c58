"""Settings of `kerasxai demo`, and its arguments made of them. Nothing here imports TensorFlow."""

from dataclasses import dataclass
from pathlib import Path

from kerasxai.tools.settings import SEED, Limits, SettingsCommand, setting
from kerasxai.training.config import DATA, DATA_DIR_HELP, OUTPUT, TRAINING


@dataclass(frozen=True)
class DemoConfig:
    """Settings of the demo.

    Attributes:
        out: Output folder; None for `runs/demo`, or `runs/demo_quick` for the quick demo.
        head_epochs: Epochs of each head alone.
        epochs: Epochs of fine-tuning.
        data_dir: The folder of TensorFlow Datasets.
        seed: Seed of weights, order and augmentation.
        open: Whether to show the report in the browser at the end.
        quick: Whether to train one head on few images.
    """

    out: Path | None = setting(
        "folder to write to (default: runs/demo, or runs/demo_quick)", OUTPUT, None, metavar="OUT", parse=Path
    )
    head_epochs: int = setting("epochs of the head alone", TRAINING, 1, limits=Limits(least=0))
    epochs: int = setting("epochs of fine-tuning", TRAINING, 4, limits=Limits(least=0))
    data_dir: str | None = setting(DATA_DIR_HELP, DATA, None)
    seed: int = setting("of weights, order and augmentation", TRAINING, 0, limits=SEED)
    open: bool = setting("show the report in the browser at the end", OUTPUT, False)
    quick: bool = setting("train one head on few images, in about a minute", TRAINING, False)

    @property
    def folder(self) -> Path:
        """The output folder."""
        return self.out or Path("runs/demo_quick" if self.quick else "runs/demo")


DEMO = SettingsCommand(
    "Walk the whole road on the embedded data and write an HTML report.",
    ["kerasxai demo --quick", "kerasxai demo --out runs/demo --open"],
    (DemoConfig,),
)
