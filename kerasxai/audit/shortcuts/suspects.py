"""A suspected mark of a class, and how many images of the class and of other classes have it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.audit.shortcuts.interventions import Mark

LEAST_IMAGES = 5
"""Classes with fewer images are not searched."""
_LEAST_SHARE = 0.4


@dataclass(frozen=True)
class Suspect:
    """A suspected mark.

    Attributes:
        class_number: The class.
        kind: Such as `"border"`; for people and for JSON.
        mark: Plants and removes the mark.
        members: Images of the class that have it.
        own_share: The share of the images of the class that have it.
        other_share: The share of the images of other classes that have it.
        place: Where it is, `(H, W)` bool; None for what has no constant place.
        figures: Further figures for JSON.
    """

    class_number: int
    kind: str
    mark: Mark
    members: NDArray[np.int64]
    own_share: float
    other_share: float
    place: NDArray[np.bool_] | None
    figures: dict[str, Any]

    @property
    def exactness(self) -> int:
        """How much the mark is alike in all images: 0 its pixels, 1 its colors or texture, 2 only its heatmap."""
        return {"evidence": 2, "color": 1, "shade": 1, "strip": 1}.get(self.kind, int("region" in self.figures))

    @property
    def separation(self) -> float:
        """How much more frequent the mark is in the class than elsewhere."""
        return self.own_share - self.other_share


def least_members(count: int, share: float = _LEAST_SHARE) -> int:
    """Return how many of the images of a class must have a mark.

    Marks in 60 % of the training images are in fewer of some samples.
    """
    return max(min(3, count), math.ceil(share * count))
