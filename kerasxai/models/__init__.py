"""Classifiers with heads for class activation maps: backbones, heads, and functions to build and load them."""

import importlib
from typing import Any

from kerasxai.models.names import class_names, imagenet_names
from kerasxai.models.tables import BACKBONES, HEADS, Backbone, Head

_LAZY = {
    "ACoLHead": "kerasxai.models.acol",
    "ACoLModel": "kerasxai.models.acol",
    "AttendedEvidence": "kerasxai.models.attended_evidence",
    "AttentionDropout": "kerasxai.models.adl",
    "Predictions": "kerasxai.models.heads",
    "build_classifier": "kerasxai.models.build",
    "check_image_model": "kerasxai.models.loading",
    "load": "kerasxai.models.loading",
    "load_classifier": "kerasxai.models.loading",
    "with_output_stride": "kerasxai.models.output_stride",
}

__all__ = ["BACKBONES", "HEADS", "Backbone", "Head", "class_names", "imagenet_names", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'kerasxai.models' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
