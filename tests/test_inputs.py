"""Models that take more than one image: what is explained, and what goes along with it."""

import functools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai
from kerasxai.engine.inputs import checked_rank
from kerasxai.engine.samples import Samples

layers = keras.layers
WORDS = np.array([[1, 2, 3], [4, 0, 2], [3, 3, 1], [2, 4, 4]], np.int32)


def asked(image: Any, words: Any) -> Any:
    """Which channels of the map count depends on the question, so that every method sees the question."""
    x = image
    for layer in zoo.convolutions():
        x = layer(x)
    gate = layers.Dense(8, activation="tanh")(layers.Flatten()(layers.Embedding(5, 4, name="embedding")(words)))
    x = layers.Multiply(name="gated")([x, layers.Reshape((1, 1, 8))(gate)])
    return layers.Dense(zoo.CLASSES, activation="softmax", name="top")(layers.GlobalAveragePooling2D()(x))


def build(structure: str) -> Any:
    image = keras.Input((zoo.SIZE, zoo.SIZE, 3), name="picture")
    words = keras.Input((3,), dtype="int32", name="question")
    inputs = {
        "list": [words, image],
        "dict": {"question": words, "picture": image},
        "nested": {"scene": [image], "text": {"question": words}},
    }[structure]
    return keras.Model(inputs, asked(image, words))


def given(structure: str, images: Any, words: Any) -> Any:
    return {
        "list": [words, images],
        "dict": {"question": words, "picture": images},
        "nested": {"scene": [images], "text": {"question": words}},
    }[structure]


def weighted(structure: str) -> Any:
    keras.utils.set_random_seed(3)
    model = build(structure)
    generator = np.random.default_rng(5)
    model.set_weights([generator.normal(0.1, 0.5, w.shape) ** (2 if w.ndim == 1 else 1) for w in model.get_weights()])
    return model


model_of = functools.cache(weighted)


class Alone(keras.Model):
    """The same model with one question built in: what a model of a single input would be."""

    def __init__(self, model: Any, structure: str, words: np.ndarray) -> None:
        super().__init__()
        self.inner, self.structure, self.words = model, structure, words

    def call(self, images: Any) -> Any:
        words = tf.tile(tf.constant(self.words[None]), [tf.shape(images)[0], 1])
        return self.inner(given(self.structure, images, words))


