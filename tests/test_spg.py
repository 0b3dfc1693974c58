"""Self-produced guidance beside slow loops straight from the reference."""

from typing import Any

import keras
import numpy as np
import pytest

from kerasxai import Explainer
from kerasxai.engine.tracing import patched
from kerasxai.models import build_classifier, with_output_stride
from kerasxai.models.spg import THRESHOLDS, SelfProducedGuidance, guidance
from kerasxai.tools.errors import KerasxaiError

GENERATOR = np.random.default_rng(0)
FEATURES = GENERATOR.normal(size=(3, 6, 5, 4)).astype("float32")
FIRST, LAST = (np.maximum(GENERATOR.normal(size=(3, 6, 5, 7)), 0).astype("float32") for _ in range(2))
MAPS = GENERATOR.normal(size=(3, 6, 5, 3)).astype("float32")
CLASSES = np.array([2, 0, 1])
L = keras.layers


def mask_oracle(attention: np.ndarray, high: float, low: float, fewest: float) -> np.ndarray:
    """The reference's mask (h, w): 255 unknown; foreground over a threshold, then background over that."""
    mask = np.full(attention.shape, 255.0)
    foreground = attention > high
    if foreground.sum() < fewest:
        foreground = attention > attention.max() * np.float32(0.7)
    mask[foreground] = 1
    mask[attention < low] = 0
    return mask


@pytest.mark.parametrize("scale", [1.0, 0.6, 0.05])
@pytest.mark.parametrize(("high", "low"), THRESHOLDS)
def test_masks_are_the_references(high: float, low: float, scale: float) -> None:
    maps = (GENERATOR.uniform(0, 1, (4, 224, 224, 1)) ** 3 * scale).astype("float32")
    # With few pixels above the threshold: 29 are too few, 30 are enough.
    for number, count in ((1, 29), (2, 30)):
        maps[number] = np.minimum(maps[number], high / 2)
        maps[number].ravel()[:count] = (1 + high) / 2
    mask, known = (np.asarray(part)[..., 0] for part in guidance(maps, high, low))
    for ours, where, one in zip(mask, known, maps[..., 0], strict=True):
        expected = mask_oracle(one, high, low, 30)
        np.testing.assert_array_equal(where, expected != 255)
        np.testing.assert_array_equal(ours, expected == 1)


def test_a_coarse_map_always_has_an_object() -> None:
    """On 7 x 7 places one place is more than 30 of 224 x 224 pixels."""
    maps = np.linspace(0, 0.5, 49, dtype="float32").reshape(1, 7, 7, 1)
    mask, known = (np.asarray(part) for part in guidance(maps, 0.7, 0.1))
    np.testing.assert_array_equal(mask > 0, maps > 0.35)
    np.testing.assert_array_equal(known > 0, (maps > 0.35) | (maps < 0.1))


def entropy(logits: np.ndarray, masks: list[np.ndarray], weights: np.ndarray) -> float:
    total = share = 0.0
    for image, mask, weight in zip(logits.astype(float), masks, weights, strict=True):
        for value, target in zip(image.ravel(), mask.ravel(), strict=True):
            if target != 255:
                chance = 1 / (1 + np.exp(-value))
                total -= weight * np.log(chance if target else 1 - chance)
                share += weight
    return total / share


@pytest.mark.parametrize("weights", [None, np.array([0.5, 2, 1])])
def test_the_loss_is_the_references(weights: np.ndarray | None) -> None:
    layer = SelfProducedGuidance(6, seed=3)
    np.testing.assert_array_equal(layer(MAPS, FEATURES, FIRST, LAST), MAPS)
    assert not layer.losses
    with patched(layer, targets=(CLASSES, weights)):
        layer(MAPS, FEATURES, FIRST, LAST)
        got = float(layer.losses[0])
    b1, b2, c = (np.asarray(part)[..., 0] for part in layer.branches(FEATURES, FIRST, LAST))
    chosen = np.stack([MAPS[i, ..., k] for i, k in enumerate(CLASSES)])
    low, high = chosen.min((1, 2), keepdims=True), chosen.max((1, 2), keepdims=True)
    sure = [1 / (1 + np.exp(-part)) for part in (b1, b2)]
    expected = 0.0
    for logits, teacher, (above, below) in zip(
        (b2, b1, c), ((chosen - low) / (high - low), sure[1], (sure[0] + sure[1]) / 2), THRESHOLDS, strict=True
    ):
        masks = [mask_oracle(one, above, below, 0.5) for one in teacher]
        expected += entropy(logits, masks, np.ones(3) if weights is None else weights)
    assert got == pytest.approx(expected, rel=1e-5)


