"""Suspicion from heatmaps: clusters of heatmaps that point elsewhere, and evidence outside of the objects.

Clusters as in Lapuschkin et al. 2019, "Unmasking Clever Hans predictors" (SpRAy): a spectral clustering of the
heatmaps of a class. Departures: heatmaps are compared at 16 x 16, and a class has two clusters at most.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import SpectralClustering

from kerasxai.audit.shortcuts.constant_pixels import kind_of_place
from kerasxai.audit.shortcuts.interventions import Region
from kerasxai.audit.shortcuts.scene import Scene
from kerasxai.audit.shortcuts.suspects import Suspect

_SIDE = 16
_LEAST_IMAGES = 3
_TIGHT = 0.6
_ELSEWHERE = 0.3
_PEAK = 0.6
_MOST_AREA = 0.2


def shrunk(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the positive evidence of heatmaps `(N, 64, 64)` as unit vectors, `(N, 256)`."""
    step = evidence.shape[1] // _SIDE
    cells = np.maximum(evidence, 0).reshape(len(evidence), _SIDE, step, _SIDE, step).mean((2, 4))
    flat = cells.reshape(len(evidence), -1)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9), np.float32)


def evidence_clusters(scene: Scene, maps: NDArray[np.float32], number: int) -> Iterator[Suspect]:
    """Yield clusters of heatmaps of a class that are tight and away from the evidence of other classes.

    Args:
        scene: The images.
        maps: `shrunk` heatmaps for the class of each image.
        number: The class.
    """
    own, rest = scene.of_class(number), scene.of_rest(number)
    usual = maps[rest].mean(0)
    usual = usual / max(float(np.linalg.norm(usual)), 1e-9)
    for members in _clusters(own, maps[own]):
        center = maps[members].mean(0)
        tightness = float(np.linalg.norm(center))
        if tightness < _TIGHT**0.5 or center @ usual / tightness > _ELSEWHERE:
            continue
        peak = (center >= _PEAK * center.max()).reshape(_SIDE, _SIDE)
        if peak.mean() > _MOST_AREA:
            continue
        rows, columns = (np.arange(length) * _SIDE // length for length in scene.size)
        place = peak[np.ix_(rows, columns)]
        alike = float((maps[rest] @ center / tightness > _TIGHT).mean())
        figures = {"tightness": round(tightness**2, 3), "at": kind_of_place(place)}
        yield Suspect(
            number, "evidence", Region(place, members), members, len(members) / len(own), alike, place, figures
        )


def _clusters(own: NDArray[np.int64], maps: NDArray[np.float32]) -> list[NDArray[np.int64]]:
    """Return the images of a class, all together and in two clusters."""
    groups = [own]
    if len(own) >= 2 * _LEAST_IMAGES:
        affinity = np.maximum(maps @ maps.T, 1e-3)
        numbers = SpectralClustering(2, affinity="precomputed", random_state=0).fit_predict(affinity)
        groups += [own[numbers == cluster] for cluster in (0, 1)]
    return [group for group in groups if len(group) >= _LEAST_IMAGES]


def density_outside(scene: Scene, evidence: NDArray[np.float32], number: int) -> float | None:
    """Return the evidence per area outside of the objects of a class, relative to that inside; None without objects.

    Args:
        scene: The images.
        evidence: `(N, 64, 64)` heatmaps for the class of each image.
        number: The class.
    """
    if scene.objects is None:
        return None
    rows, columns = ((np.arange(64) * 2 + 1) * length // 128 for length in scene.size)
    ratios = []
    for image in scene.of_class(number):
        inside = scene.objects[image][np.ix_(rows, columns)]
        positive = np.maximum(evidence[image], 0)
        if inside.any() and not inside.all():
            ratios.append(float(positive[~inside].mean() / max(float(positive[inside].mean()), 1e-9)))
    return float(np.median(ratios)) if ratios else None
