"""Reader of torch's legacy weight files, without torch and without the arbitrary code that a pickle may run.

Such a file is five pickles (a magic number, a protocol version, the machine's sizes, the tensors by name, the order of
the storages) and then, for each storage, its length and its raw numbers.
"""

import os
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kerasxai.tools.errors import KerasxaiError

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
_STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    length: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> _Tensor:
    return _Tensor(storage, offset, size, stride)


def _rebuild_parameter(tensor: _Tensor, *_: object) -> _Tensor:
    return tensor


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}


class _RestrictedUnpickler(pickle.Unpickler):
    """Allow ordered dictionaries and torch's tensor rebuilders, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise KerasxaiError(f"expected a pickle of tensors only, got {module}.{name}") from None

    def persistent_load(self, saved: tuple[Any, ...]) -> _Storage:
        kind, dtype, key, _, length, *view = saved
        if kind != "storage" or any(part is not None for part in view):
            raise KerasxaiError(f"expected a whole storage, got {kind!r} with {len(view)} more entries")
        return _Storage(str(key), dtype, int(length))


def _read_storage(file: BinaryIO, storage: _Storage) -> np.ndarray:
    length = int.from_bytes(file.read(8), "little")
    data = file.read(length * storage.dtype.itemsize)
    if length != storage.length or len(data) != length * storage.dtype.itemsize:
        raise KerasxaiError(f"expected a storage of {storage.length} numbers, got the end of the file")
    return np.frombuffer(data, storage.dtype)


def _view(values: np.ndarray, tensor: _Tensor) -> np.ndarray:
    """Return a tensor from its storage; the bounds are checked here, because `as_strided` does not."""
    numbers = (tensor.offset, *tensor.size, *tensor.stride)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    if min(numbers) < 0 or 0 in tensor.size or last >= len(values):
        raise KerasxaiError(f"expected a tensor within its storage of {len(values)} numbers, got one beyond it")
    strides = [step * values.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.size, strides, writeable=False).copy()


def read_torch_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a state dictionary written by `torch.save` before torch 1.6 (or in its legacy format).

    Args:
        path: The `.pth` file.

    Returns:
        The tensors by name, as NumPy arrays.

    Raises:
        KerasxaiError: The file is not of this format, is truncated, or contains anything but tensors.

    Example:
        >>> weights = read_torch_weights("efficientnet-lite0.pth")
        >>> weights["_fc.weight"].shape
        (1000, 1280)
    """
    with Path(path).open("rb") as file:
        try:
            magic, protocol, _, tensors, order = (_RestrictedUnpickler(file).load() for _ in range(5))
            if magic != MAGIC or protocol != PROTOCOL:
                raise KerasxaiError(f"expected torch's legacy format, got magic number {magic} and protocol {protocol}")
            storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
            values = {key: _read_storage(file, storages[key]) for key in order}
            return {name: _view(values[tensor.storage.key], tensor) for name, tensor in tensors.items()}
        except KerasxaiError as error:
            raise KerasxaiError(f"cannot read {path}: {error}") from None
        except (pickle.UnpicklingError, EOFError, TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
            raise KerasxaiError(f"cannot read {path} as torch weights: {error}") from error
