"""Any TensorFlow Datasets builder as a source of samples; features are found by their types."""

import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from numpy.typing import NDArray

from kerasxai.data import masks
from kerasxai.data.boxes import BoxLookup
from kerasxai.data.class_masks import ClassMasks
from kerasxai.data.information import DatasetInfo, Part
from kerasxai.data.multi_label import class_mask_of, multi_hot, object_boxes
from kerasxai.data.preparing import make_builder, name_splits, prepare, quiet, row_of
from kerasxai.data.tfds_features import Features, find_features
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import StrPath
from kerasxai.tools.lazy import resolve

_NAMES = 256
"""So many images of each split are compared with the names of class masks: in VOC 2012 every fourth one has a mask."""
Example = Mapping[str, Any]
"""What TFDS reads of one image; in a sequence of objects there are dicts again."""


class TfdsSource:
    """Samples of a TensorFlow Datasets builder.

    If the class labels are those of several objects in an image, the label is the class of the object with the largest
    box, and boxes and masks are those of all objects of that class. Crowds, which are boxes around many objects at
    once, are left out, and so are images without objects. With several labels an image, crowds count as labels and not
    as boxes, and images without objects have labels of 0.

    Args:
        name: A TFDS name.
        data_dir: Where TFDS keeps its data.
        boxes_file: Boxes by the images' file names, in place of those of the data set.
        labels: A name in `kerasxai.data.information.READINGS`.
        class_masks: A folder of class masks by the images' file names, in place of those of the data set.
    """

    is_sorted = False

    def __init__(
        self,
        name: str,
        data_dir: StrPath | None = None,
        boxes_file: StrPath | None = None,
        labels: str = "auto",
        class_masks: StrPath | None = None,
    ) -> None:
        labels = "multi" if class_masks is not None and labels == "auto" else labels
        row = row_of(name)
        self.builder = make_builder(name, row, data_dir)
        # "voc" means "voc/2007" to TFDS, and has that row.
        config = getattr(self.builder, "builder_config", None)
        self.row = row_of(f"{self.builder.name}/{config.name}") if config and row.builder is None else row
        self.features = find_features(name, self.builder.info.features, self.row, labels)
        self.boxes = None if boxes_file is None else self._joined(name, boxes_file)
        self.class_masks = None if class_masks is None else self._joined_masks(name, class_masks)
        prepare(self.builder, name)
        self.splits = name_splits(tuple(self.builder.info.splits), self.row)
        nested_labels = self.features.multi and self.features.nested
        self.info = DatasetInfo(
            name=name,
            class_names=self.features.class_names,
            splits={split: self.count(expression) for split, expression in self.splits.items()},
            # The mask of all objects of one class has a box; of several objects the data must have boxes.
            has_boxes=any((self.features.boxes, self.boxes, self.features.mask and not nested_labels)),
            has_masks=self.features.mask is not None and not self.features.multi,
            has_parts=self.features.parts is not None,
            feature_stride=self.row.feature_stride,
            image_size=self.row.image_size,
            summary=self.row.summary,
            citation=self.row.citation or self.builder.info.citation.strip(),
            augment=self.row.augment,
            multi_label=self.features.multi,
            has_class_masks=self.features.multi
            and any((self.features.mask, self.features.class_mask, self.class_masks)),
        )
        if self.class_masks is not None:
            self.class_masks.check_names(itertools.chain.from_iterable(map(self._first_names, self.splits)))

    def _first_names(self, split: str) -> list[str]:
        """Return the file names of the first images of a split, without decoding the images."""
        assert self.features.name is not None
        only = tfds.decode.PartialDecoding({self.features.name: True})
        with quiet():
            dataset = self.builder.as_dataset(split=self.expression(split), decoders=only, shuffle_files=False)
        names = dataset.take(_NAMES).map(lambda example: example[self.features.name]).as_numpy_iterator()
        return [os.fsdecode(name) for name in names]

    def _joined_masks(self, name: str, folder: StrPath) -> ClassMasks:
        if not self.features.multi:
            raise KerasxaiError(f"labels must be 'multi' or 'auto' with class_masks, got 'single' for {name}")
        if self.features.name is None:
            raise KerasxaiError(
                f"expected a data set with the names of its image files to join class masks by, got {name}, which has "
                "no names; omit the class masks"
            )
        return ClassMasks(folder, len(self.features.class_names))

    def _joined(self, name: str, boxes_file: StrPath) -> BoxLookup:
        if self.features.name is None:
            raise KerasxaiError(
                f"expected a data set with the names of its image files to join a file of boxes by, got {name}, which "
                "has no names; omit the file of boxes"
            )
        if self.features.nested:
            raise KerasxaiError(
                f"expected a data set with one class for each image to join a file of boxes to, got {name}, whose "
                "classes are those of its own boxes; omit the file of boxes"
            )
        return BoxLookup(boxes_file, self.features.class_names)

    def count(self, expression: str) -> int:
        """Return the number of samples of a TFDS split expression."""
        return int(self.builder.info.splits[expression].num_examples)

    def expression(self, split: str) -> str:
        """Return the TFDS split expression for a split's name or expression."""
        if split in self.splits:
            return self.splits[split]
        known = self.builder.info.splits
        if known and split.split("[")[0].split("+")[0] not in known:
            raise unknown(f"split of {self.info.name}", split, self.splits)
        return split

    def samples(
        self, split: str, annotations: bool, mix: int | None = None, part: Part | None = None
    ) -> tf.data.Dataset:
        """Return the samples of a split; see `kerasxai.data.information.Source`."""
        if isinstance(part, list):
            raise KerasxaiError("expected the first position and the one after the last for TFDS, got single positions")
        found = self.features
        expression = self.expression(split)
        leaves_out = found.nested and not found.multi
        # Whether TFDS can skip samples without decoding them: not in a part of a split, nor where some are left out.
        sliced = part is not None and not leaves_out and not set("[+") & set(expression)
        if part is not None and sliced:
            expression = f"{expression}[{part[0]}:{part[1]}]"
        # TFDS decodes only the features of this tree.
        needed = {found.image, found.label, found.name}
        if found.multi:
            needed.add(found.difficult)
        if annotations or (found.nested and not found.multi):
            needed |= {found.boxes, found.crowds}
        if annotations:
            needed |= {found.mask, found.class_mask}
        tree: dict[str, Any] = {}
        for path in filter(None, needed):
            first, _, rest = path.partition("/") if path not in self.builder.info.features else (path, "", "")
            tree[first] = True if not rest else {**tree.get(first, {}), rest: True}
        try:
            with quiet():
                dataset = self.builder.as_dataset(
                    split=expression, decoders=tfds.decode.PartialDecoding(tree), shuffle_files=False
                )
        except ValueError as error:
            raise KerasxaiError(f"cannot read the split {split!r} of {self.info.name}: {error}") from error
        mask_reader = self._mask_reader
        if leaves_out:
            dataset = dataset.filter(lambda example: tf.reduce_any(_single(example, found)))

        def sample(index: tf.Tensor, example: Example) -> dict[str, tf.Tensor]:
            if found.multi:
                return self._multi_sample(index, example, annotations, split)
            adapted = adapt(index, example, found, mask_reader, annotations, split)
            if self.boxes is not None and annotations:
                adapted["boxes"] = self.boxes.find(adapted["name"], adapted["image"], adapted["label"])
            return adapted

        if part is not None and not sliced:
            dataset = dataset.skip(part[0]).take(part[1] - part[0])
        return dataset.enumerate(0 if part is None else part[0]).map(sample, num_parallel_calls=tf.data.AUTOTUNE)

    def _multi_sample(self, index: tf.Tensor, example: Example, annotations: bool, split: str) -> dict[str, tf.Tensor]:
        """Convert a TFDS example to a sample with `labels`."""
        found = self.features
        image, numbers = to_rgb(_at(example, found.image)), _at(example, found.label)
        difficult = tf.cast(_at(example, found.difficult), tf.bool) if found.difficult else None
        sample = {
            "index": index,
            "image": image,
            "labels": multi_hot(numbers, len(found.class_names), difficult),
            "name": _name(index, example, found, split),
        }
        if not annotations:
            return sample
        crowds = None if found.crowds is None else ~_single(example, found)
        if self.boxes is not None:
            boxes, labels = self.boxes.find_labeled(sample["name"], image)
            # Categories that are no class of the data have a number after the last class.
            sample |= object_boxes(boxes, labels, None, labels >= len(found.class_names))
        elif found.boxes:
            boxes = to_xyxy(_at(example, found.boxes), found.box_format, image)
            sample |= object_boxes(boxes, numbers, difficult, crowds)
        objects = None
        if found.mask:
            mask = _at(example, found.mask)[..., 0]
            objects = mask > 0 if found.nested else self._mask_reader(tf.cast(mask, tf.uint8))
            if not found.nested and "boxes" not in sample:
                sample |= object_boxes(masks.box(objects), numbers, None, None)
        if self.class_masks is not None:
            sample["class_mask"] = self.class_masks.find(sample["name"], image)
        elif found.class_mask:
            stored = tf.cast(_at(example, found.class_mask)[..., 0], tf.uint8)
            sample["class_mask"] = tf.where(stored == 255, stored, stored + found.class_mask_offset)
        elif objects is not None:
            sample["class_mask"] = class_mask_of(objects, numbers, crowds)
        return sample

    @property
    def _mask_reader(self) -> Callable[[tf.Tensor], tf.Tensor]:
        if self.row.mask:
            return resolve(self.row.mask)
        return masks.labeled if self.features.labeled_mask else masks.nonzero

    def labels(self, split: str, most: int | None = None) -> NDArray[np.int64] | NDArray[np.float32]:
        """Return the labels of a split; see `kerasxai.data.information.Source`."""
        # TensorFlow prunes no work inside of a map: the images are read too.
        samples = self.samples(split, annotations=False)
        key = "labels" if self.features.multi else "label"
        labels = samples.map(lambda sample: sample[key], num_parallel_calls=tf.data.AUTOTUNE)
        found = list(labels.take(-1 if most is None else most).as_numpy_iterator())
        if self.features.multi:
            return np.array(found, np.float32).reshape(len(found), len(self.features.class_names))
        return np.array(found, np.int64)

    def unreadable(self, split: str) -> dict[Path, str]:
        """Return nothing: TFDS read all images when it prepared them."""
        return {}


