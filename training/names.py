"""Checks of names in the settings of a run. Nothing here imports TensorFlow."""

import argparse
from collections.abc import Callable
from pathlib import Path

from kerasxai.models import BACKBONES
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.model_settings import is_model_name

AUGMENT = ("auto", "none", "flip", "light", "strong")
"""Augmentations by name."""


def check_backbone(text: str) -> str:
    """Check that a backbone is a name, a preset or a model file; a finished run is read without its file."""
    if is_model_name(text) and not text.startswith("imagenet:"):
        return text
    if text not in BACKBONES and Path(text).suffix not in (".keras", ".h5") and not Path(text).is_dir():
        raise unknown("backbone", text, BACKBONES)
    return text


def check_augment(text: str) -> str:
    """Check that an augmentation is a name or `"module:function"`."""
    if ":" not in text and text not in AUGMENT:
        raise unknown("augmentation", text, [*AUGMENT, "module:function"])
    return text


def argument(check: Callable[[str], str]) -> Callable[[str], str]:
    """Make an argparse type of a check."""

    def parse(text: str) -> str:
        try:
            return check(text)
        except KerasxaiError as error:
            message = str(error)
            raise argparse.ArgumentTypeError(message) from None

    return parse
