"""The search for suspected marks in all classes, and their trials."""

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from kerasxai.audit.shortcuts.constant_pixels import constant_pixels
from kerasxai.audit.shortcuts.evidence import evidence_clusters, shrunk
from kerasxai.audit.shortcuts.local_statistics import region_features, unusual_region
from kerasxai.audit.shortcuts.moving_patch import match_evidence, repeated_patch
from kerasxai.audit.shortcuts.scene import Scene
from kerasxai.audit.shortcuts.settings import ShortcutSettings
from kerasxai.audit.shortcuts.shading import Smooth, unusual_shade
from kerasxai.audit.shortcuts.structure import Edges, repeated_structure
from kerasxai.audit.shortcuts.suspects import LEAST_IMAGES, Suspect
from kerasxai.audit.shortcuts.tone import tone_features, unusual_tone
from kerasxai.audit.shortcuts.trial import Trial, try_out
from kerasxai.audit.shortcuts.verdict import TriedSuspect, judged

_MOST_OF_A_CLASS = 4


def searched_classes(labels: NDArray[np.int64]) -> list[int]:
    """Return the classes that are searched: those with enough images, if there are other classes to compare with."""
    numbers, counts = np.unique(labels, return_counts=True)
    found = [int(number) for number, count in zip(numbers, counts, strict=True) if count >= LEAST_IMAGES]
    return [number for number in found if (labels != number).sum() >= LEAST_IMAGES]


def suspects_of(scene: Scene, evidence: NDArray[np.float32], settings: ShortcutSettings) -> list[Suspect]:
    """Search for suspected marks; those that separate their class best come first.

    Args:
        scene: The images.
        evidence: `(N, 64, 64)` heatmaps for the class of each image.
        settings: The settings.
    """
    classes = searched_classes(scene.labels)
    if not classes:
        return []
    edges, tones, regions = Edges.of(scene.pixels), tone_features(scene), region_features(scene)
    smooth = Smooth.of(scene)
    matches, maps = match_evidence(scene, evidence, settings.seed), shrunk(evidence)
    found: list[Suspect] = []
    for number in classes:
        own: Iterator[Suspect] = chain(
            constant_pixels(scene, number),
            repeated_structure(scene, edges, number),
            repeated_patch(scene, matches, number),
            unusual_tone(scene, tones, number),
            unusual_region(scene, regions, number),
            unusual_shade(scene, smooth, number),
            evidence_clusters(scene, maps, number),
        )
        found += sorted(own, key=_order)[:_MOST_OF_A_CLASS]
    return sorted(found, key=_order)[: settings.trials]


def _order(suspect: Suspect) -> tuple[int, float]:
    # The same pixels prove most; heatmaps alone prove least, and take the places that are left.
    return suspect.exactness, -suspect.separation


def tested(
    scene: Scene,
    suspects: list[Suspect],
    seed: int,
    kept: Callable[[Suspect, Callable[[], Trial]], Trial] | None = None,
) -> list[TriedSuspect]:
    """Test suspects by intervention; the most exact come first, and of equal ones the strongest.

    Args:
        scene: The images.
        suspects: The suspects.
        seed: Of the trials.
        kept: Returns a trial that is stored, or makes it.
    """
    results = []
    for suspect in suspects:

        def make(suspect: Suspect = suspect) -> Trial:
            return try_out(scene, suspect, seed)

        trial = make() if kept is None else kept(suspect, make)
        results.append(judged(suspect, trial, len(suspects), len(scene.class_names), scene.objects is not None))
    return sorted(results, key=lambda one: (one.suspect.exactness, -one.trial.evidence))


def strongest(results: list[TriedSuspect]) -> list[tuple[TriedSuspect, list[str]]]:
    """Return the first confirmed mark of each class, with the kinds of the others that were confirmed.

    Several searches may find one mark, such as a border and its edges.
    """
    found: dict[int, tuple[TriedSuspect, list[str]]] = {}
    for one in results:
        if not one.confirmed:
            continue
        known = found.setdefault(one.suspect.class_number, (one, []))
        if known[0] is not one:
            known[1].append(one.suspect.kind)
    return list(found.values())
