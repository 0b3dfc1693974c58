"""Sanity checks: weights are back to the bit, and the verdicts on a small network trained on the shapes."""

from typing import Any

import keras
import numpy as np
import pytest
import zoo
from scipy.stats import spearmanr
from skimage.data import astronaut, chelsea, coffee
from skimage.transform import resize

import kerasxai
from kerasxai.data.shapes.draw import draw_sample
from kerasxai.metrics.sanity import ModelRandomization, RandomClass, RandomLabels, layers_from_top, weights_restored
from kerasxai.metrics.sanity.similarity import hog, similarities, spearman, ssim
from kerasxai.tools.errors import KerasxaiError

layers = keras.layers


@pytest.fixture(scope="module")
def trained() -> tuple[Any, np.ndarray]:
    """A network that tells four classes of shapes apart, and images of them."""
    images = np.stack([draw_sample((7, i), "train", i % 4, 32).image for i in range(96)]).astype("float32")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Rescaling(1 / 127.5, -1),
            layers.Conv2D(12, 5, strides=2, activation="relu", name="first"),
            layers.Conv2D(16, 3, activation="relu", name="second"),
            layers.Conv2D(16, 3, activation="relu", name="last"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, activation="softmax", name="top"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(images, np.arange(96) % 4, batch_size=24, epochs=40, verbose=0)
    assert history.history["accuracy"][-1] > 0.7
    return model, images[:8]


def test_guided_backpropagation_fails_and_gradcam_passes(trained: tuple[Any, np.ndarray]) -> None:
    model, images = trained
    before = [np.array(weights) for weights in model.get_weights()]
    results = {}
    for method in ("guided_backprop", "gradcam"):
        check = ModelRandomization(kerasxai.Explainer(model, method))
        check.update(images)
        results[method] = check.result()
        assert check.layers == ["top", "last", "second", "first"]
        assert {len(curve) for curve in check.result()["curves"].values()} == {4}
    control = kerasxai.Explainer(model, "saliency")
    for method, passed in (("guided_backprop", False), ("saliency", True), ("gradcam", True)):
        check = ModelRandomization(kerasxai.Explainer(model, method), steps=2, control=control)
        check.update(images)
        assert check.control_values is not None and check.control_values.shape == (len(images),)
        assert check.result()["passed"] == passed, check.result()
        assert check.result()["control"] == pytest.approx(check.control_values.mean())
    assert not results["guided_backprop"]["passed"]
    assert results["gradcam"]["passed"] and float(results["gradcam"]) < 0.2
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_windows_and_superpixels_are_not_taken_for_the_structure_of_a_map(trained: tuple[Any, np.ndarray]) -> None:
    model, images = trained
    explainer = kerasxai.Explainer(model, "occlusion", patch=8, stride=4)
    by_hog = ModelRandomization(explainer, steps=2, similarity="hog")
    by_hog.update(images)
    assert not by_hog.result()["passed"], "HOG sees the windows"
    check = ModelRandomization(explainer, steps=2, control=kerasxai.Explainer(model, "saliency"))
    check.update(images)
    assert check.options["similarity"] == "spearman" and check.control_values is None
    assert check.result()["passed"] and float(check.result()) < 0.5
    # Of a function that only looks at the image the maps stay the same.
    check = ModelRandomization(explainer, steps=2)
    check.curves = np.ones((3, 2, 3))
    check.add(similarity=check.curves.sum(0), images=3)
    assert not check.result()["passed"]


@pytest.mark.exhaustive
def test_the_verdicts_hold_on_a_network_with_weights_of_imagenet() -> None:
    model = kerasxai.models.load("imagenet:EfficientNetLite0")
    images = np.stack([resize(one()[..., :3], (224, 224), preserve_range=True) for one in (astronaut, chelsea, coffee)])
    control = kerasxai.Explainer(model, "saliency")
    for method, passed in (("guided_backprop", False), ("saliency", True), ("gradcam", True)):
        check = ModelRandomization(kerasxai.Explainer(model, method), steps=2, control=control)
        check.update(images.astype("float32"))
        assert check.result()["passed"] == passed, check.result()


def test_cascading_keeps_changes_and_independent_undoes_them() -> None:
    model, images = zoo.build("functional"), zoo.images(2)
    explainer = kerasxai.Explainer(model, "saliency")
    before = [np.array(weights) for weights in model.get_weights()]
    states: dict[str, list[list[bool]]] = {"cascading": [], "independent": []}

    class Watching:
        model = explainer.model

        def __init__(self, order: str) -> None:
            self.order = order

        def __call__(self, *given: Any) -> Any:
            now = model.get_weights()
            states[self.order].append([np.array_equal(a, b) for a, b in zip(before, now, strict=True)])
            return explainer(*given)

    for order in states:
        check = ModelRandomization(Watching(order), order, steps=2)  # type: ignore[arg-type]
        values = check(images)
        assert values.shape == (2,) and check.curves is not None and check.curves.shape == (2, 2, 3)
    clean, upper, both = (np.array(state) for state in states["cascading"])
    assert clean.all() and not both.any() and upper.any() and not upper[-1]  # The last weights are those of the top.
    _, upper_again, lower = (np.array(state) for state in states["independent"])
    np.testing.assert_array_equal(upper_again, upper)
    np.testing.assert_array_equal(lower, ~upper)
    # The same seed gives the same weights.
    once, twice, third = (ModelRandomization(explainer, steps=1, seed=seed)(images) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, twice)
    assert (once != third).any()


@pytest.mark.parametrize("kind", ["mixed_bfloat16", "subclassed"])
def test_weights_are_back_after_an_error(kind: str) -> None:
    model, images = zoo.build(kind), zoo.images(1)
    before = [np.array(weights) for weights in model.get_weights()]
    explainer = kerasxai.Explainer(model, "saliency")

    class Failing:
        model = explainer.model
        calls = 0

        def __call__(self, *given: Any) -> Any:
            self.calls += 1
            if self.calls == 3:
                raise RuntimeError("interrupted")
            return explainer(*given)

    for order in ("cascading", "independent"):
        with pytest.raises(RuntimeError, match="interrupted"):
            ModelRandomization(Failing(), order)(images)  # type: ignore[arg-type]
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def test_all_weights_of_nested_models_are_found_from_the_top() -> None:
    model = zoo.build("nested")
    found = layers_from_top(model)
    assert [layer.path.rsplit("/", 1)[-1] for layer in found][1:] == [
        "inner_last",
        "inner_normalization",
        "inner_first",
    ]
    assert sum(len(layer.weights) for layer in found) == len(model.weights)
    with weights_restored(model.weights):
        model.weights[0].assign(model.weights[0] * 0)
    assert np.abs(model.get_weights()[0]).max() > 0


def test_random_class_tells_methods_with_and_without_classes_apart() -> None:
    model, images = zoo.build("functional"), zoo.images(3)
    blind = RandomClass(kerasxai.Explainer(model, "eigencam"))
    np.testing.assert_allclose(blind(images), 1, atol=1e-6)
    check = RandomClass(kerasxai.Explainer(model, "saliency"), seed=2)
    values = check(images, 1)
    assert (values < 0.999).all()
    blind.update(images)
    other = RandomClass.from_state(blind.state())
    assert other.merge(blind).result()["images"] == 6 and other.result()["random_class"] == pytest.approx(1)


def test_random_labels_compare_two_models_by_one_method() -> None:
    model, other, images = zoo.build("functional"), zoo.build("logits"), zoo.images(3)
    one, two = (kerasxai.Explainer(each, "saliency") for each in (model, other))
    check = RandomLabels(one, two)
    values = check(images, 1)
    expected = [spearman(*pair) for pair in zip(one(images, 1).heatmaps, two(images, 1).heatmaps, strict=True)]
    np.testing.assert_allclose(values, expected, atol=1e-6)
    check.update(images, 1)
    assert float(check.result()) == pytest.approx(np.mean(expected))
    with pytest.raises(KerasxaiError, match="two explainers of the same method, got saliency and gradcam"):
        RandomLabels(one, kerasxai.Explainer(other, "gradcam"))
    with pytest.raises(KerasxaiError, match="got the same model twice"):
        RandomLabels(one, kerasxai.Explainer(model, "saliency"))
    with pytest.raises(KerasxaiError, match="got none"):
        RandomLabels(one)(images, 1)


def test_similarities_equal_those_of_scipy_and_are_1_for_equal_maps() -> None:
    one, two = np.round(np.random.default_rng(0).normal(size=(2, 20, 24)), 1)
    assert spearman(one, two) == pytest.approx(spearmanr(one.ravel(), two.ravel())[0])
    assert similarities(one, -3 * one) == pytest.approx([1, 1, 1])
    assert max(abs(ssim(np.abs(one), np.abs(two))), abs(hog(one, two)), abs(spearman(one, two))) < 0.5
    assert spearman(one, np.ones_like(one)) == 0 and np.isfinite(similarities(one, 0 * one)).all()
    assert np.isfinite(similarities(one[:3, :3], two[:3, :3])).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ModelRandomization(None, "upwards"), "upwards"),
        (lambda: ModelRandomization(None, steps=0), "steps must be 1 or more, got 0"),
        (lambda: ModelRandomization()(zoo.images(1)), "expected an explainer to check, got none"),
        (
            lambda: ModelRandomization(
                kerasxai.Explainer(lambda x: x.mean((1, 2)), "occlusion", patch=8, stride=8, outputs="logits")
            )(zoo.images(1)),
            "expected an explainer of a Keras model, got one of a function",
        ),
        (lambda: RandomClass().result(), "RandomClass: expected at least one image, got none"),
    ],
)
def test_mistakes_are_explained(call: Any, message: str) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        call()
