"""Functions that open a data set and read one thing from it; `kerasxai.data.open` opens it once for several."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from kerasxai.data.batching import Size
from kerasxai.data.dataset import open_dataset
from kerasxai.data.image_augmentation import ImageAugmentation
from kerasxai.data.information import DatasetInfo
from kerasxai.data.training import PairSettings
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import StrPath


def load(
    name_or_path: StrPath,
    split: str = "train",
    image_size: Size | None = 224,
    *,
    batch_size: int | None = None,
    data_dir: StrPath | None = None,
    boxes_csv: StrPath | None = None,
    with_annotations: bool = True,
    shuffle: bool = False,
    seed: int = 0,
    split_seed: int = 0,
    skip_unreadable: bool = False,
    fit: str = "stretch",
    labels: str = "auto",
    class_masks: StrPath | None = None,
) -> tf.data.Dataset:
    """Read a split of a data set for evaluation or for looking at it.

    A sample is a dict of

    * `image`: `(h, w, 3)` uint8, RGB;
    * `label`: int64; or `labels`: `(C,)` float32, for each class 1 present, 0 absent, -1 unknown;
    * `name`: string, the file's name where there is one, else the split and the index;
    * `boxes`, where the data has them: `(k, 4)` float32 `(x0, y0, x1, y1)` relative to width and height;
    * `mask`, where the data has one: `(h, w)` uint8, 1 object, 0 background, 255 ignore;
    * `part_mask`, for `shapes`: `(h, w)` uint8, 0 background, 1 head, 2 body, 3 tail;
    * with `labels`, next to `boxes`: `box_labels` `(k,)` int64, the class of each box, -1 if unknown, and
      `box_difficult` `(k,)` bool, whether the data call it hard to recognize; and instead of `mask`, `class_mask`
      `(h, w)` uint8: 0 background, c + 1 for class c, 255 ignored.

    The order is the same at each reading. In batches `boxes` are padded with rows of -1 to the largest number in the
    batch (`unpad_boxes` removes them), `box_labels` with -1 and `box_difficult` with False.

    Args:
        name_or_path: A name in DATASETS, any TFDS name ("voc/2012"), or a folder of images: `split/class/image` or
            `class/image`, the latter split 80/10/10 by `split_seed`, class by class; or a folder with `labels.csv`, see
            `kerasxai.data.label_table.read_label_table`. A name wins over a folder of that name; write "./shapes" for
            the folder.
        split: "train", "validation" or "test"; for a TFDS name also any TFDS split expression. Data sets without a
            validation split hold out the last tenth of their training split.
        image_size: Side of the square, or height and width, that images are resized to (bilinear, antialiased, half-
            pixel centers; masks by nearest neighbor), or None to keep their sizes.
        batch_size: Number of images in a batch; None for single samples. Needs an `image_size`.
        data_dir: Where TFDS keeps its data; None for its default.
        boxes_csv: A file of boxes (CSV, COCO JSON, Pascal VOC XML, YOLO text) of a folder of images, see
            `kerasxai.data.boxes.read_boxes`; or for a data set by the names of its image files, see
            `kerasxai.data.boxes.BoxLookup`, in place of its own boxes.
        with_annotations: Whether boxes and masks are read; if not, they are not even decoded.
        shuffle: Whether to shuffle, differently at each reading.
        seed: Seed of the order.
        split_seed: Seed of the split of a folder without split folders; training and evaluation need the same one.
        skip_unreadable: Whether images of a folder that cannot be read are left out, see `unreadable_images`; if not,
            they are an error.
        fit: How images of another aspect ratio are fitted to `image_size`; boxes and masks follow. `"stretch"`: their
            aspect ratio is not kept; `"crop"`: the largest centered part of the right aspect ratio is used, boxes are
            clipped at its border, and boxes outside of it are left out; `"pad"`: they are padded with the mean color
            of ImageNet, and masks with 255.
        labels: `"single"`, `"multi"` for samples with `labels`, or `"auto"`: multi where images have no label of their
            own but a sequence of labels or of objects, or where `labels.csv` does not list one for each. A single label
            of objects is the class of the largest one. A class of difficult objects alone is unknown, -1, as in the
            classification task of VOC.
        class_masks: A folder of palette or gray PNGs of class numbers, joined by file name, for `class_mask`; images
            without a file have 255 everywhere. Implies several labels with `"auto"`.

    Returns:
        A `tf.data.Dataset` of dicts.

    Raises:
        KerasxaiError: There is no such data set, folder or split, or it cannot be read or prepared.

    Example:
        >>> sample = next(iter(load("shapes", split="test", image_size=224)))
        >>> sample["image"].shape
        TensorShape([224, 224, 3])
    """
    if batch_size is not None and image_size is None:
        raise KerasxaiError("expected an image_size with batch_size, got None; give an image_size, or no batch_size")
    dataset = open_dataset(
        name_or_path,
        data_dir=data_dir,
        boxes_csv=boxes_csv,
        split_seed=split_seed,
        skip_unreadable=skip_unreadable,
        labels=labels,
        class_masks=class_masks,
    )
    if batch_size is None or image_size is None:
        return dataset.samples(
            split, image_size, with_annotations=with_annotations, shuffle=shuffle, seed=seed, fit=fit
        )
    return dataset.batches(
        split, image_size, batch_size, with_annotations=with_annotations, shuffle=shuffle, seed=seed, fit=fit
    )


class PairOptions(TypedDict, total=False):
    """The fields of `PairSettings` that are keywords of `training_pairs`."""

    shuffle: bool | None
    flip: bool
    crop: float
    resize: int | None
    cache: bool
    drop_remainder: bool
    seed: int
    augment: str | ImageAugmentation
    fit: str
    stored_pixels: int | None


def training_pairs(
    name_or_path: StrPath,
    split: str = "train",
    image_size: Size = 224,
    batch_size: int | None = 32,
    *,
    data_dir: StrPath | None = None,
    split_seed: int = 0,
    labels: ArrayLike | str | None = None,
    **settings: Unpack[PairOptions],
) -> tf.data.Dataset:
    """Read a split of a data set as pairs of image and label for `model.fit`.

    Args:
        name_or_path: As for `load`.
        split: As for `load`.
        image_size: Side of the square images, or height and width.
        batch_size: Number of images in a batch; None for single pairs.
        data_dir: As for `load`.
        split_seed: As for `load`.
        labels: A reading as for `load`; or labels as for `kerasxai.data.ImageDataset.training_pairs`.
        **settings: Other fields of `kerasxai.data.PairSettings`.

    Returns:
        As `kerasxai.data.ImageDataset.training_pairs`.

    Raises:
        KerasxaiError: As for `load` and `kerasxai.data.PairSettings`.

    Example:
        >>> images, labels = next(iter(training_pairs("shapes", batch_size=8)))
        >>> images.shape, labels.shape
        (TensorShape([8, 224, 224, 3]), TensorShape([8]))
    """
    pair_settings = PairSettings(image_size=image_size, batch_size=batch_size, **settings)
    reading, given = (labels, None) if isinstance(labels, str) else ("auto", labels)
    dataset = open_dataset(name_or_path, data_dir=data_dir, split_seed=split_seed, labels=reading)
    return dataset.training_pairs(split, pair_settings, labels=given)


def info(
    name_or_path: StrPath,
    *,
    data_dir: StrPath | None = None,
    boxes_csv: StrPath | None = None,
    split_seed: int = 0,
    labels: str = "auto",
    class_masks: StrPath | None = None,
) -> DatasetInfo:
    """Return the class names, splits and kinds of annotation of a data set; it is prepared if it is not yet.

    Args:
        name_or_path: As for `load`.
        data_dir: As for `load`.
        boxes_csv: As for `load`.
        split_seed: As for `load`.
        labels: As for `load`.
        class_masks: As for `load`.

    Raises:
        KerasxaiError: As for `load`.

    Example:
        >>> info("shapes").class_names[0]
        'striped star'
    """
    return open_dataset(
        name_or_path,
        data_dir=data_dir,
        boxes_csv=boxes_csv,
        split_seed=split_seed,
        labels=labels,
        class_masks=class_masks,
    ).info


def check_images(
    name_or_path: StrPath, splits: Iterable[str], *, data_dir: StrPath | None = None, split_seed: int = 0
) -> None:
    """Check that all images can be read, before anything long is begun.

    Args:
        name_or_path: As for `load`. Data sets of TFDS were checked when they were prepared.
        splits: The splits that are going to be read.
        data_dir: As for `load`.
        split_seed: As for `load`.

    Raises:
        KerasxaiError: Images are corrupt; the message names them.

    Example:
        >>> check_images("shapes", ["train", "validation"])
    """
    open_dataset(name_or_path, data_dir=data_dir, split_seed=split_seed).check_images(splits)


def unreadable_images(
    name_or_path: StrPath, split: str, *, data_dir: StrPath | None = None, split_seed: int = 0
) -> dict[Path, str]:
    """Return the images of a split that `load` leaves out with `skip_unreadable`, and why they cannot be read.

    Args:
        name_or_path: As for `load`.
        split: As for `load`.
        data_dir: As for `load`.
        split_seed: As for `load`.

    Example:
        >>> unreadable_images("shapes", "test")
        {}
    """
    return open_dataset(name_or_path, data_dir=data_dir, split_seed=split_seed).unreadable_images(split)


def read_labels(
    name_or_path: StrPath,
    split: str = "train",
    *,
    data_dir: StrPath | None = None,
    split_seed: int = 0,
    labels: str = "auto",
) -> NDArray[np.int64] | NDArray[np.float32]:
    """Return the label of every sample of a split, in the order of its samples.

    Args:
        name_or_path: As for `load`.
        split: As for `load`.
        data_dir: As for `load`.
        split_seed: As for `load`.
        labels: As for `load`.

    Returns:
        `(N,)` int64, or `(N, C)` float32 where samples have `labels`.

    Raises:
        KerasxaiError: As for `load`.

    Example:
        >>> read_labels("shapes", "train")[:4].tolist()
        [0, 1, 2, 3]
    """
    return open_dataset(name_or_path, data_dir=data_dir, split_seed=split_seed, labels=labels).labels(split)