def _at(example: Example, path: str) -> tf.Tensor:
    if path in example:
        return example[path]
    first, _, rest = path.partition("/")
    return example[first][rest]


def _single(example: Example, found: Features) -> tf.Tensor:
    """Return for each object in a sequence whether it is a single one and no crowd."""
    if found.crowds is None:
        return tf.ones_like(_at(example, found.label), tf.bool)
    return tf.cast(_at(example, found.crowds), tf.int32) <= 0


def _name(index: tf.Tensor, example: Example, found: Features, split: str) -> tf.Tensor:
    """Return the name of an image: its file name where there is one, else the split and the index."""
    return _at(example, found.name) if found.name else tf.strings.format(f"{split}-{{}}", index)


def to_rgb(image: tf.Tensor) -> tf.Tensor:
    """Return an image of 1, 3 or 4 channels, of 8 or 16 bits, as uint8 `(h, w, 3)`; transparency becomes white."""
    if image.dtype == tf.uint16:
        image = (tf.cast(image, tf.int32) + 128) // 257
    elif image.dtype.is_floating:
        raise KerasxaiError("expected images of uint8 or uint16, got floating numbers, whose range is unknown")
    channels = image.shape[-1]
    if channels == 4:
        alpha = tf.cast(image[..., 3:], tf.float32) / 255.0
        blended = tf.cast(image[..., :3], tf.float32) * alpha + 255.0 * (1.0 - alpha)
        return tf.cast(tf.round(blended), tf.uint8)
    image = tf.cast(image, tf.uint8)
    return tf.repeat(image, 3, axis=-1) if channels == 1 else image


