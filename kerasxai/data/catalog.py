"""Any TensorFlow Datasets builder as a source of samples; features are found by their types."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from kerasxai.core.errors import KerasxaiError, unknown
from kerasxai.core.lazy import resolve
from kerasxai.data import DatasetRow, masks
from kerasxai.data.information import DatasetInfo
from kerasxai.data.preparing import make_builder, name_splits, prepare, quiet, row_of

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
        name: A text that names the image, or None.
        class_names: The classes of `label`.
        box_format: The TFDS format of `boxes`.
        labeled_mask: Whether `mask` holds class numbers.
    """

    image: str
    label: str
    boxes: str | None
    mask: str | None
    parts: str | None
    name: str | None
    class_names: tuple[str, ...]
    box_format: str
    labeled_mask: bool


def _flat(features: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields each feature with its path; what lies in a sequence of dicts has the sequence's name before it."""
    for name, feature in features.items():
        inner = getattr(feature, "feature", None)
        if isinstance(inner, tfds.features.FeaturesDict):
            yield from _flat(inner, (*prefix, name))
        else:
            yield (*prefix, name), feature


def _is_mask(feature: Any) -> bool:
    return isinstance(feature, tfds.features.Image) and feature.shape[-1] == 1


def _pick(kind: str, name: str, found: Mapping[str, Any], wanted: str | None, usual: str) -> str | None:
    """Returns the one path of its kind: the wanted one, the only one, or the one with the usual name."""
    if wanted is not None:
        return wanted or None
    if len(found) > 1 and usual not in found:
        several = ", ".join(found)
        raise KerasxaiError(f"{name} has several features that could be the {kind} ({several}) and no row in DATASETS")
    return usual if usual in found else next(iter(found), None)


def find_features(name: str, features: Any, row: DatasetRow) -> Features:
    """Finds image, label, boxes and mask by their TFDS feature types.

    A class label beside the image wins over labels in a sequence of objects. A mask is an image of one channel beside
    the image or, instance by instance, in the sequence. `row` is asked first.

    Args:
        name: The data set's name, for errors.
        features: A `tfds.features.FeaturesDict`.
        row: What is known beyond the types.

    Raises:
        KerasxaiError: There is no image or no class label, or several of a kind.
    """
    flat = {path: feature for path, feature in _flat(features) if len(path) <= 2}
    beside = {path[0]: feature for path, feature in flat.items() if len(path) == 1}
    images = {path: f for path, f in beside.items() if isinstance(f, tfds.features.Image)}
    pictures = {path: f for path, f in images.items() if path == "image" or not _is_mask(f)}
    image = _pick("image", name, pictures or images, None, "image")
    labels = {path: f for path, f in beside.items() if isinstance(f, tfds.features.ClassLabel)}
    nested = {
        "/".join(path): f
        for path, f in flat.items()
        if len(path) == 2
        and isinstance(f, tfds.features.ClassLabel)
        and any(other[0] == path[0] and isinstance(g, tfds.features.BBoxFeature) for other, g in flat.items())
    }
    label = _pick("class label", name, labels or nested, row.label, "label" if labels else "objects/label")
    if image is None or label is None:
        missing = "image" if image is None else "class label"
        raise KerasxaiError(f"{name} has no {missing}; its features are: {', '.join(features)}")
    same = label.split("/")[0] if "/" in label else None
    boxes = {"/".join(p): f for p, f in flat.items() if isinstance(f, tfds.features.BBoxFeature)}
    if same:
        boxes = {path: f for path, f in boxes.items() if path.startswith(f"{same}/")}
    found_boxes = _pick("boxes", name, boxes, row.boxes, "bbox" if "bbox" in boxes else f"{same or 'objects'}/bbox")
    found_masks = {path: f for path, f in images.items() if path != image and _is_mask(f)}
    if same:
        found_masks |= {"/".join(p): f for p, f in flat.items() if p[0] == same and len(p) == 2 and _is_mask(f)}
    mask = _pick("mask", name, found_masks, row.parts, "segmentation_mask")
    texts = {path for path, f in beside.items() if isinstance(f, tfds.features.Text)}
    return Features(
        image=image,
        label=label,
        boxes=found_boxes,
        mask=mask,
        parts=row.parts,
        name=next((path for path in _NAME_FEATURES if path in texts), None),
        class_names=tuple({"/".join(p): f for p, f in flat.items()}[label].names),
        box_format=str(getattr(boxes.get(found_boxes or ""), "bbox_format", None) or "REL_YXYX").rsplit(".", 1)[-1],
        labeled_mask=isinstance(found_masks.get(mask or ""), tfds.features.LabeledImage),
    )


class TfdsSource:
    """Samples of a TensorFlow Datasets builder.

    Where the class labels are those of several objects in an image, the label is the class of the object with the
    largest box, and boxes and masks are those of all objects of that class; images without an object are left out.
    """

    def __init__(self, name: str, data_dir: str | os.PathLike[str] | None = None) -> None:
        self.row = row_of(name)
        self.builder = make_builder(name, self.row, data_dir)
        self.features = find_features(name, self.builder.info.features, self.row)
        prepare(self.builder, name)
        self.splits = name_splits(tuple(self.builder.info.splits), self.row)
        self.info = DatasetInfo(
            name=name,
            class_names=self.features.class_names,
            splits={split: self.count(expression) for split, expression in self.splits.items()},
            has_boxes=self.features.boxes is not None or self.features.mask is not None,
            has_masks=self.features.mask is not None,
            has_parts=self.features.parts is not None,
            feature_stride=self.row.feature_stride,
            image_size=self.row.image_size,
            summary=self.row.summary,
            citation=self.row.citation or self.builder.info.citation.strip(),
        )

    def count(self, expression: str) -> int:
        """Returns the number of samples of a TFDS split expression."""
        return int(self.builder.info.splits[expression].num_examples)

    def expression(self, split: str) -> str:
        """Returns the TFDS split expression for a split's name or expression."""
        if split in self.splits:
            return self.splits[split]
        known = self.builder.info.splits
        if known and split.split("[")[0].split("+")[0] not in known:
            raise unknown(f"split of {self.info.name}", split, self.splits)
        return split

    def samples(self, split: str, annotations: bool, mix: int | None = None) -> tf.data.Dataset:
        """Returns the samples of a split; see `kerasxai.data.information.Source`."""
        found = self.features
        expression = self.expression(split)
        nested = "/" in found.label
        wanted = {found.image, found.label, found.name}
        if annotations or nested:
            wanted.add(found.boxes)
        if annotations:
            wanted.add(found.mask)
        tree: dict[str, Any] = {}
        for path in filter(None, wanted):
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
            dataset = dataset.filter(lambda example: tf.size(_at(example, found.label)) > 0)
        return dataset.enumerate().map(
            lambda index, example: adapt(index, example, found, mask_reader, annotations, split),
            num_parallel_calls=tf.data.AUTOTUNE,
        )


def _at(example: Mapping[str, Any], path: str) -> Any:
    if path in example:
        return example[path]
    first, _, rest = path.partition("/")
    return example[first][rest]


def to_rgb(image: tf.Tensor) -> tf.Tensor:
    """Returns an image of 1, 3 or 4 channels, of 8 or 16 bits, as uint8 `(h, w, 3)`; transparency becomes white."""
    if image.dtype == tf.uint16:
        image = (tf.cast(image, tf.int32) + 128) // 257
    elif image.dtype.is_floating:
        raise KerasxaiError("images of floating numbers have no known range; store them as uint8 or uint16")
    channels = image.shape[-1]
    if channels == 4:
        alpha = tf.cast(image[..., 3:], tf.float32) / 255.0
        blended = tf.cast(image[..., :3], tf.float32) * alpha + 255.0 * (1.0 - alpha)
        return tf.cast(tf.round(blended), tf.uint8)
    image = tf.cast(image, tf.uint8)
    return tf.repeat(image, 3, axis=-1) if channels == 1 else image


def to_xyxy(boxes: tf.Tensor, box_format: str, image: tf.Tensor) -> tf.Tensor:
    """Returns boxes of a TFDS format as `(k, 4)` relative xyxy within the image; those without an area are left out."""
    boxes = tf.reshape(boxes, (-1, 4))
    if box_format.endswith("YXYX"):
        boxes = tf.gather(boxes, [1, 0, 3, 2], axis=1)
    elif box_format == "XYWH":
        boxes = tf.concat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    if not box_format.startswith("REL_"):
        size = tf.cast(tf.shape(image)[1::-1], tf.float32)
        boxes = boxes / tf.concat([size, size], axis=0)
    boxes = tf.clip_by_value(boxes, 0.0, 1.0)
    return tf.boolean_mask(boxes, tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1))


