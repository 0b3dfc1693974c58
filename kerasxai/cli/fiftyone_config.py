"""The arguments of `kerasxai fiftyone`. Nothing here imports TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass

from kerasxai.tools.model_settings import OUTPUT
from kerasxai.tools.settings import SettingsCommand, setting


@dataclass(frozen=True, kw_only=True)
class FiftyOneConfig:
    """The settings of a dataset of FiftyOne.

    Attributes:
        results: Folders of `kerasxai localize`, `explain` or `evaluate`.
        name: Of the dataset; None for the name of the first folder.
        overwrite: Whether a dataset of this name is replaced.
    """

    results: Sequence[str] = setting(
        "folders of `kerasxai localize`, `explain` or `evaluate`, joined by image",
        "results",
        positional=True,
        nargs="+",
        metavar="FOLDER",
    )
    name: str | None = setting("name of the dataset (default: that of the first folder)", OUTPUT, None)
    overwrite: bool = setting("replace a dataset of this name", OUTPUT, False)


FIFTYONE = SettingsCommand(
    "Write boxes, masks and heatmaps into a FiftyOne dataset.",
    [
        "kerasxai fiftyone boxes/ --name cats",
        "kerasxai fiftyone runs/gap boxes/ explanations/ --name cats --overwrite",
        "fiftyone app launch cats",
    ],
    (FiftyOneConfig,),
)
