"""Photographs that are installed with kerasxai, for first steps and for documentation."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerasxai.data.images import read_image
from kerasxai.tools.errors import unknown

PREFIX = "example:"
"""Functions and commands that read image files take `example:cat` in place of a file."""


@dataclass(frozen=True)
class ExampleRow:
    """A photograph of `EXAMPLES`.

    Attributes:
        summary: The content of the photograph.
        author: The photographer or publisher.
        license: The license; all photographs may be used freely.
        source: The place of publication.
    """

    summary: str
    author: str
    license: str
    source: str


_SCIKIT_IMAGE = "scikit-image, skimage.data."
EXAMPLES = {
    "cat": ExampleRow("The head of a tabby cat.", "Stefan van der Walt", "CC0", f"{_SCIKIT_IMAGE}chelsea"),
    "coffee": ExampleRow("A cup of coffee.", "Rachel Michetti, Pikolo Espresso Bar", "CC0", f"{_SCIKIT_IMAGE}coffee"),
    "astronaut": ExampleRow(
        "The astronaut Eileen Collins.", "NASA", "public domain", f"{_SCIKIT_IMAGE}astronaut, https://flic.kr/p/r9qvLn"
    ),
    "rocket": ExampleRow(
        "The launch of a Falcon 9.",
        "SpaceX",
        "public domain",
        f"{_SCIKIT_IMAGE}rocket, https://www.flickr.com/photos/spacexphotos/16511594820",
    ),
}
"""The photographs by name, with their sources and licenses."""


def example(name: str) -> NDArray[np.uint8]:
    """Read a photograph that is installed with kerasxai.

    Args:
        name: A name in `kerasxai.data.EXAMPLES`: `"cat"`, `"coffee"`, `"astronaut"` or `"rocket"`.

    Returns:
        `(H, W, 3)` uint8, RGB.

    Raises:
        KerasxaiError: There is no photograph of that name.

    Example:
        >>> kerasxai.data.example("cat").shape
        (300, 451, 3)
    """
    return read_image(_file(name))


def example_or_file(path: str | os.PathLike[str]) -> Path:
    """Return the file of an installed photograph for `example:NAME`, and any other path unchanged.

    Args:
        path: The path of a file, of a folder, or `example:NAME`. A file of that name has precedence.

    Raises:
        KerasxaiError: There is no photograph of that name.
    """
    text = os.fspath(path)
    if not text.startswith(PREFIX) or os.path.lexists(text):
        return Path(text)
    return _file(text.removeprefix(PREFIX))


def shown_path(path: str | os.PathLike[str]) -> str:
    """Return `example:NAME` for the file of an installed photograph, and any other path as text.

    Args:
        path: The path of a file.

    Example:
        >>> shown_path(example_or_file("example:cat"))
        'example:cat'
    """
    file = Path(path)
    is_installed = file.parent == Path(__file__).parent and file.stem in EXAMPLES
    return f"{PREFIX}{file.stem}" if is_installed else os.fspath(path)


def _file(name: str) -> Path:
    if name not in EXAMPLES:
        raise unknown("example", name, EXAMPLES)
    return Path(__file__).with_name(f"{name}.jpg")
