"""Head patterns and body textures as functions of the part's coordinates.

All are about half light and half dark, so that the mean color of a part does not predict the class.
"""

from collections.abc import Callable

import numpy as np

Pattern = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
"""From coordinates `x`, `y` and the size of a pixel in the same unit to shades in [0, 1]."""


def _step(distance: np.ndarray, pixel: float) -> np.ndarray:
    """Returns 0 below and 1 above zero, with an edge as wide as a pixel, which keeps the patterns free of jaggies."""
    return np.clip(distance / pixel + 0.5, 0.0, 1.0)


def _wave(phase: np.ndarray) -> np.ndarray:
    """Return the triangle wave of period 1 between -1/4 and 1/4; its slope is 1, so it measures distance."""
    return np.abs((phase - 0.25) % 1.0 - 0.5) - 0.25


def _bands(distance: np.ndarray, period: float, pixel: float) -> np.ndarray:
    return _step(period * _wave(distance / period), pixel)


def striped(x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """Parallel stripes."""
    return _bands(x + 0.02, 0.3, pixel)


def spotted(x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """Dots on a hexagonal grid."""
    step, rise = 0.37, 0.37 * np.sqrt(0.75)
    row = np.round(y / rise)
    shifted = x - 0.5 * step * (row % 2)
    across = shifted - step * np.round(shifted / step)
    return _step(0.137 - np.hypot(across, y - rise * row), pixel)


def checkered(x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """A chessboard."""
    return np.abs(_bands(x, 0.52, pixel) - _bands(y + 0.13, 0.52, pixel))


def ringed(x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """Concentric rings."""
    return _bands(np.hypot(x, y) + 0.1, 0.32, pixel)


def zigzag(x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """Stripes that go up and down."""
    return _bands((x + 0.42 * _wave(y / 0.42) + 0.02) * 0.75, 0.25, pixel)


def gridded(x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """Thin lines in two directions."""
    lines = [_step(0.037 - np.abs(v - 0.3 * np.round(v / 0.3)), pixel) for v in (x, y)]
    return np.maximum(*lines)


def rayed(x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """Sectors around the center, like a pie."""
    radius, turn = np.hypot(x, y), np.arctan2(y, x) / (2.0 * np.pi)
    return _step(2.0 * np.pi * radius * _wave(6.0 * turn) / 6.0, pixel)


def halved(x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """One half light, the other dark."""
    return _step(y, pixel)


def wavy(x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """Soft wavy lines across the body."""
    return 0.5 + 0.5 * np.sin(2.0 * np.pi * (x + 0.05 * np.sin(2.0 * np.pi * y / 0.45)) / 0.2)


def scaly(x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """Overlapping round scales, like a fish."""
    step, rise = 0.25, 0.16
    row = np.floor(x / rise)
    best = np.zeros_like(x)
    for offset in (1.0, 0.0):
        line = row + offset
        shifted = y - 0.5 * step * (line % 2)
        radius = np.hypot((x - rise * line), shifted - step * np.round(shifted / step)) / (0.72 * step)
        best = np.where(radius < 1.0, radius**1.3, best)
    return best


def mottled(x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """Irregular patches: each body shows another part of one endless field."""
    angles = np.array([0.3, 1.1, 1.9, 2.6, 3.3])
    field = np.zeros_like(x)
    for index, angle in enumerate(angles):
        along = np.cos(angle) * x + np.sin(angle) * y
        field = field + np.sin(2.0 * np.pi * along / (0.27 + 0.04 * index) + 1.7 * index)
    return 1.0 / (1.0 + np.exp(-4.0 * field))


def woven(x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """A basket: squares of lines that run one way and the other in turn."""
    cell, period = 0.27, 0.135
    turned = (np.floor(x / cell) + np.floor(y / cell)) % 2 == 0
    return 0.5 + 0.5 * np.cos(2.0 * np.pi * np.where(turned, x, y) / period)


PATTERNS: dict[str, Pattern] = {
    "striped": striped,
    "spotted": spotted,
    "checkered": checkered,
    "ringed": ringed,
    "zigzag": zigzag,
    "gridded": gridded,
    "rayed": rayed,
    "halved": halved,
}
TEXTURES: dict[str, Pattern] = {"wavy": wavy, "scaly": scaly, "mottled": mottled, "woven": woven}
