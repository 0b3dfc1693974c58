"""`open`: a data set, opened once, from which samples, batches and training pairs are read."""

import itertools
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from numpy.typing import ArrayLike, NDArray

from kerasxai.data.batching import Size, padded_batches, resize_sample, set_shapes
from kerasxai.data.catalog import TfdsSource
from kerasxai.data.choosing import spread_over_classes, spread_over_positions
from kerasxai.data.folder import FolderSource
from kerasxai.data.information import DatasetInfo, Part, Source, check_readable
from kerasxai.data.label_table import ALIASES
from kerasxai.data.preparing import is_dataset
from kerasxai.data.tables import DATASETS
from kerasxai.data.training import PairSettings, pairs_of, relabel
from kerasxai.engine.images.fit import checked_fit
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import StrPath

_SHUFFLE_BUFFER = 1024
# Reading the labels of a data set of TFDS reads its images too.
_MOST_EXAMPLES = 4096


def open_dataset(
    name_or_path: StrPath,
    *,
    data_dir: StrPath | None = None,
    boxes_csv: StrPath | None = None,
    split_seed: int = 0,
    skip_unreadable: bool = False,
    labels: str = "auto",
    class_masks: StrPath | None = None,
) -> "ImageDataset":
    """Open a data set; it is downloaded or made if it was not yet.

    Args:
        name_or_path: As for `kerasxai.data.load`.
        data_dir: As for `kerasxai.data.load`.
        boxes_csv: As for `kerasxai.data.load`.
        split_seed: As for `kerasxai.data.load`.
        skip_unreadable: As for `kerasxai.data.load`.
        labels: As for `kerasxai.data.load`.
        class_masks: As for `kerasxai.data.load`.

    Raises:
        KerasxaiError: There is no such data set or folder, or it cannot be read or prepared.

    Example:
        >>> dataset = kerasxai.data.open("shapes")
        >>> dataset.class_names[0], dataset.info.splits["test"]
        ('striped star', 400)
    """
    text = os.fspath(name_or_path)
    path = Path(text).expanduser()
    # A name wins over a folder of that name.
    if isinstance(name_or_path, str) and is_dataset(text):
        return ImageDataset(TfdsSource(text, data_dir, boxes_csv, labels, class_masks))
    if path.is_dir():
        return ImageDataset(FolderSource(path, boxes_csv, split_seed, skip_unreadable, labels, class_masks))
    if path.exists():
        raise KerasxaiError(f"expected a folder of images or the name of a data set, got the file {path}")
    if isinstance(name_or_path, str) and len(path.parts) == 1:
        raise unknown("data set or folder", text, [*DATASETS, *tfds.list_builders(with_community_datasets=False)])
    raise KerasxaiError(f"expected an existing folder of images, got {path}")


# Modules that open files import the function by its longer name.
open = open_dataset


