"""Heatmaps bent so that a threshold chosen without boxes lies where boxes are cut."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.localization import chosen_threshold, has_evidence
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import BOX_THRESHOLD, real


def level(heatmaps: Any, *, rule: Any = "otsu", at: float = BOX_THRESHOLD) -> NDArray[np.float32]:
    """Bends each heatmap so that the threshold that a rule chooses for it comes to lie at a fixed share of its maximum.

    With `t` the chosen fraction of the maximum, values from 0 to `t` are stretched to 0 to `at`, and those above to
    `at` to 1, both in straight lines. The order of the pixels, the maximum, zero and negative values stay.

    Args:
        heatmaps: `(N, H, W)`.
        rule: What `kerasxai.localization.chosen_threshold` takes: `"otsu"`, `"multiotsu"`, `"area"`, or a fraction.
        at: The share of the maximum at which the chosen threshold shall lie, between 0 and 1.

    Returns:
        `(N, H, W)` float32. A heatmap that points nowhere stays as it is.

    Raises:
        KerasxaiError: An unknown rule, or `at` out of range.

    Example:
        >>> level([[[0.0, 0.4, 0.6, 1.0]]], rule=0.5).round(2).tolist()
        [[[0.0, 0.16, 0.36, 1.0]]]

    Paper: Otsu 1979, "A Threshold Selection Method from Gray-Level Histograms", doi:10.1109/TSMC.1979.4310076.
    """
    heatmaps = np.asarray(heatmaps, np.float64)
    if heatmaps.ndim != 3:
        raise KerasxaiError(f"heatmaps (N, H, W) are needed, came {heatmaps.shape}")
    real("at", at, above=0, below=1)
    return np.stack([_bent(heatmap, rule, at) for heatmap in heatmaps]).astype(np.float32)


def _bent(heatmap: NDArray, rule: Any, at: float) -> NDArray:
    if not has_evidence(heatmap):
        return heatmap
    chosen = chosen_threshold(heatmap, rule)
    highest = heatmap.max()
    bent = np.interp(heatmap / highest, [0, chosen, 1], [0, at, 1]) if chosen > 0 else heatmap / highest
    return np.where(heatmap > 0, bent * highest, heatmap)
