"""Boxes from a file, for a folder of images or for a data set without boxes."""

import itertools
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.data.box_files.annotations import Annotation, BoxFile, BoxFileWarning, counted
from kerasxai.data.box_files.matching import ImageNames
from kerasxai.data.box_files.reading import read_box_file
from kerasxai.data.finding import folded
from kerasxai.data.images import BROKEN, image_size
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import StrPath
from kerasxai.tools.printable import printable

# Labeling tools round, and let boxes leave the image by a little: in pixels, and as a share of a side.
_PIXELS, _SHARE = 1.0, 0.01


def read_boxes(path: StrPath, root: Path, names: Iterable[str]) -> Mapping[str, NDArray[np.float32]]:
    """Read the boxes of a folder of images from a file, or from a folder of files.

    * CSV with the columns filename, x_min, y_min, x_max, y_max. File names are relative to the folder, with "/" between
      folders. If all numbers of the file are in [0, 1], they are relative to width and height; otherwise they are
      pixels of the upright image, and x_max and y_max are one past the last pixel. Further columns are ignored, and
      columns may also be separated by semicolons or tabs. A file without a header has these five columns in this order.
    * `boxes.csv`, `boxes.json` or the whole folder of `kerasxai localize`.
    * COCO JSON, Pascal VOC XML and YOLO text of labeling tools, see `kerasxai.data.box_files`.

    An image may have several boxes, or none. In all formats but the first, file names are matched by
    `kerasxai.data.box_files.matching.ImageNames`, boxes of files that are not among the images are left out with a
    warning, and where the names of categories are names of the classes, an image keeps only boxes of its own class.

    Args:
        path: The file or folder.
        root: The folder of images.
        names: The images in it, `.../class/image`.

    Returns:
        For each file name that has boxes `(k, 4)` float32 relative xyxy.

    Raises:
        KerasxaiError: With the line or the object where something is wrong: a column or a number is missing, a box has
            no area or leaves the image, fractions and pixels are mixed, a name is that of several images, or of none.
    """
    file, names = read_box_file(path), list(names)
    matched = _exact(file, names) if file.strict else _matched(file, names)
    boxes: dict[str, list[NDArray[np.float32]]] = {}
    for name, box in zip((name for name, _ in matched), _relative(file, matched, root), strict=True):
        boxes.setdefault(name, []).append(box)
    return {name: np.stack(found) for name, found in boxes.items()}


def read_labeled_boxes(
    path: StrPath, root: Path, labels: Mapping[str, NDArray[np.float32]], class_names: Sequence[str]
) -> Mapping[str, NDArray[np.float32]]:
    """Read the boxes of a folder of images with several labels, as `read_boxes` does, with their classes.

    The class of a box is that of its category in the file; where the file has no categories, that of an image with one
    label, and otherwise unknown. Boxes whose category is no class are left out with a warning.

    Args:
        path: As for `read_boxes`.
        root: As for `read_boxes`.
        labels: For each image its labels `(C,)`.
        class_names: The classes.

    Returns:
        For each file name that has boxes `(k, 6)` float32: relative xyxy, the class or -1 if unknown, and 1 for
        objects that the file calls difficult.

    Raises:
        KerasxaiError: As for `read_boxes`.
    """
    file, names = read_box_file(path), list(labels)
    matched = _exact(file, names) if file.strict else _matched(file, names, own_class=False)
    numbers = {_class_key(name): number for number, name in enumerate(class_names)}
    boxes: dict[str, list[NDArray[np.float32]]] = {}
    left_out = Counter[str]()
    for (name, one), box in zip(matched, _relative(file, matched, root), strict=True):
        if one.category is not None and _class_key(one.category) not in numbers:
            left_out[one.category] += 1
            continue
        alone = np.flatnonzero(labels[name] == 1)
        number = int(alone[0]) if len(alone) == 1 else -1
        if one.category is not None:
            number = numbers[_class_key(one.category)]
        boxes.setdefault(name, []).append(np.append(box, [number, one.difficult]).astype(np.float32))
    if left_out:
        warnings.warn(
            f"boxes of {printable(file.path)}: {counted(left_out.total(), 'box', 'boxes')} of a category that is no "
            f"class left out, as {printable(next(iter(left_out)))}",
            BoxFileWarning,
            stacklevel=3,
        )
    return {name: np.stack(found) for name, found in boxes.items()}


def _relative(file: BoxFile, matched: Iterable[tuple[str, Annotation]], root: Path) -> Iterator[NDArray[np.float32]]:
    """Yield the boxes of images relative to width and height."""
    sizes: dict[str, tuple[int, int]] = {}
    for name, annotation in matched:
        if not file.relative and name not in sizes:
            sizes[name] = _size_of(root / name)
        width, height = (1, 1) if file.relative else _frame(annotation, sizes[name])
        yield _fitted(annotation, width, height, file)


def _size_of(path: Path) -> tuple[int, int]:
    try:
        return image_size(path)
    except BROKEN as error:
        raise KerasxaiError(f"cannot read the image {printable(path)}: {error}") from error


