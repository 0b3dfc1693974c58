"""The position of a heatmap's maximum: on the described object, on the other one, or on the background."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.data.shapes.language import NOBODY

OBJECT, OTHER, BACKGROUND = "on_object", "on_other", "on_background"
POSITIONS = (OBJECT, OTHER, BACKGROUND)


@dataclass(frozen=True)
class Case:
    """One heatmap and its measurement.

    Attributes:
        group: The group in which it is counted, such as "noun".
        correct: Whether the model's prediction was right.
        position: One of `POSITIONS`.
        area: The share of the image that is the object; 0 if the word describes no object in the image.
    """

    group: str
    correct: bool
    position: str
    area: float


def point(heatmap: NDArray, masks: NDArray, described: int) -> tuple[str, float]:
    """Return the position of a heatmap's maximum.

    Args:
        heatmap: `(H, W)`. A map without a positive value counts as background; of several highest pixels the first row
            by row is taken.
        masks: `(2, H, W)`, not 0 on each object.
        described: 0 or 1, the described object; or `NOBODY`, then each object is the other one.

    Returns:
        One of `POSITIONS`, and the share of the image that is the object.

    Example:
        >>> point(np.array([[0.0, 1.0]]), np.array([[[0, 1]], [[1, 0]]]), 0)
        ('on_object', 0.5)
    """
    area = 0.0 if described == NOBODY else float((masks[described] != 0).mean())
    if not heatmap.max() > 0:
        return BACKGROUND, area
    top, left = np.unravel_index(heatmap.argmax(), heatmap.shape)
    hit = np.nonzero(masks[:, top, left])[0]
    if len(hit) == 0:
        return BACKGROUND, area
    return (OBJECT if described in hit else OTHER), area


def counted(cases: Sequence[Case]) -> dict[str, Any]:
    """Count all cases, and separately those with a correct prediction.

    Returns:
        For "correct" and "all": `cases`; the maxima at each position, as counts and shares; `chance`, the share on the
        object of random positions; and `of_hits`, the share on the described object among those on any object, where
        one half is chance.

    Example:
        >>> counted([Case("noun", True, "on_object", 0.1)])["correct"]["share_on_object"]
        1.0
    """
    return {"correct": _shares([case for case in cases if case.correct]), "all": _shares(cases)}


def _shares(cases: Sequence[Case]) -> dict[str, Any]:
    counts: dict[str, Any] = {position: sum(case.position == position for case in cases) for position in POSITIONS}
    total, hits = len(cases), counts[OBJECT] + counts[OTHER]
    shares = {f"share_{name}": round(counts[name] / total, 4) if total else None for name in POSITIONS}
    return {
        "cases": total,
        **counts,
        **shares,
        "of_hits": round(counts[OBJECT] / hits, 4) if hits else None,
        "chance": round(float(np.mean([case.area for case in cases])), 4) if total else None,
        "chance_of_hits": 0.5,
    }


def by_group(cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """Return the counts of each group, in order of appearance, see `counted`."""
    names = dict.fromkeys(case.group for case in cases)
    return {name: counted([case for case in cases if case.group == name]) for name in names}


def rows(measured: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return the result of `by_group` as rows of a table."""
    return [
        [
            group,
            which,
            str(one["cases"]),
            *("" if one[f"share_{name}"] is None else f"{one[f'share_{name}']:.3f}" for name in POSITIONS),
            "" if one["of_hits"] is None else f"{one['of_hits']:.3f}",
            "" if one["chance"] is None else f"{one['chance']:.3f}",
        ]
        for group, both in measured.items()
        for which, one in both.items()
    ]


COLUMNS = ["", "predictions", "cases", "on object", "on other", "on background", "of hits", "chance"]
