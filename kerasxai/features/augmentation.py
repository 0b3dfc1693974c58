"""Differentiable random shifts, scalings and rotations of images."""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from kerasxai.tools.errors import KerasxaiError


@dataclass(frozen=True)
class Augmentation:
    """Ranges of random shifts, scalings and rotations.

    Attributes:
        jitter: Maximum shift in pixels, in each direction.
        scale: The scale factor is between 1 / (1 + scale) and 1 + scale.
        rotation: Maximum rotation in degrees, in each direction.

    Raises:
        KerasxaiError: One of them is negative.
    """

    jitter: float = 20.0
    scale: float = 0.5
    rotation: float = 15.0

    def __post_init__(self) -> None:
        if min(self.jitter, self.scale, self.rotation) < 0:
            raise KerasxaiError(f"jitter, scale and rotation must be 0 or more, got {self}")

    def __call__(self, images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Transform each image by a separate random draw.

        Args:
            images: `(B, H, W, C)` float32.
            seeds: `(B, 2)` int32, one pair for each image, which alone determines its transform; `B` is static.

        Returns:
            `(B, H, W, C)`, padded by reflection at the edges.
        """
        # One stateless draw per image, so that the transform of an image does not depend on the others of its batch.
        draws = tf.stack([tf.random.stateless_uniform((4,), seed, -1.0, 1.0) for seed in tf.unstack(seeds)])
        height, width = images.shape[1], images.shape[2]
        factor = tf.exp(draws[:, 0] * np.log1p(self.scale))
        angle = draws[:, 1] * np.deg2rad(self.rotation)
        # The inverse transform, from output to input pixels: rotation and scaling about the center, then a shift.
        cosine, sine = tf.cos(angle) / factor, tf.sin(angle) / factor
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        shift_x = middle_x - cosine * middle_x + sine * middle_y + draws[:, 2] * self.jitter
        shift_y = middle_y - sine * middle_x - cosine * middle_y + draws[:, 3] * self.jitter
        zeros = tf.zeros_like(angle)
        transforms = tf.stack([cosine, -sine, shift_x, sine, cosine, shift_y, zeros, zeros], -1)
        return keras.ops.image.affine_transform(images, transforms, fill_mode="reflect", data_format="channels_last")
