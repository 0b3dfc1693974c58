"""Metrics of classifiers with several labels an image: average precision, and F1 at chosen thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score

from kerasxai.metrics.base import CollectingMetric, Metric, Result
from kerasxai.tools.errors import KerasxaiError

UNKNOWN = -1
"""The entry of `labels` for a class that may or may not be in the image."""


def unique_names(class_names: Sequence[str] | None, count: int) -> list[str]:
    """Return one key for each class: its name, with the class number if another class has the same, or the number.

    Example:
        >>> unique_names(["cat", "dog", "cat"], 3), unique_names(None, 2)
        (['cat (0)', 'dog', 'cat (2)'], ['0', '1'])
    """
    if class_names is None:
        return [str(number) for number in range(count)]
    names = list(class_names)
    return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names)]


def checked_label_rows(
    scores: ArrayLike, labels: ArrayLike, classes: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return scores and labels `(B, C)` as float64 and int64.

    Args:
        scores: `(B, C)`, finite.
        labels: `(B, C)`: 1 present, 0 absent, -1 unknown.
        classes: C, if it is known.

    Raises:
        KerasxaiError: Shapes or numbers do not fit.
    """
    values, known = np.asarray(scores, np.float64), np.asarray(labels)
    if values.ndim != 2 or not values.shape[1] or (classes is not None and values.shape[1] != classes):
        raise KerasxaiError(
            f"expected scores of shape (B, {'classes' if classes is None else classes}), got {values.shape}"
        )
    if known.shape != values.shape:
        raise KerasxaiError(f"expected labels of shape {values.shape}, as the scores, got {known.shape}")
    if not np.isfinite(values).all():
        raise KerasxaiError(f"scores must be finite, got {values[~np.isfinite(values)][0]}")
    strange = known[~np.isin(known, (1, 0, UNKNOWN))]
    if strange.size:
        raise KerasxaiError(f"labels must be 1 present, 0 absent or -1 unknown, got {strange[0]}")
    return values, known.astype(np.int64)


@dataclass(frozen=True)
class F1Thresholds:
    """Thresholds of probabilities with the highest F1; a class is predicted at or above its threshold.

    Attributes:
        common: One threshold for all classes, with the highest F1 of all decisions together (micro F1).
        by_class: `(C,)`, for each class the threshold with its own highest F1; `common` for a class that is in no
            image.
    """

    common: float
    by_class: tuple[float, ...]


class MeanAveragePrecision(CollectingMetric):
    """Mean over the classes of the average precision of their images, ranked by score.

    Average precision is `sum_n (R_n - R_(n-1)) P_n`, without interpolation, as
    `sklearn.metrics.average_precision_score` computes it; the figures of PASCAL VOC interpolate and are a little
    higher. Unknown labels (-1) do not count, and a class that is in no image is left out of the mean and listed. The
    scores of all images are kept until the result.

    Args:
        class_names: One for each class, keys of the result; None: class numbers.

    Example:
        >>> metric = MeanAveragePrecision(["cat", "dog"])
        >>> metric.update([[0.9, 0.2], [0.1, 0.8], [0.5, 0.9]], [[1, 0], [0, 1], [1, 0]])
        >>> metric.result()["average_precision"]
        {'cat': 1.0, 'dog': 0.5}
        >>> float(metric.result())
        0.75
    """

    kept = ("scores", "labels")

    def __init__(self, class_names: Sequence[str] | None = None) -> None:
        super().__init__(class_names=None if class_names is None else [str(name) for name in class_names])

    def update(self, scores: ArrayLike, labels: ArrayLike) -> None:
        """Count a batch.

        Args:
            scores: `(B, C)` probabilities or logits.
            labels: `(B, C)`: 1 present, 0 absent, -1 unknown.

        Raises:
            KerasxaiError: Shapes or numbers do not fit; nothing is counted then.
        """
        names = self.options["class_names"]
        classes = len(names) if names is not None else self.totals["scores"].shape[1] if self.totals else None
        values, known = checked_label_rows(scores, labels, classes)
        self.add(scores=values, labels=known, images=len(values))

    def result(self) -> Result:
        """Return `mean_average_precision`, `average_precision` by class, `classes_without_positives`, `images`.

        Raises:
            KerasxaiError: No image has a known class.
        """
        images = self.counted(unit="image")
        scores, labels = self.totals["scores"], self.totals["labels"]
        names = unique_names(self.options["class_names"], scores.shape[1])
        present = (labels == 1).any(axis=0)
        if not present.any():
            raise KerasxaiError("MeanAveragePrecision: expected an image with a class, got none; there is no result")
        found: dict[str, float] = {}
        for number in np.flatnonzero(present):
            known = labels[:, number] != UNKNOWN
            found[names[number]] = float(average_precision_score(labels[known, number], scores[known, number]))
        return Result(
            mean_average_precision=float(np.mean(list(found.values()))),
            average_precision=found,
            classes_without_positives=[name for name, some in zip(names, present, strict=True) if not some],
            images=images,
        )

    def f1_thresholds(self) -> F1Thresholds:
        """Return the thresholds with the highest F1 for these images, to be applied to others.

        Raises:
            KerasxaiError: There is no image.
        """
        self.counted(unit="image")
        scores, labels = self.totals["scores"], self.totals["labels"]
        known = labels != UNKNOWN
        common = best_f1_threshold(scores[known], labels[known] == 1)
        return F1Thresholds(
            common,
            tuple(
                best_f1_threshold(scores[its, number], labels[its, number] == 1, common)
                for number, its in enumerate(known.T)
            ),
        )


