"""Heatmaps bent so that an automatic threshold coincides with the threshold of boxes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.localization import chosen_threshold, has_evidence
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import BOX_THRESHOLD, real


def level(heatmaps: ArrayLike, *, rule: float | str = "otsu", at: float = BOX_THRESHOLD) -> NDArray[np.float32]:
    """Bend each heatmap so that the threshold chosen by a rule moves to a fixed share of its maximum.

    With `t` the chosen fraction of the maximum, values from 0 to `t` are mapped linearly to 0 to `at`, and values above
    `t` to `at` to 1. The order of the pixels, the maximum, zero and negative values do not change.

    Args:
        heatmaps: `(N, H, W)`.
        rule: As for `kerasxai.localization.chosen_threshold`: a name such as `"otsu"`, or a fraction.
        at: The share of the maximum to which the chosen threshold moves, between 0 and 1.

    Returns:
        `(N, H, W)` float32. A heatmap without evidence does not change.

    Raises:
        KerasxaiError: An unknown rule, or `at` out of range.

    Example:
        >>> level([[[0.0, 0.4, 0.6, 1.0]]], rule=0.5).round(2).tolist()
        [[[0.0, 0.16, 0.36, 1.0]]]

    Paper: Otsu 1979, "A Threshold Selection Method from Gray-Level Histograms", doi:10.1109/TSMC.1979.4310076.
    """
    heatmaps = np.asarray(heatmaps, np.float64)
    if heatmaps.ndim != 3:
        raise KerasxaiError(f"expected heatmaps (N, H, W), got {heatmaps.shape}")
    real("at", at, above=0, below=1)
    return np.stack([_bent(heatmap, rule, at) for heatmap in heatmaps]).astype(np.float32)


def _bent(heatmap: NDArray[np.float64], rule: float | str, at: float) -> NDArray[np.float64]:
    if not has_evidence(heatmap):
        return heatmap
    chosen = chosen_threshold(heatmap, rule)
    highest = heatmap.max()
    bent = np.interp(heatmap / highest, [0, chosen, 1], [0, at, 1]) if chosen > 0 else heatmap / highest
    return np.where(heatmap > 0, bent * highest, heatmap)
