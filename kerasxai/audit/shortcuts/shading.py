"""Marks that darken, lighten or tint a part of the image smoothly, such as a vignette or a light leak."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.audit.shortcuts.discriminant import recognized
from kerasxai.audit.shortcuts.interventions import blurred
from kerasxai.audit.shortcuts.local_statistics import DARK, edge_distances
from kerasxai.audit.shortcuts.scene import Pixels, Scene
from kerasxai.audit.shortcuts.suspects import Suspect, least_members

_CELLS = 7
_SIGMA = 5.0
"""Of the 64 pixels of a side."""
_NOISE = {True: 1e-4, False: 1.0}
"""Variance of logarithms and of gray levels that means nothing: edges may be white or black in all images."""
_FADES = (0.15, 0.35)
"""How far from the edge a change begins to fade and has faded, as shares of the side."""
_MOST_CONTROLS = 4
_LEAST_SHARE = 0.3
"""Of the class. A third of the images with a shade are not recognized, so that 60 % become fewer than 40 %."""


@dataclass(frozen=True)
class Shade:
    """What smoothly changes the images of a class, on average: a gain of each pixel, or what is added to it.

    Attributes:
        field: `(H, W, 3)` float32, the logarithm of the gain, or gray levels.
        controls: The same of other classes, one of which is planted as the control.
        own: Images with the mark.
        is_gain: Whether the fields are logarithms of gains.
    """

    field: NDArray[np.float32]
    controls: tuple[NDArray[np.float32], ...]
    own: frozenset[int]
    is_gain: bool

    def _changed(self, image: Pixels, change: NDArray[np.float32]) -> Pixels:
        return (image + DARK) * np.exp(change) - DARK if self.is_gain else image + change

    def planted(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Shade an image, for a source without the mark as another class is shaded."""
        change = self.field if source in self.own else self.controls[seed % len(self.controls)]
        return self._changed(scene.pixels[image], change)

    def removed(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Take the shade away."""
        return self._changed(scene.pixels[image], -self.field)

    def mark_kept(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Take the shade of another class away."""
        return self._changed(scene.pixels[image], -self.controls[seed % len(self.controls)])


@dataclass(frozen=True)
class Smooth:
    """The images without details, and what a discriminant sees of them.

    Attributes:
        levels: `(N, 64, 64, 3)` float32, gray levels.
        features: `(N, K)` float32.
    """

    levels: NDArray[np.float32]
    features: NDArray[np.float32]

    @classmethod
    def of(cls, scene: Scene) -> "Smooth":
        """Compute both for the images of a scene."""
        levels = np.stack([blurred(np.moveaxis(image, -1, 0), _SIGMA) for image in scene.small])
        return cls(np.moveaxis(levels, 1, -1), _features(scene.small))


def _features(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the colors of the outermost cells of a grid relative to all of these, `(N, K)`.

    As logarithms, in which a vignette is the same sum everywhere, and as gray levels, in which a light leak is.
    """
    cells = tf.image.resize(small, (_CELLS, _CELLS), method="area").numpy()
    outer = cells[:, edge_distances((_CELLS, _CELLS)) < 1 / _CELLS]
    relative = [values - values.mean(1, keepdims=True) for values in (np.log(outer + DARK), outer / 100)]
    return np.concatenate(relative, -1).reshape(len(small), -1)


def unusual_shade(scene: Scene, smooth: Smooth, number: int) -> Iterator[Suspect]:
    """Yield the smooth change by which many images of a class are recognized, if there is one.

    Args:
        scene: The images.
        smooth: Of the images.
        number: The class.
    """
    own, is_own = scene.of_class(number), scene.labels == number
    found = recognized(smooth.features, is_own)
    members = own[found[own]]
    if len(members) < least_members(len(own), _LEAST_SHARE):
        return
    shade = _shade(scene, smooth.levels, members, number)
    share = float(found[~is_own].mean())
    yield Suspect(number, "shade", shade, members, len(members) / len(own), share, None, {"gain": shade.is_gain})


def _shade(scene: Scene, levels: NDArray[np.float32], members: NDArray[np.int64], number: int) -> Shade:
    """Return the mean change of the members, as a gain or a sum: a change that fits leaves the variance as it was."""
    both, rest = {True: np.log(levels + DARK), False: levels}, scene.of_rest(number)
    is_gain = min(both, key=lambda gain: _change_of_variance(both[gain][members], both[gain][rest], _NOISE[gain]))
    values = both[is_gain]
    usual = values[rest].mean(0)
    groups = [group for group in scene.other_classes(number, len(members)) if len(group) > 2][:_MOST_CONTROLS]
    field, *controls = (_field(values[group].mean(0) - usual, scene.size) for group in (members, *groups))
    return Shade(field, tuple(controls) or (np.zeros_like(field),), frozenset(members.tolist()), is_gain)


def _change_of_variance(own: NDArray[np.float32], other: NDArray[np.float32], noise: float) -> float:
    """Return the mean logarithm of the larger variance over the smaller one."""
    return float(np.abs(np.log((own.var(0) + noise) / (other.var(0) + noise))).mean())


def _field(small: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a change at the size of the images; it fades out toward the middle, where colors are those of objects."""
    near, far = _FADES
    weights = np.clip((far - edge_distances(small.shape[:2])) / (far - near), 0, 1)[..., None]
    return np.asarray(tf.image.resize(weights * small, size, method="bicubic"), np.float32)
