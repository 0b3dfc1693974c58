"""Marks that are alike in color and texture, but not pixel by pixel, at a constant place near the edge of the image."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kerasxai.audit.shortcuts.discriminant import recognized
from kerasxai.audit.shortcuts.interventions import Region
from kerasxai.audit.shortcuts.scene import Scene
from kerasxai.audit.shortcuts.suspects import Suspect, least_members

_KINDS = {"ring": "border", "frame": "border"}
_STRIPS = ("top", "bottom", "left", "right")
_LEAST_STRIPS = 3
_SIDE = 64
DARK = 8.0
"""Gray levels; below, ratios mean nothing."""


def outer_regions(size: tuple[int, int]) -> dict[str, NDArray[np.bool_]]:
    """Return regions near the edge: a thin frame, a ring, strips, and corners, `(H, W)` bool by name."""
    rows, columns = ((np.arange(side) + 0.5) / side for side in size)
    y, x = np.broadcast_to(rows[:, None], size), np.broadcast_to(columns[None], size)
    edge = edge_distances(size)
    regions = {"frame": edge < 0.04, "ring": edge < 0.15}
    regions |= {"top": y < 0.12, "bottom": y > 0.88, "left": x < 0.12, "right": x > 0.88}
    for vertical, high in (("top", y < 0.25), ("bottom", y > 0.75)):
        for horizontal, there in (("left", x < 0.25), ("right", x > 0.75)):
            regions[f"{vertical} {horizontal}"] = high & there
    return regions


def edge_distances(size: tuple[int, int]) -> NDArray[np.float64]:
    """Return how far each pixel of a size is from the nearest edge, as a share of the side, `(H, W)`."""
    centers = [(np.arange(side) + 0.5) / side for side in size]
    rows, columns = (np.minimum(one, 1 - one) for one in centers)
    return np.minimum(rows[:, None], columns[None])


def region_features(scene: Scene) -> dict[str, NDArray[np.float32]]:
    """Return statistics of each outer region of each image, `(N, K)` by the name of the region.

    Its colors and its fine texture, and its colors relative to the middle of the image: a shade or a glow depends on
    what it falls on.
    """
    details = np.stack([_details(image) for image in scene.pixels])
    colors = scene.small
    opponent = np.stack([colors.mean(-1), colors[..., 0] - colors[..., 1], colors[..., 2] - colors[..., 1]], -1)
    here, there = outer_regions((_SIDE, _SIDE)), outer_regions(scene.size)
    middle = np.log(colors[:, ~here["ring"]].mean(1) + DARK)
    found = {}
    for name in here:
        relative = 30 * (np.log(colors[:, here[name]].mean(1) + DARK) - middle)
        found[name] = np.concatenate([_statistics(opponent[:, here[name]], details[:, there[name]]), relative], 1)
    return found


def _details(image: NDArray[np.uint8]) -> NDArray[np.float16]:
    luma = image.astype(np.float32).mean(-1)
    return np.abs(luma - ndimage.gaussian_filter(luma, 1)).astype(np.float16)


def _statistics(colors: NDArray[np.float32], details: NDArray[np.float16]) -> NDArray[np.float32]:
    levels = np.quantile(colors, (0.05, 0.5, 0.95), axis=1).transpose(1, 0, 2).reshape(len(colors), -1)
    fine = np.log(details.mean(1, dtype=np.float32) + 0.3)[:, None] * 30
    return np.concatenate([levels, np.log1p(colors.std(1)) * 30, fine], 1).astype(np.float32)


def unusual_region(scene: Scene, features: Mapping[str, NDArray[np.float32]], number: int) -> Iterator[Suspect]:
    """Yield the outer region by which most images of a class are recognized, if there is one.

    A mark around the image is on each of its sides; an object that reaches into the outer part is on some of them.

    Args:
        scene: The images.
        features: `region_features`.
        number: The class.
    """
    own, is_own = scene.of_class(number), scene.labels == number
    found = {name: recognized(values, is_own) for name, values in features.items()}
    found = {name: one for name, one in found.items() if name not in _KINDS or _around(found, own)}
    best = max(found, key=lambda name: (int(found[name][own].sum()), -int(found[name].sum())))
    members = own[found[best][own]]
    if len(members) < least_members(len(own)):
        return
    place = outer_regions(scene.size)[best]
    kind = _KINDS.get(best, "corner" if " " in best else "strip")
    share = float(found[best][~is_own].mean())
    yield Suspect(
        number, kind, Region(place, members), members, len(members) / len(own), share, place, {"region": best}
    )


def _around(found: Mapping[str, NDArray[np.bool_]], own: NDArray[np.int64]) -> bool:
    """Return whether enough images of a class are recognized by most of the sides, each by itself."""
    return sum(int(found[strip][own].sum()) >= least_members(len(own)) for strip in _STRIPS) >= _LEAST_STRIPS
