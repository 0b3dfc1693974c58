"""Any TensorFlow Datasets builder as a source of samples; features are found by their types."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from numpy.typing import NDArray

from kerasxai.data import masks
from kerasxai.data.boxes import BoxLookup
from kerasxai.data.information import DatasetInfo
from kerasxai.data.preparing import make_builder, name_splits, prepare, quiet, row_of
from kerasxai.data.tables import DatasetRow
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import StrPath
from kerasxai.tools.lazy import resolve

Feature: TypeAlias = tfds.features.FeatureConnector
Example = Mapping[str, Any]
"""What TFDS reads of one image; in a sequence of objects there are dicts again."""

_CROWDS = ("is_crowd", "is_group_of")
_NAME_FEATURES = ("file_name", "image/filename", "filename", "image/file_name", "id", "image_id", "image/id")


@dataclass(frozen=True)
class Features:
    """Paths of the features in an example, "/" between an `objects` sequence and what is in it.

    Attributes:
        image: The image.
        label: The class label; in a sequence of objects if it has two steps.
        boxes: The boxes, or None.
        mask: A segmentation mask, or None.
        parts: A mask that numbers the parts of the object, or None.
        crowds: A flag of objects that are groups of objects in one box, or None.
        name: A text with the image's name, or None.
        class_names: The classes of `label`.
        box_format: The TFDS format of `boxes`.
        labeled_mask: Whether `mask` holds class numbers.
    """

    image: str
    label: str
    boxes: str | None
    mask: str | None
    parts: str | None
    crowds: str | None
    name: str | None
    class_names: tuple[str, ...]
    box_format: str
    labeled_mask: bool


def _flat(features: Mapping[str, Feature], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Feature]]:
    """Yield each feature with its path; features in a sequence of dicts have the sequence's name in front."""
    for name, feature in features.items():
        inner = getattr(feature, "feature", None)
        if isinstance(inner, tfds.features.FeaturesDict):
            yield from _flat(inner, (*prefix, name))
        else:
            yield (*prefix, name), feature


def _is_mask(feature: Feature) -> bool:
    return isinstance(feature, tfds.features.Image) and feature.shape[-1] == 1


def _pick(kind: str, name: str, found: Mapping[str, Feature], chosen: str | None, usual: str) -> str | None:
    """Return the path of the feature of a kind: the chosen one, the only one, or the one with the usual name."""
    if chosen is not None:
        return chosen or None
    if len(found) > 1 and usual not in found:
        several = ", ".join(found)
        raise KerasxaiError(
            f"expected one feature of {name} that could be the {kind}, or a row in DATASETS, got several ({several})"
        )
    return usual if usual in found else next(iter(found), None)


def find_features(name: str, features: Mapping[str, Feature], row: DatasetRow) -> Features:
    """Find image, label, boxes and mask by their TFDS feature types.

    A class label of the image wins over labels in a sequence of objects. A mask is a second image, of one channel, or
    an image of one channel for each object in the sequence. What `row` says wins over everything.

    Args:
        name: The data set's name, for errors.
        features: A `tfds.features.FeaturesDict`.
        row: What is known beyond the types.

    Raises:
        KerasxaiError: There is no image or no class label, or several of a kind.
    """
    flat = {path: feature for path, feature in _flat(features) if len(path) <= 2}
    single = {path[0]: feature for path, feature in flat.items() if len(path) == 1}
    images = {path: f for path, f in single.items() if isinstance(f, tfds.features.Image)}
    pictures = {path: f for path, f in images.items() if path == "image" or not _is_mask(f)}
    image = _pick("image", name, pictures or images, None, "image")
    labels = {path: f for path, f in single.items() if isinstance(f, tfds.features.ClassLabel)}
    nested = {
        "/".join(path): f
        for path, f in flat.items()
        if len(path) == 2
        and isinstance(f, tfds.features.ClassLabel)
        and any(other[0] == path[0] and isinstance(g, tfds.features.BBoxFeature) for other, g in flat.items())
    }
    usual = "label" if labels else next((path for path in nested if path.endswith("/label")), "label")
    label = _pick("class label", name, labels or nested, row.label, usual)
    if image is None or label is None:
        missing = "image" if image is None else "class label"
        raise KerasxaiError(
            f"expected a data set with images and class labels, got {name} without {missing}; its features are: "
            f"{', '.join(features)}"
        )
    same = label.split("/")[0] if "/" in label else None
    boxes = {"/".join(p): f for p, f in flat.items() if isinstance(f, tfds.features.BBoxFeature)}
    if same:
        boxes = {path: f for path, f in boxes.items() if path.startswith(f"{same}/")}
    found_boxes = _pick("boxes", name, boxes, row.boxes, "bbox" if "bbox" in boxes else f"{same or 'objects'}/bbox")
    found_masks = {path: f for path, f in images.items() if path != image and _is_mask(f)}
    if same:
        found_masks |= {"/".join(p): f for p, f in flat.items() if p[0] == same and len(p) == 2 and _is_mask(f)}
    mask = _pick("mask", name, found_masks, row.parts, "segmentation_mask")
    texts = {path for path, f in single.items() if isinstance(f, tfds.features.Text)}
    return Features(
        image=image,
        label=label,
        boxes=found_boxes,
        mask=mask,
        parts=row.parts,
        crowds=next((f"{same}/{name}" for name in _CROWDS if (same, name) in flat), None),
        name=next((path for path in _NAME_FEATURES if path in texts), None),
        class_names=tuple({"/".join(p): f for p, f in flat.items()}[label].names),
        box_format=str(getattr(boxes.get(found_boxes or ""), "bbox_format", None) or "REL_YXYX").rsplit(".", 1)[-1],
        labeled_mask=isinstance(found_masks.get(mask or ""), tfds.features.LabeledImage),
    )


