"""The parts of an audit on disk, so that a killed audit continues and a further method costs only its own time."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import atomic_path, json_text, null_for_nan, read_json, write_json

Arrays = dict[str, NDArray[Any]]


class Store:
    """Results by the settings that they depend on.

    Args:
        folder: Where the parts are written; it need not exist. None keeps nothing.
        about: What all parts depend on, ready for JSON: the digests of the model and of the images.

    Attributes:
        made: How many results were made, and not read.

    Example:
        >>> store = Store(None, {})
        >>> store.json("sum", lambda: 1 + 1)
        2
    """

    def __init__(self, folder: Path | None, about: Mapping[str, Any]) -> None:
        self._folder = folder
        self._about = dict(about)
        self.made = 0

    def json(self, key: str, make: Callable[[], Any], **settings: object) -> Any:
        """Return a stored result, or make and store it.

        Args:
            key: What it is, such as `"gradcam/deletion"`.
            make: Returns plain numbers, strings, lists and dicts.
            **settings: What it depends on, ready for JSON.
        """
        path = self._path(key, ".json", settings)
        if path is not None and path.exists():
            try:
                return read_json(path)
            except KerasxaiError:
                pass  # Damaged, perhaps by a full disk: made once more.
        value = null_for_nan(make())
        self.made += 1
        if path is not None:
            write_json(path, value)
        return value

    def arrays(self, key: str, make: Callable[[], Arrays], **settings: object) -> Arrays:
        """Return stored arrays by name, or make and store them; arguments as for `json`."""
        path = self._path(key, ".npz", settings)
        if path is not None and path.exists():
            try:
                with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                    return {name: stored[name] for name in stored.files}
            except (OSError, ValueError, EOFError, zipfile.BadZipFile):
                pass
        value = make()
        self.made += 1
        if path is not None:
            with atomic_path(path) as temporary:
                np.savez(temporary, allow_pickle=False, **value)
        return value

    def _path(self, key: str, suffix: str, settings: Mapping[str, object]) -> Path | None:
        if self._folder is None:
            return None
        described = json_text({"key": key, "settings": settings, "about": self._about})
        digest = hashlib.sha256(described.encode()).hexdigest()[:16]
        return self._folder / f"{re.sub(r'[^a-z0-9+_.=-]+', '_', key.lower())[:80]}-{digest}{suffix}"
