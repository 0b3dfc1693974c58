"""Random shifts, scalings and rotations of images, with a gradient."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kerasxai.tools.errors import KerasxaiError


@dataclass(frozen=True)
class Augmentation:
    """How far images are moved before a model sees them.

    Attributes:
        jitter: Pixels, either way.
        scale: A factor from 1 / (1 + scale) to 1 + scale.
        rotation: Degrees, either way.

    Raises:
        KerasxaiError: One is negative.
    """

    jitter: float = 20.0
    scale: float = 0.5
    rotation: float = 15.0

    def __post_init__(self) -> None:
        if min(self.jitter, self.scale, self.rotation) < 0:
            raise KerasxaiError(f"jitter, scale and rotation must be 0 or more, came {self}")

    def __call__(self, images: Any, seeds: Any) -> Any:
        """Move each image by its own draw.

        Args:
            images: `(B, H, W, C)` float32.
            seeds: `(B, 2)` int32, one pair for each image, which alone says how it is moved; `B` is known.

        Returns:
            `(B, H, W, C)`; what comes in at the edges is the mirrored picture.
        """
        draws = tf.stack([tf.random.stateless_uniform((4,), seed, -1.0, 1.0) for seed in tf.unstack(seeds)])
        height, width = images.shape[1], images.shape[2]
        factor = tf.exp(draws[:, 0] * np.log1p(self.scale))
        angle = draws[:, 1] * np.deg2rad(self.rotation)
        # Where a pixel of the result comes from: turned and scaled about the middle, then shifted.
        cosine, sine = tf.cos(angle) / factor, tf.sin(angle) / factor
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        shift_x = middle_x - cosine * middle_x + sine * middle_y + draws[:, 2] * self.jitter
        shift_y = middle_y - sine * middle_x - cosine * middle_y + draws[:, 3] * self.jitter
        nothing = tf.zeros_like(angle)
        transforms = tf.stack([cosine, -sine, shift_x, sine, cosine, shift_y, nothing, nothing], -1)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=transforms,
            output_shape=tf.constant([height, width]),
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="REFLECT",
        )
