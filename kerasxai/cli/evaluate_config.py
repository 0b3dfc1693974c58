"""The arguments of `kerasxai evaluate`. Nothing here imports TensorFlow."""

from dataclasses import dataclass
from pathlib import Path

from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.streaming.config import ShardSettings
from kerasxai.tools.config_file import ConfigFile
from kerasxai.tools.json_output import JsonOutput
from kerasxai.tools.model_settings import OUTPUT, EndReport, InputSettings, MethodOptions, ModelSettings
from kerasxai.tools.settings import SettingsCommand, setting


@dataclass(frozen=True, kw_only=True)
class EvaluationFolder:
    """The folder that an evaluation is written to.

    Attributes:
        out: The folder; None for one next to the model.
    """

    out: Path | None = setting("folder to write to (default: next to the model, or evaluation/)", OUTPUT, None)


EVALUATE = SettingsCommand(
    "Measure accuracy and localization.",
    [
        "kerasxai evaluate runs/gap/model.keras --data shapes --method cam",
        "kerasxai evaluate runs/gap/model.keras --data shapes --method gradcam --layer backbone/top_activation",
        "kerasxai evaluate runs/gap/model.keras --data photos/ --boxes labels/ --method cam,gradcam --refine none,auto",
        "kerasxai evaluate imagenet:EfficientNetLite0 --data photos/ --boxes boxes.csv --split test --tune-split none",
        "kerasxai evaluate runs/cub/model.keras --data caltech_birds2011 --protocol wsolevaluation",
        "kerasxai evaluate runs/gap/model.keras --data photos/ --boxes boxes.csv --shards 100 --out shards/",
    ],
    (
        ModelSettings,
        EvaluateConfig,
        MethodOptions,
        InputSettings,
        ShardSettings,
        EvaluationFolder,
        EndReport,
        JsonOutput,
        ConfigFile,
    ),
)
