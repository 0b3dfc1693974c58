"""Marks of the same pixels at the same place: logos, borders, bars, stamps."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kerasxai.audit.shortcuts.interventions import Region
from kerasxai.audit.shortcuts.scene import Scene
from kerasxai.audit.shortcuts.suspects import Suspect, least_members

_TOLERANCE = 20.0
"""Gray levels in each channel; what compression and resizing change."""
_MOST_ELSEWHERE = 0.05
_LEAST_AREA = 0.004
_LEAST_AGREEMENT = 0.8
_SAME_IMAGES = 0.7
_RING = 3
_RIM = 3
_MOST_AROUND = 0.5
_MOST_ON_OBJECTS = 0.5


def constant_pixels(scene: Scene, number: int) -> Iterator[Suspect]:
    """Yield the place where many images of a class have the same colors and images of other classes do not.

    For each pixel of the images at 64 x 64 pixels, the color that most images of the class share is found. An object
    varies in place and in size: unlike a mark, few images agree in all its pixels, or they agree around these as well.

    Args:
        scene: The images.
        number: The class.
    """
    own, rest = scene.of_class(number), scene.of_rest(number)
    mask, colors = _shared(scene.small[own], scene.small[rest])
    mask = ndimage.binary_opening(mask, np.ones((2, 2)))
    if mask.mean() < _LEAST_AREA:
        return
    near = np.abs(scene.small - colors).max(-1) < _TOLERANCE
    for part in _parts(mask, near[own]):
        agreeing = near[:, part].mean(-1) >= _LEAST_AGREEMENT
        members, place = own[agreeing[own]], _enlarged(part, scene.size)
        if len(members) < least_members(len(own)) or _is_object(scene, members, part, place):
            continue
        yield Suspect(
            number,
            kind_of_place(place),
            Region(place, members),
            members,
            float(agreeing[own].mean()),
            float(agreeing[rest].mean()),
            place,
            {"area": round(float(place.mean()), 4)},
        )
        return


def _parts(mask: NDArray[np.bool_], near: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    """Yield the connected components of a mask from the largest on, each with those that the same images have.

    Args:
        mask: The pixels of all marks.
        near: `(n, 64, 64)`, which images of the class agree.
    """
    numbers, count = ndimage.label(mask, np.ones((3, 3)))
    having = [near[:, numbers == part].mean(-1) >= _LEAST_AGREEMENT for part in range(1, count + 1)]
    areas = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    for first in np.argsort(-areas, kind="stable"):
        alike = [(having[first] & one).sum() >= _SAME_IMAGES * (having[first] | one).sum() for one in having]
        joined = np.isin(numbers, 1 + np.flatnonzero(alike)) | (numbers == first + 1)
        if joined.mean() >= _LEAST_AREA:
            yield joined


def _shared(own: NDArray[np.float32], rest: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return where enough images share a color that few others have, and the color."""
    agreeing = np.stack([(np.abs(own - image).max(-1) < _TOLERANCE).sum(0) for image in own])
    best = agreeing.argmax(0)
    colors = np.take_along_axis(own, best[None, ..., None], 0)[0]
    inside = (np.abs(rest - colors).max(-1) < _TOLERANCE).mean(0)
    return (agreeing.max(0) >= least_members(len(own))) & (inside <= _MOST_ELSEWHERE), colors


def _is_object(scene: Scene, members: NDArray[np.int64], mask: NDArray[np.bool_], place: NDArray[np.bool_]) -> bool:
    """Return whether a place is that of objects: of known ones, or one that fades into what surrounds it."""
    if scene.objects is not None:
        return bool(scene.objects[members][:, place].mean() > _MOST_ON_OBJECTS)
    if kind_of_place(place) != "place":
        return False
    around = ndimage.binary_dilation(mask, iterations=_RING + 1) & ~ndimage.binary_dilation(mask)
    images = scene.small[members][:, around]
    near = np.abs(images[:, None] - images[None]).max(-1) < _TOLERANCE
    return bool(near.mean(0).max(0).mean() > _MOST_AROUND)


def _enlarged(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask at image size, with a rim: images agree in the core of a mark only if its place or size varies."""
    grown = ndimage.binary_dilation(mask, iterations=_RIM)
    rows, columns = (np.arange(side) * len(mask) // side for side in size)
    return np.asarray(grown[np.ix_(rows, columns)])


def kind_of_place(place: NDArray[np.bool_]) -> str:
    """Return `"border"`, `"corner"` or `"place"`."""
    height, width = place.shape
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    edge = np.minimum(np.minimum(rows, 1 - rows), np.minimum(columns, 1 - columns))
    edges = [place[0], place[-1], place[:, 0], place[:, -1]]
    if (edge[place] < 0.2).mean() > 0.9 and sum(side.mean() > 0.6 for side in edges) >= 1:
        return "border"
    near = [(rows < 0.35) & (columns < 0.35), (rows < 0.35) & (columns > 0.65)]
    near += [(rows > 0.65) & (columns < 0.35), (rows > 0.65) & (columns > 0.65)]
    return "corner" if any(place[corner].sum() > 0.9 * place.sum() for corner in near) else "place"
