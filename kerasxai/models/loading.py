"""Loading a model from a file, a folder, or the name of a pretrained one."""

import contextlib
import importlib.util
import inspect
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import keras

from kerasxai.engine.keras_internals import input_structure, output_structure
from kerasxai.engine.layers import input_specs
from kerasxai.models.build import build_classifier
from kerasxai.models.hub import HUGGING_FACE, KAGGLE, PREFIX, hub_classifier
from kerasxai.models.model_files import ModelFile, inspect_file, unknown_classes
from kerasxai.tools.commands import check_backend
from kerasxai.tools.error_reasons import reason
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.lazy import resolve
from kerasxai.tools.model_settings import model_path
from kerasxai.tools.printable import printable

_EXAMPLE = "imagenet:EfficientNetLite0"
_FORMATS = "give a .keras file, an .h5 file with the whole model, or a SavedModel folder"

CustomObjects = Mapping[str, Any] | Sequence[str]


def load(
    spec: str | os.PathLike[str], compile: bool = False, *, custom_objects: CustomObjects | None = None
) -> keras.Model:
    """Load a model from a file, or a pretrained one by name.

    Args:
        spec: The path of a `.keras` or `.h5` file, of the folder of a run of `kerasxai train`, of a SavedModel folder
            (whose layers cannot be accessed: only black-box methods explain it), `"imagenet:"` and a name in BACKBONES
            for that unchanged model, `"hub:"` and a preset of KerasHub (a name, a folder, `kaggle://...` or
            `hf://...`) for its classifier with its preprocessing, `"kaggle://..."` for the same, or
            `"hf://USER/MODEL"` for a Keras model of Hugging Face.
        compile: Whether the optimizer, the loss and the metrics are restored as well.
        custom_objects: Custom layers and functions in the file: a dict by name, or names of modules
            (`"package.module"` or `"file.py"`) that define them. A module's code is run.

    Returns:
        The model.

    Raises:
        KerasxaiError: There is no such file or name, or the file is not a Keras model; the message describes it.

    Example:
        >>> model = load("imagenet:EfficientNetLite0")
    """
    check_backend()
    text = os.fspath(spec)
    if text.startswith("imagenet:"):
        return build_classifier(text.removeprefix("imagenet:"), None)
    if text.startswith((PREFIX, KAGGLE)):
        return hub_classifier(text.removeprefix(PREFIX))
    if text.startswith(HUGGING_FACE):
        with _custom(custom_objects):
            return _hugging_face(text, compile)
    path, shown = Path(model_path(text)), printable(text)
    if not path.exists():
        raise KerasxaiError(
            f"expected an existing model file, got {shown}; give a .keras file, hub:PRESET, or imagenet:NAME such as "
            f"{_EXAMPLE}"
        )
    try:
        file = inspect_file(path)
    except OSError as error:
        raise KerasxaiError(f"cannot read {shown}: {error.strerror or error}") from error
    if file.kind == "weights":
        raise KerasxaiError(
            f"expected a whole model, got {shown}, which holds weights without a model; "
            "build the model in Python, load the weights into it, and save it as a .keras file"
        )
    if file.kind == "unknown":
        raise KerasxaiError(f"expected a Keras model, got {shown}, which is {file.description}; {_FORMATS}")
    # Register the classes that the file may name.
    resolve("kerasxai.models.acol:ACoLModel")
    with _custom(custom_objects):
        if file.kind == "saved_model":
            return _saved_model(path)
        try:
            with _suffixed(path, file) as named, warnings.catch_warnings():
                # It is about how the model was built, which cannot be changed here.
                warnings.filterwarnings("ignore", message="When providing `inputs` as a dict")
                return keras.saving.load_model(named, compile=compile)
        except MemoryError:
            raise
        except Exception as error:  # a damaged file fails in many ways, depending on where the damage is
            raise KerasxaiError(_refusal(shown, file, error)) from error


