"""The test of a suspect by intervention, with controls."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerasxai.audit.shortcuts.scene import Pixels, Scene
from kerasxai.audit.shortcuts.suspects import Suspect

_HOSTS = 32
_REMOVED = 16
_DRAWS = 4000


@dataclass(frozen=True)
class Trial:
    """What planting and removing a mark do to the class.

    Attributes:
        rise: Mean rise of the probability of the class when the mark is planted into images of other classes.
        control_rise: The same for the control.
        fall: Mean fall of the probability when the mark is removed.
        control_fall: The same for the control.
        evidence: The rise of the log-odds over that of the control and of the classes that are not in the image, as a
            share of the difference between images of the class and of other classes.
        removed_evidence: The fall of the log-odds over that of the control, as a share of the same.
        flips: The share of images of other classes that are classified as the class with the mark and not before.
        rank: How many classes rise more.
        p_value: Of the rise over the control, one-sided, by sign flips.
        fall_p_value: Of the fall over the control.
        hosts: The images that the mark was planted into.
    """

    rise: float
    control_rise: float
    fall: float
    control_fall: float
    evidence: float
    removed_evidence: float
    flips: float
    rank: int
    p_value: float
    fall_p_value: float
    hosts: NDArray[np.int64]


def try_out(scene: Scene, suspect: Suspect, seed: int) -> Trial:
    """Plant a mark into images of other classes, remove it where it is, and do the same with controls.

    Args:
        scene: The images.
        suspect: The suspected mark.
        seed: Of the choice of images and places.
    """
    generator = np.random.default_rng([seed, 7, suspect.class_number])
    number, mark = suspect.class_number, suspect.mark
    rest = scene.of_rest(number)
    hosts = generator.permutation(rest)[:_HOSTS]
    sources = generator.permutation(np.resize(suspect.members, len(hosts)))
    strangers = np.array([generator.choice(_of_another_class(scene, rest, host)) for host in hosts])
    members = generator.permutation(suspect.members)[:_REMOVED]
    donors = generator.choice(rest, len(members))
    seeds = generator.integers(2**31, size=max(len(hosts), len(members)))

    def made(change: Callable[..., Pixels], images: NDArray, given: NDArray) -> NDArray[np.float64]:
        return scene.log_odds_of(_changed(scene, change, images, given, seeds))

    planted, control = made(mark.planted, hosts, sources), made(mark.planted, hosts, strangers)
    removed, kept = made(mark.removed, members, donors), made(mark.mark_kept, members, donors)
    before, own = scene.log_odds[hosts], scene.log_odds[members]
    gap = max(float(scene.log_odds[scene.of_class(number), number].mean() - scene.log_odds[rest, number].mean()), 1.0)
    rises = (planted - control).mean(0)
    beyond = _beyond_rest(planted - control, number, scene.labels[hosts])
    return Trial(
        rise=_rise(before[:, number], planted[:, number]),
        control_rise=_rise(before[:, number], control[:, number]),
        fall=_rise(removed[:, number], own[:, number]),
        control_fall=_rise(kept[:, number], own[:, number]),
        evidence=float(beyond.mean() / gap),
        removed_evidence=float((kept - removed)[:, number].mean() / gap),
        flips=float(((planted.argmax(1) == number) & (before.argmax(1) != number)).mean()),
        rank=int((rises > rises[number]).sum()),
        p_value=_p_value(beyond, generator),
        fall_p_value=_p_value((kept - removed)[:, number], generator),
        hosts=hosts,
    )


def _changed(
    scene: Scene, change: Callable[..., Pixels], images: NDArray, given: NDArray, seeds: NDArray
) -> Iterator[Pixels]:
    for image, source, seed in zip(images, given, seeds, strict=False):
        yield change(scene, int(image), int(source), int(seed))


def _of_another_class(scene: Scene, candidates: NDArray[np.int64], host: int) -> NDArray[np.int64]:
    """Return the candidates of another class than a host; all, if there is no such class."""
    found = candidates[scene.labels[candidates] != scene.labels[host]]
    return found if len(found) else candidates


def _beyond_rest(rises: NDArray[np.float64], number: int, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the rise of a class less the mean rise of the classes that are not in the image, `(n,)`.

    Whatever hides the object of an image raises all other classes.
    """
    absent = np.ones(rises.shape, bool)
    absent[np.arange(len(rises)), labels] = False
    absent[:, number] = False
    counts = absent.sum(1)
    return rises[:, number] - np.where(absent, rises, 0).sum(1) / np.maximum(counts, 1)


def _rise(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    return float((_probability(after) - _probability(before)).mean())


def _probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-log_odds))


def _p_value(differences: NDArray[np.float64], generator: np.random.Generator) -> float:
    """Return the chance of a mean as high under signs at random."""
    signs = generator.choice([-1.0, 1.0], (_DRAWS, len(differences)))
    return float((1 + ((signs * differences).mean(1) >= differences.mean() - 1e-12).sum()) / (1 + _DRAWS))