def _frame(annotation: Annotation, size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of the image that the pixels of a box refer to: of the file's, or of a scaled copy.

    Raises:
        KerasxaiError: The file of boxes states a size of another aspect.
    """
    stated = annotation.size
    if stated is None or stated == size:
        return size
    # The same aspect, up to the rounding of one pixel.
    if abs(stated[0] * size[1] - stated[1] * size[0]) > max(*stated, *size):
        raise KerasxaiError(
            f"{annotation.place}: expected boxes of an upright image of {size[0]} x {size[1]}, got a size of "
            f"{stated[0]} x {stated[1]}; label the image that is read here"
        )
    return stated


def _fitted(annotation: Annotation, width: int, height: int, file: BoxFile) -> NDArray[np.float32]:
    """Return a box relative to width and height.

    Raises:
        KerasxaiError: It leaves the image, or in files of labeling tools, leaves it by more than rounding explains.
    """
    x0, y0, x1, y1 = annotation.box
    room = 0.0 if file.strict else _SHARE if file.relative else max(_PIXELS, _SHARE * max(width, height))
    if min(x0, y0) < -room or x1 > width + room or y1 > height + room:
        raise KerasxaiError(
            f"{annotation.place}: expected a box inside the image of {width} x {height}, got ({x0:g}, {y0:g}, "
            f"{x1:g}, {y1:g})"
        )
    return np.clip(np.array([x0 / width, y0 / height, x1 / width, y1 / height], np.float32), 0, 1)


def _exact(file: BoxFile, names: Sequence[str]) -> list[tuple[str, Annotation]]:
    known = set(names)
    for annotation in file.annotations:
        if annotation.file_name not in known:
            error = unknown("image", annotation.file_name, sorted(known), most=3)
            message = f"{annotation.place}: {error}"
            raise KerasxaiError(message)
    return [(annotation.file_name, annotation) for annotation in file.annotations]


def _matched(file: BoxFile, names: Sequence[str], own_class: bool = True) -> list[tuple[str, Annotation]]:
    """Return the boxes of images in the folder, and warn of all others.

    Raises:
        KerasxaiError: No file name is that of an image, or one is that of several.
    """
    images = ImageNames(names)
    found = {name: images.find(name, file.by_stem) for name in sorted({one.file_name for one in file.annotations})}
    missing = [name for name, image in found.items() if image is None]
    if len(missing) == len(found):
        one = f"{missing[0]!r}" if missing else "no boxes"
        raise KerasxaiError(
            f"expected boxes of images in the folder in {printable(file.path)}, got "
            f"{'file names of no image: ' if missing else ''}{printable(one)}; the folder has {printable(names[0])}"
        )
    _check_unique(file, found)
    kept = [(image, one) for one in file.annotations if (image := found[one.file_name]) is not None]
    notes = list(file.notes)
    if missing:
        notes.append(f"{len(missing)} of {counted(len(found), 'file name')} match no image, as {printable(missing[0])}")
    if own_class:
        kept = _of_own_class(kept, {PurePosixPath(name).parent.name for name in names}, notes)
    if any(one.score is not None for _, one in kept):
        notes.append("boxes have scores, so they are predictions; figures are agreement with them, not accuracy")
    if notes:
        warnings.warn(f"boxes of {printable(file.path)}: {'; '.join(notes)}", BoxFileWarning, stacklevel=3)
    return kept


def _check_unique(file: BoxFile, found: Mapping[str, str | None]) -> None:
    first: dict[str, str] = {}
    for name, image in found.items():
        if image is not None and first.setdefault(image, name) != name:
            raise KerasxaiError(
                f"expected one file name for the image {printable(image)} in {printable(file.path)}, got "
                f"{printable(first[image])} and {printable(name)}; remove one of them"
            )


def _class_key(name: str) -> str:
    """Return a class name without case, and with spaces for the underscores that files cannot do without."""
    return folded(name).replace("_", " ").strip()


def _of_own_class(
    matched: list[tuple[str, Annotation]], classes: Iterable[str], notes: list[str]
) -> list[tuple[str, Annotation]]:
    """Return the boxes of each image's own class, if the categories of the file are classes of the data."""
    categories = Counter(one.category for _, one in matched)
    known = {_class_key(name) for name in classes}
    if not any(name is not None and _class_key(name) in known for name in categories):
        if len(categories) > 1:
            listed = ", ".join(printable(str(name)) for name in list(categories)[:3])
            notes.append(f"no category ({listed}, ...) is a class of the data, so boxes count whatever their category")
        return matched
    kept = [
        (image, one)
        for image, one in matched
        if one.category is None or _class_key(one.category) == _class_key(PurePosixPath(image).parent.name)
    ]
    if len(kept) < len(matched):
        images = len({image for image, _ in matched} - {image for image, _ in kept})
        notes.append(
            f"{len(matched) - len(kept)} of {counted(len(matched), 'box', 'boxes')} are of another class than the "
            f"image and left out, which leaves {counted(images, 'image')} without a box"
        )
    return kept


def _end(name: str, parts: int) -> str:
    return "/".join(name.split("/")[-parts:])


class BoxLookup:
    """Boxes from a file for a data set without boxes, looked up by the image's file name inside a `tf.data` map.

    The file is as in `read_boxes`, or the `localization.txt` of wsolevaluation. Names are compared from their end, with
    as many folders as make the names of the file unique: TFDS has `ILSVRC2012_val_00000001.JPEG` for what is
    `val/ILSVRC2012_val_00000001.JPEG` elsewhere. Names that the data set does not have are no mistake, since it is read
    split by split. As in `read_boxes`, boxes of another class than the image's are left out where the categories of the
    file are classes of the data.

    Args:
        path: The file.
        class_names: The classes of the data set.

    Raises:
        KerasxaiError: The file cannot be read, or a line is wrong.
    """

    def __init__(self, path: StrPath, class_names: Sequence[str] = ()) -> None:
        file = read_box_file(path)
        self.relative, self.by_stem = file.relative, file.by_stem
        boxes: dict[str, list[Annotation]] = {}
        for one in file.annotations:
            boxes.setdefault(one.file_name, []).append(one)
        if not boxes:
            raise KerasxaiError(f"{printable(file.path)}: expected one or more boxes, got none")
        if file.notes:
            warnings.warn(f"boxes of {printable(file.path)}: {'; '.join(file.notes)}", BoxFileWarning, stacklevel=2)
        self.parts = next(n for n in itertools.count(1) if len({_end(name, n) for name in boxes}) == len(boxes))
        ordered = [one for found in boxes.values() for one in found]
        self.boxes = tf.constant([one.box for one in ordered], tf.float32)
        self.labels = tf.constant(_labels(ordered, class_names), tf.int64)
        # Width and height that the file states; 0 where it states none.
        self.sizes = tf.constant([one.size or (0, 0) for one in ordered], tf.float32)
        # The last entry is that of an image without boxes, which the lookup returns for other names.
        ends = np.cumsum([0, *(len(found) for found in boxes.values()), 0])
        self.ends = tf.constant(ends, tf.int64)
        keys = tf.constant([_end(name, self.parts) for name in boxes])
        numbers = tf.range(len(boxes), dtype=tf.int64)
        self.numbers = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, numbers), len(boxes))

    def find(self, name: tf.Tensor, image: tf.Tensor, label: tf.Tensor | None = None) -> tf.Tensor:
        """Return the boxes `(k, 4)` of an image, see `find_labeled`; `(0, 4)` where the file has none.

        Args:
            name: The image's file name.
            image: `(H, W, 3)`.
            label: The image's class; None keeps boxes of all classes.
        """
        boxes, labels = self.find_labeled(name, image)
        if label is None:
            return boxes
        return tf.boolean_mask(boxes, (labels < 0) | (labels == tf.cast(label, tf.int64)))

    def find_labeled(self, name: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the boxes of an image, `(k, 4)` float32 relative xyxy, and their classes `(k,)`, -1 if unknown.

        Boxes are clipped at the image's border. One that leaves the image by more than a tenth belongs to an image of
        another size; it is not clipped, so that metrics refuse it.

        Args:
            name: The image's file name.
            image: `(H, W, 3)`.

        Returns:
            A class is the number of classes if the category of the file is none of them.
        """
        if self.by_stem:
            name = tf.strings.regex_replace(name, r"\.[^./]*$", "")
        end = tf.strings.reduce_join(tf.strings.split(name, "/")[-self.parts :], separator="/")
        number = self.numbers.lookup(end)
        rows = tf.range(self.ends[number], self.ends[number + 1])
        found = tf.gather(self.boxes, rows)
        if not self.relative:
            size = tf.cast(tf.shape(image)[1::-1], tf.float32)
            stated = tf.gather(self.sizes, rows)
            # A scaled copy of the same image, up to the rounding of one pixel; see `_frame`.
            same = tf.abs(stated[:, 0] * size[1] - stated[:, 1] * size[0]) <= tf.maximum(
                tf.reduce_max(stated, axis=1), tf.reduce_max(size)
            )
            frames = tf.where((same & (stated[:, 0] > 0))[:, None], stated, size)
            found = found / tf.concat([frames, frames], axis=1)
        fits = tf.reduce_all((found > -0.1) & (found < 1.1), axis=1, keepdims=True)
        return tf.where(fits, tf.clip_by_value(found, 0.0, 1.0), found), tf.gather(self.labels, rows)


def _labels(annotations: Iterable[Annotation], class_names: Sequence[str]) -> list[int]:
    """Return the class of each box; -1 for any class, and the number of classes for a category that is none of them."""
    numbers = {_class_key(name): number for number, name in enumerate(class_names)}
    keys = [None if one.category is None else _class_key(one.category) for one in annotations]
    if numbers.keys().isdisjoint(key for key in keys if key is not None):
        return [-1] * len(keys)
    return [-1 if key is None else numbers.get(key, len(class_names)) for key in keys]
