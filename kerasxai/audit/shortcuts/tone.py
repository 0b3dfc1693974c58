"""Marks of whole images: a color cast, faded colors, another contrast or brightness."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kerasxai.audit.shortcuts.discriminant import recognized
from kerasxai.audit.shortcuts.interventions import Tone
from kerasxai.audit.shortcuts.local_statistics import outer_regions
from kerasxai.audit.shortcuts.scene import Scene
from kerasxai.audit.shortcuts.suspects import Suspect, least_members

_QUANTILES = (0.02, 0.25, 0.5, 0.75, 0.98)
_LEAST_CONTRAST = 0.5
"""Gray levels; below, ratios mean nothing."""


def tone_features(scene: Scene) -> NDArray[np.float32]:
    """Return statistics of the colors of each image, `(N, 22)`: quantiles of channels, their ratios, saturation, edges.

    Those of the outer part of the image, where the object is least, and outside of known objects. A color cast is seen
    best in the edges: their contrast is nearly equal in all channels whatever the colors of the scene are, which is the
    gray-edge hypothesis (van de Weijer et al. 2007, https://doi.org/10.1109/TIP.2007.901808).
    """
    ring = outer_regions((64, 64))["ring"]
    colors = np.stack([_statistics(colors) for colors in scene.outside(ring)])
    return np.concatenate([colors, _edge_ratios(scene)], axis=1)


def _edge_ratios(scene: Scene) -> NDArray[np.float32]:
    """Return the log-ratios of red and blue to green in the contrast of neighboring pixels, `(N, 2)`."""
    ring = outer_regions(scene.size)["ring"]
    found = np.empty((len(scene), 3), np.float32)
    # The images themselves: in smaller ones, fine and colorless detail is gone.
    for number, image in enumerate(scene.pixels):
        signed = image.astype(np.float32)
        contrast = sum(np.abs(np.diff(signed, axis=axis, append=signed.take([-1], axis))) for axis in (0, 1))
        found[number] = np.log(contrast[scene.without_object(number, ring)].mean(0) + _LEAST_CONTRAST)
    return found[:, [0, 2]] - found[:, [1]]


def _statistics(colors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the statistics of colors `(n, 3)`."""
    levels = np.log(np.quantile(colors, _QUANTILES, axis=0) + 8).ravel()
    means = np.log(colors.mean(0) + 4)
    saturation = colors.max(-1) - colors.min(-1)
    further = [
        means[0] - means[1],
        means[2] - means[1],
        np.log1p(saturation.mean()),
        np.log1p(np.quantile(saturation, 0.95)),
        np.log1p(colors.mean(-1).std()),
    ]
    return np.concatenate([levels, further]).astype(np.float32)


def unusual_tone(scene: Scene, features: NDArray[np.float32], number: int) -> Iterator[Suspect]:
    """Yield the colors of a class if many of its images are recognized by their colors alone.

    Args:
        scene: The images.
        features: `tone_features`.
        number: The class.
    """
    is_own = scene.labels == number
    found = recognized(features, is_own)
    members, own = np.flatnonzero(is_own & found), scene.of_class(number)
    if len(members) < least_members(len(own)):
        return
    controls = tuple(group for group in scene.other_classes(number) if len(group) > 2) or (scene.of_rest(number),)
    mark = Tone(members, controls, scene.of_rest(number))
    yield Suspect(number, "color", mark, members, len(members) / len(own), float(found[~is_own].mean()), None, {})
