"""Measures of faithfulness in plain float64 NumPy, pixel by pixel, straight from the papers."""

import itertools
import math
from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import pearsonr

Score = Callable[[np.ndarray], float]
"""The score of one class for one image `(H, W, C)`."""


def fill(image: np.ndarray, baseline: str) -> np.ndarray:
    if baseline == "black":
        return np.zeros_like(image)
    if baseline == "mean":
        return np.broadcast_to(image.mean((0, 1)), image.shape)
    sigma = min(image.shape[:2]) / 20
    return np.stack([gaussian_filter(image[..., c], sigma, mode="nearest") for c in range(image.shape[-1])], -1)


def order(heatmap: np.ndarray) -> list[tuple[int, int]]:
    pixels = [(i, j) for i in range(heatmap.shape[0]) for j in range(heatmap.shape[1])]
    return sorted(pixels, key=lambda pixel: -heatmap[pixel])  # Python sorts stably.


def deletion_curve(f: Score, image: np.ndarray, heatmap: np.ndarray, steps: int, end: np.ndarray) -> list[float]:
    scores = []
    for k in range(steps + 1):
        copy = image.copy()
        for pixel in order(heatmap)[: math.floor(k * heatmap.size / steps)]:
            copy[pixel] = end[pixel]
        scores.append(f(copy))
    return scores


def area(scores: list[float]) -> float:
    return sum((a + b) / 2 for a, b in itertools.pairwise(scores)) / (len(scores) - 1)


def masked(image: np.ndarray, heatmap: np.ndarray, end: np.ndarray) -> np.ndarray:
    mask = np.maximum(heatmap, 0)[..., None]
    mask = mask / mask.max() if mask.max() > 0 else mask
    return image * mask + end * (1 - mask)


def inpainted(image: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Push-pull: recursively the known colors of coarser cells, enlarged bilinearly."""

    def solve(colors: np.ndarray, weights: np.ndarray) -> np.ndarray:
        height, width = weights.shape
        if height == width == 1:
            return weights[..., None] * colors + (1 - weights[..., None]) * image.mean((0, 1))
        size = -(-height // 2), -(-width // 2)
        coarse, known = np.zeros((*size, image.shape[-1])), np.zeros(size)
        for i in range(height):
            for j in range(width):
                coarse[i // 2, j // 2] += weights[i, j] * colors[i, j]
                known[i // 2, j // 2] += weights[i, j]
        coarse /= np.where(known > 0, known, 1)[..., None]
        below = enlarged(solve(coarse, np.minimum(known, 1)), (height, width))
        return weights[..., None] * colors + (1 - weights[..., None]) * below

    weights = visible.astype(float)
    return solve(image * weights[..., None], weights)


def enlarged(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, half-pixel centers, border pixels repeated."""
    result = np.zeros((*size, image.shape[-1]))
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = ((k + 0.5) * n / m - 0.5 for k, n, m in zip((i, j), image.shape[:2], size, strict=True))
            for dy in (0, 1):
                for dx in (0, 1):
                    weight = abs(1 - dy - (y - math.floor(y))) * abs(1 - dx - (x - math.floor(x)))
                    row = min(max(math.floor(y) + dy, 0), image.shape[0] - 1)
                    column = min(max(math.floor(x) + dx, 0), image.shape[1] - 1)
                    result[i, j] += weight * image[row, column]
    return result


def imputed(image: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Linear imputation by a dense system, one pixel after the other."""
    pixels = [tuple(p) for p in np.argwhere(missing)]
    system, right = np.zeros((len(pixels), len(pixels))), np.zeros((len(pixels), image.shape[-1]))
    for number, (i, j) in enumerate(pixels):
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                other = i + di, j + dj
                if other == (i, j) or not (0 <= other[0] < image.shape[0] and 0 <= other[1] < image.shape[1]):
                    continue
                weight = 1 / 6 if di * dj == 0 else 1 / 12
                system[number, number] += weight
                if missing[other]:
                    system[number, pixels.index(other)] -= weight
                else:
                    right[number] += weight * image[other]
    result = image.copy()
    result[missing] = np.linalg.solve(system, right)
    return result


def road(f: Score, image: np.ndarray, heatmap: np.ndarray, shares: list[float]) -> float:
    total = 0.0
    for share in shares:
        scores = []
        for sign in (1, -1):
            missing = np.zeros(heatmap.shape, bool)
            for pixel in order(sign * heatmap)[: int(share * heatmap.size)]:
                missing[pixel] = True
            scores.append(f(imputed(image, missing)))
        total += (scores[1] - scores[0]) / 2
    return total / len(shares)


def subset_sums(
    f: Score, image: np.ndarray, heatmap: np.ndarray, end: np.ndarray, subsets: list[np.ndarray]
) -> tuple[list[float], list[float]]:
    """For each subset `(H, W)` bool its attribution and the drop of the score without it."""
    sums = [float(heatmap[subset].sum()) for subset in subsets]
    drops = [f(image) - f(np.where(subset[..., None], end, image)) for subset in subsets]
    return sums, drops


def ranks(values: list[float]) -> list[float]:
    return [sum(other < one for other in values) + (sum(other == one for other in values) - 1) / 2 for one in values]


def spearman(one: list[float], two: list[float]) -> float:
    return float(pearsonr(ranks(one), ranks(two))[0])


def infidelity(predicted: list[float], drops: list[float], normalize: bool) -> float:
    scale = 1.0
    if normalize:
        scale = sum(p * d for p, d in zip(predicted, drops, strict=True)) / sum(p * p for p in predicted)
    return sum((scale * p - d) ** 2 for p, d in zip(predicted, drops, strict=True)) / len(drops)
