"""The arguments of `kerasxai export`. Nothing here imports TensorFlow."""

from dataclasses import dataclass
from pathlib import Path

from kerasxai.models.export_formats import FORMATS
from kerasxai.tools.model_settings import OUTPUT, ModelSettings
from kerasxai.tools.settings import SettingsCommand, setting


@dataclass(frozen=True, kw_only=True)
class ExportConfig(ModelSettings):
    """Settings of `kerasxai export`.

    Attributes:
        format: A name in FORMATS; None: by the suffix of `out`, or "savedmodel".
        out: The file, or the folder of a SavedModel; None for one next to the model.
        no_maps: Whether the class maps are left out.
    """

    format: str | None = setting(
        f"one of {', '.join(FORMATS)} (default: by the suffix of --out, or savedmodel)",
        OUTPUT,
        None,
        choices=FORMATS,
        metavar="{" + ",".join(FORMATS) + "}",
    )
    out: Path | None = setting(
        "file, or folder of a SavedModel, which must not exist (default: next to the model)", OUTPUT, None
    )
    no_maps: bool = setting("leave out the class maps, the second output of heads that have them", OUTPUT, False)


EXPORT = SettingsCommand(
    "Export a model as ONNX, TensorFlow Lite or SavedModel, with its class maps.",
    [
        "kerasxai export runs/gap/model.keras --format onnx",
        "kerasxai export runs/acol/model.keras --out acol.tflite",
        "kerasxai export runs/gap/model.keras --format savedmodel --out served/1 --no-maps",
    ],
    (ExportConfig,),
)