def to_xyxy(boxes: tf.Tensor, box_format: str, image: tf.Tensor) -> tf.Tensor:
    """Return boxes of a TFDS format as `(k, 4)` relative xyxy, clipped at the border of the image."""
    boxes = tf.reshape(boxes, (-1, 4))
    if box_format.endswith("YXYX"):
        boxes = tf.gather(boxes, [1, 0, 3, 2], axis=1)
    elif box_format.endswith("XYWH"):
        boxes = tf.concat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    if not box_format.startswith("REL_"):
        size = tf.cast(tf.shape(image)[1::-1], tf.float32)
        boxes = boxes / tf.concat([size, size], axis=0)
    return tf.clip_by_value(boxes, 0.0, 1.0)


def without_empty(boxes: tf.Tensor) -> tf.Tensor:
    """Return those of `(k, 4)` relative xyxy that have an area."""
    return tf.boolean_mask(boxes, tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1))


def adapt(
    index: tf.Tensor,
    example: Example,
    found: Features,
    mask_reader: Callable[[tf.Tensor], tf.Tensor],
    annotations: bool,
    split: str,
) -> dict[str, tf.Tensor]:
    """Convert a TFDS example to a sample as `kerasxai.data.load` returns it, with `index`."""
    image = to_rgb(_at(example, found.image))
    label = _at(example, found.label)
    boxes = None
    if found.boxes and (annotations or found.nested):
        boxes = to_xyxy(_at(example, found.boxes), found.box_format, image)
    # Before objects are merged, a mask may have one channel for each.
    mask = _at(example, found.mask) if found.mask and annotations else None
    if found.nested and boxes is not None:
        single = _single(example, found)
        area = tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        largest = label[tf.argmax(tf.where(single, area, -1.0))]
        same = single & (label == largest)
        boxes = tf.boolean_mask(boxes, same)
        mask = None if mask is None else tf.reduce_max(tf.boolean_mask(mask, same), axis=0)
        label = largest
    name = _name(index, example, found, split)
    sample = {"index": index, "image": image, "label": tf.cast(label, tf.int64), "name": name}
    if mask is not None:
        mask = tf.cast(mask[..., 0], tf.uint8)
        sample["mask"] = mask_reader(mask)
        if found.parts:
            sample["part_mask"] = mask
    if annotations and boxes is not None:
        sample["boxes"] = without_empty(boxes)
    elif mask is not None:
        sample["boxes"] = masks.box(sample["mask"])
    return sample