# Methods that run the model in one of the ways of others take along what belongs to an image as those do.
@pytest.mark.parametrize("method", zoo.mostly([*zoo.ONE_OF_EACH, "rise", "lime", "kernelshap"], kerasxai.METHODS))
def test_each_image_is_explained_with_its_own_question(method: str) -> None:
    """In batches of two, by every method, as each image would be by a model of one input with the question in it."""
    model, images = model_of("list"), zoo.images(4)
    options = zoo.CHEAPER.get(method, {})
    explain = kerasxai.Explainer(model, method, batch_size=2, **options)
    explanation = explain([WORDS, images], targets=[0, 1, 2, 3])
    for i in (3,):
        alone = kerasxai.Explainer(Alone(model, "list", WORDS[i]), method, batch_size=2, **options)
        expected = alone(images[i : i + 1], targets=i)
        np.testing.assert_allclose(explanation.heatmaps[i], expected.heatmaps[0], rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(explanation.scores[i], expected.scores[0], rtol=1e-5)
    traces = len(zoo.traced_model(explain)._traces)
    others = explain([WORDS[::-1], images], targets=[0, 1, 2, 3])
    assert len(zoo.traced_model(explain)._traces) == traces
    if kerasxai.METHODS[method].class_specific:
        assert not np.allclose(others.heatmaps, explanation.heatmaps)


def early_question(structure: str = "list") -> Any:
    """The question changes the early map too, so that a refinement that reads features sees which one it got."""
    image, words = keras.Input((zoo.SIZE, zoo.SIZE, 3), name="picture"), keras.Input((3,), dtype="int32")
    gate = layers.Dense(6)(layers.Flatten()(layers.Embedding(5, 4)(words)))
    fine = layers.Multiply()([layers.Conv2D(6, 3, padding="same", activation="relu")(image), gate[:, None, None]])
    x = layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(layers.ReLU()(fine))
    return keras.Model([words, image], layers.Dense(zoo.CLASSES)(layers.GlobalAveragePooling2D()(x)))


REFINED = {
    "discriminant": "discriminant:factor=1",
    "shifts": "shifts:pixels=2",
    "superpixels": "superpixels:segments=9",
}


@pytest.mark.parametrize("refinement", sorted(set(kerasxai.REFINEMENTS) - {"enlarge", "stride"}))
def test_a_refinement_looks_again_with_each_images_own_question(refinement: str) -> None:
    keras.utils.set_random_seed(4)
    model, images = early_question(), zoo.images(4)
    explain = kerasxai.Explainer(model, "gradcam", refine=REFINED.get(refinement, refinement), batch_size=4)
    together = explain([WORDS, images], targets=1).heatmaps
    for i in range(4):
        alone = explain([WORDS[i : i + 1], images[i : i + 1]], targets=1).heatmaps[0]
        np.testing.assert_allclose(together[i], alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("refinement", ["enlarge", "stride"])
def test_a_refinement_that_changes_the_model_refuses_several_inputs(refinement: str) -> None:
    explain = kerasxai.Explainer(model_of("list"), "gradcam", refine=refinement)
    with pytest.raises(kerasxai.KerasxaiError, match="as its only input, got another"):
        explain([WORDS, zoo.images(4)], targets=1)


def test_noise_is_averaged_with_each_images_own_question() -> None:
    model, images = model_of("dict"), zoo.images(4)
    explain = kerasxai.Explainer(model, "saliency", smooth="smoothgrad", samples=3, batch_size=8)
    together = explain(given("dict", images, WORDS))
    for i in range(4):
        alone = explain(given("dict", images[i : i + 1], WORDS[i : i + 1]))
        np.testing.assert_allclose(together.heatmaps[i], alone.heatmaps[0], rtol=1e-5, atol=1e-7)
        assert together.targets[i] == alone.targets[0]


@pytest.mark.parametrize("structure", ["list", "dict", "nested"])
def test_inputs_lie_as_the_model_takes_them(structure: str) -> None:
    model, images = model_of(structure), zoo.images(4)
    expected = np.asarray(model(given(structure, images, WORDS), training=False))
    named: Any = {"list": [1, "picture", "1"], "dict": ["picture"], "nested": ["scene/0", ("scene", 0)]}[structure]
    maps = []
    for image_input in (None, *named):
        explain = kerasxai.Explainer(model, "gradcam", image_input=image_input)
        explanation = explain(given(structure, images, WORDS))
        np.testing.assert_array_equal(explanation.targets, expected.argmax(-1))
        maps.append(explanation.heatmaps)
    assert all(np.array_equal(one, maps[0]) for one in maps)


def test_one_question_for_all_images_is_as_good_as_the_same_for_each() -> None:
    model, images = model_of("list"), zoo.images(4)
    explain = kerasxai.Explainer(model, "gradcam", batch_size=3)
    one, each = (explain([words, images], targets=1).heatmaps for words in (WORDS[:1], np.repeat(WORDS[:1], 4, 0)))
    np.testing.assert_array_equal(one, each)


def test_a_subclassed_model_and_a_plain_function_take_the_same_structure() -> None:
    inner, images = model_of("dict"), zoo.images(4)

    class Outer(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inner(inputs)

    settings: dict[str, Any] = {"patch": 5, "stride": 4, "explain": "probability"}
    expected = kerasxai.Explainer(inner, "occlusion", **settings)(given("dict", images, WORDS))
    outer = kerasxai.Explainer(Outer(), "occlusion", **settings)(given("dict", images, WORDS))
    np.testing.assert_allclose(outer.heatmaps, expected.heatmaps, atol=1e-6)

    def function(inputs: dict[str, np.ndarray]) -> Any:
        assert isinstance(inputs["picture"], np.ndarray) and isinstance(inputs["question"], np.ndarray)
        return inner(inputs, training=False)

    plain = kerasxai.Explainer(function, "occlusion", patch=5, stride=4)(given("dict", images, WORDS))
    np.testing.assert_allclose(plain.heatmaps, expected.heatmaps, atol=1e-6)


def test_of_two_images_one_is_explained_and_the_other_held() -> None:
    left, right = (keras.Input((8, 8, 3), name=name) for name in ("left", "right"))
    shared = layers.Conv2D(4, 3, activation="relu")
    pooled = [layers.GlobalAveragePooling2D()(shared(x)) for x in (left, right)]
    model = keras.Model([left, right], layers.Dense(1)(layers.Multiply()(pooled)))
    images = zoo.images(4, size=8), zoo.images(4, size=8, seed=1)
    gradients = kerasxai.Explainer(model, "gradient*input", image_input="right")
    x = tf.Variable(images[1])
    with tf.GradientTape() as tape:
        score = model([tf.constant(images[0]), x + 0.0])[:, 0]
    expected = tf.reduce_sum(tape.gradient(score, x) * x, -1)
    np.testing.assert_allclose(gradients(images, targets=1).heatmaps, expected, atol=1e-6)
    with pytest.raises(
        kerasxai.KerasxaiError, match=r"input that can be meant, got '0' \(left\) float32 \(4, 8, 8, 3\)"
    ):
        kerasxai.Explainer(model, "saliency")(images)
    with pytest.raises(kerasxai.KerasxaiError, match="got 'middle'; the inputs are '0'"):
        kerasxai.Explainer(model, "saliency", image_input="middle")(images)
    with pytest.raises(
        kerasxai.KerasxaiError,
        match="'0' to have a batch of 1 or 4, as the explained input '1' has, got 3",
    ):
        gradients([images[0][:3], images[1]])
    with pytest.raises(kerasxai.KerasxaiError, match=r"images of shape \(8, 8, 3\) for the model .*, got \(7, 8, 3\)"):
        gradients([images[0], images[1][:, 1:]])
    with pytest.raises(
        kerasxai.KerasxaiError, match="expected several inputs to choose image_input='left' from, got one"
    ):
        kerasxai.Explainer(zoo.build("functional"), "saliency", image_input="left")(zoo.images(1))


def test_targets_of_a_score_may_be_more_than_a_class() -> None:
    """A mask for each image goes along with the copies that a method makes."""
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Conv2D(2, 3, padding="same")(image))
    images = zoo.images(3, size=8)
    masks = np.random.default_rng(1).random((3, 8, 8)) > 0.5

    def inside(outputs: Any, targets: Any) -> Any:
        return tf.reduce_sum(outputs[..., 1] * tf.cast(targets, tf.float32), (1, 2))

    outputs = model(images).numpy()[..., 1]
    for method in ("occlusion", "saliency", "lime"):
        explain = kerasxai.Explainer(model, method, score=inside, batch_size=2, **zoo.CHEAPER.get(method, {}))
        explanation = explain(images, targets=masks)
        np.testing.assert_allclose(explanation.scores, (outputs * masks).sum((1, 2)), rtol=1e-5)
        np.testing.assert_array_equal(explanation.targets, masks)
        last = explain(images[2:], targets=masks[2:])
        np.testing.assert_allclose(last.heatmaps[0], explanation.heatmaps[2], rtol=1e-4, atol=1e-5)
    with pytest.raises(kerasxai.KerasxaiError, match="one entry for each of 3 images"):
        explain(images, targets=masks[:2])


def test_samples_keep_what_belongs_to_each_image() -> None:
    numbers = np.arange(4)
    batch = Samples(
        tf.constant(numbers[:, None, None, None] * np.ones((4, 2, 3, 1)), tf.float32),
        tf.constant(numbers),
        (tf.constant(10 * numbers[:, None]), tf.constant(100 * numbers)),
        tf.constant(1000 * numbers),
        numbers,
    )
    for changed, expected in (
        (batch.take(slice(1, 3)), [1, 2]),
        (batch.repeat(2), [0, 0, 1, 1, 2, 2, 3, 3]),
        (batch.tile(2).take(slice(2, 7)), [2, 3, 0, 1, 2]),
        (batch.take(slice(2, 4)).repeat(3, tf.zeros((6, 5, 5, 1))), [2, 2, 2, 3, 3, 3]),
    ):
        for factor, found in zip(
            (1, 10, 100, 1000, 1),
            (changed.targets, *changed.other_inputs, changed.custom_targets, changed.indices),
            strict=True,
        ):
            np.testing.assert_array_equal(np.ravel(found), factor * np.array(expected))
        assert len(changed) == len(expected) == len(changed.images)
        if changed.images.shape[1:] == (2, 3, 1):
            np.testing.assert_array_equal(changed.images[:, 1, 2, 0], expected)


def spec(*shape: int | None) -> tf.TensorSpec:
    return tf.TensorSpec((None, *shape), tf.float32)


@pytest.mark.parametrize(
    ("takes", "given"),
    [
        ((28, 28, 1), (5, 28, 28)),
        ((28, 28, 1), (1, 28, 28)),
        ((None, None, 1), (5, 9, 7)),
        ((30, 1), (4, 30)),
        ((4, 5, 6, 1), (2, 4, 5, 6)),
    ],
)
def test_gray_arrays_without_a_color_axis_are_taken_as_keras_takes_them(
    takes: tuple[int | None, ...], given: tuple[int, ...]
) -> None:
    assert checked_rank(np.zeros(given), spec(*takes)).shape == (*given, 1)


@pytest.mark.parametrize(
    ("takes", "given", "hint"),
    [
        ((28, 28, 1), (28, 28, 1), "batch axis: images[None]"),
        ((None, None, 1), (28, 28, 1), "batch axis: images[None]"),
        ((28, 28, 1), (28, 28), "batch and a color axis: images[None, ..., None]"),
        ((1, 28, 28), (5, 28, 28), "color axis: images[:, None]"),
        ((28, 28, 3), (28, 28, 3), "batch axis: images[None]"),
        ((28, 28, 3), (14, 14, 3), "batch axis: images[None]"),
        ((28, 28, 3), (5, 28, 28), "3 colors: np.repeat(images[..., None], 3, -1)"),
        ((28, 28, 1), (5, 14, 14), ""),
        ((28, 28, 3), (1, 5, 28, 28, 3), ""),
    ],
)
def test_the_hint_about_a_missing_axis_leads_to_what_the_model_takes(
    takes: tuple[int | None, ...], given: tuple[int, ...], hint: str
) -> None:
    with pytest.raises(kerasxai.KerasxaiError) as raised:
        checked_rank(np.zeros(given), spec(*takes))
    assert str(raised.value).endswith(hint or str(given))
    if hint and given[:2] != (14, 14):
        images = np.zeros(given)
        changed = eval(hint.split(": ")[1], {"images": images, "np": np})
        assert checked_rank(changed, spec(*takes)).shape == changed.shape


def test_a_gray_model_explains_gray_arrays() -> None:
    image = keras.Input((12, 12, 1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
    model = keras.Model(image, layers.Dense(3)(x))
    gray = zoo.images(3, size=12)[..., 0]
    for method in ("gradcam", "saliency"):
        explain = kerasxai.Explainer(model, method)
        np.testing.assert_array_equal(explain(gray, 1).heatmaps, explain(gray[..., None], 1).heatmaps)
