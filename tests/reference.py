"""Each method once more, slow and plain, in float64 NumPy, straight from its paper."""

import itertools
from collections.abc import Callable

import numpy as np
from scipy.interpolate import RegularGridInterpolator
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


def gradcam_plus_plus(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Chattopadhay 2018: `a = g^2 / (2 g^2 + sum_ab(A_ab) g^3)`, `w_k = sum_ij a relu(g)`."""
    total = np.zeros(activations.shape[:2])
    for k in range(activations.shape[-1]):
        g, weight = gradients[..., k], 0.0
        for slope_here in g.ravel():
            divisor = 2 * slope_here**2 + activations[..., k].sum() * slope_here**3
            weight += (slope_here**2 / divisor if divisor else 0) * max(slope_here, 0)
        total += weight * activations[..., k]
    return np.maximum(total, 0)


def xgradcam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Fu 2020: `w_k = sum_ij(g_k A_k) / sum_ij(A_k)`."""
    total = np.zeros(activations.shape[:2])
    for k in range(activations.shape[-1]):
        channel = activations[..., k]
        if channel.sum():
            total += (gradients[..., k] * channel).sum() / channel.sum() * channel
    return np.maximum(total, 0)


def layercam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Jiang 2021: `relu(sum_k relu(g_k) A_k)`."""
    return np.maximum((np.maximum(gradients, 0) * activations).sum(-1), 0)


def hirescam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Draelos 2020: `relu(sum_k g_k A_k)`."""
    return np.maximum((gradients * activations).sum(-1), 0)


def eigencam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Muhammad 2020: the activations projected on their first right singular vector, positive on the mean."""
    matrix = activations.reshape(-1, activations.shape[-1])
    projected = (matrix @ np.linalg.svd(matrix)[2][0]).reshape(activations.shape[:2])
    return projected * (1 if projected.mean() >= 0 else -1)


class Plain:
    """A network of "same" convolutions with rectifiers and a dense layer, forward and backward by hand.

    Args:
        convolutions: Kernel, bias and the ceiling of the rectifier (6 for ReLU6, infinity for ReLU) of each.
        top: The dense layer's weights of the explained class `(h, w, K)`.
        bias: Its bias.
    """

    def __init__(
        self, convolutions: list[tuple[np.ndarray, np.ndarray, float]], top: np.ndarray, bias: float = 0
    ) -> None:
        self.convolutions, self.top, self.bias = convolutions, top, bias

    def before(self, image: np.ndarray) -> list[np.ndarray]:
        """What goes into each rectifier, and at last what comes out of the last."""
        inputs = []
        for kernel, bias, ceiling in self.convolutions:
            inputs.append(convolve(image, kernel, bias))
            image = np.clip(inputs[-1], 0, ceiling)
        return [*inputs, image]

    def score(self, image: np.ndarray) -> float:
        return float((self.before(image)[-1] * self.top).sum() + self.bias)

    def backward(self, image: np.ndarray, rule: str | None = None, down_to: int = 0) -> np.ndarray:
        """The gradient of the score, or what a rule makes of it, at the image or behind the convolution `down_to`."""
        gradient, inputs = self.top, self.before(image)
        for i in reversed(range(down_to, len(self.convolutions))):
            kernel, _, ceiling = self.convolutions[i]
            active = (inputs[i] > 0) & (inputs[i] < ceiling)
            if rule is not None:
                gradient = np.maximum(gradient, 0)
            if rule != "deconvnet":
                gradient = gradient * active
            gradient = convolve(gradient, kernel[::-1, ::-1].transpose(0, 1, 3, 2), np.zeros(kernel.shape[2]))
        return gradient


def integrated_gradients(
    gradient: Callable[[np.ndarray], np.ndarray], image: np.ndarray, baseline: np.ndarray, steps: int
) -> np.ndarray:
    """Sundararajan 2017, by the trapezoid rule."""
    total = np.zeros_like(image)
    for i in range(steps):
        share = (0.5 if i in (0, steps - 1) else 1) / (steps - 1)
        total += share * gradient(baseline + i / (steps - 1) * (image - baseline))
    return ((image - baseline) * total).sum(-1)


def occlusion(
    score: Callable[[np.ndarray], float], image: np.ndarray, corners: list[tuple[int, int]], side: tuple[int, int]
) -> np.ndarray:
    """Zeiler 2013, black patches: the drop in score, averaged over the patches that cover a pixel."""
    total, covered = np.zeros(image.shape[:2]), np.zeros(image.shape[:2])
    for top, left in corners:
        hidden = image.copy()
        hidden[top : top + side[0], left : left + side[1]] = 0
        total[top : top + side[0], left : left + side[1]] += score(image) - score(hidden)
        covered[top : top + side[0], left : left + side[1]] += 1
    return total / covered


def coarse_occlusion(
    score: Callable[[np.ndarray], float],
    image: np.ndarray,
    starts: tuple[list[int], list[int]],
    side: int,
    lines: list[list[int]],
    share: float,
) -> tuple[np.ndarray, int]:
    """Black squares of `side` at `starts`, first those in `lines`, then all between large ones; the rest interpolated.

    Returns the map and the number of squares for which the score was computed.
    """

    def drop(i: int, j: int) -> float:
        hidden = image.copy()
        hidden[starts[0][i] : starts[0][i] + side, starts[1][j] : starts[1][j] + side] = 0
        return score(image) - score(hidden)

    found = {(i, j): drop(i, j) for i in lines[0] for j in lines[1]}
    large = share * max(abs(value) for value in found.values())
    cells = [list(itertools.pairwise(line)) for line in lines]
    for (top, bottom), (left, right) in itertools.product(*cells):
        if max(abs(found[corner]) for corner in itertools.product((top, bottom), (left, right))) >= large:
            inside = itertools.product(range(top, bottom + 1), range(left, right + 1))
            found |= {(i, j): drop(i, j) for i, j in inside}
    counted = len(found)
    coarse = [[found[i, j] for j in lines[1]] for i in lines[0]]
    between = RegularGridInterpolator(tuple(lines), coarse)
    total, covered = np.zeros(image.shape[:2]), np.zeros(image.shape[:2])
    for i, j in itertools.product(*map(range, map(len, starts))):
        square = tuple(slice(line[k], line[k] + side) for line, k in zip(starts, (i, j), strict=True))
        total[square] += found[i, j] if (i, j) in found else between((i, j)).item()
        covered[square] += 1
    return total / covered, counted


def rise_mask(cells: np.ndarray, shift: tuple[float, float], sides: tuple[int, int]) -> np.ndarray:
    """Petsiuk 2018: a grid enlarged bilinearly (half-pixel centers), then a crop, pixel by pixel."""
    lengths = [-(-side // (count - 1)) for side, count in zip(sides, cells.shape, strict=True)]
    mask = np.zeros(sides)
    for y, x in np.ndindex(*sides):
        weights = []
        for at, part, length, count in zip((y, x), shift, lengths, cells.shape, strict=True):
            place = min(max((at + int(part * length) + 0.5) / length - 0.5, 0), count - 1)
            low = min(int(place), count - 2)
            weights.append({low: 1 - (place - low), low + 1: place - low})
        mask[y, x] = sum(u * v * cells[i, j] for i, u in weights[0].items() for j, v in weights[1].items())
    return mask


def rise(score: Callable[[np.ndarray], float], image: np.ndarray, masks: list[np.ndarray], p: float) -> np.ndarray:
    """Petsiuk 2018: `1 / (N p) sum_i S(x * m_i) m_i`."""
    total = np.zeros(image.shape[:2])
    for mask in masks:
        total += score(image * mask[..., None]) * mask
    return total / (len(masks) * p)


def lime_weights(seen: np.ndarray, scores: np.ndarray, width: float, alpha: float) -> tuple[np.ndarray, float, float]:
    """Ribeiro 2016: weights, intercept and R2 of a weighted ridge regression, by its normal equations."""
    count = seen.sum(1)
    distance = 1 - np.sqrt(count / seen.shape[1])
    weight = np.exp(-(distance**2) / width**2) ** 0.5
    mean_seen, mean_score = np.average(seen, 0, weight), np.average(scores, weights=weight)
    x, y = seen - mean_seen, scores - mean_score
    coefficients = np.linalg.solve(
        (x * weight[:, None]).T @ x + alpha * np.eye(x.shape[1]), (x * weight[:, None]).T @ y
    )
    r2 = 1 - (weight * (y - x @ coefficients) ** 2).sum() / (weight * y**2).sum()
    return coefficients, float(mean_score - mean_seen @ coefficients), float(r2)


def shapley(value: Callable[[np.ndarray], float], count: int) -> np.ndarray:
    """Lundberg 2017, from the definition: the mean gain over all orders in which players come in."""
    total = np.zeros(count)
    orders = list(itertools.permutations(range(count)))
    for order in orders:
        seen = np.zeros(count)
        for player in order:
            before = value(seen)
            seen[player] = 1
            total[player] += value(seen) - before
    return total / len(orders)


def scorecam(
    score: Callable[[np.ndarray], float],
    image: np.ndarray,
    activations: np.ndarray,
    enlarge: Callable[[np.ndarray], np.ndarray],
    chosen: list[int],
) -> np.ndarray:
    """Wang 2020: `relu(sum_k w_k A_k)`, `w = softmax_k(S(x * M_k))`."""
    scores = []
    for k in chosen:
        mask = enlarge(activations[..., k])
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        scores.append(score(image * mask[..., None]))
    weights = np.exp(np.array(scores)) / np.exp(scores).sum()
    return np.maximum(sum(w * activations[..., k] for w, k in zip(weights, chosen, strict=True)), 0)


def ablationcam(score_of_map: Callable[[np.ndarray], float], activations: np.ndarray) -> np.ndarray:
    """Desai 2020: `relu(sum_k w_k A_k)`, `w_k = (S - S without channel k) / S`."""
    total = np.zeros(activations.shape[:2])
    whole = score_of_map(activations)
    for k in range(activations.shape[-1]):
        without = activations.copy()
        without[..., k] = 0
        total += (whole - score_of_map(without)) / whole * activations[..., k]
    return np.maximum(total, 0)
