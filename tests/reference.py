"""Each method once more, slow and plain, in float64 NumPy, straight from its paper."""

from collections.abc import Callable

import numpy as np
from scipy.signal import correlate


def convolve(image: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A "same" convolution of stride 1, as Keras computes it."""
    padded = np.pad(image, [(k // 2, k // 2) for k in kernel.shape[:2]] + [(0, 0)])
    channels = [correlate(padded, kernel[..., k], "valid")[..., 0] for k in range(kernel.shape[-1])]
    return np.stack(channels, -1) + bias


def slope(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """The gradient of a scalar function by central differences."""
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        moved = at.copy()
        moved[index] += step
        above = function(moved)
        moved[index] -= 2 * step
        gradient[index] = (above - function(moved)) / (2 * step)
    return gradient


def cam(activations: np.ndarray, kernel: np.ndarray, target: int) -> np.ndarray:
    """Zhou 2016: `sum_k w[k, c] A_k`."""
    total = np.zeros(activations.shape[:2])
    for k in range(activations.shape[-1]):
        total += kernel[k, target] * activations[..., k]
    return total


def gradcam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Selvaraju 2017: `relu(sum_k mean_ij(g_k) A_k)`."""
    total = np.zeros(activations.shape[:2])
    for k in range(activations.shape[-1]):
        total += gradients[..., k].mean() * activations[..., k]
    return np.maximum(total, 0)
