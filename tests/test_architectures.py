"""All kinds of networks: five methods run on each, and give what plain TensorFlow gives.

Weights are random, and images as small as a network takes them with more than one place on its last map. What is tested
is that nothing about an architecture (branches, normalizations, gates, skips, tokens, several inputs and outputs) puts
an explanation off.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
import zoo
from zoo_architectures import FIRST_BLOCKS, NETWORKS, WHOLE_APPLICATIONS, Network, noise, quarters_of, versions

import kerasxai
from kerasxai.methods.lime import random_coalitions

STEPS = 3
SAMPLES = 6


@dataclass(frozen=True)
class Case:
    """A network, one image, and what one eager tape says of all versions of the image that the methods look at.

    Attributes:
        network: The network.
        image: `(H, W, 3)`.
        quarters: `(H, W)`, the number of each pixel's quarter of the image, 0 to 3.
        scores: From which quarters are seen, the others black, to the explained score.
        gradients: `(STEPS, H, W, 3)` of the explained score, evenly spaced from black to the image.
        map: `(h, w, K)`, the explained layer's map of the image.
        map_gradient: Its gradient.
        views: One view for all methods that may share it, so that what they all ask is traced once.
    """

    network: Network
    image: np.ndarray
    quarters: np.ndarray
    scores: dict[tuple[int, ...], float]
    gradients: np.ndarray
    map: np.ndarray
    map_gradient: np.ndarray
    views: dict[bool, Any] = field(default_factory=dict)

    def score(self, image: np.ndarray) -> float:
        """The explained score of the image with some quarters black."""
        return self.scores[tuple(int(image[self.quarters == quarter].any()) for quarter in range(4))]


def look(network: Network) -> Case:
    image = noise(1, network.side)[0]
    drawn = [tuple(row) for row in random_coalitions(SAMPLES, 4, 0).tolist()]
    seen = list(dict.fromkeys([(1, 1, 1, 1), (0, 0, 0, 0), *itertools.permutations((0, 1, 1, 1)), *drawn]))
    path = [image * fraction for fraction in np.linspace(0, 1, STEPS, dtype="float32")]
    images = tf.constant(np.stack(path))
    with tf.GradientTape() as tape:
        tape.watch(images)
        total, map = network.plain(images)
    gradients, map_gradients = tape.gradient(total, [images, map])
    scores = network.plain(tf.constant(np.stack(versions(image, seen))))[0].numpy().astype(float)
    return Case(
        network,
        image,
        quarters_of(network.side),
        dict(zip(seen, scores, strict=True)),
        gradients.numpy(),
        map[-1].numpy(),
        map_gradients[-1].numpy(),
    )


def explain(case: Case, method: str, **options: Any) -> Any:
    network = case.network
    explainer = kerasxai.Explainer(network.model, method, fold=False, **{"score": "logit"} | network.options | options)
    if "layer" not in options:
        explainer._model = case.views.setdefault(True, explainer._model)
    explanation = explainer(network.given(case.image[None]), targets=network.targets)
    assert explanation.heatmaps.shape == (1, *network.side) or "resize" in options
    np.testing.assert_allclose(explanation.scores[0], case.scores[1, 1, 1, 1], rtol=1e-3, atol=1e-3)
    return explanation


def assert_near(found: np.ndarray, expected: np.ndarray, terms: float = 0.0) -> None:
    """Equal but for the rounding of sums whose terms are so large."""
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * max(np.abs(expected).max(), terms))


def assert_same_gradient(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for rectifiers that rounding switches on or off in networks so deep: a tape by itself differs so."""
    assert np.linalg.norm(expected) > 0
    assert np.linalg.norm(found - expected) <= 0.03 * np.linalg.norm(expected)


def check_gradcam(case: Case) -> None:
    network = case.network
    named = {"layer": network.layer} if network.named else {}
    explanation = explain(case, "gradcam", resize=False, **named)
    assert explanation.layer == network.layer
    weights = case.map_gradient.mean((0, 1))
    terms = np.abs(weights * case.map).sum(-1).max()
    assert_near(explanation.heatmaps[0], reference.gradcam(case.map, case.map_gradient), terms)
    if network.kernel is not None:
        places = case.map.shape[0] * case.map.shape[1]
        assert places > 1
        cam = reference.cam(case.map, network.kernel[:, None], 0)
        assert_near(explanation.heatmaps[0], np.maximum(cam, 0) / places, terms)


def check_saliency(case: Case) -> None:
    assert_same_gradient(explain(case, "saliency").heatmaps[0], np.abs(case.gradients[-1]).max(-1))


def check_integrated_gradients(case: Case) -> None:
    explanation = explain(case, "integrated_gradients", steps=STEPS)
    gradients = iter(case.gradients)
    expected = reference.integrated_gradients(lambda _: next(gradients), case.image, np.zeros_like(case.image), STEPS)
    assert_same_gradient(explanation.heatmaps[0], expected)
    # What is missing to completeness is the error of so few steps, and is told.
    risen = case.score(case.image) - case.score(0 * case.image)
    error = explanation.notes["completeness_error"][0]
    np.testing.assert_allclose(error, explanation.heatmaps[0].sum() - risen, atol=1e-3 * np.abs(expected).sum())


def check_occlusion(case: Case) -> None:
    patch = (case.network.side[0] // 2, case.network.side[1] // 2)
    corners = list(itertools.product((0, patch[0]), (0, patch[1])))
    explanation = explain(case, "occlusion", patch=patch, stride=patch)
    assert_near(explanation.heatmaps[0], reference.occlusion(case.score, case.image, corners, patch))


def check_lime(case: Case) -> None:
    options = {"segmentation": case.quarters, "samples": SAMPLES, "fill": "black"}
    logit = {} if "score" in case.network.options else {"explain": "logit"}
    explanation = explain(case, "lime", **options, **logit)
    seen = random_coalitions(SAMPLES, 4, 0)
    scores = np.array([case.scores[tuple(row)] for row in seen.tolist()])
    weights, _, r2 = reference.lime_weights(seen.astype(float), scores, 0.25, 1.0)
    assert_near(explanation.notes["superpixel_weights"][0], weights)
    assert_near(explanation.heatmaps[0], weights[case.quarters])
    np.testing.assert_allclose(explanation.notes["r2"][0], r2, atol=1e-3)


def check_five_methods(build: Callable[[], Network]) -> None:
    keras.backend.clear_session()  # for the names of the layers
    keras.utils.set_random_seed(1)
    case = look(build())
    for check in (check_gradcam, check_saliency, check_integrated_gradients, check_occlusion, check_lime):
        check(case)
    keras.backend.clear_session()


# One test for each network, so that it is built and traced once, in whatever process.
@pytest.mark.parametrize("name", zoo.mostly((name for name in NETWORKS if name != "VGG16"), NETWORKS))
def test_five_methods(name: str) -> None:
    check_five_methods(NETWORKS[name])


# Gates and depthwise convolutions, residual sums, branches; tokens, skips, and plain stacks are in the networks above.
@pytest.mark.parametrize("name", zoo.mostly(("MobileNetV3Small", "ResNet50V2", "InceptionV3"), FIRST_BLOCKS))
def test_five_methods_on_the_first_blocks(name: str) -> None:
    check_five_methods(FIRST_BLOCKS[name])


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name for name in WHOLE_APPLICATIONS if name not in NETWORKS])
def test_five_methods_on_the_whole_network(name: str) -> None:
    check_five_methods(WHOLE_APPLICATIONS[name])
