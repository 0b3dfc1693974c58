"""The arguments of `kerasxai info`. Nothing here imports TensorFlow."""

from dataclasses import dataclass

from kerasxai.tools.model_settings import OUTPUT
from kerasxai.tools.settings import SettingsCommand, setting


@dataclass(frozen=True)
class InfoConfig:
    """Settings of `kerasxai info`.

    Attributes:
        run: Folder of a training run.
        json: Whether the facts are printed as JSON.
    """

    run: str = setting("folder of `kerasxai train`", "run", positional=True, metavar="RUN")
    json: bool = setting("print JSON in place of tables", OUTPUT, False)


INFO = SettingsCommand(
    "Describe a training run: settings, state, figures.",
    ["kerasxai info runs/gap", "kerasxai info runs/gap --json"],
    (InfoConfig,),
)