class TfdsSource:
    """Samples of a TensorFlow Datasets builder.

    If the class labels are those of several objects in an image, the label is the class of the object with the largest
    box, and boxes and masks are those of all objects of that class. Crowds, which are boxes around many objects at
    once, are left out, and so are images without objects.

    Args:
        name: A TFDS name.
        data_dir: Where TFDS keeps its data.
        boxes_file: Boxes by the images' file names, in place of those of the data set.
    """

    def __init__(
        self,
        name: str,
        data_dir: StrPath | None = None,
        boxes_file: StrPath | None = None,
    ) -> None:
        row = row_of(name)
        self.builder = make_builder(name, row, data_dir)
        # "voc" means "voc/2007" to TFDS, and has that row.
        config = getattr(self.builder, "builder_config", None)
        self.row = row_of(f"{self.builder.name}/{config.name}") if config and row.builder is None else row
        self.features = find_features(name, self.builder.info.features, self.row)
        self.boxes = None if boxes_file is None else self._joined(name, boxes_file)
        prepare(self.builder, name)
        self.splits = name_splits(tuple(self.builder.info.splits), self.row)
        self.info = DatasetInfo(
            name=name,
            class_names=self.features.class_names,
            splits={split: self.count(expression) for split, expression in self.splits.items()},
            has_boxes=any((self.features.boxes, self.features.mask, self.boxes)),
            has_masks=self.features.mask is not None,
            has_parts=self.features.parts is not None,
            feature_stride=self.row.feature_stride,
            image_size=self.row.image_size,
            summary=self.row.summary,
            citation=self.row.citation or self.builder.info.citation.strip(),
            augment=self.row.augment,
        )

    def _joined(self, name: str, boxes_file: StrPath) -> BoxLookup:
        if self.features.name is None:
            raise KerasxaiError(
                f"expected a data set with the names of its image files to join a file of boxes by, got {name}, which "
                "has no names; omit the file of boxes"
            )
        if "/" in self.features.label:
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

    def samples(self, split: str, annotations: bool, mix: int | None = None) -> tf.data.Dataset:
        """Return the samples of a split; see `kerasxai.data.information.Source`."""
        found = self.features
        expression = self.expression(split)
        nested = "/" in found.label
        # TFDS decodes only the features of this tree.
        needed = {found.image, found.label, found.name}
        if annotations or nested:
            needed |= {found.boxes, found.crowds}
        if annotations:
            needed.add(found.mask)
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
        mask_reader = (
            resolve(self.row.mask) if self.row.mask else masks.labeled if found.labeled_mask else masks.nonzero
        )
        if nested:
            dataset = dataset.filter(lambda example: tf.reduce_any(_single(example, found)))

        def sample(index: tf.Tensor, example: Example) -> dict[str, tf.Tensor]:
            adapted = adapt(index, example, found, mask_reader, annotations, split)
            if self.boxes is not None and annotations:
                adapted["boxes"] = self.boxes.find(adapted["name"], adapted["image"], adapted["label"])
            return adapted

        return dataset.enumerate().map(sample, num_parallel_calls=tf.data.AUTOTUNE)

    def labels(self, split: str, most: int | None = None) -> NDArray[np.int64]:
        """Return the labels of a split; see `kerasxai.data.information.Source`."""
        # TensorFlow prunes no work inside of a map: the images are read too.
        samples = self.samples(split, annotations=False)
        labels = samples.map(lambda sample: sample["label"], num_parallel_calls=tf.data.AUTOTUNE)
        return np.array(list(labels.take(-1 if most is None else most).as_numpy_iterator()), np.int64)

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
    nested = "/" in found.label
    boxes = None
    if found.boxes and (annotations or nested):
        boxes = to_xyxy(_at(example, found.boxes), found.box_format, image)
    # Before objects are merged, a mask may have one channel for each.
    mask = _at(example, found.mask) if found.mask and annotations else None
    if nested and boxes is not None:
        single = _single(example, found)
        area = tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        largest = label[tf.argmax(tf.where(single, area, -1.0))]
        same = single & (label == largest)
        boxes = tf.boolean_mask(boxes, same)
        mask = None if mask is None else tf.reduce_max(tf.boolean_mask(mask, same), axis=0)
        label = largest
    text = _at(example, found.name) if found.name else tf.strings.format(f"{split}-{{}}", index)
    sample = {"index": index, "image": image, "label": tf.cast(label, tf.int64), "name": text}
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
