"""`load_scenes`: the images of `shapes_two` with their caption, their questions and the masks of both objects."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from kerasxai.data.preparing import make_builder, prepare, quiet, row_of
from kerasxai.tools.errors import unknown
from kerasxai.tools.files import StrPath

NAME = "shapes_two"


def load_scenes(
    split: str = "train",
    *,
    batch_size: int | None = None,
    data_dir: StrPath | None = None,
    with_masks: bool = True,
) -> tf.data.Dataset:
    """Read a split of `shapes_two` with its sentences.

    A sample is a dict of

    * `image`: `(160, 160, 3)` uint8, RGB;
    * `name`: string;
    * `masks`: `(2, 160, 160)` uint8, 1 on the object, for the two objects in the order in which the caption names them;
    * `forms`, `patterns`: `(2,)` int64, of the objects; see `kerasxai.data.shapes.language` for the words;
    * `caption`: string, such as "a striped star left of a spotted arrow";
    * `caption_objects`: `(8,)` int64, for each word the object that it describes, 0 or 1; -1 for none and
      after the end;
    * `questions`, `answers`: `(8,)` strings, such as "what texture has the star" and "striped";
    * `kinds`: `(8,)` int64, the kinds of the questions;
    * `about`, `named`: `(8,)` int64, the object that the answer describes (-1 for the answer "nothing"), and the one
      that the question names.

    Args:
        split: "train", "validation", "test", or a TFDS split expression of them.
        batch_size: Number of images in a batch; None for single samples.
        data_dir: As for `kerasxai.data.load`.
        with_masks: Whether the masks are read; if not, they are not even decoded.

    Returns:
        A `tf.data.Dataset` of dicts, in the same order at each reading.

    Raises:
        KerasxaiError: There is no such split, or the data cannot be made.

    Example:
        >>> sample = next(iter(load_scenes("test")))
        >>> sample["masks"].shape
        TensorShape([2, 160, 160])
    """
    builder = make_builder(NAME, row_of(NAME), data_dir)
    prepare(builder, NAME)
    if split.split("[")[0] not in builder.info.splits:
        raise unknown(f"split of {NAME}", split, builder.info.splits)
    features = set(builder.info.features) - {"objects"}
    tree: dict[str, Any] = dict.fromkeys(features, True)
    tree["objects"] = {"label": True, "pattern": True} | ({"mask": True} if with_masks else {})
    with quiet():
        dataset = builder.as_dataset(split=split, decoders=tfds.decode.PartialDecoding(tree), shuffle_files=False)
    dataset = dataset.map(_sample, num_parallel_calls=tf.data.AUTOTUNE)
    if batch_size is not None:
        dataset = dataset.batch(batch_size)
    return dataset.prefetch(tf.data.AUTOTUNE)


def count_scenes(split: str, data_dir: StrPath | None = None) -> int:
    """Return how many images a split of `shapes_two` has."""
    builder = make_builder(NAME, row_of(NAME), data_dir)
    prepare(builder, NAME)
    return int(builder.info.splits[split].num_examples)


def _sample(example: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    questions, objects, described = example["questions"], example["objects"], example["caption_objects"]
    sample = {
        "image": example["image"],
        "name": example["file_name"],
        "forms": tf.ensure_shape(objects["label"], (2,)),
        "patterns": tf.ensure_shape(objects["pattern"], (2,)),
        "caption": example["caption"],
        "caption_objects": tf.ensure_shape(
            tf.pad(described, [[0, 8 - tf.shape(described)[0]]], constant_values=-1), (8,)
        ),
        "questions": tf.ensure_shape(questions["text"], (8,)),
        "answers": tf.ensure_shape(questions["answer"], (8,)),
        "kinds": tf.ensure_shape(questions["kind"], (8,)),
        "about": tf.ensure_shape(questions["about"], (8,)),
        "named": tf.ensure_shape(questions["named"], (8,)),
    }
    if "mask" in objects:
        sample["masks"] = tf.ensure_shape(objects["mask"][..., 0], (2, *example["image"].shape[:2]))
    return sample
