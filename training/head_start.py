"""The start of a head from a linear probe, so that its class maps are those of the probe."""

import itertools
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.models import ACoLHead
from kerasxai.training.pooled_features import PooledFeatures


@dataclass(frozen=True)
class _Branch:
    """Layers from a feature map to the logits.

    Attributes:
        convolutions: The 3x3 convolutions, each with its batch normalization or None.
        last: The dense layer or the 1x1 convolution with one output for each class.
    """

    convolutions: list[tuple[keras.layers.Conv2D, keras.layers.BatchNormalization | None]]
    last: keras.layers.Dense | keras.layers.Conv2D


def has_convolutions(model: keras.Model) -> bool:
    """Return whether the head has convolutions below its classifier."""
    return any(branch.convolutions for branch in _branches(model))


def start_head(
    model: keras.Model,
    weights: NDArray[np.float64],
    features: PooledFeatures,
    biases: NDArray[np.float64] | None = None,
) -> None:
    """Set the weights of the head so that its logits are those of a linear classifier of the pooled features.

    A dense layer or a 1x1 convolution gets the weights. The 3x3 convolutions below it, if there are any, become linear:
    each pair of channels carries a direction of the features and its negative, only at the center of the kernel, and
    since `relu(x) - relu(-x) = x` nothing is lost. Class maps then start as those of the probe, and not with the noise
    of an initialization that a short training does not remove. The first directions span the weights, so that with
    fewer channels than twice the classes the result is an approximation; the others are the principal components of
    what remains, with a weight of 0.

    Args:
        model: A model of `build_classifier`.
        weights: `(K, C)`.
        features: Their mean and covariance over positions are those of batch normalization.
        biases: `(C,)`; None for 0.
    """
    for branch in _branches(model):
        _start(branch, weights, features)
        if branch.last.bias is not None:
            branch.last.bias.assign(np.zeros(branch.last.bias.shape) if biases is None else biases)


def scale_classes(model: keras.Model, factor: float) -> None:
    """Multiply the logits of a head by a factor, which changes no prediction.

    Args:
        model: A model of `build_classifier`.
        factor: Above 0.
    """
    for branch in _branches(model):
        for variable in branch.last.trainable_variables:
            variable.assign(variable * factor)


def _branches(model: keras.Model) -> list[_Branch]:
    head = next((layer for layer in model.layers if isinstance(layer, ACoLHead)), None)
    if head is not None:
        return [_branch(head.branch_a), _branch(head.branch_b)]
    return [_branch(model.layers)]


def _branch(layers: list[keras.Layer]) -> _Branch:
    kernels = [layer for layer in layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]
    after = dict(itertools.pairwise(layers))
    convolutions = [
        (layer, follower if isinstance(follower := after[layer], keras.layers.BatchNormalization) else None)
        for layer in kernels[:-1]
    ]
    return _Branch(convolutions, kernels[-1])


def _start(branch: _Branch, weights: NDArray[np.float64], features: PooledFeatures) -> None:
    if branch.convolutions:
        pairs = min(convolution.filters for convolution, _ in branch.convolutions) // 2
        directions = _directions(weights, features.covariance, pairs)
        weights = directions.T @ weights
        mean = directions.T @ features.center
        variance = np.einsum("kd,kl,ld->d", directions, features.covariance, directions, optimize=True)
        for convolution, normalization in branch.convolutions:
            _set_center(convolution, np.concatenate([directions, -directions], 1))
            if normalization is not None:
                deviation = _set_normalization(normalization, mean, variance)
                mean, variance, weights = mean / deviation, variance / deviation**2, weights * deviation[:, None]
            # The next layer takes the difference of the two channels of a pair.
            directions = np.concatenate([np.eye(len(weights)), -np.eye(len(weights))])
        weights = np.concatenate([weights, -weights])
    kernel = np.zeros(branch.last.kernel.shape, np.float32)
    kernel[..., : len(weights), :] = weights
    branch.last.kernel.assign(kernel)


def _directions(weights: NDArray[np.float64], covariance: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return orthonormal directions `(K, D)`, D at most `count`: those of the weights, then principal components."""
    count = min(count, len(weights))
    left, sizes, _ = np.linalg.svd(weights, full_matrices=False)
    spanning = left[:, sizes > 1e-9 * sizes[0]][:, :count]
    # The components of what the first directions leave of the features.
    outside = np.eye(len(weights)) - spanning @ spanning.T
    _, components = np.linalg.eigh(outside @ covariance @ outside)
    return np.concatenate([spanning, components[:, ::-1][:, : max(0, count - spanning.shape[1])]], 1)


def _set_center(convolution: keras.layers.Conv2D, matrix: NDArray[np.float64]) -> None:
    """Set the first outputs of a 3x3 convolution to a matrix `(inputs, outputs)` at the center; the others stay."""
    kernel = np.array(convolution.kernel, np.float32)
    height, width = kernel.shape[:2]
    kernel[..., : matrix.shape[1]] = 0
    kernel[height // 2, width // 2, : matrix.shape[0], : matrix.shape[1]] = matrix
    convolution.kernel.assign(kernel)
    if convolution.bias is not None:
        convolution.bias.assign(np.zeros(convolution.bias.shape))


def _set_normalization(
    layer: keras.layers.BatchNormalization, mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Set batch normalization to divide pairs of channels by their deviation, which is returned, and keep the mean."""
    deviation = np.sqrt(variance + layer.epsilon)
    count = len(mean)
    for variable, plus, minus in (
        (layer.moving_mean, mean, -mean),
        (layer.moving_variance, variance, variance),
        # Mean subtracted and added again: the head has no bias that could carry it.
        (layer.beta, mean / deviation, -mean / deviation),
        (layer.gamma, np.ones(count), np.ones(count)),
    ):
        values = np.array(variable, np.float32)
        values[: 2 * count] = np.concatenate([plus, minus])
        variable.assign(values)
    return deviation
