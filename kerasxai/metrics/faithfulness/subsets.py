"""MuFidelity, sensitivity-n and infidelity: random subsets of pixels, their attribution and the drop of the score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import NDArray

from kerasxai.metrics.correlation import correlation, spearman
from kerasxai.metrics.faithfulness.fills import FIXED_BASELINES, Fill, checked_baseline
from kerasxai.metrics.faithfulness.measure import FaithfulnessMetric
from kerasxai.metrics.faithfulness.scorer import Measured, ModelSettings, Trial
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import flag, real, whole

if TYPE_CHECKING:
    from kerasxai.explainer import Classifier
    from kerasxai.metrics.faithfulness.scorer import Scorer

Subset = Callable[[int], NDArray[np.bool_]]
"""`index -> (d,) bool`: the regions that copy `index` lacks, the same for every image."""


def attributions_and_drops(
    trial: Trial, regions: NDArray[np.int64], weights: NDArray[np.float64], count: int, subset: Subset, fill: Fill
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the attribution of each subset and the drop of the score without it, `(B, count)` each.

    Args:
        trial: The images.
        regions: `(H, W)`, from 0 to d - 1, the same for all images.
        weights: `(B, H, W)`, summed over the pixels of a subset.
        count: How many subsets.
        subset: See `Subset`.
        fill: What replaces the pixels of a subset.
    """
    flat = regions.ravel()
    totals = np.stack([np.bincount(flat, one.ravel()) for one in weights])
    attributions = np.empty((len(weights), count))

    def visible(b: int, part: slice) -> NDArray[np.bool_]:
        removed = np.stack([subset(index) for index in range(part.start, part.stop)])
        attributions[b, part] = removed @ totals[b]
        return ~removed

    scores = trial.visible([regions] * len(weights), count, visible, fill)
    return attributions, trial.scores[:, None] - scores


def chosen(features: int, size: int, *seed: int) -> NDArray[np.bool_]:
    """Return a mask `(features,)` with so many ones at random; each subset has a generator of its own."""
    mask = np.zeros(features, bool)
    mask[np.random.default_rng(seed).choice(features, size, replace=False)] = True
    return mask


class MuFidelity(FaithfulnessMetric):
    """Fidelity: rank correlation of a subset's attribution with the drop of the score without it. Higher is better.

    Spearman's correlation over random subsets of `round(share grid^2)` cells of a grid. 0 for a constant heatmap or
    score. Costs `subsets + 1` forward passes per image.

    Args:
        model: A Keras model, a function of images, or a `Scorer`.
        grid: Cells per side.
        subsets: How many subsets, 2 or more.
        share: The share of cells in a subset, above 0 and below 1.
        baseline: `"black"`, `"mean"`, `"blur"` or `"inpainted"`; see `BASELINES`.
        seed: Subset i is the same for every image and batch.
        **settings: See `ModelSettings`.

    Example:
        >>> MuFidelity(model, grid=7, subsets=100)(images, None, explanation.heatmaps)
        array([0.31, 0.12])

    Paper: Bhatt et al. 2020, "Evaluating and Aggregating Feature-based Model Explanations", arXiv:2005.00631, def. 3.
    Departures: rank correlation on a grid, as in xplique; xplique removes each cell with probability `share`, where
    here, as in the paper, all subsets have one size.
    """

    def __init__(
        self,
        model: Classifier | Scorer | None = None,
        grid: int = 9,
        subsets: int = 200,
        share: float = 0.2,
        baseline: str = "black",
        seed: int = 0,
        **settings: Unpack[ModelSettings],
    ) -> None:
        super().__init__(
            model,
            settings,
            grid=whole("grid", grid, 2),
            subsets=whole("subsets", subsets, 2),
            share=real("share", share, 0, 1),
            baseline=checked_baseline(baseline),
            seed=whole("seed", seed, 0),
        )

    def copies(self) -> int:
        """Return the number of subsets."""
        return self.options["subsets"]

    def measure(self, trial: Trial) -> Measured:
        """Measure one batch."""
        options = self.options
        cells = options["grid"] ** 2
        size = max(1, round(options["share"] * cells))
        shape = trial.maps.shape[1:]
        if options["grid"] > min(shape):
            raise KerasxaiError(
                f"grid must be at most the shorter side of the image, {min(shape)}, got {options['grid']}"
            )
        pairs = attributions_and_drops(
            trial,
            grid_cells(shape, options["grid"]),
            trial.maps,
            options["subsets"],
            lambda index: chosen(cells, size, options["seed"], index),
            Fill.of(options["baseline"], trial.images),
        )
        return Measured(spearman(*pairs))


