"""The recommended method, layer and options: chosen on half of the images, measured on the other half.

The score of an image is insertion minus deletion, both areas of probabilities: in [-1, 1], 0 for a map without any
information. Nothing here imports TensorFlow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.audit.intervals import Interval, difference, known, mean_interval
from kerasxai.audit.verdicts import WORDS, is_better, joined, shown


@dataclass(frozen=True)
class Candidate:
    """A method with a layer and options.

    Attributes:
        name: As it is shown.
        method: A name in `kerasxai.METHODS`.
        layer: The explained layer; None for the default, or if the method uses none.
        options: Of the method.
        is_insane: Whether its maps hardly depend on the model.
        scores: `(N,)` scores by image.
        is_near_limit: Whether that is not sure, because the interval contains the limit.
    """

    name: str
    method: str
    layer: str | None
    options: Mapping[str, Any]
    is_insane: bool
    scores: NDArray[np.float64]
    is_near_limit: bool = False


def scores_of(figures: Mapping[str, Mapping[str, Any]]) -> NDArray[np.float64] | None:
    """Return insertion minus deletion by image; None where one of them was not measured."""
    if "deletion" not in figures or "insertion" not in figures:
        return None
    return known(figures["insertion"]["values"]) - known(figures["deletion"]["values"])


def halves(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the images on which a method is chosen, and of those on which it is measured."""
    return np.arange(0, count, 2), np.arange(1, count, 2)


def recommend(
    candidates: Sequence[Candidate], references: Mapping[str, NDArray[np.float64]], seed: int = 0
) -> dict[str, Any]:
    """Choose the candidate of highest mean score on half of the images, and measure it on the other half.

    Only methods that depend on the model are chosen, those first for which that is sure. The reference is the best map
    that no model made, chosen on the same half, not the true object.

    Args:
        candidates: With scores of the same images.
        references: Name of the reference map -> its scores, perhaps of the first images only.
        seed: Of the bootstrap.

    Returns:
        `method`, `layer`, `options`, None without a recommendation; `sentence`; `score`, `reference`,
        `difference_to_reference` and `is_better` on the other half; `alike`, the methods that it is not clearly better
        than there; and `candidates` with the scores on both halves.
    """
    blind = {name: scores for name, scores in references.items() if name != "object"}
    sane = [one for one in candidates if not one.is_insane]
    if not sane or not blind:
        why = "no method depends on the model" if candidates else "no method was measured by deletion and insertion"
        return _nothing(f"No recommendation: {why}.", candidates, seed)
    count = len(sane[0].scores)
    blind = {name: np.pad(scores, (0, count - len(scores)), constant_values=np.nan) for name, scores in blind.items()}
    choosing, measuring = halves(count)
    sure = [one for one in sane if not one.is_near_limit] or sane
    best = max(sure, key=lambda one: np.nanmean(one.scores[choosing]))
    reference = max(blind, key=lambda name: np.nanmean(blind[name][choosing]))
    score = mean_interval(best.scores[measuring], seed)
    found = difference(best.scores[measuring].tolist(), blind[reference][measuring].tolist(), seed=seed)
    figures = f"insertion minus deletion {shown(score)}, difference {shown(found, signed=True)}"
    how = f"chosen on {len(choosing)} images, measured on {len(measuring)} others"
    if is_better(found):
        sentence = f"Use {best.name}: better than {WORDS[reference]} here ({figures}; {how})."
    else:
        sentence = f"No method is better than {WORDS[reference]} here; the best is {best.name} ({figures}; {how})."
    alike = _alike(best, sure, measuring, seed)
    if alike:
        sentence += f" No clear difference to {joined(alike)}."
    unsure = [one.name for one in sane if one not in sure]
    if unsure:
        sentence += f" Left out, as close to the limit of the check that maps depend on the model: {joined(unsure)}."
    return {
        "method": best.method,
        "layer": best.layer,
        "options": dict(best.options),
        "name": best.name,
        "alike": alike,
        "sentence": sentence,
        "is_better": is_better(found),
        "score": score,
        "reference": reference,
        "difference_to_reference": found,
        "chosen_on": len(choosing),
        "measured_on": len(measuring),
        "candidates": _table(candidates, seed),
    }


def _alike(best: Candidate, sane: Sequence[Candidate], measuring: NDArray[np.intp], seed: int) -> list[str]:
    """Return the other methods that the best one is not better than on the images that did not choose it."""
    scores = best.scores[measuring].tolist()
    rest = [one for one in sane if one.method != best.method]
    close = [one for one in rest if not is_better(difference(scores, one.scores[measuring].tolist(), seed=seed))]
    return list(dict.fromkeys(one.method for one in close))


def _nothing(sentence: str, candidates: Sequence[Candidate], seed: int) -> dict[str, Any]:
    return {
        "method": None,
        "layer": None,
        "options": None,
        "name": None,
        "alike": [],
        "sentence": sentence,
        "is_better": False,
        "candidates": _table(candidates, seed),
    }


def _table(candidates: Sequence[Candidate], seed: int) -> list[dict[str, Any]]:
    rows = []
    for one in candidates:
        choosing, measuring = halves(len(one.scores))
        chosen: Interval = mean_interval(one.scores[choosing], seed)
        measured: Interval = mean_interval(one.scores[measuring], seed)
        rows.append(
            {
                "name": one.name,
                "layer": one.layer,
                "insane": one.is_insane,
                "chosen_on": chosen,
                "measured_on": measured,
            }
        )
    return rows
