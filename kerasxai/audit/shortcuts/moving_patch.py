"""Marks of the same pixels at another place in each image: stickers, badges, tags."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kerasxai.audit.shortcuts.interventions import Patches
from kerasxai.audit.shortcuts.scene import Scene
from kerasxai.audit.shortcuts.suspects import Suspect, least_members

_SIDE = 64
_PATCH = 6
_PEAKS = 2
_JITTERS = 3
_OTHERS = 0.02
_TRIED = 12
_AROUND = 8
_TOLERANCE = 28.0
_AGREEMENT = 0.6
_LEAST_PIXELS = 12
_LEAST_CONTRAST = 25.0
_LEAST_CORRELATION = 0.85
_LEAST_SHARE = 0.5
_MOST_AT_EDGE = 0.15
_MOST_ON_OBJECTS = 0.5


@dataclass(frozen=True)
class Matches:
    """The best match of patches with strong evidence in every image.

    Attributes:
        images: `(Q,)` the image that each patch is from.
        distances: `(Q, N)` root mean squared difference in gray levels to the best match.
        places: `(Q, N)` the place of the best match, row times the number of columns plus column.
    """

    images: NDArray[np.int64]
    distances: NDArray[np.float32]
    places: NDArray[np.int32]


def _windows(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return all patches of an image `(64, 64, 3)`, one in a row."""
    view = np.lib.stride_tricks.sliding_window_view(image, (_PATCH, _PATCH), (0, 1))
    return np.ascontiguousarray(view).reshape(-1, 3 * _PATCH * _PATCH)


_POSITIONS = _SIDE - _PATCH + 1


