"""The arguments of `kerasxai audit`. Nothing here imports TensorFlow."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasxai.audit.config import FAILURES, AuditConfig
from kerasxai.tools.arguments import listed
from kerasxai.tools.config_file import ConfigFile
from kerasxai.tools.errors import unknown
from kerasxai.tools.json_output import JsonOutput
from kerasxai.tools.model_settings import OUTPUT, ClassNameSettings, MethodOptions, ModelSettings
from kerasxai.tools.settings import SettingsCommand, setting


def _failures(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(listed(text)))
    for name in names:
        if name not in FAILURES:
            raise argparse.ArgumentTypeError(str(unknown("failure", name, FAILURES)))
    return names


@dataclass(frozen=True, kw_only=True)
class AuditOutput:
    """What an audit writes, and when it fails.

    Attributes:
        out: The folder; None for one next to the model.
        fail_on: Names in FAILURES.
    """

    out: Path | None = setting("folder to write to (default: next to the model, or audit/)", OUTPUT, None)
    fail_on: Sequence[str] = setting(
        "exit with status 1 on a confirmed shortcut, or on an audited method whose maps do not depend on the model; "
        "with --methods, since the default ones include guided_backprop",
        OUTPUT,
        (),
        metavar="{shortcut,insane}",
        parse=_failures,
    )


AUDIT = SettingsCommand(
    "Audit a model: which heatmaps to trust, where it is wrong, and which shortcuts it takes.",
    [
        "kerasxai audit runs/gap/model.keras --data shapes",
        "kerasxai audit runs/gap/model.keras --data photos/ --boxes boxes.csv --methods gradcam,saliency,lime",
        "kerasxai audit runs/gap/model.keras --data photos/ --methods gradcam --fail-on shortcut,insane",
        "kerasxai audit imagenet:EfficientNetLite0 --data photos/ --ignore-labels --measures deletion,sanity",
    ],
    (ModelSettings, ClassNameSettings, AuditConfig, MethodOptions, AuditOutput, JsonOutput, ConfigFile),
)
