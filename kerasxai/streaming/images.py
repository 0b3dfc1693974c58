"""The images of a large data set, read part by part, resized, and in batches."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai import data
from kerasxai.data.batching import Sample, padded_batches, resize_sample
from kerasxai.data.choosing import spread_over_positions
from kerasxai.data.finding import find_images, no_images
from kerasxai.data.images import SUFFIXES
from kerasxai.data.preparing import is_dataset
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.explainer import Explainer
from kerasxai.refinements import RefinementChoice
from kerasxai.refinements.automatic import MOST, announce_choice, choice_without
from kerasxai.streaming.resizing import fitted
from kerasxai.streaming.shards import waiting
from kerasxai.tools.errors import KerasxaiError, NotFiniteError, unknown
from kerasxai.tools.files import cannot, read_json, write_json
from kerasxai.tools.printable import printable

_READERS = min(4, os.cpu_count() or 1)
"""Threads that read image files."""
_SIZE = "size_before"
"""Height and width of an image of a named data set before it is resized."""
REFINEMENT = "refinement.json"
"""The choice of `refine="auto"` for all shards of a folder."""
T = TypeVar("T")


@dataclass
class ImageBatch:
    """Images that follow one another in the data.

    Attributes:
        first: The number of the first image.
        names: A name for each image, also for those that cannot be read.
        labels: The true class of each image; None where it is unknown.
        pixels: `(k, H, W, C)` in [0, 255], the images that could be read, of the size of the model.
        rows: `(k,)` their positions in the batch.
        sizes: `(k, 2)` their heights and widths before they were resized.
        errors: Why an image could not be used, by its position in the batch.
    """

    first: int
    names: list[str]
    labels: list[int | None]
    pixels: NDArray
    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]
    errors: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def explained(self, taken: ImageInput, explain: Callable[[NDArray[np.float32]], T]) -> T | None:
        """Explain the images that could be read; those without finite numbers are moved to `errors`.

        Args:
            taken: The images that the model takes.
            explain: Explains images as the model takes them.

        Returns:
            The result of `explain`, for the images that are left in `pixels`; None if there are none.

        Raises:
            NotFiniteError: All images are concerned, as with weights that are not finite.
        """
        while len(self.rows):
            try:
                return explain(taken.taken(self.pixels))
            except NotFiniteError as error:
                if error.image is None:
                    raise
                row = int(self.rows[error.image])
                self.errors[row] = printable(f"{self.names[row]}: {error}")
                for name in ("pixels", "rows", "sizes"):
                    setattr(self, name, np.delete(getattr(self, name), error.image, axis=0))
        return None


class StreamedImages(Protocol):
    """A data set of images without annotations.

    Attributes:
        count: The number of images.
        identity: Text that is different for other images.
    """

    count: int
    identity: str

    def batches(self, start: int, stop: int, taken: ImageInput, size: int) -> Iterator[ImageBatch]:
        """Read the images from `start` to before `stop`, in batches of at most `size`.

        Args:
            start: The first image.
            stop: The image after the last.
            taken: The images that the model takes.
            size: Images in a batch.
        """
        ...


class FolderImages:
    """The image files of a folder and those below it.

    Only their names are in memory, about 100 bytes an image.

    Args:
        folder: The folder.
        out: The folder of the results, which is not read.
        bits: As for `kerasxai.data.read_image`.

    Raises:
        KerasxaiError: There are no images.
    """

    def __init__(self, folder: Path, out: Path, bits: int | None = None) -> None:
        self.folder, self.bits = folder, bits
        self.names = [os.fspath(path.relative_to(folder)) for path in find_images(folder, SUFFIXES, out)]
        if not self.names:
            raise no_images(folder, SUFFIXES)
        self.count = len(self.names)
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(os.fsencode(name) + b"\0")
        self.identity = digest.hexdigest()

    def batches(self, start: int, stop: int, taken: ImageInput, size: int) -> Iterator[ImageBatch]:
        """Read images in a few threads, at most two batches each ahead; see `StreamedImages`."""

        def read(first: int) -> ImageBatch:
            return self._read(first, min(first + size, stop), taken)

        with ThreadPoolExecutor(_READERS) as pool:
            waiting: deque[Future[ImageBatch]] = deque()
            try:
                for first in range(start, stop, size):
                    waiting.append(pool.submit(read, first))
                    if len(waiting) >= 2 * _READERS:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _read(self, first: int, stop: int, taken: ImageInput) -> ImageBatch:
        names = self.names[first:stop]
        pixels = np.empty((len(names), *taken.size, taken.channels), np.float32)
        rows: list[int] = []
        sizes: list[tuple[int, ...]] = []
        errors: dict[int, str] = {}
        for row, name in enumerate(names):
            path = self.folder / name
            try:
                # Resized before the next image is read, so that one image at full size is in memory for each thread.
                image = data.read_image(path, channels=4 if taken.channels == 4 else 3, bits=self.bits)
                pixels[len(rows)] = fitted(image, taken)
                rows.append(row)
                sizes.append(image.shape[:2])
            except KerasxaiError as error:
                errors[row] = printable(str(error))
            except (OSError, MemoryError) as error:
                errors[row] = printable(str(cannot("read", path, error)))
        labels: list[int | None] = [None] * len(names)
        shown = [printable(name) for name in names]
        found = np.array(rows, int), np.array(sizes, int).reshape(-1, 2)
        return ImageBatch(first, shown, labels, pixels[: len(rows)], *found, errors)


class DatasetImages:
    """The images of a split of TensorFlow Datasets.

    Args:
        name: The name.
        split: The split.
        data_dir: As for `kerasxai.data.load`.

    Raises:
        KerasxaiError: There is no such data set or split.
    """

    def __init__(self, name: str, split: str, data_dir: str | None = None) -> None:
        self._dataset = data.open(name, data_dir=data_dir)
        if split not in self._dataset.info.splits:
            raise unknown(f"split of {name}", split, self._dataset.info.splits)
        self._split = split
        self.count = self._dataset.info.splits[split]
        self.identity = f"{name} {split} {self.count}"

    def batches(self, start: int, stop: int, taken: ImageInput, size: int) -> Iterator[ImageBatch]:
        """Read images as `kerasxai evaluate` does; see `StreamedImages`."""

        def resized(sample: Sample) -> Sample:
            return {**resize_sample(sample, taken.size, taken.fit), _SIZE: tf.shape(sample["image"])[:2]}

        samples = self._dataset.samples(self._split, None, with_annotations=False, part=(start, stop))
        samples = samples.map(resized, num_parallel_calls=tf.data.AUTOTUNE)
        for batch in padded_batches(samples, size).prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
            count = len(batch["image"])
            labels: list[int | None] = [None] * count
            if "label" in batch:
                labels = [int(one) for one in batch["label"]]
            names = [printable(name) for name in batch["name"]]
            yield ImageBatch(start, names, labels, batch["image"], np.arange(count), batch[_SIZE].astype(int))
            start += count


def open_images(
    name_or_path: str, split: str, out: Path, data_dir: str | None = None, bits: int | None = None
) -> StreamedImages:
    """Open a data set, or a folder of images; a name wins over a folder of that name.

    Args:
        name_or_path: A folder, or a name of TensorFlow Datasets.
        split: The split of a named data set.
        out: The folder of the results.
        data_dir: As for `kerasxai.data.load`.
        bits: As for `kerasxai.data.read_image`.

    Raises:
        KerasxaiError: There is neither, or no image.
    """
    if is_dataset(name_or_path):
        return DatasetImages(name_or_path, split, data_dir)
    folder = Path(name_or_path).expanduser()
    if not folder.is_dir():
        raise KerasxaiError(f"expected a folder of images or the name of a data set, got {printable(name_or_path)}")
    return FolderImages(folder, out, bits)


def choice_on(explainer: Explainer, batches: Iterable[NDArray], count: int) -> RefinementChoice:
    """Make the choice of `refine="auto"` on images, and return it.

    Args:
        explainer: It makes the choice.
        batches: The images, as the model takes them.
        count: How many there are.
    """
    announce_choice(count)
    for images in batches:
        explainer.choose_refinement(images)
    return explainer.refinement_choice or choice_without(count)


def choose_refinements(explainers: Iterable[Explainer], images: StreamedImages, taken: ImageInput, kept: Path) -> None:
    """Make the choice of `refine="auto"` on images of all shards, or repeat the first one, for all processes.

    Args:
        explainers: Of one model; those without a choice are left alone.
        images: All images.
        taken: The images that the model takes.
        kept: The file of the choice, in the folder of the shards.
    """
    chosen = [explainer for explainer in explainers if explainer.chooses_refinement]
    if not chosen:
        return
    choice = kept_choice(kept, lambda: choice_on(chosen[0], _spread(images, taken), min(MOST, images.count)))
    for explainer in chosen:
        explainer.refinement_choice = choice


def kept_choice(kept: Path, choose: Callable[[], RefinementChoice]) -> RefinementChoice:
    """Return the choice in a file, after it was made and written if it is not there.

    Args:
        kept: The file.
        choose: Makes the choice.
    """
    if not kept.exists():
        # Processes that share the folder wait for no one: each makes its own choice, and all take the first.
        choice = choose()
        with waiting(kept.with_name(".lock-refinement")):
            if not kept.exists():
                write_json(kept, choice)
    found: RefinementChoice = read_json(kept)
    return found


def _spread(images: StreamedImages, taken: ImageInput) -> Iterator[NDArray]:
    """Yield `MOST` images of all classes, as the model takes them."""
    # Data sets of TFDS were mixed when they were prepared.
    parts = [(0, min(MOST, images.count))]
    if isinstance(images, FolderImages):
        parts = [(number, number + 1) for number in spread_over_positions(images.count, MOST).tolist()]
    batches = (batch for start, stop in parts for batch in images.batches(start, stop, taken, stop - start))
    pixels = [batch.pixels for batch in batches if len(batch.pixels)]
    if pixels:
        yield taken.taken(np.concatenate(pixels))


def check_identity(found: str, expected: str) -> None:
    """Check that a worker has found the images of the process that started it.

    Args:
        found: Text that is different for other images.
        expected: The text in that process.

    Raises:
        KerasxaiError: They are others.
    """
    if found != expected:
        raise KerasxaiError("expected the same images in all workers, got others in one; give all the same folder")
