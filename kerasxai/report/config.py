"""The arguments of `kerasxai report`. Nothing here imports TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasxai.data.box_files.reading import BOXES_HELP
from kerasxai.methods import METHODS
from kerasxai.refinements import REFINE_HELP
from kerasxai.tools.arguments import listed
from kerasxai.tools.errors import unknown
from kerasxai.tools.model_settings import DATA, METHOD, MODEL, OUTPUT
from kerasxai.tools.settings import SEED, Limits, SettingsCommand, check_settings, setting


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """The settings of a report on runs.

    Attributes:
        runs: Folders of `kerasxai train` or `kerasxai evaluate`.
        images: The most images of the gallery, chosen evenly over the classes; 0: no gallery, and no model is loaded.
        split: The split of the gallery; None for the evaluated one, else "test" or "validation".
        data: As for `kerasxai.data.load`, for data that have moved; None for the data of the run.
        boxes_csv: As for `kerasxai.data.load`; None for the boxes of the run.
        method: Names in `kerasxai.METHODS`; None for the evaluated ones, else "cam".
        refine: As for `kerasxai.Explainer`, several chains separated by "none" as in `kerasxai evaluate`; None for the
            evaluated ones.
        seed: Of the choice of images.
        batch_size: Images explained at once.
        custom_objects: Python modules or files with custom layers.
        out: The HTML file; a folder of intermediate results is written next to it.
    """

    runs: Sequence[str] = setting(
        "folders of `kerasxai train` or `kerasxai evaluate`", "runs", positional=True, nargs="+", metavar="RUN"
    )
    images: int = setting(
        "most images in the gallery, chosen evenly over the classes; 0: no gallery", DATA, 200, limits=Limits(0, 2000)
    )
    split: str | None = setting(
        "split of the gallery (default: the evaluated one, else test or validation)", DATA, None, parse=str
    )
    data: str | None = setting("the data, if they have moved (default: those of the run)", DATA, None, parse=str)
    boxes_csv: str | None = setting(
        f"{BOXES_HELP} (default: those of the run)", DATA, None, flag="--boxes", metavar="FILE", parse=str
    )
    method: Sequence[str] | None = setting(
        "explainers of the gallery (default: the evaluated ones, else cam)",
        METHOD,
        None,
        metavar="NAME[,NAME]",
        parse=listed,
    )
    refine: str | None = setting(
        f"{REFINE_HELP}; none,NAME is one without and one with it (default: as evaluated)",
        METHOD,
        None,
        metavar="NAME[,NAME]",
        parse=str,
    )
    seed: int = setting("of the choice of images", DATA, 0, limits=SEED)
    batch_size: int = setting("images explained at once", METHOD, 16, limits=Limits(least=1))
    custom_objects: Sequence[str] = setting(
        "a Python module or file.py with custom layers that the model file names; may be repeated. Its code runs",
        MODEL,
        (),
        metavar="MODULE",
        parse=str,
        collect=tuple,
    )
    out: Path = setting("HTML file to write", OUTPUT, Path("report.html"))

    def __post_init__(self) -> None:
        check_settings(self)
        for name in self.method or ():
            if name not in METHODS:
                raise unknown("method", name, METHODS)


REPORT = SettingsCommand(
    "Write one HTML file on runs: training, figures with intervals, and a gallery to explore.",
    [
        "kerasxai report runs/gap",
        "kerasxai report runs/gap runs/acol --images 48 --out gap_acol.html",
        "kerasxai report runs/gap --method cam,gradcam --refine none,auto",
    ],
    (ReportConfig,),
)
