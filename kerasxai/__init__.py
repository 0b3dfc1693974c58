"""Where does a Keras image classifier look, and is it right?

Names are looked up when they are first used: `import kerasxai` alone imports neither TensorFlow nor Keras.
"""

import importlib
from pathlib import Path
from typing import Any

from kerasxai.version import __version__

# In a checkout, callbacks/ and training/ are next to this package; an installed kerasxai contains them.
if not (Path(__file__).parent / "callbacks").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

# So that `import kerasxai` is enough for `keras.models.load_model`, and still imports no Keras.
importlib.import_module("kerasxai.models.registration").register_with_keras()

_NAMES = {
    "BACKBONES": "kerasxai.models",
    "DATASETS": "kerasxai.data",
    "Explainer": "kerasxai.explainer",
    "Explanation": "kerasxai.explainer",
    "HEADS": "kerasxai.models",
    "KerasxaiError": "kerasxai.tools.errors",
    "METHODS": "kerasxai.methods",
    "RECIPES": "kerasxai.training.recipes",
    "REFINEMENTS": "kerasxai.refinements",
    "build_classifier": "kerasxai.models",
    "list_layers": "kerasxai.engine.layer_table",
}
_MODULES = (
    "callbacks",
    "data",
    "features",
    "localization",
    "metrics",
    "models",
    "refinements",
    "scores",
    "training",
    "viz",
)

__all__ = ["__version__", *sorted([*_NAMES, *_MODULES])]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"kerasxai.{name}")
    raise AttributeError(f"module 'kerasxai' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