class ImageDataset:
    """A data set that was opened by `kerasxai.data.open`.

    Attributes:
        info: Its classes, splits and kinds of annotation.

    Args:
        source: Reads the samples.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.info: DatasetInfo = source.info

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name for each class, in the order of the labels."""
        return self.info.class_names

    @property
    def is_sorted(self) -> bool:
        """Whether samples are in the order of their classes, as those of folders, so that the first are of few."""
        return self._source.is_sorted

    def samples(
        self,
        split: str = "train",
        image_size: Size | None = 224,
        *,
        with_annotations: bool = True,
        shuffle: bool = False,
        seed: int = 0,
        fit: str = "stretch",
        part: Part | int | None = None,
    ) -> tf.data.Dataset:
        """Read a split sample by sample; arguments and samples are those of `kerasxai.data.load`.

        With `part`, a number, at most so many are read: of a folder those at the positions of `spread`, of a data set
        of TFDS the first ones. With the first sample and the one after the last, only these are read; with positions,
        those of a folder. A data set of TFDS in several files mixes them when all are read, and not in such parts: the
        parts of a split are all its samples, in another order.

        Example:
            >>> sample = next(iter(kerasxai.data.open("shapes").samples("test", 160)))
            >>> sample["image"].shape
            TensorShape([160, 160, 3])
        """
        mix = seed if shuffle else None
        if isinstance(part, int | np.integer):
            if part < 0:
                raise KerasxaiError(f"part must be 0 samples or more, got {part}")
            # Limited here alone: the first samples of a folder are of its first classes.
            # For none as for one: the columns of no sample have no type.
            samples = self._read(split, with_annotations, mix, self.spread(split, max(1, part))).take(part)
        else:
            samples = self._read(split, with_annotations, mix, part)
        samples = samples.map(lambda sample: {key: value for key, value in sample.items() if key != "index"})
        if image_size is not None:
            checked_fit(fit)
            samples = samples.map(
                lambda sample: resize_sample(sample, image_size, fit), num_parallel_calls=tf.data.AUTOTUNE
            )
        samples = samples.map(lambda sample: set_shapes(sample, image_size))
        if shuffle:
            samples = samples.shuffle(_SHUFFLE_BUFFER, seed=seed)
        return samples.prefetch(tf.data.AUTOTUNE)

    def batches(
        self,
        split: str = "train",
        image_size: Size = 224,
        batch_size: int = 32,
        *,
        with_annotations: bool = True,
        shuffle: bool = False,
        seed: int = 0,
        fit: str = "stretch",
        part: Part | int | None = None,
    ) -> tf.data.Dataset:
        """Read a split batch by batch, as `kerasxai.data.load` does with a `batch_size`; `part` as for `samples`.

        Example:
            >>> batch = next(iter(kerasxai.data.open("shapes").batches("test", 160, 8)))
            >>> batch["image"].shape
            TensorShape([8, 160, 160, 3])
        """
        samples = self.samples(
            split, image_size, with_annotations=with_annotations, shuffle=shuffle, seed=seed, fit=fit, part=part
        )
        return padded_batches(samples, batch_size).prefetch(tf.data.AUTOTUNE)

    def training_pairs(
        self,
        split: str = "train",
        settings: PairSettings | None = None,
        *,
        labels: ArrayLike | None = None,
        count: int | None = None,
    ) -> tf.data.Dataset:
        """Read a split as pairs of image and label for `model.fit`.

        Nothing else is in it: boxes and masks are not decoded, so that nothing in training can read them. (Where the
        class labels are those of several objects in an image, the boxes are read to find the largest object, and
        dropped.) The pairs are a function of the arguments, also the order and the augmentation of each pass.

        Args:
            split: As for `kerasxai.data.load`.
            settings: How the pairs are prepared; None for the defaults.
            labels: In place of the data's own labels, in their form and in the order of `labels(split)`; samples
                without a label of 0 or more are dropped.
            count: Only so many samples, without reading the others; with `cache` the same ones in each pass. Those of a
                folder are chosen by the seed, of a data set of TFDS they are the first ones.

        Returns:
            A `tf.data.Dataset` of `(image, label)`: `(B, h, w, 3)` float32 in [0, 255] and `(B,)` int64, or
            `(B, C)` float32 where samples have `labels`.

        Raises:
            KerasxaiError: There is no such split, or not one label for each sample.

        Example:
            >>> pairs = kerasxai.data.open("shapes").training_pairs("train", PairSettings(160, batch_size=8))
            >>> images, labels = next(iter(pairs))
            >>> images.shape, labels.shape
            (TensorShape([8, 160, 160, 3]), TensorShape([8]))
        """
        settings = PairSettings() if settings is None else settings
        shuffle = split == "train" if settings.shuffle is None else settings.shuffle
        samples = self._read(split, annotations=False, mix=settings.seed if shuffle or count is not None else None)
        if count is not None:
            samples = samples.take(count)
        if labels is not None:
            samples = relabel(samples, labels, self.info.splits.get(_full_name(split)))
        return pairs_of(samples, settings, shuffle)

    def labels(self, split: str = "train") -> NDArray[np.int64] | NDArray[np.float32]:
        """Return the label of each sample of a split, `(N,)`, or `labels` `(N, C)`, in the order of its samples."""
        return self._source.labels(_full_name(split))

    def examples(
        self, split: str, image_size: Size | None, count: int, *, seed: int = 0, fit: str = "stretch"
    ) -> list[dict[str, NDArray]]:
        """Return samples for pictures, chosen by `spread_over_classes`.

        Of a data set of TFDS, they are chosen among the first 4,096.

        Args:
            split: As for `kerasxai.data.load`.
            image_size: As for `kerasxai.data.load`.
            count: The number of samples.
            seed: The same seed chooses the same samples.
            fit: As for `kerasxai.data.load`.

        Example:
            >>> [int(sample["label"]) for sample in kerasxai.data.open("shapes").examples("validation", 96, 8)]
            [0, 1, 2, 3, 4, 5, 6, 7]
        """
        labels = self._source.labels(_full_name(split), _MOST_EXAMPLES)
        chosen = set(spread_over_classes(labels, count, seed).tolist())
        # Nothing is read beyond the last image that was chosen.
        samples = self.samples(split, image_size, fit=fit).as_numpy_iterator()
        numbered = enumerate(itertools.islice(samples, max(chosen, default=-1) + 1))
        return [sample for number, sample in numbered if number in chosen]

    def spread(self, split: str, count: int | None) -> list[int] | None:
        """Return the positions of the samples that are read for `part`, a number, by `spread_over_positions`.

        None, for all samples or the first ones, if there are no more than `count`, and of data sets of TFDS, which are
        mixed when they are prepared.

        Args:
            split: As for `kerasxai.data.load`.
            count: The number of samples; None for all.

        Raises:
            KerasxaiError: There is no such split.

        Example:
            >>> kerasxai.data.open("photos/").spread("test", 4)  # doctest: +SKIP
            [12, 40, 71, 101]
        """
        if count is None or not self.is_sorted:
            return None
        name = _full_name(split)
        if name not in self.info.splits:
            raise unknown(f"split of {self.info.name}", name, self.info.splits)
        total = self.info.splits[name]
        return None if count >= total else spread_over_positions(total, count).tolist()

    def check_images(self, splits: Iterable[str]) -> None:
        """Check that all images can be read, before anything long is begun.

        Data sets of TFDS were checked when they were prepared.

        Args:
            splits: The splits that are going to be read.

        Raises:
            KerasxaiError: Images are corrupt; the message names them.
        """
        check_readable(self._source, map(_full_name, splits))

    def unreadable_images(self, split: str) -> dict[Path, str]:
        """Return the images of a split that cannot be read, and why."""
        return self._source.unreadable(_full_name(split))

    def _read(self, split: str, annotations: bool, mix: int | None, part: Part | None = None) -> tf.data.Dataset:
        return self._source.samples(_full_name(split), annotations, mix, part)


def _full_name(split: str) -> str:
    return ALIASES.get(split, split)
