"""When the model is wrong: pairs of confused classes, the evidence for both, and what changes the decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.audit.images import AuditImages, name_of_sample
from kerasxai.audit.opening import Opened, read_samples
from kerasxai.explainer import Explainer
from kerasxai.metrics.faithfulness.curves import ordered
from kerasxai.metrics.faithfulness.fills import Fill

SHARES = tuple(number / 50 for number in range(1, 51))
"""Shares of the image that are blurred, most relevant pixels first, until the decision changes."""


@dataclass(frozen=True)
class Confusion:
    """A wrong decision.

    Attributes:
        true: The true class.
        predicted: The predicted class.
        name: Of the image.
        pixels: `(H, W, 3)` uint8.
        probabilities: Of the predicted and of the true class.
        maps: The evidence for the predicted and for the true class, `(2, H, W)`.
        region: `(H, W)` bool, the smallest region that changes the decision; all False if none does.
        becomes: The class after the region is blurred; None if the decision stays.
    """

    true: int
    predicted: int
    name: str
    pixels: NDArray[np.uint8]
    probabilities: tuple[float, float]
    maps: NDArray[np.float32]
    region: NDArray[np.bool_]
    becomes: int | None


def confused_pairs(opened: Opened, most: int = 5) -> list[dict[str, Any]]:
    """Return the most frequent pairs of true and predicted class, with `numbers`, the positions of their images.

    Args:
        opened: The predictions.
        most: How many pairs.
    """
    predicted = opened.outputs.classes
    wrong = np.flatnonzero(predicted != opened.labels)
    counts = Counter(zip(opened.labels[wrong].tolist(), predicted[wrong].tolist(), strict=True))
    totals = Counter(opened.labels.tolist())
    names = opened.images.class_names
    pairs = []
    for (true, chosen), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]:
        own = wrong[(opened.labels[wrong] == true) & (predicted[wrong] == chosen)]
        # The surest mistakes first: these are the ones to understand.
        own = own[np.argsort(-opened.outputs.probabilities[own, chosen], kind="stable")]
        pairs.append(
            {
                "true": names[true],
                "predicted": names[chosen],
                "images": count,
                "share": count / totals[true],
                "numbers": opened.numbers[own].tolist(),
            }
        )
    return pairs


def explain_confusions(
    opened: Opened, pairs: Iterable[dict[str, Any]], explainer: Explainer, each: int = 2
) -> list[list[Confusion]]:
    """Explain the surest mistakes of each pair, for the predicted and for the true class.

    Args:
        opened: The predictions.
        pairs: As `confused_pairs` returns them.
        explainer: The method.
        each: How many images of a pair.
    """
    rows = [pair["numbers"][:each] for pair in pairs]
    samples = read_samples(opened.images, (number for row in rows for number in row))
    return [[_explained(opened, explainer, number, samples[number]) for number in row] for row in rows]


def _explained(opened: Opened, explainer: Explainer, number: int, sample: dict[str, Any]) -> Confusion:
    row = int(np.searchsorted(opened.numbers, number))
    true, predicted = int(opened.labels[row]), int(opened.outputs.classes[row])
    shares = opened.outputs.probabilities[row]
    inputs = opened.images.taken.taken(sample["image"][None])
    maps = explainer(np.repeat(inputs, 2, axis=0), [predicted, true]).heatmaps
    region, becomes = smallest_region(opened.images, explainer, inputs, maps[0], predicted)
    return Confusion(
        true,
        predicted,
        name_of_sample(sample, number),
        sample["image"],
        (float(shares[predicted]), float(shares[true])),
        maps,
        region,
        becomes,
    )


def smallest_region(
    images: AuditImages, explainer: Explainer, inputs: NDArray[np.float32], heatmap: NDArray[np.float32], predicted: int
) -> tuple[NDArray[np.bool_], int | None]:
    """Return the smallest region that changes a decision when it is blurred, and the class that it becomes.

    Regions are the most relevant pixels of a heatmap, a fiftieth of the image more each. Costs 50 forward passes.

    Args:
        images: The audit.
        explainer: Predicts.
        inputs: `(1, H, W, C)` as the model takes it.
        heatmap: `(H, W)` of the predicted class.
        predicted: That class.
    """
    order = ordered(heatmap.astype(np.float64))
    blurred = Fill.of("blur", inputs).values[0]
    removed = np.zeros((len(SHARES), heatmap.size), bool)
    for number, share in enumerate(SHARES):
        removed[number, order[: round(share * heatmap.size)]] = True
    removed = removed.reshape(len(SHARES), *heatmap.shape)
    for start in range(0, len(SHARES), explainer.batch_size):
        part = removed[start : start + explainer.batch_size]
        classes = explainer.predict(np.where(part[..., None], blurred, inputs)).classes
        changed = np.flatnonzero(classes != predicted)
        if len(changed):
            return part[changed[0]], int(classes[changed[0]])
    return np.zeros(heatmap.shape, bool), None


def figures_of(confusion: Confusion, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Return what `audit.json` says of a confusion."""
    return {
        "name": confusion.name,
        "predicted_probability": confusion.probabilities[0],
        "true_probability": confusion.probabilities[1],
        "region": float(confusion.region.mean()) if confusion.becomes is not None else None,
        "becomes": None if confusion.becomes is None else class_names[confusion.becomes],
    }
