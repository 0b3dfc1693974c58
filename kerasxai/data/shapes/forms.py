"""Outlines of the parts as polygons, `(n, 2)` points `(x, y)`, so that one rasterizer draws all of them."""

import numpy as np

FORMS = ("star", "arrow", "cross", "circle", "triangle", "square", "flower", "heart")


def _around(radii: np.ndarray, start: float = 0.0) -> np.ndarray:
    angles = start + np.linspace(0.0, 2.0 * np.pi, len(radii), endpoint=False)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _raw(form: str) -> np.ndarray:
    if form == "star":
        return _around(np.tile([1.0, 0.55], 5))
    if form == "arrow":
        return np.array(
            [[1.0, 0.0], [0.0, 0.95], [0.0, 0.42], [-0.85, 0.42], [-0.85, -0.42], [0.0, -0.42], [0.0, -0.95]]
        )
    if form == "cross":
        arm = 0.38
        corner = np.array([[1.0, -arm], [1.0, arm], [arm, arm]])
        quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
        return np.concatenate([corner @ np.linalg.matrix_power(quarter.T, turn) for turn in range(4)])
    if form == "circle":
        return _around(np.ones(64))
    if form == "triangle":
        return _around(np.ones(3))
    if form == "square":
        return _around(np.ones(4), start=np.pi / 4)
    if form == "flower":
        return _around(1.0 + 0.3 * np.cos(6.0 * np.linspace(0.0, 2.0 * np.pi, 96, endpoint=False)))
    if form == "heart":
        t = np.linspace(0.0, 2.0 * np.pi, 64, endpoint=False)
        height = 13.0 * np.cos(t) - 5.0 * np.cos(2.0 * t) - 2.0 * np.cos(3.0 * t) - np.cos(4.0 * t)
        return np.stack([height, 16.0 * np.sin(t) ** 3], axis=1) / 16.0
    raise KeyError(form)


def area_and_centroid(points: np.ndarray) -> tuple[float, np.ndarray]:
    """Return a simple polygon's area and its center of mass (the shoelace formulas)."""
    x, y = points.T
    next_x, next_y = np.roll(points, -1, axis=0).T
    cross = x * next_y - next_x * y
    area = cross.sum() / 2.0
    center = np.array([((x + next_x) * cross).sum(), ((y + next_y) * cross).sum()]) / (6.0 * area)
    return abs(area), center


def mean_width(points: np.ndarray) -> float:
    """Return the width of a polygon between two parallel lines, averaged over all directions."""
    angles = np.linspace(0.0, np.pi, 90, endpoint=False)
    along = points @ np.stack([np.cos(angles), np.sin(angles)])
    return float((along.max(axis=0) - along.min(axis=0)).mean())


def outline(form: str) -> np.ndarray:
    """Return a head's outline around its center of mass, pointing along +x, about as large as a disc of diameter 1.

    The size of a head must not predict its class, but forms cannot have both the same area and the same width. So they
    have the same sum of two sizes: the diameter of the disc of equal area, and the width averaged over all directions.

    Args:
        form: A name in `FORMS`.

    Returns:
        `(n, 2)` float64 points `(x, y)`.

    Example:
        >>> round(mean_width(outline("circle")), 2)
        1.0
    """
    points = _raw(form)
    area, center = area_and_centroid(points)
    size = (2.0 * np.sqrt(area / np.pi) + mean_width(points)) / 2.0
    return (points - center) / size


def ellipse(length: float, width: float, count: int = 48) -> np.ndarray:
    """Return an ellipse around the origin with the axes `length` along x and `width` along y."""
    return _around(np.ones(count)) * np.array([length / 2.0, width / 2.0])


def ribbon(start: np.ndarray, heading: float, length: float, width: float, bend: float, count: int = 12) -> np.ndarray:
    """Return a band that leaves `start` in direction `heading`, turns by `bend` radians and tapers to a third."""
    along = np.linspace(0.0, 1.0, count)
    angles = heading + bend * along
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    path = start + length * np.concatenate([np.zeros((1, 2)), np.cumsum(steps[:-1], axis=0) / (count - 1)])
    normal = np.stack([-np.sin(angles), np.cos(angles)], axis=1) * (width / 2.0 * (1.0 - 0.67 * along))[:, None]
    return np.concatenate([path + normal, (path - normal)[::-1]])
