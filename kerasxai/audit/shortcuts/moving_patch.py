"""Marks of the same pixels at another place in each image: stickers, badges, tags."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerasxai.audit.shortcuts.interventions import Patches
from kerasxai.audit.shortcuts.scene import Scene
from kerasxai.audit.shortcuts.suspects import Suspect, least_members

_SIDE = 64
_PATCH = 6
_PEAKS = 2
_JITTERS = 3
_ELSEWHERE = 0.02
_TRIED = 12
_MARGIN = 4
_LEAST_SHARE = 0.5
_MOST_ON_OBJECTS = 0.5


@dataclass(frozen=True)
class Matches:
    """The best match of patches with strong evidence in every image.

    Attributes:
        images: `(Q,)` the image that each patch is from.
        distances: `(Q, N)` root mean squared difference in gray levels to the best match.
        positions: `(Q, N)` the place of the best match, row times the number of columns plus column.
    """

    images: NDArray[np.int64]
    distances: NDArray[np.float32]
    positions: NDArray[np.int32]


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
    positions = np.empty((len(patches), len(scene)), np.int32)
    for number, image in enumerate(scene.small):
        windows = _windows(image)
        squared = (windows**2).sum(1) - 2 * (patches @ windows.T)
        best = squared.argmin(1)
        positions[:, number] = best
        distances[:, number] = squared[np.arange(len(best)), best] + squares
    return Matches(np.array(images), np.sqrt(np.maximum(distances, 0) / patches.shape[1]), positions)


def _peaks(heatmap: NDArray[np.float32]) -> list[tuple[int, int]]:
    left, peaks = heatmap.copy(), []
    for _ in range(_PEAKS):
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        peaks.append((int(row), int(column)))
        left[max(0, row - 10) : row + 11, max(0, column - 10) : column + 11] = -np.inf
    return peaks


def repeated_patch(scene: Scene, matches: Matches, number: int) -> Iterator[Suspect]:
    """Yield the patch with evidence for a class that most of its images contain and other classes do not.

    It may be a part of an object, unless known objects show that it is not.

    Args:
        scene: The images.
        matches: Of the patches with evidence.
        number: The class.
    """
    own, rest = scene.of_class(number), scene.of_rest(number)
    queries = np.flatnonzero(scene.labels[matches.images] == number)
    distances = matches.distances[queries]
    limits = np.quantile(distances[:, rest], _ELSEWHERE, axis=1)
    close = distances[:, own] < limits[:, None]
    side = (_PATCH + 2 * _MARGIN) / _SIDE
    height, width = (round(side * length) for length in scene.size)
    for best in np.argsort(-close.sum(1), kind="stable")[:_TRIED]:
        members = own[close[best]]
        if len(members) < max(_LEAST_SHARE * len(own), least_members(len(own))):
            return
        found = matches.positions[queries[best]]
        positions = {int(i): _position(int(found[i]), scene.size, (height, width)) for i in members}
        if _on_objects(scene, positions, (height, width)):
            continue
        yield Suspect(
            number,
            "patch",
            Patches(positions, (height, width)),
            members,
            len(members) / len(own),
            float((distances[best, rest] < limits[best]).mean()),
            None,
            {"distance": round(float(np.median(distances[best, members])), 1)},
        )
        return


def _position(number: int, size: tuple[int, int], side: tuple[int, int]) -> tuple[int, int]:
    """Return top and left of a match with its margin at image size."""
    row, column = divmod(number, _POSITIONS)
    top = round((row - _MARGIN) * size[0] / _SIDE)
    left = round((column - _MARGIN) * size[1] / _SIDE)
    return min(max(top, 0), size[0] - side[0]), min(max(left, 0), size[1] - side[1])


def _on_objects(scene: Scene, positions: dict[int, tuple[int, int]], side: tuple[int, int]) -> bool:
    if scene.objects is None:
        return False
    covered = [
        scene.objects[image, top : top + side[0], left : left + side[1]].mean()
        for image, (top, left) in positions.items()
    ]
    return bool(np.mean(covered) > _MOST_ON_OBJECTS)