def _hugging_face(spec: str, compile: bool) -> keras.Model:
    """Load a model that Keras downloads from Hugging Face."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise KerasxaiError(
            f"cannot load {printable(spec)}: huggingface_hub is not installed; run pip install 'kerasxai[hub]'"
        )
    try:
        return keras.saving.load_model(spec, compile=compile)
    except MemoryError:
        raise
    except Exception as error:  # Downloads fail in many ways.
        raise KerasxaiError(
            f"cannot load {printable(spec)} from Hugging Face: {reason(error)}; check the name and the network, and "
            f"give {PREFIX}{printable(spec)} for a preset of KerasHub"
        ) from error


def _refusal(shown: str, file: ModelFile, error: Exception) -> str:
    """Return why a file cannot be loaded: unknown classes, its version, or the reason of Keras."""
    missing = unknown_classes(file)
    message = str(error)
    if "Lambda" in message and ("safe_mode" in message or "unsafe" in message):
        return (
            f"{shown} has a Lambda layer with Python code inside, which Keras does not run from a file (safe_mode); if "
            "you trust the file, load it with keras.saving.load_model(path, safe_mode=False) and explain it in Python, "
            "or give a --custom-objects module that calls keras.config.enable_unsafe_deserialization()"
        )
    if missing:
        return (
            f"{shown} is made of classes or functions that Keras does not know: {', '.join(missing)}; name the module "
            "that defines them (--custom-objects MODULE, in Python custom_objects=)"
        )
    version, installed = file.version, keras.__version__
    refusal = f"cannot load {shown} as a Keras model: {reason(error)}"
    if version is not None and _numbers(version) < (3,):
        return (
            f"{refusal}; the file was written by Keras {version}, this is Keras {installed}: build the model again and "
            "load the weights, or load it with tf_keras and write a SavedModel folder (model.export)"
        )
    if version is not None and _numbers(version) > _numbers(installed):
        return f"{refusal}; the file was written by Keras {version}, which is newer than the installed {installed}"
    return refusal


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


@contextlib.contextmanager
def _suffixed(path: Path, file: ModelFile) -> Iterator[Path]:
    """Yield a path with the suffix of the file's format, because Keras decides by the suffix alone."""
    suffixes = (".h5", ".hdf5") if file.kind == "hdf5" else (".keras",)
    if path.is_dir() or path.suffix in suffixes:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder, f"model{suffixes[0]}")
        named.symlink_to(path.resolve())
        yield named


@contextlib.contextmanager
def _custom(objects: CustomObjects | None) -> Iterator[None]:
    if not objects:
        yield
        return
    if isinstance(objects, str):
        objects = [objects]
    if not isinstance(objects, Mapping):
        objects = {name: value for module in objects for name, value in _found_in(_imported(module)).items()}
    # Depending on its version Keras looks up the registered name or the plain one.
    with keras.saving.custom_object_scope({**objects, **{f"Custom>{name}": value for name, value in objects.items()}}):
        yield


def _imported(name: str) -> ModuleType:
    """Import a module by its name or its file."""
    path = Path(name)
    try:
        if path.suffix == ".py":
            if not path.is_file():
                raise KerasxaiError(f"expected an existing file with custom objects, got {printable(name)}")
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(path.stem, module)
            spec.loader.exec_module(module)
            return module
        with _current_folder_first():
            return importlib.import_module(name)
    except KerasxaiError:
        raise
    except Exception as error:
        raise KerasxaiError(
            f"cannot import the custom objects of {printable(name)}: {type(error).__name__}: {reason(error)}"
        ) from error


