"""Samples, a batch of images with everything that belongs to each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


@dataclass(frozen=True)
class Samples:
    """A batch of inputs to explain, and what belongs to each of them.

    Methods cut, repeat and tile a batch as a whole, so that an image never loses its target or its other inputs.

    Attributes:
        images: `(B, H, W, C)`; for a series `(B, T, C)`, for volumes `(B, D, H, W, C)`, for tokens `(B, T)`.
        targets: `(B,)` int64 classes; `PREDICTED` for the predicted one.
        other_inputs: The inputs that are not explained, `(B, ...)` each, in the order of the model.
        custom_targets: Targets that are not classes, `(B, ...)`, which the user's score is given; else None.
        indices: `(B,)` int64, which image of the call each sample is; None inside a traced pass.
    """

    images: tf.Tensor
    targets: tf.Tensor
    other_inputs: tuple[tf.Tensor, ...] = ()
    custom_targets: tf.Tensor | None = None
    indices: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, images: NDArray[Any] | tf.Tensor, targets: NDArray[Any] | tf.Tensor) -> Samples:
        """Returns the samples of a call that has no more images than these."""
        return cls(
            tf.convert_to_tensor(images, tf.float32),
            tf.convert_to_tensor(targets, tf.int64),
            indices=np.arange(len(images)),
        )

    @property
    def first_index(self) -> int:
        """Which image of the call the first sample is."""
        return 0 if self.indices is None else int(self.indices[0])

    def __len__(self) -> int:
        return len(self.images)

    @property
    def extra(self) -> tuple[tf.Tensor, ...]:
        """The other inputs and, where there are any, the custom targets."""
        return self.other_inputs if self.custom_targets is None else (*self.other_inputs, self.custom_targets)

    def as_floats(self) -> Samples:
        """Returns the samples as tensors, with float32 images."""
        floats = self.with_images(tf.convert_to_tensor(self.images, tf.float32))
        return floats.with_targets(tf.convert_to_tensor(self.targets, tf.int64)).as_tensors()

    def as_tensors(self) -> Samples:
        """Returns the samples with tensors in place of arrays."""
        return replace(
            self,
            images=tf.convert_to_tensor(self.images),
            targets=tf.convert_to_tensor(self.targets),
            other_inputs=tuple(map(tf.convert_to_tensor, self.other_inputs)),
            custom_targets=None if self.custom_targets is None else tf.convert_to_tensor(self.custom_targets),
        )

    def with_images(self, images: NDArray[Any] | tf.Tensor) -> Samples:
        """Returns the samples with other images, one for each."""
        return replace(self, images=images)

    def with_targets(self, targets: NDArray[Any] | tf.Tensor) -> Samples:
        """Returns the samples with other classes, one for each."""
        return replace(self, targets=targets)

    def take(self, rows: slice) -> Samples:
        """Returns a part of the batch."""
        return self._each(lambda x: x[rows])

    def repeat(self, times: int | tf.Tensor, images: tf.Tensor | None = None) -> Samples:
        """Returns each sample so many times in a row.

        Args:
            times: How many times; a tensor only inside a traced pass.
            images: The images of the copies, in place of repeated ones.
        """
        return self._each(lambda x: tf.repeat(x, times, axis=0), images)

    def tile(self, times: int | tf.Tensor, images: tf.Tensor | None = None) -> Samples:
        """Returns the whole batch so many times, one after the other; see `repeat` for the arguments."""
        return self._each(lambda x: tf.tile(x, [times] + [1] * (len(x.shape) - 1)), images)

    def _each(self, change: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor | None = None) -> Samples:
        """Returns the samples with each of their arrays changed along the batch; `images` replace changed ones."""
        return Samples(
            change(self.images) if images is None else images,
            change(self.targets),
            tuple(map(change, self.other_inputs)),
            None if self.custom_targets is None else change(self.custom_targets),
            None if self.indices is None else np.asarray(change(self.indices)),
        )
