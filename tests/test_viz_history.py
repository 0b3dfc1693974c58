"""The plot of a history: curves that cover each other."""

import numpy as np

from kerasxai import viz
from kerasxai.viz import plots


def test_curves_that_coincide_are_both_seen() -> None:
    same = [0.2, 0.6, 0.8, 0.9]
    figures = {"accuracy": same, "balanced_accuracy": [value + 0.001 for value in same], "top5_accuracy": [0.9] * 4}
    colors = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in plots._COLORS[:3]]

    def shares(history: dict[str, list[float]]) -> list[int]:
        pixels = viz.plot_history(history)[:400].astype(int)
        return [int((np.abs(pixels - color).max(-1) < 20).sum()) for color in colors]

    first, second, third = shares(figures)
    assert first > 0.5 * second > 0, "the first curve shows at both sides of the second"
    assert plots._covering({name: np.array(values) for name, values in figures.items()}) == {
        "accuracy": 1,
        "balanced_accuracy": 0,
        "top5_accuracy": 0,
    }
    assert plots._covering({"loss": np.array([1.0, np.nan]), "val_loss": np.array([np.nan, 1.0])})["loss"] == 0
    assert third > 0
