"""The arguments of `kerasxai compare`. Nothing here imports TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasxai.tools.json_output import JsonOutput
from kerasxai.tools.model_settings import OUTPUT
from kerasxai.tools.settings import SEED, Limits, SettingsCommand, check_settings, setting

RUNS, INTERVALS = "runs", "intervals"


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """The settings of a comparison of evaluations.

    Attributes:
        runs: Folders of `kerasxai evaluate`, or folders of runs that contain such folders.
        resamples: The number of bootstrap samples.
        confidence: Of the intervals.
        seed: Of the bootstrap samples.
        images: How many images are drawn; 0 draws none.
        out: The folder to write to; None for `comparison`, with a number if that has another comparison.
    """

    runs: Sequence[str] = setting(
        "folders of `kerasxai evaluate`, or training runs that were evaluated; differences are to the first",
        RUNS,
        positional=True,
        nargs="+",
        metavar="RUN",
    )
    resamples: int = setting("bootstrap samples of the images", INTERVALS, 10_000, limits=Limits(100, 1_000_000))
    confidence: float = setting("confidence of the intervals", INTERVALS, 0.95, limits=Limits(above=0, below=1))
    seed: int = setting("of the bootstrap samples", INTERVALS, 0, limits=SEED)
    images: int = setting(
        "images to draw, those on which the runs differ most; 0: none", OUTPUT, 8, limits=Limits(0, 64)
    )
    out: Path | None = setting("folder to write to (default: comparison, with a number if taken)", OUTPUT, None)

    def __post_init__(self) -> None:
        check_settings(self)


COMPARE = SettingsCommand(
    "Compare evaluations on the same images: differences with intervals, and a picture.",
    [
        "kerasxai compare runs/gap runs/acol",
        "kerasxai compare runs/gap/evaluation_cam runs/gap/evaluation_gradcam --out gap_methods",
    ],
    (CompareConfig, JsonOutput),
)
