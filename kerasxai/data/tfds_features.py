"""The features of a TensorFlow Datasets builder, found by their types."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import tensorflow_datasets as tfds

from kerasxai.data.information import check_reading
from kerasxai.data.tables import DatasetRow
from kerasxai.tools.errors import KerasxaiError

Feature: TypeAlias = tfds.features.FeatureConnector

_CROWDS = ("is_crowd", "is_group_of")
_DIFFICULT = ("is_difficult", "difficult")
_MASK = "segmentation_mask"
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
        multi: Whether samples have `labels` of all classes instead of one `label`.
        difficult: A flag of objects that are hard to recognize, or None.
        class_mask: A mask of class numbers of all classes, or None.
        class_mask_offset: What is added to its values: 1 if class 0 has the value 0, 0 if that is the background.
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
    multi: bool = False
    difficult: str | None = None
    class_mask: str | None = None
    class_mask_offset: int = 0

    @property
    def nested(self) -> bool:
        """Whether the label is that of objects in a sequence."""
        return "/" in self.label


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


@dataclass(frozen=True)
class _LabelFeatures:
    """Class labels by their paths.

    Attributes:
        single: One label for an image.
        nested: Labels of objects with boxes.
        sequences: Sequences of labels, and labels of objects without boxes.
    """

    single: dict[str, Feature]
    nested: dict[str, Feature]
    sequences: dict[str, Feature]


def _label_features(flat: Mapping[tuple[str, ...], Feature]) -> _LabelFeatures:
    boxed = {path[0] for path, f in flat.items() if len(path) == 2 and isinstance(f, tfds.features.BBoxFeature)}
    inside = {path: f for path, f in flat.items() if len(path) == 2 and isinstance(f, tfds.features.ClassLabel)}
    sequences = {
        path[0]: inner
        for path, f in flat.items()
        if len(path) == 1 and isinstance(inner := getattr(f, "feature", None), tfds.features.ClassLabel)
    }
    return _LabelFeatures(
        {path[0]: f for path, f in flat.items() if len(path) == 1 and isinstance(f, tfds.features.ClassLabel)},
        {"/".join(path): f for path, f in inside.items() if path[0] in boxed},
        sequences | {"/".join(path): f for path, f in inside.items() if path[0] not in boxed},
    )


def _candidates(found: _LabelFeatures, row: DatasetRow, labels: str) -> tuple[dict[str, Feature], bool]:
    """Return the features that may be the class label, and whether several labels an image are read."""
    several = found.nested or found.sequences
    if labels == "multi":
        return several or found.single, True
    if labels == "auto" and several and not found.single and row.label is None:
        return several, True
    return found.single or found.nested, False


def find_features(name: str, features: Mapping[str, Feature], row: DatasetRow, labels: str = "single") -> Features:
    """Find image, label, boxes and masks by their TFDS feature types.

    A class label of the image wins over labels in a sequence of objects. A mask is a second image, of one channel, or
    an image of one channel for each object in the sequence. What `row` says wins over everything. With several labels
    an image, they are the labels of objects, of a sequence, or the only label.

    Args:
        name: The data set's name, for errors.
        features: A `tfds.features.FeaturesDict`.
        row: What is known beyond the types.
        labels: `"single"`, `"multi"`, or `"auto"`: several labels where the image has no label of its own.

    Raises:
        KerasxaiError: There is no image or no class label, or several of a kind.
    """
    check_reading(labels)
    flat = {path: feature for path, feature in _flat(features) if len(path) <= 2}
    by_path = {"/".join(path): f for path, f in flat.items()}
    single = {path: f for path, f in by_path.items() if (path,) in flat}
    images = {path: f for path, f in single.items() if isinstance(f, tfds.features.Image)}
    pictures = {path: f for path, f in images.items() if path == "image" or not _is_mask(f)}
    image = _pick("image", name, pictures or images, None, "image")
    found = _label_features(flat)
    candidates, multi = _candidates(found, row, labels)
    usual = "label" if candidates == found.single else next((p for p in candidates if p.endswith("/label")), "labels")
    chosen = row.label if not multi or row.label in candidates else None
    label = _pick("class label", name, candidates, chosen, usual)
    if image is None or label is None:
        missing = "image" if image is None else "class label"
        remedy = "; open it with labels='multi'" if found.sequences and image is not None else ""
        raise KerasxaiError(
            f"expected a data set with images and class labels, got {name} without {missing}; its features are: "
            f"{', '.join(features)}{remedy}"
        )
    same = label.split("/")[0] if (label,) not in flat else None
    class_names = tuple(candidates[label].names)
    boxes = {path: f for path, f in by_path.items() if isinstance(f, tfds.features.BBoxFeature)}
    masks = {path: f for path, f in images.items() if path != image and _is_mask(f)}
    class_mask, offset = _class_mask(masks, class_names) if multi else (None, 0)
    if same:
        boxes = {path: f for path, f in boxes.items() if path.startswith(f"{same}/")}
        of_objects = {path: f for path, f in by_path.items() if path.startswith(f"{same}/") and _is_mask(f)}
        masks = of_objects if multi else masks | of_objects
    elif label in found.sequences:
        # Boxes and masks of objects belong to no label of a sequence without them.
        boxes, masks = {}, {}
    usual_boxes = "bbox" if "bbox" in boxes else f"{same or 'objects'}/bbox"
    found_boxes = _pick("boxes", name, boxes, row.boxes if boxes else None, usual_boxes)
    mask = _pick("mask", name, {path: f for path, f in masks.items() if path != class_mask}, row.parts, _MASK)
    texts = {path for path, f in single.items() if isinstance(f, tfds.features.Text)}
    return Features(
        image=image,
        label=label,
        boxes=found_boxes,
        mask=mask,
        parts=row.parts,
        crowds=next((f"{same}/{flag}" for flag in _CROWDS if (same, flag) in flat), None),
        name=next((path for path in _NAME_FEATURES if path in texts), None),
        class_names=class_names,
        box_format=str(getattr(boxes.get(found_boxes or ""), "bbox_format", None) or "REL_YXYX").rsplit(".", 1)[-1],
        labeled_mask=isinstance(masks.get(mask or ""), tfds.features.LabeledImage),
        multi=multi,
        difficult=next((f"{same}/{flag}" for flag in _DIFFICULT if (same, flag) in flat), None),
        class_mask=class_mask,
        class_mask_offset=offset,
    )


def _class_mask(masks: Mapping[str, Feature], class_names: tuple[str, ...]) -> tuple[str | None, int]:
    """Return a mask whose values number the classes, with or without a background of 0, and what is to be added."""
    for path, feature in masks.items():
        if not isinstance(feature, tfds.features.LabeledImage) or "/" in path:
            continue
        names = tuple(feature.names or ())
        if names == class_names:
            return path, 1
        # Without names, one value more than there are classes: the background.
        if names[1:] == class_names or feature.num_classes == len(class_names) + 1:
            return path, 0
    return None, 0
