"""Marks of the same edges at the same place, also half-transparent ones: watermarks, scan lines, stamps."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kerasxai.audit.shortcuts.interventions import Overlay
from kerasxai.audit.shortcuts.scene import Scene
from kerasxai.audit.shortcuts.suspects import Suspect, least_members

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_QUANTILE = 0.99
_CELLS = 8
_BAND = 8.0


@dataclass(frozen=True)
class Edges:
    """Details of all images, of the same strength everywhere.

    Attributes:
        maps: `(N, H, W)` float16.
    """

    maps: NDArray[np.float16]

    @classmethod
    def of(cls, pixels: NDArray[np.uint8]) -> "Edges":
        """Compute the details of images `(N, H, W, 3)`."""
        return cls(np.stack([_details(image @ _LUMA) for image in pixels]).astype(np.float16))


def _details(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    fine = luma - ndimage.gaussian_filter(luma, 3)
    return fine / (np.sqrt(ndimage.gaussian_filter(fine**2, 10)) + 4)


def repeated_structure(scene: Scene, edges: Edges, number: int) -> Iterator[Suspect]:
    """Yield the windows in which the details of many images of a class agree, and those of other classes do not.

    Details of an image are correlated with the mean of the other images of the class in overlapping windows and as a
    whole. Objects that are not aligned do not correlate.

    Args:
        scene: The images.
        edges: Of the images.
        number: The class.
    """
    own, rest = scene.of_class(number), scene.of_rest(number)
    maps = edges.maps
    total = maps[own].sum(0, dtype=np.float32)
    ours = np.stack([_correlations(maps[i], (total - maps[i]) / (len(own) - 1)) for i in own])
    theirs = np.stack([_correlations(maps[i], total / len(own)) for i in rest])
    limit = np.quantile(theirs, _QUANTILE, axis=0)
    found = (ours > limit).sum(0) >= least_members(len(own))
    if not found.any():
        return
    best = int(np.where(found, (ours > limit).sum(0), 0).argmax())
    members = own[ours[:, best] > limit[best]]
    place = _windows(found, scene.size)
    overlay = _overlay(scene, members, number, place)
    if overlay is None:
        return
    yield Suspect(
        number,
        "overlay",
        overlay,
        members,
        float(len(members) / len(own)),
        float((theirs[:, best] > limit[best]).mean()),
        place,
        {"correlation": round(float(np.median(ours[ours[:, best] > limit[best], best])), 3)},
    )


def _correlations(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return correlations in windows of 2 x 2 cells, row by row, and of the whole image."""
    one = one.astype(np.float32)
    products = np.stack([one * other, one * one, other * other])
    _, height, width = products.shape
    rows, columns = height // _CELLS, width // _CELLS
    cells = products[:, : rows * _CELLS, : columns * _CELLS].reshape(3, _CELLS, rows, _CELLS, columns).sum((2, 4))
    windows = cells[:, :-1, :-1] + cells[:, 1:, :-1] + cells[:, :-1, 1:] + cells[:, 1:, 1:]
    sums = np.concatenate([windows.reshape(3, -1), products.sum((1, 2))[:, None]], 1)
    return np.asarray(sums[0] / np.sqrt(sums[1] * sums[2] + 1e-6), np.float32)


def _windows(found: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    if found[-1] and not found[:-1].any():
        return np.ones(size, bool)
    side = _CELLS - 1
    cells = np.zeros((_CELLS, _CELLS), bool)
    for row, column in np.argwhere(found[:-1].reshape(side, side)):
        cells[row : row + 2, column : column + 2] = True
    rows, columns = (np.minimum(np.arange(length) // (length // _CELLS), _CELLS - 1) for length in size)
    return np.asarray(cells[np.ix_(rows, columns)])


_MOST_CONTROLS = 4
_LEAST_SQUARED_T = 2.0


def _overlay(scene: Scene, members: NDArray[np.int64], number: int, place: NDArray[np.bool_]) -> Overlay | None:
    """Return the mean details of the members where they are beyond chance; None if they are nowhere."""
    added = _mean_details(scene.pixels[members], place)
    if not added.any():
        return None
    groups = scene.other_classes(number, len(members))
    controls = [_mean_details(scene.pixels[group], place) for group in groups[:_MOST_CONTROLS] if len(group) > 2]
    return Overlay(added, tuple(controls) or (np.zeros_like(added),), frozenset(members.tolist()))


def _mean_details(images: NDArray[np.uint8], place: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the weighted mean details of images, shrunk toward 0 where they could be chance, `(H, W, 3)`.

    Where an image is smooth, a faint mark is clear, so its weight is the inverse of the local variance.
    """
    total, weights = np.zeros((*place.shape, 3), np.float32), np.zeros((*place.shape, 1), np.float32)
    for image in images.astype(np.float32):
        details = image - ndimage.gaussian_filter(image, (_BAND, _BAND, 0))
        weight = 1 / (ndimage.gaussian_filter((details**2).mean(-1, keepdims=True), (6, 6, 0)) + 25)
        total += weight * details
        weights += weight
    squared_t = ndimage.gaussian_filter((total**2 / weights).mean(-1, keepdims=True), (1.5, 1.5, 0))
    mean = total / weights
    made = np.clip(1 - _LEAST_SQUARED_T / np.maximum(squared_t, 1e-6), 0, 1) * place[..., None] * mean
    # Shrinking makes it fainter than in the images: the factor that fits them best undoes that.
    factor = (weights * mean * made).sum() / max(float((weights * made**2).sum()), 1e-6)
    return np.asarray(factor * made, np.float32)