def adapt(
    index: tf.Tensor,
    example: Mapping[str, Any],
    found: Features,
    mask_reader: Callable[[tf.Tensor], tf.Tensor],
    annotations: bool,
    split: str,
) -> dict[str, tf.Tensor]:
    """Turns a TFDS example into a sample of ours."""
    image = to_rgb(_at(example, found.image))
    label = _at(example, found.label)
    nested = "/" in found.label
    boxes = _at(example, found.boxes) if found.boxes and (annotations or nested) else None
    mask = _at(example, found.mask) if found.mask and annotations else None
    if nested and boxes is not None:
        area = tf.reduce_prod(tf.abs(boxes[:, 2:] - boxes[:, :2]), axis=1)
        largest = label[tf.argmax(area)]
        same = label == largest
        boxes = tf.boolean_mask(boxes, same)
        mask = None if mask is None else tf.reduce_max(tf.boolean_mask(mask, same), axis=0)
        label = largest
    text = _at(example, found.name) if found.name else tf.strings.format(f"{split}-{{}}", index)
    sample = {"image": image, "label": tf.cast(label, tf.int64), "name": text}
    if mask is not None:
        mask = tf.cast(mask[..., 0], tf.uint8)
        sample["mask"] = mask_reader(mask)
        if found.parts:
            sample["part_mask"] = mask
    if annotations and boxes is not None:
        sample["boxes"] = to_xyxy(boxes, found.box_format, image)
    elif mask is not None:
        sample["boxes"] = masks.box(sample["mask"])
    return sample
