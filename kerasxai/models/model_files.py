"""The kind of a model file and the Keras version that wrote it, from its bytes."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras

Kind = Literal["keras", "hdf5", "saved_model", "weights", "unknown"]

OTHER_FORMATS = {
    ".bin": "weights of another library",
    ".ckpt": "a checkpoint of weights",
    ".engine": "a TensorRT engine",
    ".index": "a checkpoint of weights",
    ".joblib": "a pickled Python object",
    ".mlmodel": "a Core ML model",
    ".npz": "NumPy arrays",
    ".onnx": "an ONNX model",
    ".pb": "a TensorFlow graph",
    ".pickle": "a pickled Python object",
    ".pkl": "a pickled Python object",
    ".pt": "a PyTorch model",
    ".pth": "a PyTorch model",
    ".safetensors": "weights of another library",
    ".tflite": "a TensorFlow Lite model",
}
_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class ModelFile:
    """The kind and the metadata of a model file.

    Attributes:
        kind: The format.
        description: A description of a file that cannot be read, for messages.
        version: The version of Keras that wrote it, if the file has one.
        config: The config of the model, if the file has one.
    """

    kind: Kind
    description: str = ""
    version: str | None = None
    config: dict[str, Any] = field(default_factory=dict)


def inspect_file(path: Path) -> ModelFile:
    """Return the kind and the metadata of a model file, without building a model.

    Args:
        path: An existing file or folder.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        return ModelFile("unknown", "no regular file")
    with path.open("rb") as file:
        start = file.read(len(_LFS))
    if start.startswith(_ZIP):
        return _zip(path)
    if start.startswith(_HDF5):
        return _hdf5(path)
    if not start:
        return ModelFile("unknown", "an empty file")
    if start == _LFS:
        return ModelFile("unknown", "a pointer of Git LFS instead of the file; run `git lfs pull`")
    return ModelFile("unknown", OTHER_FORMATS.get(path.suffix.lower(), "damaged or no Keras model"))


def _folder(path: Path) -> ModelFile:
    if (path / "saved_model.pb").is_file():
        return ModelFile("saved_model")
    if (path / "config.json").is_file() and (path / "metadata.json").is_file():
        texts = [(path / name).read_bytes() for name in ("config.json", "metadata.json")]
        return ModelFile("keras", "", _json(texts[1]).get("keras_version"), _json(texts[0]))
    return ModelFile("unknown", "a folder without a model")


def _zip(path: Path) -> ModelFile:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "config.json" in names:
                metadata = _json(archive.read("metadata.json")) if "metadata.json" in names else {}
                return ModelFile("keras", "", metadata.get("keras_version"), _json(archive.read("config.json")))
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError):
        return ModelFile("unknown", "damaged or no Keras model")
    if any(name.endswith("data.pkl") for name in names):
        return ModelFile("unknown", OTHER_FORMATS[".pt"])
    if any(name.endswith(".npy") for name in names):
        return ModelFile("unknown", OTHER_FORMATS[".npz"])
    return ModelFile("unknown", "a zip file without a Keras model")


def _hdf5(path: Path) -> ModelFile:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            version, config = file.attrs.get("keras_version"), file.attrs.get("model_config")
    except OSError:
        return ModelFile("unknown", "a damaged HDF5 file")
    version = _text(version) if version is not None else None
    if config is None:
        return ModelFile("weights", "weights without a model", version)
    return ModelFile("hdf5", "", version, _json(config))


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _json(text: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def unknown_classes(file: ModelFile) -> list[str]:
    """Return the names of the classes and functions in a model's config that Keras does not know, each once."""
    return list(dict.fromkeys(_unknown(file.config, legacy=file.kind == "hdf5")))


def _unknown(value: object, legacy: bool) -> Iterator[str]:
    if isinstance(value, dict):
        name = value.get("class_name")
        if isinstance(name, str) and "config" in value and not _is_known(value, name, legacy):
            yield str(value["config"]) if name == "function" else name
        for part in value.values():
            yield from _unknown(part, legacy)
    elif isinstance(value, list):
        for part in value:
            yield from _unknown(part, legacy)


def _is_known(value: Mapping[str, Any], name: str, legacy: bool) -> bool:
    # Keras 2 wrote the class of a model without its module.
    if (
        name.startswith("__")
        or name in ("Functional", "Model", "Sequential")
        or (name == "function" and not isinstance(value["config"], str))
    ):
        return True
    function = value["config"] if name == "function" else name
    registered = value.get("registered_name") or function
    if any(keras.saving.get_registered_object(one) is not None for one in (registered, function)):
        return True
    module = value.get("module")
    if module is None and not legacy:
        return "registered_name" not in value or value["registered_name"] is None
    if isinstance(module, str) and module.partition(".")[0] in ("keras", "keras_hub", "keras_cv", "keras_nlp"):
        return True
    rooms = ("layers", "models", "initializers", "regularizers", "constraints", "activations", "dtype_policies")
    return any(hasattr(getattr(keras, room, None), function) for room in rooms)
