"""Making Keras know the package's own layers as soon as Keras is there, without importing Keras for it.

`keras.models.load_model` finds only classes that were registered before. So that `import kerasxai` is enough, and still
imports neither Keras nor TensorFlow, the modules with such classes are imported right after Keras.
"""

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAMES = ("acol", "adl", "attended_evidence", "heads", "optimizers", "pooling", "positions", "preprocessing", "spg")
MODULES = tuple(f"kerasxai.models.{name}" for name in _NAMES)


def _register() -> None:
    for module in MODULES:
        importlib.import_module(module)


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Waits for the import of Keras, leaves it to the other finders, and registers when it is done."""

    def __init__(self) -> None:
        self.asking = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "keras" or self.asking:
            return None
        self.asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.asking = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                # Only here, because TensorFlow asks where Keras lies before it imports it.
                sys.meta_path.remove(self)
                execute(module)
                _register()

            object.__setattr__(spec.loader, "exec_module", exec_module)
        return spec


def register_with_keras() -> None:
    """Registers the package's own Keras classes: now if Keras is imported, else as soon as it is.

    Example:
        >>> register_with_keras()
        >>> import keras  # from here on keras.models.load_model knows ACoLModel
    """
    if "keras" in sys.modules:
        _register()
    elif not any(isinstance(finder, _AfterKeras) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterKeras())