def match_evidence(scene: Scene, evidence: NDArray[np.float32], seed: int) -> Matches:
    """Search the patches with the strongest evidence for the class of each image in all images.

    Args:
        scene: The images.
        evidence: `(N, 64, 64)` heatmaps for the class of each image.
        seed: Of the places around the peaks.
    """
    generator = np.random.default_rng([seed, 8])
    queries, images = [], []
    for number, (image, heatmap) in enumerate(zip(scene.small, evidence, strict=True)):
        for row, column in _peaks(heatmap):
            for shift in generator.integers(-4, 5, (_JITTERS, 2)):
                top, left = np.clip(np.array([row, column]) + shift - _PATCH // 2, 0, _POSITIONS - 1)
                queries.append(image[top : top + _PATCH, left : left + _PATCH].transpose(2, 0, 1).ravel())
                images.append(number)
    patches = np.stack(queries)
    squares = (patches**2).sum(1)
    distances = np.empty((len(patches), len(scene)), np.float32)
    places = np.empty((len(patches), len(scene)), np.int32)
    for number, image in enumerate(scene.small):
        windows = _windows(image)
        squared = (windows**2).sum(1) - 2 * (patches @ windows.T)
        best = squared.argmin(1)
        places[:, number] = best
        distances[:, number] = squared[np.arange(len(best)), best] + squares
    return Matches(np.array(images), np.sqrt(np.maximum(distances, 0) / patches.shape[1]), places)


def _peaks(heatmap: NDArray[np.float32]) -> list[tuple[int, int]]:
    left, peaks = heatmap.copy(), []
    for _ in range(_PEAKS):
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        peaks.append((int(row), int(column)))
        left[max(0, row - 10) : row + 11, max(0, column - 10) : column + 11] = -np.inf
    return peaks


def repeated_patch(scene: Scene, matches: Matches, number: int) -> Iterator[Suspect]:
    """Yield the patch with evidence for a class that most of its images contain and others do not.

    The matches must agree in a closed shape of one size, with other surroundings: an object has another size and
    another view in each image, and where only its color agrees, the shape is open.

    Args:
        scene: The images.
        matches: Of the patches with evidence.
        number: The class.
    """
    own, others = scene.of_class(number), scene.of_others(number)
    queries = np.flatnonzero(scene.labels[matches.images] == number)
    distances = matches.distances[queries]
    limits = np.quantile(distances[:, others], _OTHERS, axis=1)
    close = distances[:, own] < limits[:, None]
    for best in np.argsort(-close.sum(1), kind="stable")[:_TRIED]:
        members = own[close[best]]
        if len(members) < max(_LEAST_SHARE * len(own), least_members(len(own))):
            return
        corners = np.stack(np.divmod(matches.places[queries[best], members], _POSITIONS), 1)
        shape = _closed_shape(scene.small[members], corners)
        if shape is None:
            continue
        agreeing, box = shape
        mark = _patches(scene, members[agreeing], corners[agreeing], box)
        if mark is None or agreeing.sum() < _LEAST_SHARE * len(own):
            continue
        share = float((distances[best, others] < limits[best]).mean())
        figures = {"distance": round(float(np.median(distances[best, members])), 1)}
        yield Suspect(number, "patch", mark, members[agreeing], float(agreeing.sum() / len(own)), share, None, figures)
        return


def _closed_shape(
    images: NDArray[np.float32], corners: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], tuple[int, int, int, int]] | None:
    """Return which images agree in a closed shape around their patch, and its box in pixels from the patch's corner."""
    padded = np.pad(images, ((0, 0), (_AROUND, _AROUND), (_AROUND, _AROUND), (0, 0)), constant_values=np.nan)
    side = _PATCH + 2 * _AROUND
    windows = np.stack(
        [one[row : row + side, column : column + side] for one, (row, column) in zip(padded, corners, strict=True)]
    )
    with np.errstate(invalid="ignore"):
        agreeing = np.stack([(np.abs(windows - one).max(-1) < _TOLERANCE).sum(0) for one in windows])
        colors = np.take_along_axis(windows, agreeing.argmax(0)[None, ..., None], 0)[0]
        alike = np.abs(windows - colors).max(-1) < _TOLERANCE
    known = np.isfinite(windows[..., 0]).sum(0)
    mask = ndimage.binary_opening(alike.sum(0) >= np.maximum(_AGREEMENT * known, 3), np.ones((2, 2)))
    numbers, _ = ndimage.label(mask)
    inner = numbers[_AROUND:-_AROUND, _AROUND:-_AROUND]
    if not inner.any():
        return None
    shape = numbers == np.bincount(inner[inner > 0]).argmax()
    edge = np.concatenate([shape[0], shape[-1], shape[1:-1, 0], shape[1:-1, -1]])
    if shape.sum() < _LEAST_PIXELS or edge.mean() > _MOST_AT_EDGE:
        return None
    if colors[shape].std(0).max() < _LEAST_CONTRAST:
        return None
    rows, columns = np.flatnonzero(shape.any(1)) - _AROUND, np.flatnonzero(shape.any(0)) - _AROUND
    has_it = np.array([_correlation(window[shape], colors[shape]) for window in windows]) >= _LEAST_CORRELATION
    return has_it, (int(rows[0]) - 1, int(columns[0]) - 1, int(rows[-1]) + 2, int(columns[-1]) + 2)


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the correlation of two sets of colors `(n, 3)` about the mean color of each; 0 with unknown pixels."""
    first, second = one - one.mean(0), other - other.mean(0)
    found = float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum() + 1e-6))
    return found if np.isfinite(found) else 0.0


def _patches(
    scene: Scene, members: NDArray[np.int64], corners: NDArray[np.int64], box: tuple[int, int, int, int]
) -> Patches | None:
    """Return the patches at image size; None if they are on the known objects."""
    height, width = (round((box[i + 2] - box[i]) * scene.size[i] / _SIDE) for i in (0, 1))
    places = {}
    for image, (row, column) in zip(members, corners, strict=True):
        top, left = round((row + box[0]) * scene.size[0] / _SIDE), round((column + box[1]) * scene.size[1] / _SIDE)
        places[int(image)] = min(max(top, 0), scene.size[0] - height), min(max(left, 0), scene.size[1] - width)
    if scene.objects is not None:
        covered = [
            scene.objects[i, top : top + height, left : left + width].mean() for i, (top, left) in places.items()
        ]
        if np.mean(covered) > _MOST_ON_OBJECTS:
            return None
    return Patches(places, (height, width))
