"""Torch's weight files without torch: what they hold is read, and what they ask for beyond tensors is refused."""

import pickle
import struct
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasxai.models.torch_weights import MAGIC, PROTOCOL, read_torch_weights
from kerasxai.tools.errors import KerasxaiError


class _Storage:
    """Stands for torch's storage type in a pickle that is written without torch."""


class _Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class _Pickler(pickle.Pickler):
    def __init__(self, file: Any, length: int) -> None:
        super().__init__(file, protocol=2)
        self.length = length

    def persistent_id(self, obj: Any) -> Any:
        return ("storage", _FloatStorage, "7", "cpu", self.length, None) if isinstance(obj, _Storage) else None


class _FloatStorage:
    pass


def _rebuild_tensor_v2() -> None:
    """Its name alone is written."""


# Written by name, so that the file asks for torch's own.
_FloatStorage.__module__, _FloatStorage.__qualname__, _FloatStorage.__name__ = "torch", "FloatStorage", "FloatStorage"
_rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"


def write_torch_file(path: Path, monkeypatch: pytest.MonkeyPatch, tensor: Any, values: np.ndarray) -> Path:
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage, utils._rebuild_tensor_v2 = _FloatStorage, _rebuild_tensor_v2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    with path.open("wb") as file:
        parts: tuple[Any, ...] = (MAGIC, PROTOCOL, {})
        for part in parts:
            pickle.dump(part, file, protocol=2)
        _Pickler(file, len(values)).dump(OrderedDict(weight=tensor))
        pickle.dump(["7"], file, protocol=2)
        file.write(struct.pack("<q", len(values)) + values.astype("<f4").tobytes())
    return path


def tensor(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> _Call:
    return _Call(_rebuild_tensor_v2, _Storage(), offset, size, stride, False, OrderedDict())


def test_torch_file_gives_strided_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(10.0)
    path = write_torch_file(tmp_path / "x.pth", monkeypatch, tensor(2, (2, 3), (1, 2)), values)
    np.testing.assert_array_equal(read_torch_weights(path)["weight"], values[2:8].reshape(3, 2).T)


@pytest.mark.parametrize(
    "place", [(0, (11,), (1,)), (9, (2,), (1,)), (0, (2, 6), (6, 1)), (-1, (1,), (1,)), (0, (2,), (-1,))]
)
def test_torch_tensor_outside_its_storage_is_refused(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_torch_file(tmp_path / "x.pth", monkeypatch, tensor(*place), np.arange(10.0))
    with pytest.raises(KerasxaiError, match="within its storage"):
        read_torch_weights(path)


def test_malicious_pickle_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = tmp_path / "ran"
    call = _Call(Path.touch, evidence)
    path = write_torch_file(tmp_path / "x.pth", monkeypatch, call, np.arange(10.0))
    pickle.loads(pickle.dumps(call))
    assert evidence.exists(), "the pickle of this test must do harm where nothing is refused"
    evidence.unlink()
    with pytest.raises(KerasxaiError, match="expected a pickle of tensors only"):
        read_torch_weights(path)
    assert not evidence.exists()


def test_torch_file_cut_short_or_of_another_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_torch_file(tmp_path / "x.pth", monkeypatch, tensor(0, (10,), (1,)), np.arange(10.0))
    whole = path.read_bytes()
    for length in (0, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(KerasxaiError, match="cannot read"):
            read_torch_weights(path)
    path.write_bytes(b"PK\x03\x04 no pickle at all")
    with pytest.raises(KerasxaiError, match="cannot read"):
        read_torch_weights(path)
