"""`load`: a split of a data set as dicts of image, label, and what the data has of boxes and masks."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from kerasxai.data import DATASETS
from kerasxai.data.catalog import TfdsSource
from kerasxai.data.folder import ALIASES, FolderSource
from kerasxai.data.information import DatasetInfo, Source
from kerasxai.data.preparing import is_dataset
from kerasxai.tools.errors import KerasxaiError, unknown

_SHUFFLED = 1024

StrPath = str | os.PathLike[str]


def open_source(
    name_or_path: StrPath,
    *,
    data_dir: StrPath | None,
    boxes_csv: StrPath | None,
    split_seed: int,
    skip_unreadable: bool = False,
) -> Source:
    """Returns the source of a data set: a name in DATASETS, then a folder, then a TFDS name."""
    text = os.fspath(name_or_path)
    path = Path(text).expanduser()
    from_table = isinstance(name_or_path, str) and is_dataset(text)
    if from_table:
        return TfdsSource(text, data_dir, boxes_csv)
    if path.is_dir():
        return FolderSource(path, boxes_csv, split_seed, skip_unreadable)
    if path.exists():
        raise KerasxaiError(f"{path} is a file; a folder of images or the name of a data set is needed")
    if isinstance(name_or_path, str) and len(path.parts) == 1:
        raise unknown("data set or folder", text, [*DATASETS, *tfds.list_builders(with_community_datasets=False)])
    raise KerasxaiError(f"there is no folder {path}")


def info(
    name_or_path: StrPath, *, data_dir: StrPath | None = None, boxes_csv: StrPath | None = None, split_seed: int = 0
) -> DatasetInfo:
    """Returns the class names, splits and kinds of annotation of a data set; it is prepared if it is not yet.

    Args:
        name_or_path: As for `load`.
        data_dir: As for `load`.
        boxes_csv: As for `load`.
        split_seed: As for `load`.

    Raises:
        KerasxaiError: As for `load`.

    Example:
        >>> info("shapes").class_names[0]
        'striped star'
    """
    return open_source(name_or_path, data_dir=data_dir, boxes_csv=boxes_csv, split_seed=split_seed).info


def check_images(
    name_or_path: StrPath, splits: Iterable[str], *, data_dir: StrPath | None = None, split_seed: int = 0
) -> None:
    """Refuses data of which images cannot be read, before anything long is begun.

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
    source = open_source(name_or_path, data_dir=data_dir, boxes_csv=None, split_seed=split_seed)
    if isinstance(source, FolderSource):
        source.check(*(ALIASES.get(split, split) for split in splits))


def unreadable_images(
    name_or_path: StrPath, split: str, *, data_dir: StrPath | None = None, split_seed: int = 0
) -> dict[Path, str]:
    """Returns the images of a split that `load` leaves out with `skip_unreadable`, and why they cannot be read.

    Args:
        name_or_path: As for `load`.
        split: As for `load`.
        data_dir: As for `load`.
        split_seed: As for `load`.

    Example:
        >>> unreadable_images("shapes", "test")
        {}
    """
    source = open_source(name_or_path, data_dir=data_dir, boxes_csv=None, split_seed=split_seed)
    return source.unreadable(ALIASES.get(split, split)) if isinstance(source, FolderSource) else {}


def resize_sample(sample: dict[str, tf.Tensor], size: int | tuple[int, int]) -> dict[str, tf.Tensor]:
    """Resizes image and masks of a sample to a square or to `size`; the aspect is not kept, so relative boxes fit."""
    sides = (size, size) if isinstance(size, int) else size
    resized = dict(sample)
    image = tf.image.resize(sample["image"], sides, method="bilinear", antialias=True)
    resized["image"] = tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)
    for key in ("mask", "part_mask"):
        if key in sample:
            mask = tf.image.resize(sample[key][..., None], sides, method="nearest")
            resized[key] = mask[..., 0]
    return resized


def shape_sample(sample: dict[str, tf.Tensor], size: int | tuple[int, int] | None) -> dict[str, tf.Tensor]:
    """Tells TensorFlow the static shapes, which Keras wants to know and readers of files do not say."""
    sides = size if isinstance(size, tuple) else (size, size)
    shapes = {"image": (*sides, 3), "boxes": (None, 4), "mask": sides, "part_mask": sides}
    return {key: tf.ensure_shape(value, shapes.get(key, ())) for key, value in sample.items()}


