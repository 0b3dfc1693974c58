"""How long the sweep over 1000 thresholds takes, by kind of map: `python -m benchmarks localization`.

Maps of 224x224, protocol "wsolevaluation", best IoU at every threshold. `single` takes the largest contour, `multi` all
of them with the holes. `labeling` is the plain way beside it: one `scipy.ndimage.label` for each distinct threshold,
and boxes of all components without holes, which is less than either.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.ndimage

from kerasxai.metrics import box_iou
from kerasxai.metrics.protocols import WSOL
from kerasxai.metrics.wsol.maps import reference_map

SIDE = 224
THRESHOLDS = np.arange(0, 1, 0.001)
TRUTH = np.array([[30, 40, 120, 150]])


def maps(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One raw map of each kind."""
    y, x = np.mgrid[:SIDE, :SIDE]
    bump = np.exp(-((x - 100) ** 2 + (y - 80) ** 2) / 4000)
    cells = np.exp(-((np.mgrid[:14, :14] - 6.5) ** 2).sum(0) / 10)
    return {
        "one Gaussian": bump,
        "14x14 blob + noise": cells + 0.1 * rng.normal(size=(14, 14)),
        "7x7 gamma": rng.gamma(1, size=(7, 7)),
        "14x14 gamma": rng.gamma(1, size=(14, 14)),
        "28x28 normal": rng.normal(size=(28, 28)),
        "28x28 normal, 8 bits": (reference_map(rng.normal(size=(28, 28)), (SIDE, SIDE)) * 255).astype(np.uint8),
        "gradient-like": np.abs(rng.normal(size=(SIDE, SIDE))) * bump,
        "white noise": rng.random((SIDE, SIDE)),
    }


def labeling(heatmap: np.ndarray) -> np.ndarray:
    """The best IoU of any component at each level, one labeling a level."""
    bits = (reference_map(heatmap, (SIDE, SIDE)) * 255).astype(np.uint8)
    best = np.zeros(255)
    for level in range(bits.max()):
        labels, _ = scipy.ndimage.label(bits > level, structure=np.ones((3, 3)))
        places = scipy.ndimage.find_objects(labels)
        best[level] = box_iou([[x.start, y.start, x.stop, y.stop] for y, x in places], TRUTH, inclusive=True).max()
    return best


def milliseconds(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=7)


def run(arguments: argparse.Namespace) -> None:
    repeats = arguments.repeats
    print(f"median of {repeats}, CPU milliseconds a map")
    print(f"{'map':22}{'single':>10}{'multi':>10}{'labeling':>10}")
    for name, heatmap in maps(np.random.default_rng(0)).items():
        sweep = partial(WSOL.best_ious, heatmap, TRUTH, THRESHOLDS, (SIDE, SIDE))
        single = milliseconds(partial(sweep, every=False), repeats)
        multi = milliseconds(partial(sweep, every=True), repeats)
        plain = milliseconds(partial(labeling, heatmap), max(1, repeats // 3))
        print(f"{name:22}{single:10.1f}{multi:10.1f}{plain:10.1f}")
