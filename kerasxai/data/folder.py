"""A folder of images as a source of samples: `split/class/image`, `class/image`, or any with `labels.csv`."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.data.boxes import read_boxes, read_labeled_boxes
from kerasxai.data.class_masks import ClassMasks
from kerasxai.data.depth import warn_of_depth
from kerasxai.data.finding import find_images, no_images
from kerasxai.data.images import SUFFIXES, check_image, read_pixels
from kerasxai.data.information import DatasetInfo, Part, check_reading, refuse_unreadable
from kerasxai.data.label_table import ALIASES, SPLITS, read_label_table
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import StrPath
from kerasxai.tools.printable import printable

_SPLITS = frozenset({*SPLITS, *ALIASES})
_SPLIT_SHARE = 0.1


@dataclass(frozen=True, order=True, slots=True)
class _File:
    name: str
    class_name: str


def find_files(root: Path) -> dict[str, list[_File]]:
    """Return the images of each split; the split is "" where class folders lie directly in `root`.

    Raises:
        KerasxaiError: There are no images, or they do not lie as `class/image` or `split/class/image`.
    """
    found = sorted(path.relative_to(root) for path in find_images(root, SUFFIXES))
    if not found:
        raise no_images(root, SUFFIXES)
    depth = len(found[0].parts)
    other = next((path for path in found if len(path.parts) != depth), None)
    if depth not in (2, 3) or other is not None:
        example = found[0] if depth not in (2, 3) or other is None else other
        raise KerasxaiError(
            f"{printable(root)}: images must all be class/image or all split/class/image, got "
            + printable(example)
            + (f" next to {printable(found[0])}" if other is example else "")
        )
    if depth == 2 and {path.parts[0] for path in found} <= _SPLITS:
        raise KerasxaiError(
            f"{printable(root)}: expected images as split/class/image, got no class folders in {found[0].parts[0]}/"
        )
    for path in found:
        if printable(path.parts[-2]) != path.parts[-2]:
            # A class name goes into model files, tables and pictures.
            raise KerasxaiError(
                f"class names must be text without control characters, got the folder {printable(path.parent)} in "
                f"{printable(root)}; rename it"
            )
    files: dict[str, list[_File]] = {}
    for path in found:
        split = "" if depth == 2 else ALIASES.get(path.parts[0], path.parts[0])
        files.setdefault(split, []).append(_File(path.as_posix(), path.parts[-2]))
    return files


def hold_out(files: Sequence[_File], share: float, seed: int) -> tuple[list[_File], list[_File]]:
    """Split files class by class into a large and a small part: a share of each class, at least one image.

    Classes of a single image are not split.
    """
    large: list[_File] = []
    small: list[_File] = []
    for index, class_name in enumerate(sorted({file.class_name for file in files})):
        own = sorted(file for file in files if file.class_name == class_name)
        count = max(1, round(share * len(own))) if len(own) > 1 else 0
        order = np.random.default_rng([seed, index]).permutation(len(own))
        small += [own[position] for position in order[:count]]
        large += [own[position] for position in order[count:]]
    return sorted(large), sorted(small)


def name_splits(files: dict[str, list[_File]], seed: int) -> dict[str, list[_File]]:
    """Return the splits train, validation and test, as far as the folder allows.

    Without split folders, or with a training folder alone, a tenth is held out to validate and a tenth to test; with
    training and test folders, a tenth of the training images is held out to validate.
    """
    splits = {("train" if name == "" else name): found for name, found in files.items()}
    if set(splits) == {"train"}:
        splits["train"], splits["test"] = hold_out(splits["train"], _SPLIT_SHARE, seed)
    if "train" in splits and "validation" not in splits:
        share = _SPLIT_SHARE / (1.0 - _SPLIT_SHARE) if set(files) <= {"", "train"} else _SPLIT_SHARE
        splits["train"], splits["validation"] = hold_out(splits["train"], share, seed + 1)
    return splits


def drawn_split(given: set[str], seed: int, place: str = "folders") -> str:
    """Return how validation or test images were drawn at random; "" if all splits are given.

    Args:
        given: The splits of the folder; without any, all images are of `train`.
        seed: As for `name_splits`.
        place: Where the user names the split of an image.

    Example:
        >>> drawn_split({"train", "validation"}, 0)
        ''
    """
    if "train" not in given or "validation" in given:
        return ""
    names, shares = ("train/, validation/ and test/", "80/10/10") if given == {"train"} else ("validation/", "90/10")
    how = f"put them into {names} folders" if place == "folders" else f"name them in {place}"
    return f"drawn at random with seed {seed} ({shares}; {how} to choose yourself)"


_checked: dict[Path, tuple[int, int, str | None]] = {}
"""Size, time of the last change and problem of each file that was checked, since a command opens its data often."""


def _problem(path: Path) -> str | None:
    status = path.stat()
    stamp = (status.st_size, status.st_mtime_ns)
    known = _checked.get(path)
    if known is None or known[:2] != stamp:
        known = _checked[path] = (*stamp, check_image(path))
    return known[2]


class FolderSource:
    """Samples of a folder of images.

    Args:
        root: The folder.
        boxes_csv: See `kerasxai.data.boxes.read_boxes`.
        seed: Of the split.
        skip_unreadable: Whether images that cannot be read are left out of the samples; if not, they are an error.
        labels: A name in `kerasxai.data.information.READINGS`.
        class_masks: A folder of class masks by the names of the images.
    """

    is_sorted = True

    def __init__(
        self,
        root: Path,
        boxes_csv: StrPath | None = None,
        seed: int = 0,
        skip_unreadable: bool = False,
        labels: str = "auto",
        class_masks: StrPath | None = None,
    ) -> None:
        self.table = read_label_table(root)
        files = find_files(root) if self.table is None else {}
        self.multi = self._reads_several(check_reading(labels), class_masks is not None)
        self.root = root
        self._has_warned = False
        self.skip_unreadable = skip_unreadable
        if self.table is not None:
            self.class_names = self.table.class_names
            given = {split or "train" for split in self.table.splits.values()}
            listed = self.table.names_by_split(seed)
            self.splits = {split: [_File(name, "") for name in found] for split, found in listed.items()}
        else:
            self.class_names = tuple(sorted({file.class_name for found in files.values() for file in found}))
            given = {split or "train" for split in files}
            self.splits = name_splits(files, seed)
        if len(self.class_names) < 2:
            raise KerasxaiError(
                f"expected two or more classes, got one ({self.class_names[0]}) in the folder {printable(root)}"
            )
        names = [file.name for found in self.splits.values() for file in found]
        self.boxes = None if boxes_csv is None else self._read_boxes(boxes_csv, names)
        self.class_masks = None
        if class_masks is not None:
            self.class_masks = ClassMasks(class_masks, len(self.class_names), root, names)
        self.info = DatasetInfo(
            name=os.fspath(root),
            class_names=self.class_names,
            splits={split: len(found) for split, found in self.splits.items()},
            has_boxes=self.boxes is not None,
            has_masks=False,
            summary=f"a folder of images of {len(self.class_names)} classes",
            multi_label=self.multi,
            has_class_masks=self.class_masks is not None,
            drawn_split=drawn_split(given, seed, "folders" if self.table is None else "the column split"),
        )

    def _reads_several(self, labels: str, has_class_masks: bool) -> bool:
        """Return whether several labels an image are read."""
        has_several = self.table is not None and self.table.has_several
        if labels == "auto":
            return has_several or has_class_masks
        if labels == "single" and (has_several or has_class_masks):
            why = "class_masks" if has_class_masks else "images that have not exactly one label"
            raise KerasxaiError(f"labels must be 'multi' or 'auto' with {why}, got 'single'")
        return labels == "multi"

    def _read_boxes(self, path: StrPath, names: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """Return the boxes of images, `(k, 4)`; of several labels an image `(k, 6)`, with class and difficult flag."""
        if self.table is None and not self.multi:
            return read_boxes(path, self.root, names)
        rows = {file.name: row for file, row in zip(*self._all_rows(), strict=True)}
        boxes = read_labeled_boxes(path, self.root, rows, self.class_names)
        return boxes if self.multi else {name: found[:, :4] for name, found in boxes.items()}

    def _all_rows(self) -> tuple[list[_File], NDArray[np.float32]]:
        files = [file for found in self.splits.values() for file in found]
        return files, self._rows_of(files)

    def _rows_of(self, files: Sequence[_File]) -> NDArray[np.float32]:
        """Return the labels of all classes, `(N, C)`."""
        if self.table is not None:
            return np.stack([self.table.rows[file.name] for file in files])
        number_of = {name: number for number, name in enumerate(self.class_names)}
        return np.eye(len(self.class_names), dtype=np.float32)[[number_of[file.class_name] for file in files]]

    def unreadable(self, split: str) -> dict[Path, str]:
        """Return the images of a split that cannot be read, and why."""
        if split not in self.splits:
            raise unknown(f"split of {self.root}", split, self.splits)
        return self._unreadable(self.splits[split])

    def _unreadable(self, files: Sequence[_File]) -> dict[Path, str]:
        paths = [self.root / file.name for file in files]
        with ThreadPoolExecutor() as pool:
            problems = list(pool.map(_problem, paths))
        return {path: problem for path, problem in zip(paths, problems, strict=True) if problem is not None}

    def _files(self, split: str, part: Part | None = None) -> list[_File]:
        """Return the files of a split, or of a part of it, that are read."""
        if split not in self.splits:
            raise unknown(f"split of {self.root}", split, self.splits)
        if not self.splits[split]:
            raise KerasxaiError(
                f"expected images in the split {split!r} of {printable(self.root)}, got none; a tenth of each class is "
                "held out to validate and a tenth to test, which takes three images of at least one class"
            )
        listed = self.splits[split]
        if part is not None:
            listed = listed[slice(*part)] if isinstance(part, tuple) else [listed[position] for position in part]
        broken = self._unreadable(listed)
        if not self.skip_unreadable:
            refuse_unreadable(broken)
            return listed
        files = [file for file in listed if self.root / file.name not in broken]
        if not files:
            raise KerasxaiError(
                f"expected images that can be read in the split {split!r} of {printable(self.root)}, got {len(broken)} "
                "that cannot; replace them"
            )
        return files

    def labels(self, split: str, most: int | None = None) -> NDArray[np.int64] | NDArray[np.float32]:
        """Return the labels of a split, without reading its images; see `kerasxai.data.information.Source`."""
        return self._labels_of(self._files(split))

    def _labels_of(self, files: Sequence[_File]) -> NDArray[np.int64] | NDArray[np.float32]:
        rows = self._rows_of(files)
        return rows if self.multi else rows.argmax(1)

    def samples(
        self, split: str, annotations: bool, mix: int | None = None, part: Part | None = None
    ) -> tf.data.Dataset:
        """Return the samples of a split; see `kerasxai.data.information.Source`."""
        files = self._files(split, part)
        columns = {
            "index": self._indices(split, part, files),
            # As bytes, because TensorFlow takes no text that is not UTF-8.
            "name": [os.fsencode(file.name) for file in files],
            "labels" if self.multi else "label": self._labels_of(files),
        }
        dataset = tf.data.Dataset.from_tensor_slices(columns)
        if annotations and self.boxes is not None:
            width = 6 if self.multi else 4
            empty = np.zeros((0, width), np.float32)
            boxes = tf.ragged.stack([self.boxes.get(file.name, empty) for file in files])
            listed = tf.data.Dataset.from_tensor_slices(boxes).map(lambda one: tf.reshape(one.flat_values, (-1, width)))
            dataset = tf.data.Dataset.zip((dataset, listed)).map(lambda sample, found: {**sample, "boxes": found})
        if mix is not None:
            dataset = dataset.shuffle(len(files), seed=mix, reshuffle_each_iteration=True)
        dataset = dataset.map(self._with_image, num_parallel_calls=tf.data.AUTOTUNE)
        return dataset.map(self._with_class_annotations) if annotations and self.multi else dataset

    def _indices(self, split: str, part: Part | None, files: Sequence[_File]) -> NDArray[np.int64]:
        """Return the numbers of samples: of single positions these, also where files between them are left out."""
        if not isinstance(part, list):
            return np.arange(len(files)) + (0 if part is None else part[0])
        listed = self.splits[split]
        read = {file.name for file in files}
        return np.array([position for position in part if listed[position].name in read], np.int64)

    def _with_class_annotations(self, sample: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        if "boxes" in sample:
            boxes = tf.ensure_shape(sample["boxes"], (None, 6))
            sample = {**sample, "boxes": boxes[:, :4], "box_labels": tf.cast(boxes[:, 4], tf.int64)}
            sample["box_difficult"] = boxes[:, 5] > 0
        if self.class_masks is not None:
            sample["class_mask"] = self.class_masks.find(sample["name"], sample["image"])
        return sample

    def _warn_once(self, message: str) -> None:
        """Warn of the first image that is read nearly black: thousands may be alike."""
        if not self._has_warned:
            self._has_warned = True
            warn_of_depth(message)

    def _with_image(self, sample: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        def read(name: bytes) -> np.ndarray:
            return read_pixels(self.root / os.fsdecode(name), 3, None, None, self._warn_once)

        image = tf.ensure_shape(tf.numpy_function(read, [sample["name"]], tf.uint8, stateful=False), (None, None, 3))
        return {**sample, "image": image}
