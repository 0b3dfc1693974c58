"""The images in which shortcuts are searched, and the model as a function of pixels."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.float32]
Probabilities = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""From pixels `(n, H, W, 3)` in [0, 255] to probabilities `(n, C)`."""

_LEAST = 1e-6
_MOST_AT_ONCE = 64
_LEAST_FREE = 0.1


@dataclass(frozen=True)
class Scene:
    """Images with labels, and the model that classifies them.

    Attributes:
        pixels: `(N, H, W, 3)` uint8 in [0, 255].
        labels: `(N,)` int64.
        class_names: One for each class of the model.
        probabilities_of: The model.
        objects: `(N, H, W)`, where the objects are, from masks or boxes; None if unknown.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    probabilities_of: Probabilities
    objects: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def of_class(self, number: int) -> NDArray[np.int64]:
        """Return the images of a class."""
        return np.flatnonzero(self.labels == number)

    def of_rest(self, number: int) -> NDArray[np.int64]:
        """Return the images of the other classes."""
        return np.flatnonzero(self.labels != number)

    def other_classes(self, number: int, most: int | None = None) -> list[NDArray[np.int64]]:
        """Return the images of each other class, at most so many of each."""
        return [self.of_class(int(label))[:most] for label in np.unique(self.labels) if label != number]

    @cached_property
    def log_odds(self) -> NDArray[np.float64]:
        """The log-odds of all classes for the images, `(N, C)`."""
        return self.log_odds_of(self.pixels[i] for i in range(len(self)))

    @cached_property
    def small(self) -> NDArray[np.float32]:
        """The images at 64 x 64 pixels, `(N, 64, 64, 3)` in [0, 255]."""
        return resized(self.pixels, 64)

    def outside(self, place: NDArray[np.bool_]) -> Iterator[NDArray[np.float32]]:
        """Yield the colors of each image, `(n, 3)`, in a part of it `(64, 64)` and outside of its known objects.

        Where objects cover nearly all of the part, all of it.
        """
        for number, image in enumerate(self.small):
            yield image[self.without_object(number, place)]

    def without_object(self, number: int, place: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a part of an image `(h, w)`, at any resolution, without its known object; see `outside`."""
        if self.objects is None:
            return place
        lengths = zip(place.shape, self.size, strict=True)
        rows, columns = ((np.arange(side) * 2 + 1) * length // (2 * side) for side, length in lengths)
        free = place & ~self.objects[number][np.ix_(rows, columns)]
        return free if free.sum() >= _LEAST_FREE * place.sum() else place

    @cached_property
    def tones(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of the channels of each image, both `(N, 3)`."""
        colors = self.small.reshape(len(self), -1, 3)
        return colors.mean(1), colors.std(1) + 1

    def log_odds_of(self, images: Iterable[Pixels]) -> NDArray[np.float64]:
        """Return the log-odds of all classes, `(n, C)`, for images that are made while they are read."""
        found, waiting = [], []
        for image in images:
            waiting.append(image)
            if len(waiting) == _MOST_AT_ONCE:
                found.append(self._evaluate(waiting))
                waiting = []
        if waiting:
            found.append(self._evaluate(waiting))
        return np.concatenate(found)

    def _evaluate(self, images: list[Pixels]) -> NDArray[np.float64]:
        batch = np.clip(np.stack(images).astype(np.float32), 0, 255)
        return log_odds(self.probabilities_of(batch))


def log_odds(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return log-odds; those of 0 and 1 are finite."""
    kept = np.clip(np.asarray(probabilities, np.float64), _LEAST, 1 - _LEAST)
    return np.log(kept) - np.log1p(-kept)


def resized(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Return images at `side` x `side` pixels; memory is bounded."""
    return np.concatenate(
        [tf.image.resize(pixels[i : i + 32], (side, side), antialias=True).numpy() for i in range(0, len(pixels), 32)]
    )