def best_f1_threshold(scores: NDArray[np.float64], positive: NDArray[np.bool_], default: float = 0.5) -> float:
    """Return the threshold with the highest F1, in the middle between two scores; the highest of several.

    Args:
        scores: `(N,)`.
        positive: `(N,)` bool.
        default: Returned if nothing is positive.

    Example:
        >>> best_f1_threshold(np.array([0.25, 0.75, 0.5]), np.array([False, True, False]))
        0.625
    """
    if not positive.any():
        return default
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))  # Equal scores are predicted all or none.
    hits = np.cumsum(positive[order])[last]
    best = int(np.argmax(2 * hits / (last + 1 + positive.sum())))
    lower = ranked[last[best + 1]] if best + 1 < len(last) else ranked[last[best]]
    return float((ranked[last[best]] + lower) / 2)


class MultiLabelF1(Metric):
    """F1 of the decisions which classes are in an image, at given thresholds.

    Choose the thresholds on other images, see `MeanAveragePrecision.f1_thresholds`. Unknown labels (-1) do not count.

    Args:
        thresholds: One for all classes, or one for each; a class is predicted at or above it.
        class_names: As in `MeanAveragePrecision`.

    Example:
        >>> metric = MultiLabelF1(0.5)
        >>> metric.update([[0.9, 0.6], [0.2, 0.8]], [[1, 0], [1, 1]])
        >>> round(metric.result()["micro_f1"], 3), metric.result()["by_class"]["0"]
        (0.667, 0.6666666666666666)
    """

    def __init__(self, thresholds: float | Sequence[float] = 0.5, class_names: Sequence[str] | None = None) -> None:
        given = np.asarray(thresholds, np.float64)
        if given.ndim > 1 or not np.isfinite(given).all():
            raise KerasxaiError(f"thresholds must be a number, or one for each class, got {thresholds!r}")
        names = None if class_names is None else [str(name) for name in class_names]
        super().__init__(thresholds=given.tolist(), class_names=names)
        self.totals["images"] = np.zeros(1, np.int64)

    def update(self, scores: ArrayLike, labels: ArrayLike) -> None:
        """Count a batch; arguments and errors as in `MeanAveragePrecision.update`."""
        thresholds, names = np.asarray(self.options["thresholds"]), self.options["class_names"]
        classes = len(thresholds) if thresholds.ndim else None if names is None else len(names)
        values, known = checked_label_rows(scores, labels, classes)
        predicted, true = values >= thresholds, known == 1
        counts = [predicted & true, predicted & (known == 0), ~predicted & true]
        # (C, 3): right, wrongly predicted, missed.
        self.add(decisions=np.stack([count.sum(axis=0) for count in counts], axis=1), images=len(values))

    def result(self) -> Result:
        """Return `f1`, the mean of the classes that are in an image, `micro_f1` of all decisions, and `by_class`."""
        images = self.counted(unit="image")
        decisions = self.totals["decisions"]
        names = unique_names(self.options["class_names"], len(decisions))
        found = {
            name: _f1(*row)
            for name, row in zip(names, decisions.tolist(), strict=True)
            if row[0] + row[2]  # The class is in an image.
        }
        if not found:
            raise KerasxaiError("MultiLabelF1: expected an image with a class, got none; there is no result")
        micro = _f1(*decisions.sum(axis=0).tolist())
        return Result(f1=float(np.mean(list(found.values()))), micro_f1=micro, by_class=found, images=images)


def _f1(right: int, wrong: int, missed: int) -> float:
    return 2 * right / max(2 * right + wrong + missed, 1)
