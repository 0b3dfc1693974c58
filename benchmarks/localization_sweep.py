"""Measure the sweep over 1000 thresholds of a localization measure, by kind of map.

Maps of 224x224, protocol "wsolevaluation", the best IoU at each threshold. One column is for the
largest contour, one for all contours with the holes. Times are ratios to the plain way: one `scipy.ndimage.label` for
each distinct threshold and the boxes of all components without holes, which computes less than either.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from types import MappingProxyType

import numpy as np
import scipy.ndimage

from benchmarks.rounds import interleaved, ratios
from benchmarks.tables import Figure, Ratio, Table, in_rounds, report
from kerasxai.metrics import box_iou
from kerasxai.metrics.protocols import WSOL
from kerasxai.metrics.wsol.maps import reference_map

QUICK = MappingProxyType({"repeats": 1, "maps": ["one Gaussian", "7x7 gamma"]})
SIDE = 224
THRESHOLDS = np.arange(0, 1, 0.001)
TRUTH = np.array([[30, 40, 120, 150]])


def maps(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return one raw map of each kind."""
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
    """Return the best IoU of any component at each level, with one labeling for each level."""
    bits = (reference_map(heatmap, (SIDE, SIDE)) * 255).astype(np.uint8)
    best = np.zeros(255)
    for level in range(bits.max()):
        labels, _ = scipy.ndimage.label(bits > level, structure=np.ones((3, 3)))
        places = scipy.ndimage.find_objects(labels)
        best[level] = box_iou([[x.start, y.start, x.stop, y.stop] for y, x in places], TRUTH, inclusive=True).max()
    return best


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = list(maps(np.random.default_rng(0)))
    parser.add_argument("--repeats", type=int, default=7, help="rounds")
    parser.add_argument("--maps", nargs="+", default=names, choices=names, metavar="MAP", help="; ".join(names))


def run(arguments: argparse.Namespace) -> Iterator[Table]:
    rows = []
    for name, heatmap in maps(np.random.default_rng(0)).items():
        if name not in arguments.maps:
            continue
        sweep = partial(WSOL.best_ious, heatmap, TRUTH, THRESHOLDS, (SIDE, SIDE))
        functions = {
            "single": partial(sweep, every=False),
            "multi": partial(sweep, every=True),
            "labeling": partial(labeling, heatmap),
        }
        taken = interleaved(functions, arguments.repeats)
        plain = taken["labeling"]
        single, multi = (Ratio.of(ratios(taken[kind], plain)) for kind in ("single", "multi"))
        report(f"{name}: {single}, {multi}")
        rows.append((name, single, multi, Figure.of([1000 * cpu for cpu, _ in plain])))
    columns = ("map", "single contour", "multiple contours", "labeling, CPU ms")
    notes = (
        f"Ratios to labeling at each level, CPU time: median [least, largest] {in_rounds(arguments.repeats)}, in "
        "parentheses wall time.",
    )
    yield Table("sweep", "Localization sweep over 1000 thresholds", columns, tuple(rows), notes)