@contextlib.contextmanager
def _current_folder_first() -> Iterator[None]:
    """Put the current folder on the import path, as `python -m` does; for a script only its own folder is there."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path.pop(0)


def _found_in(module: ModuleType) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and not str(value.__module__).startswith(("keras.", "tensorflow."))
    }


def _saved_model(path: Path) -> keras.Model:
    """Wrap a SavedModel folder into a functional model."""
    import tensorflow as tf

    try:
        signatures = tf.saved_model.load(os.fspath(path)).signatures
        endpoint = next((name for name in ("serving_default", "serve", *signatures) if name in signatures), None)
        if endpoint is None:
            raise KerasxaiError(
                f"expected a SavedModel with a signature, got {printable(path)} without one; export it again"
            )
        specs = signatures[endpoint].structured_input_signature[1]
        outputs = signatures[endpoint].structured_outputs
        # `kerasxai.models.export` adds the class maps as a second output.
        names = [name for name in outputs if name != "maps" or "predictions" not in outputs]
        if len(specs) != 1 or len(names) != 1:
            raise KerasxaiError(
                f"expected a SavedModel with one input and one output, got {printable(path)} with {len(specs)} and "
                f"{len(outputs)}; load it with keras.layers.TFSMLayer in Python"
            )
        ((name, spec),) = specs.items()
        layer = keras.layers.TFSMLayer(os.fspath(path), call_endpoint=endpoint, name="saved_model")
        image = keras.Input(spec.shape[1:], dtype=spec.dtype.name, name=name)
        return keras.Model(image, layer(image)[names[0]], name=path.name or "saved_model")
    except KerasxaiError:
        raise
    except Exception as error:
        raise KerasxaiError(f"cannot load the SavedModel {printable(path)}: {reason(error)}") from error


def load_classifier(
    spec: str | os.PathLike[str], custom_objects: CustomObjects | None = None, *, classes: bool = True
) -> keras.Model:
    """Load a model for the commands: one input of images, one output with a row of class scores for each image.

    Args:
        spec: As for `load`.
        custom_objects: As for `load`.
        classes: Whether the outputs must be class scores.

    Raises:
        KerasxaiError: As for `load`, or the model has other inputs or outputs; `kerasxai.Explainer` may still
            accept it.

    Example:
        >>> load_classifier("imagenet:EfficientNetLite0").output_shape
        (None, 1000)
    """
    model = _without_dicts(load(spec, custom_objects=custom_objects))
    check_image_model(model, classes)
    return model


def _without_dicts(model: keras.Model) -> keras.Model:
    """Return a model whose single input and output are in a dict as one without dicts, with the same layers."""
    structures = (input_structure(model), output_structure(model))
    if not any(isinstance(one, dict) for one in structures) or len(model.inputs) != 1 or len(model.outputs) != 1:
        return model
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def check_image_model(model: keras.Model, classes: bool = True) -> None:
    """Check that a model maps a batch of images to one row of class scores for each.

    A model without a known input shape, such as a subclassed one, passes.

    Raises:
        KerasxaiError: It has several inputs, or its input is not images; with `classes`, it has several outputs, or
            its output is not class scores.
    """
    import tensorflow as tf

    specs = input_specs(model)
    if specs is None:
        return
    flat = tf.nest.flatten(specs)
    remedy = "explain it in Python with kerasxai.Explainer"
    if len(flat) != 1 or isinstance(specs, dict):
        shapes = ", ".join(str(tuple(spec.shape)) for spec in flat)
        raise KerasxaiError(
            f"expected a model with one input of images (N, H, W, C), got inputs of {shapes}; {remedy}, which takes "
            "the other inputs as well"
        )
    if flat[0].shape.rank != 4:
        raise KerasxaiError(
            f"expected a model that takes images (N, H, W, C), got an input of {tuple(flat[0].shape)}; {remedy}"
        )
    if not classes:
        return
    outputs = getattr(model, "outputs", None) or []
    structure = output_structure(model)
    if len(outputs) > 1 or isinstance(structure, dict):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in outputs)
        raise KerasxaiError(
            f"expected a model with one output of class scores (N, classes), got outputs of {shapes}; make a model of "
            "one of them: keras.Model(model.inputs, model.get_layer(NAME).output)"
        )
    if outputs and len(outputs[0].shape) != 2:
        raise KerasxaiError(
            f"expected a model that gives class scores (N, classes), got an output of {tuple(outputs[0].shape)}; "
            f"{remedy} and score="
        )
