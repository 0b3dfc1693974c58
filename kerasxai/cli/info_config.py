"""The arguments of `kerasxai info`. Nothing here imports TensorFlow."""

from dataclasses import dataclass

from kerasxai.tools.json_output import JsonOutput
from kerasxai.tools.settings import SettingsCommand, setting


@dataclass(frozen=True)
class InfoConfig:
    """Settings of `kerasxai info`.

    Attributes:
        run: Folder of a training run.
    """

    run: str = setting("folder of `kerasxai train`", "run", positional=True, metavar="RUN")


INFO = SettingsCommand(
    "Describe a training run: settings, state, figures.",
    ["kerasxai info runs/gap", "kerasxai info runs/gap --json"],
    (InfoConfig, JsonOutput),
)
