"""Registration of the package's layers with Keras, without an import of Keras.

`keras.models.load_model` finds registered classes only. For `import kerasxai` to be enough, and still import neither
Keras nor TensorFlow, the modules with such classes are imported right after Keras.

Where one of them is the first module of a program that imports Keras, it would be imported a second time while its own
import has only begun. Keras is imported before these modules for that reason.
"""

import importlib
import importlib.abc
import importlib.util
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAMES = (
    "acol",
    "adl",
    "attended_evidence",
    "classification_metrics",
    "heads",
    "hub",
    "multi_label",
    "multi_label_losses",
    "optimizers",
    "pooling",
    "positions",
    "preprocessing",
    "spg",
)
MODULES = tuple(f"kerasxai.models.{name}" for name in _NAMES)
_IMPORTED_BY_THESE = (
    "engine.dilation",
    "engine.images.video_frames",
    "engine.keras_internals",
    "engine.tracing",
    "models.graph",
    "models.label_aware",
    "models.model_cloning",
    "models.trunk",
)
NEED_KERAS = frozenset(MODULES) | {f"kerasxai.{name}" for name in _IMPORTED_BY_THESE}
"""The modules with registered classes, and those that they import, which import Keras or TensorFlow themselves."""


def _register() -> None:
    for module in MODULES:
        importlib.import_module(module)


class _KerasFirst(importlib.abc.Loader):
    """Loader of a module of `NEED_KERAS` that imports Keras first, and with it the module."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader
        self._spec: ModuleSpec | None = None

    def __getattr__(self, name: str) -> object:
        # Of the source, for `python -m`, `inspect` and tools that read modules without an import. Not of private names,
        # or a copy, which has no attributes at first, would look for its own loader without end.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        importlib.import_module("keras")
        module = sys.modules.get(spec.name)
        self._spec = None if module is None else module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        if self._spec is None:
            self._loader.exec_module(module)
        else:
            # It is complete, but the import has given it the spec of this loader.
            module.__spec__ = self._spec


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Meta path finder that leaves imports to the other finders, and registers the layers after that of Keras."""

    def __init__(self) -> None:
        # One value for each thread: another thread may import Keras meanwhile.
        self._search = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if (fullname != "keras" and fullname not in NEED_KERAS) or hasattr(self._search, "begun"):
            return None
        self._search.begun = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            del self._search.begun
        if spec is not None and spec.loader is not None and fullname != "keras":
            spec.loader = _KerasFirst(spec.loader)
        elif spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                # Not in `find_spec`, because TensorFlow looks for the spec of Keras before it imports it.
                sys.meta_path.remove(self)
                execute(module)
                _register()

            object.__setattr__(spec.loader, "exec_module", exec_module)
        return spec


def register_with_keras() -> None:
    """Register the package's Keras classes: now if Keras is imported, else with its import.

    Example:
        >>> register_with_keras()
        >>> import keras  # from here on keras.models.load_model knows ACoLModel
    """
    if "keras" in sys.modules:
        _register()
    elif not any(isinstance(finder, _AfterKeras) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterKeras())