def grid_cells(shape: tuple[int, ...], grid: int) -> NDArray[np.int64]:
    """Return the cell `(H, W)` of each pixel, row by row."""
    rows, columns = (np.arange(side) * grid // side for side in shape)
    return rows[:, None] * grid + columns


class SensitivityN(FaithfulnessMetric):
    """Sensitivity-n: correlation of the attribution of n pixels with the drop of the score without them.

    Pearson's correlation over random subsets of n pixels, for each n, then the mean over n. Higher is better; 0 for a
    constant heatmap or score. Costs `len(shares) * subsets + 1` forward passes per image.

    Args:
        model: A Keras model, a function of images, or a `Scorer`.
        shares: n as shares of the pixels, each above 0 and below 1.
        subsets: How many subsets for each n, 2 or more.
        baseline: `"black"`, `"mean"`, `"blur"` or `"inpainted"`; see `BASELINES`.
        seed: Subset i is the same for every image and batch.
        **settings: See `ModelSettings`.

    Attributes:
        curves: `(B, len(shares))` correlations of the last call.

    Example:
        >>> SensitivityN(model, shares=[0.1, 0.3])(images, None, explanation.heatmaps)
        array([0.21, 0.08])

    Paper: Ancona et al. 2018, "Towards better understanding of gradient-based attribution methods for deep neural
    networks", arXiv:1711.06104. Departure: Quantus removes ever more pixels in the order of the attribution and
    correlates across images; this is the paper's definition.
    """

    def __init__(
        self,
        model: Classifier | Scorer | None = None,
        shares: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 0.8),
        subsets: int = 100,
        baseline: str = "black",
        seed: int = 0,
        **settings: Unpack[ModelSettings],
    ) -> None:
        super().__init__(
            model,
            settings,
            shares=checked_shares(shares),
            subsets=whole("subsets", subsets, 2),
            baseline=checked_baseline(baseline),
            seed=whole("seed", seed, 0),
        )

    def copies(self) -> int:
        """Return the number of all subsets."""
        return len(self.options["shares"]) * self.options["subsets"]

    def measure(self, trial: Trial) -> Measured:
        """Measure one batch."""
        options = self.options
        shape, subsets = trial.maps.shape[1:], options["subsets"]
        pixels = shape[0] * shape[1]
        sizes = [max(1, round(share * pixels)) for share in options["shares"]]
        pairs = attributions_and_drops(
            trial,
            np.arange(pixels).reshape(shape),
            trial.maps,
            self.copies(),
            lambda index: chosen(pixels, sizes[index // subsets], options["seed"], index),
            Fill.of(options["baseline"], trial.images),
        )
        curves = correlation(*(one.reshape(-1, len(sizes), subsets) for one in pairs))
        return Measured(curves.mean(1), curves)


def checked_shares(shares: Sequence[float]) -> list[float]:
    """Return shares as a list, each above 0 and below 1."""
    if isinstance(shares, str) or not isinstance(shares, Sequence | np.ndarray) or not len(shares):
        raise KerasxaiError(f"shares must be a list of numbers above 0 and below 1, got {shares!r}")
    return [real("shares", float(share), 0, 1) for share in shares]


class Infidelity(FaithfulnessMetric):
    """Infidelity: mean squared error of the attribution as a prediction of the drop of the score. Lower is better.

    `mean over I of (I . phi - (f(x) - f(x - I)))^2`, where I takes a random square of the image to the baseline; the
    heatmap is the attribution phi of each channel. Costs `squares + 1` forward passes per image.

    Args:
        model: A Keras model, a function of images, or a `Scorer`.
        squares: How many squares.
        side: Side of a square in pixels; None takes a seventh of the shorter side of the image.
        normalize: Whether phi is scaled by the factor that makes the error least, as the authors' code and Captum do:
            heatmaps of most methods have no unit. A map of zeros stays.
        baseline: `"black"`, `"mean"` or `"blur"`; see `BASELINES`.
        seed: Square i is the same for every image and batch.
        **settings: See `ModelSettings`.

    Example:
        >>> Infidelity(model, squares=50)(images, None, explanation.heatmaps)
        array([0.004, 0.011])

    Paper: Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations", arXiv:1901.09392. Departures: the
    authors also draw Gaussian I; Quantus removes square after square from one copy, so its I grow.
    """

    higher_is_better = False

    def __init__(
        self,
        model: Classifier | Scorer | None = None,
        squares: int = 100,
        side: int | None = None,
        normalize: bool = True,
        baseline: str = "black",
        seed: int = 0,
        **settings: Unpack[ModelSettings],
    ) -> None:
        super().__init__(
            model,
            settings,
            squares=whole("squares", squares, 1),
            side=None if side is None else whole("side", side, 1),
            normalize=flag("normalize", normalize),
            baseline=checked_baseline(baseline, FIXED_BASELINES),
            seed=whole("seed", seed, 0),
        )

    def copies(self) -> int:
        """Return the number of squares."""
        return self.options["squares"]

    def measure(self, trial: Trial) -> Measured:
        """Measure one batch."""
        options = self.options
        shape = trial.maps.shape[1:]
        side = max(1, round(min(shape) / 7)) if options["side"] is None else options["side"]
        if side > min(shape):
            raise KerasxaiError(f"side must be at most the shorter side of the image, {min(shape)}, got {side}")
        fill = Fill.of(options["baseline"], trial.images)
        change = (trial.images.astype(np.float64) - fill.values).sum(-1)
        predicted, drops = attributions_and_drops(
            trial,
            np.arange(shape[0] * shape[1]).reshape(shape),
            trial.maps * change,
            options["squares"],
            lambda index: square(shape, side, options["seed"], index),
            fill,
        )
        if options["normalize"]:
            power = (predicted**2).sum(1)
            products = (predicted * drops).sum(1)
            predicted = predicted * np.divide(products, power, out=np.zeros_like(power), where=power > 0)[:, None]
        return Measured(((predicted - drops) ** 2).mean(1))


def square(shape: tuple[int, ...], side: int, *seed: int) -> NDArray[np.bool_]:
    """Return a mask `(H * W,)` of one square at a random position inside of the image."""
    top, left = np.random.default_rng(seed).integers([length - side + 1 for length in shape])
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask.ravel()