def backbone() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = image = keras.Input((32, 32, 3))
    for number, strides in enumerate((2, 2, 2)):
        x = L.Conv2D(6, 3, strides, "same", activation="relu", name=f"conv{number}")(x)
    return keras.Model(image, x, name="own")


IMAGES = GENERATOR.uniform(0, 1, (6, 32, 32, 3)).astype("float32")
LABELS = np.array([0, 1, 2, 0, 1, 2])


def model(**options: Any) -> keras.Model:
    return build_classifier(backbone(), 3, "spg", width=5, seed=1, **options)


def test_class_maps_are_those_of_conv1x1_and_pass_at_inference() -> None:
    plain = build_classifier(backbone(), 3, "conv1x1", depth=2, width=5, seed=1)
    built = model()
    np.testing.assert_allclose(built(IMAGES, training=False), plain(IMAGES, training=False), atol=1e-6)
    ours, theirs = (Explainer(one, "cam")(IMAGES, LABELS).heatmaps for one in (built, plain))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_guidance_reaches_the_branches_and_the_features() -> None:
    built = model()
    built.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    layer = built.get_layer("guidance")
    before = [weight.numpy() for weight in layer.weights]
    first = built.evaluate(IMAGES, LABELS, verbose=0)
    built.fit(IMAGES, LABELS, epochs=3, verbose=0)
    assert all(np.abs(new.numpy() - old).max() > 0 for new, old in zip(layer.weights, before, strict=True))
    assert layer.targets is None
    # Branches alone: with the compiled loss out of the way the backbone still learns.
    nothing = lambda labels, predicted: 0.0 * keras.ops.sum(predicted, -1)  # noqa: E731
    built.compile(keras.optimizers.SGD(0.1), nothing, jit_compile=False)
    kernel = built.get_layer("backbone").get_layer("conv2").kernel
    old = kernel.numpy()
    built.train_on_batch(IMAGES, LABELS)
    assert np.abs(kernel.numpy() - old).max() > 0
    assert np.isfinite(first)


def test_finer_maps_hold_the_coarse_ones() -> None:
    built = model()
    fine = with_output_stride(built, 4)
    guide = next(layer for layer in fine.layers if isinstance(layer, SelfProducedGuidance))
    assert guide.weights[0] is built.get_layer("guidance").weights[0]
    finer, coarse = (
        np.asarray(keras.Model(layer_of.inputs[0], layer.output)(IMAGES))
        for layer_of, layer in ((fine, guide), (built, built.get_layer("guidance")))
    )
    assert finer.shape == (6, 8, 8, 3)
    # A strided convolution on an even side pads below and on the right alone.
    np.testing.assert_allclose(finer[:, 1::2, 1::2], coarse, atol=1e-5)
    # The guidance of the finer maps: branches that look past the places in between.
    x, y = (GENERATOR.normal(size=(1, 8, 8, size)).astype("float32") for size in (6, 5))
    every = [part[:, 1::2, 1::2] for part in (x, y, y)]
    for thin, wide in zip(built.get_layer("guidance").branches(*every), guide.branches(x, y, y), strict=True):
        np.testing.assert_allclose(np.asarray(wide)[:, 1::2, 1::2], thin, atol=1e-5)


def test_mistakes_are_told() -> None:
    wrongs: list[Any] = [((0.7, 0.1),), ((0.1, 0.7),) * 3, (1, 2, 3), ((1.5, 0.1),) * 3]
    for wrong in wrongs:
        with pytest.raises(KerasxaiError, match="three pairs"):
            SelfProducedGuidance(thresholds=wrong)
