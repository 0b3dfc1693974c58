"""Samples drawn in rounds until a map is exact enough: `samples="auto"`."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import real, whole

if TYPE_CHECKING:
    from kerasxai.engine.score_model import ScoreModel

AUTO = "auto"
_LOGGER = logging.getLogger("kerasxai")


@dataclass(frozen=True)
class Precision:
    """When to stop drawing samples.

    Attributes:
        name: The option with the number of samples, for messages.
        until: The standard error of a map at which drawing stops, as a share of the map's range.
        most: The most samples of each image, a multiple of `size`.
        size: The samples of a round.
        least: The samples before which drawing never stops; estimates of the error from fewer are too unsure.
    """

    name: str
    until: float
    most: int
    size: int
    least: int

    def rounds(self, model: ScoreModel) -> Iterator[slice]:
        """Yields the samples of one round after the other, and reports the progress of one image."""
        done = 0
        try:
            for part in model.chunks(self.most, 1, self.size):
                yield part
                done = part.stop
        finally:
            # What was not needed counts as done.
            model.report.progress.advance(1 - done / self.most)

    def reached(self, count: int, error: float) -> bool:
        """Whether a number of samples with this error, a share of the range, is enough."""
        return count >= self.least and error <= self.until


@dataclass
class Drawn:
    """How many samples each image of a batch needed, and what error was left.

    Attributes:
        counts: Samples.
        errors: Standard errors as a share of the range.
    """

    counts: list[int] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)

    def add(self, count: int, error: float) -> None:
        """Adds an image."""
        self.counts.append(count)
        self.errors.append(error)

    def record(self, model: ScoreModel, precision: Precision, first: int) -> None:
        """Records both in the notes, and logs images that were not exact enough after the most samples.

        Args:
            model: The model.
            precision: The settings.
            first: The index of the first image in the call.
        """
        model.record(samples_used=np.array(self.counts), standard_error=np.array(self.errors, np.float32))
        for index, (count, error) in enumerate(zip(self.counts, self.errors, strict=True), first):
            if error > precision.until:
                _LOGGER.warning(
                    "image %d: after %d samples the standard error of the map is %.2g of its range, above until=%g; "
                    "raise %s",
                    *(index, count, error, precision.until, precision.name),
                )


def precision_of(name: str, until: float, most: int, size: int, least: int) -> Precision:
    """Returns checked settings.

    Args:
        name: The option with the most samples.
        until: See `Precision`.
        most: See `Precision`; rounded down to whole rounds.
        size: See `Precision`.
        least: See `Precision`.

    Raises:
        KerasxaiError: A number out of range.
    """
    return Precision(name, real("until", until, 0, 1), whole(name, most, least) // size * size, size, least)


def pieces(part: slice, size: int) -> Iterator[slice]:
    """Cuts a round into batches of at most `size` samples."""
    for start in range(part.start, part.stop, size):
        yield slice(start, min(start + size, part.stop))


class BatchMeans:
    """The mean of maps of equal rounds, and its standard error from their spread.

    Memory does not depend on the number of rounds.
    """

    def __init__(self) -> None:
        self.mean: NDArray[np.float64] = np.zeros(())
        self._squares: NDArray[np.float64] = np.zeros(())
        self._count = 0

    def add(self, values: NDArray[np.floating]) -> None:
        """Adds the map of a round."""
        self._count += 1
        before = values - self.mean
        self.mean = self.mean + before / self._count
        self._squares = self._squares + before * (values - self.mean)

    def error(self, values: NDArray[np.floating] | None = None) -> float:
        """Returns the root mean square over the map of its standard error, as a share of its range.

        Args:
            values: The map; None for the mean.
        """
        if self._count < 2:
            return math.inf
        variances = self._squares / (self._count * (self._count - 1))
        return share_of_range(variances, self.mean if values is None else values)


def check_enough(precision: Precision, count: int) -> None:
    """Checks that the most samples suffice to estimate the error of the weights of superpixels.

    Raises:
        KerasxaiError: They do not.
    """
    # A fit of d weights to pairs of samples needs more than d pairs, besides the 2 d samples that are enumerated.
    least = math.ceil((4 * count + 16) / precision.size) * precision.size
    if precision.most < least:
        raise KerasxaiError(f"{precision.name} must be {least} or more for {count} superpixels, got {precision.most}")


@dataclass(frozen=True)
class FittedSamples:
    """A fit of p coefficients by weighted least squares to n samples, of which the last ones were drawn at random.

    Attributes:
        design: `(n, p)`.
        importance: The weight of each sample, `(n,)`.
        residuals: What the fit leaves of each score, `(n,)`.
        fixed: How many samples at the start were not drawn at random.
        group: How many samples in a row were drawn together.
        penalty: What a ridge adds to the diagonal of the normal equations, `(p,)` or one number.
    """

    design: NDArray[np.float64]
    importance: NDArray[np.float64]
    residuals: NDArray[np.float64]
    fixed: int
    group: int
    penalty: NDArray[np.floating] | float = 0.0

    def covariance(self) -> NDArray[np.float64] | None:
        """Returns the covariance of the coefficients `(p, p)`; None for too few samples, at most p + 4 groups.

        It is the sandwich estimator over groups (White 1980, doi:10.2307/1912934), which holds for scores that are not
        linear, times `m / (m - p)` for m groups.
        """
        unknowns = self.design.shape[1]
        groups = (len(self.design) - self.fixed) // self.group
        if groups < unknowns + 5:
            return None
        drawn = slice(self.fixed, self.fixed + groups * self.group)
        pulls = (self.importance * self.residuals)[drawn, None] * self.design[drawn]
        pulls = pulls.reshape(groups, self.group, unknowns).sum(1)
        pulls -= pulls.mean(0)
        normal = self.design.T @ (self.importance[:, None] * self.design)
        bread = np.linalg.inv(normal + self.penalty * np.eye(unknowns))
        return bread @ (pulls.T @ pulls) @ bread * (groups / (groups - unknowns))


def share_of_range(variances: NDArray[np.floating], values: NDArray[np.floating]) -> float:
    """Returns the root of the mean of variances as a share of the range of values; 0 for 0 of 0."""
    error, span = math.sqrt(float(np.mean(variances))), float(np.ptp(values))
    if span == 0:
        return math.inf if error > 0 else 0.0
    return error / span