def load(
    name_or_path: StrPath,
    split: str = "train",
    image_size: int | tuple[int, int] | None = 224,
    *,
    batch_size: int | None = None,
    data_dir: StrPath | None = None,
    boxes_csv: StrPath | None = None,
    with_annotations: bool = True,
    shuffle: bool = False,
    seed: int = 0,
    split_seed: int = 0,
    skip_unreadable: bool = False,
) -> tf.data.Dataset:
    """Reads a split of a data set for evaluation or for looking at it.

    A sample is a dict of

    * `image`: `(h, w, 3)` uint8, RGB;
    * `label`: int64;
    * `name`: string, the file's name where there is one, else the split and the index;
    * `boxes`, where the data has them: `(k, 4)` float32 `(x0, y0, x1, y1)` relative to width and height;
    * `mask`, where the data has one: `(h, w)` uint8, 1 object, 0 background, 255 ignore;
    * `part_mask`, for `shapes`: `(h, w)` uint8, 0 background, 1 head, 2 body, 3 tail.

    The order is the same at each reading. In batches `boxes` are filled up with rows of -1 to the most boxes of a
    batch; `unpad_boxes` takes them away again.

    Args:
        name_or_path: A name in DATASETS, any TFDS name ("voc/2012"), or a folder of images: `split/class/image` or
            `class/image`, the latter split 80/10/10 by `split_seed`, class by class. A name wins over a folder called
            like it; write "./shapes" for the folder.
        split: "train", "validation" or "test"; for a TFDS name also any TFDS split expression. Data sets without a
            validation split of their own hold out the last tenth of their training split.
        image_size: Side of the square, or height and width, that images are resized to (bilinear, antialiased, half-
            pixel centers; masks by nearest neighbor), or None to leave them as they are.
        batch_size: Number of images in a batch; None for single samples. Needs an `image_size`.
        data_dir: Where TFDS keeps its data; None for its own choice.
        boxes_csv: Boxes of a folder of images, see `kerasxai.data.boxes.read_boxes`; or for a data set by the names of
            its image files, see `kerasxai.data.boxes.BoxTable`, in place of its own boxes.
        with_annotations: Whether boxes and masks are read; if not, they are not even decoded.
        shuffle: Whether to mix the order, anew at each reading.
        seed: Seed of the order.
        split_seed: Seed of the split of a folder without split folders; training and evaluation need the same one.
        skip_unreadable: Whether images of a folder that cannot be read are left out, see `unreadable_images`; if not,
            they are an error.

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
        raise KerasxaiError("images of different sizes cannot be batched; give an image_size, or no batch_size")
    source = open_source(
        name_or_path,
        data_dir=data_dir,
        boxes_csv=boxes_csv,
        split_seed=split_seed,
        skip_unreadable=skip_unreadable,
    )
    dataset = source.samples(ALIASES.get(split, split), with_annotations, seed if shuffle else None)
    dataset = dataset.map(lambda sample: {key: value for key, value in sample.items() if key != "index"})
    if image_size is not None:
        dataset = dataset.map(lambda sample: resize_sample(sample, image_size), num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.map(lambda sample: shape_sample(sample, image_size))
    if shuffle:
        dataset = dataset.shuffle(_SHUFFLED, seed=seed)
    if batch_size is None:
        return dataset.prefetch(tf.data.AUTOTUNE)
    spec = dataset.element_spec
    fill = {key: tf.constant(-1 if key == "boxes" else "" if key == "name" else 0, spec[key].dtype) for key in spec}
    return dataset.padded_batch(batch_size, padding_values=fill).prefetch(tf.data.AUTOTUNE)


def read_labels(
    name_or_path: StrPath, split: str = "train", *, data_dir: StrPath | None = None, split_seed: int = 0
) -> np.ndarray:
    """Returns the label of every sample of a split, in the order of its samples.

    Args:
        name_or_path: As for `load`.
        split: As for `load`.
        data_dir: As for `load`.
        split_seed: As for `load`.

    Returns:
        `(N,)` int64.

    Raises:
        KerasxaiError: As for `load`.

    Example:
        >>> read_labels("shapes", "train")[:4].tolist()
        [0, 1, 2, 3]
    """
    source = open_source(name_or_path, data_dir=data_dir, boxes_csv=None, split_seed=split_seed)
    # TensorFlow prunes no work inside of a map: the images are read too.
    samples = source.samples(ALIASES.get(split, split), annotations=False)
    labels = samples.map(lambda sample: sample["label"], num_parallel_calls=tf.data.AUTOTUNE)
    return np.array(list(labels.as_numpy_iterator()), np.int64)


def unpad_boxes(boxes: Iterable[np.ndarray] | tf.Tensor) -> list[np.ndarray]:
    """Returns the boxes of each image of a batch, without the rows of -1 that fill it up.

    Args:
        boxes: `(B, k, 4)` as `load` gives them.

    Returns:
        `B` arrays `(k_i, 4)` float32.

    Example:
        >>> [found.shape for found in unpad_boxes(np.array([[[0, 0, 1, 1], [-1, -1, -1, -1]]], np.float32))]
        [(1, 4)]
    """
    return [found[found[:, 2] >= 0.0] for found in (np.asarray(one, dtype=np.float32) for one in boxes)]
