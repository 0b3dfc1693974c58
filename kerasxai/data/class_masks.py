"""Class masks in files: PNGs of class numbers, as VOC's SegmentationClass, joined with images by their names."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from kerasxai.data.finding import find_images, folded
from kerasxai.data.images import BROKEN, image_size
from kerasxai.data.multi_label import IGNORED
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import StrPath
from kerasxai.tools.printable import printable

T = TypeVar("T")

_CHECKED = 64
"""So many masks are read when a folder is opened; the others when they are used."""
_REMEDY = "0 is the background, n the n-th class, 255 ignored"


class ClassMasks:
    """Class masks of images, looked up by the image's file name inside a `tf.data` map.

    The mask of `a/b.jpg` is `a/b.png`, or `b.png` if no other image is named `b`.

    Args:
        folder: The folder of PNGs, with a palette or gray: 0 background, n the n-th class, 255 ignored.
        num_classes: Number of classes.
        root: The folder of images; None if the images are in no folder.
        names: The images in it.

    Raises:
        KerasxaiError: There are no masks, none belongs to an image, or one of those checked has another size than its
            image, is no palette or gray PNG, or has a value above the number of classes.
    """

    def __init__(self, folder: StrPath, num_classes: int, root: Path | None = None, names: Sequence[str] = ()) -> None:
        self.folder, self.num_classes = Path(folder), num_classes
        if not self.folder.is_dir():
            raise KerasxaiError(f"expected a folder of class masks, got {printable(self.folder)}; give one with PNGs")
        files = [path.relative_to(self.folder).as_posix() for path in find_images(self.folder, {".png"})]
        if not files:
            raise KerasxaiError(f"expected class masks as PNG in the folder {printable(self.folder)}, got none")
        self._files = {folded(str(PurePosixPath(file).with_suffix(""))): file for file in files}
        if root is None:
            for name in _spread(files):
                self.read(name)
            return
        self.check_names(names)
        found = [(name, mask) for name in names if (mask := self._find(name)) is not None]
        self._check_unique(found)
        for name, mask in _spread(found):
            try:
                size = image_size(root / name)
            except BROKEN:
                continue  # Images are checked elsewhere.
            self.read(mask, size[::-1])

    def _find(self, name: str) -> str | None:
        """Return the file with the longest end of an image's name, which has no suffix; None if there is none."""
        parts = folded(str(PurePosixPath(name).with_suffix(""))).split("/")
        return next((found for k in range(len(parts)) if (found := self._files.get("/".join(parts[k:])))), None)

    def check_names(self, names: Iterable[str]) -> None:
        """Check that at least one of some images has a mask.

        Raises:
            KerasxaiError: There are images, and none has.
        """
        name = None
        for name in names:
            if self._find(name) is not None:
                return
        if name is None:
            return
        raise KerasxaiError(
            f"expected class masks with the names of images in {printable(self.folder)}, got none: a mask is "
            f"{printable(next(iter(self._files.values())))}, an image {printable(name)}"
        )

    def _check_unique(self, found: Sequence[tuple[str, str]]) -> None:
        first: dict[str, str] = {}
        for name, mask in found:
            if first.setdefault(mask, name) != name:
                raise KerasxaiError(
                    f"expected one image for each class mask, got {printable(first[mask])} and {printable(name)} for "
                    f"{printable(mask)}; put the masks into the folders of the images"
                )

    def read(self, name: str, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Read a mask `(h, w)`.

        Args:
            name: The file, relative to the folder.
            size: Height and width of its image; None for any.

        Raises:
            KerasxaiError: It cannot be read, has another size, or a value that is no class.
        """
        path = self.folder / name
        try:
            with Image.open(path) as opened:
                mode, mask = opened.mode, np.asarray(opened)
        except BROKEN as error:
            raise KerasxaiError(f"cannot read the class mask {printable(path)}: {error}") from error
        if mode not in ("P", "L") or mask.dtype != np.uint8:
            raise KerasxaiError(f"expected a palette or gray PNG as class mask, got {printable(path)} of mode {mode}")
        if size is not None and mask.shape != size:
            raise KerasxaiError(
                f"expected a class mask of the size of its image, {size[1]} x {size[0]}, got {printable(path)} of "
                f"{mask.shape[1]} x {mask.shape[0]}"
            )
        highest = int(mask.max(initial=0, where=mask != IGNORED))
        if highest > self.num_classes:
            raise KerasxaiError(
                f"expected class numbers up to {self.num_classes} in a class mask of {self.num_classes} classes, got "
                f"{highest} in {printable(path)}; {_REMEDY}"
            )
        return mask

    def find(self, name: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """Return the class mask `(h, w)` uint8 of an image; 255 everywhere if it has none.

        Args:
            name: The image's file name.
            image: `(h, w, 3)`.
        """

        def read(name: bytes, size: NDArray[np.int32]) -> NDArray[np.uint8]:
            height, width = map(int, size)
            found = self._find(os.fsdecode(name))
            if found is None:
                return np.full((height, width), IGNORED, np.uint8)
            return self.read(found, (height, width))

        mask = tf.numpy_function(read, [name, tf.shape(image)[:2]], tf.uint8, stateful=False)
        return tf.ensure_shape(mask, (None, None))


def _spread(found: Sequence[T]) -> Sequence[T]:
    return found[:: -(-len(found) // _CHECKED)]
