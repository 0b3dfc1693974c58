"""Photographed objects and scenes in packages that anybody can install: where they are, and how they are read."""

import importlib.util
import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks.photograph_classes import class_of
from kerasxai.tools.errors import KerasxaiError

STAMPS = Path("/usr/share/tuxpaint/stamps")
STAMPS_PACKAGE = "tuxpaint-stamps-default"
_SPECK = 0.01
"""Connected parts of a stamp below this share of it are dirt, which would make the box too large."""
_SCENE_SIDE = 1200
_CACHED = 48
"""As many scenes are kept in memory; a part has fewer."""


@dataclass(frozen=True)
class Package:
    """Scenes of a package.

    Attributes:
        name: Of the package.
        root: The folder of its files, absolute for a Debian package, inside of the module for a Python package; of
            GCompris the folder of archives.
        files: Below the root; of GCompris `archive:end of the name`.
        module: The importable name of a Python package; empty for a Debian package.
    """

    name: str
    root: str
    files: tuple[str, ...]
    module: str = ""


class Cutout(NamedTuple):
    """A photographed object: a PNG with alpha."""

    name: str
    class_name: str
    path: Path

    def read(self) -> NDArray[np.uint8]:
        """Return the object as RGBA without specks, cut to its extents."""
        pixels = np.array(Image.open(self.path).convert("RGBA"))
        parts, count = ndimage.label(pixels[..., 3] > 127)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        kept = np.isin(parts, 1 + np.flatnonzero(sizes[1:] >= _SPECK * sizes[1:].sum()))
        # The soft edge around what is kept stays.
        pixels[..., 3] *= ndimage.binary_dilation(kept, iterations=2)
        rows, columns = (np.flatnonzero(kept.any(axis)) for axis in (1, 0))
        return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


class Scene(NamedTuple):
    """A photograph to put objects on: a file, or a file of an archive of GCompris."""

    name: str
    path: Path
    entry: str = ""

    def read(self) -> Image.Image:
        """Return the photograph, at most 1200 pixels wide and high."""
        return _read_scene(self)


@lru_cache(maxsize=_CACHED)
def _read_scene(scene: Scene) -> Image.Image:
    file: Path | io.BytesIO = scene.path
    if scene.entry:
        file = io.BytesIO(next(data for name, data in entries(scene.path) if name.endswith(scene.entry)))
    with Image.open(file) as image:
        picture = image.convert("RGB")
    picture.thumbnail((_SCENE_SIDE, _SCENE_SIDE), Image.Resampling.LANCZOS)
    return picture


def find_cutouts(root: Path = STAMPS) -> list[Cutout]:
    """Return the photographed stamps, by name.

    Raises:
        KerasxaiError: They are not installed.
    """
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    found = [Cutout(name, own, root / name) for name in names if (own := class_of(name))]
    if not found:
        raise KerasxaiError(f"expected stamps in {root}, got none; run: apt-get install {STAMPS_PACKAGE} tuxpaint-data")
    return found


def find_scenes(packages: Iterable[Package]) -> list[Scene]:
    """Return the scenes of packages, in order.

    Raises:
        KerasxaiError: Files are missing; the message has the commands that install them.
    """
    scenes: list[Scene] = []
    missing: list[str] = []
    debian: list[str] = []
    python: list[str] = []
    for package in packages:
        found = list(_of(package))
        absent = [scene.name for scene in found if not _exists(scene)]
        if absent:
            missing += absent
            (python if package.module else debian).append(package.name)
        scenes += found
    if missing:
        commands = [f"apt-get install {' '.join(debian)}"] * bool(debian)
        commands += [f"pip install {' '.join(python)}"] * bool(python)
        shown = f"{missing[0]} and {len(missing) - 1} others" if len(missing) > 1 else missing[0]
        raise KerasxaiError(f"expected scenes of packages, got no {shown}; run: {' && '.join(commands)}")
    return scenes


def _of(package: Package) -> Iterator[Scene]:
    root = Path(package.root)
    if package.module:
        specification = importlib.util.find_spec(package.module)
        root = Path(specification.origin if specification and specification.origin else package.module).parent / root
    for file in package.files:
        archive, colon, entry = file.partition(":")
        name = f"{package.name}/{file}"
        yield Scene(name, root / f"{archive}.rcc", entry) if colon else Scene(name, root / file)


def _exists(scene: Scene) -> bool:
    if not scene.path.is_file():
        return False
    return not scene.entry or any(name.endswith(scene.entry) for name, _ in entries(scene.path, contents=False))


def entries(path: Path, contents: bool = True) -> Iterator[tuple[str, bytes]]:
    """Return the files of a resource archive of Qt, as `rcc --binary` writes it: a header, then trees of numbers.

    Args:
        path: The archive.
        contents: Whether the files are read, not only their names.

    Raises:
        KerasxaiError: It is no such archive.
    """
    data = path.read_bytes()
    if data[:4] != b"qres":
        raise KerasxaiError(f"expected a resource archive of Qt, got {path}; install it again")
    version, tree, start, names = struct.unpack(">4I", data[4:20])
    # Since version 2 a node ends with the time of the last change.
    size = 22 if version >= 2 else 14
    waiting: list[tuple[int, Sequence[str]]] = [(0, ())]
    while waiting:
        number, parents = waiting.pop(0)
        at, flags, first, second = struct.unpack(">IHII", data[tree + number * size :][:14])
        (length,) = struct.unpack(">H", data[names + at :][:2])
        own = data[names + at + 6 :][: 2 * length].decode("utf-16-be")
        if flags & 2:  # a folder: the count and the number of its first child
            waiting += [(child, (*parents, own)) for child in range(second, second + first)]
            continue
        content = b""
        if contents:
            (length,) = struct.unpack(">I", data[start + second :][:4])
            content = data[start + second + 4 :][:length]
            content = zlib.decompress(content[4:]) if flags & 1 else content
        yield "/".join([*parents, own]), content
