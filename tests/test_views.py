"""What a view makes of models and inputs of every kind: series, volumes, tokens, shared and hidden layers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai
from kerasxai.methods.random_masks import upsampled_masks

layers = keras.layers
SIDES = {"series": (12,), "volume": (6, 5, 4)}
CHEAPER = {**zoo.CHEAPER, "occlusion": {"patch": 2}, "rise": {"masks": 9, "grid": 2}}


def convolution(sides: int, *args: Any, **options: Any) -> Any:
    return (layers.Conv1D, layers.Conv2D, layers.Conv3D)[sides - 1](*args, padding="same", activation="relu", **options)


def pooled(sides: int, **options: Any) -> Any:
    kinds = (layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D)
    return kinds[sides - 1](**options)


def network(sides: tuple[int, ...], colors: int = 2, kernel: Any = 3) -> Any:
    keras.utils.set_random_seed(2)
    inputs = keras.Input((*sides, colors))
    x = convolution(len(sides), 4, kernel, name="first")(inputs)
    x = convolution(len(sides), 5, kernel, name="last")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="top")(pooled(len(sides))(x)))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")


def same_weights(one: Any, other: Any) -> None:
    other.set_weights([w.reshape(v.shape) for w, v in zip(one.get_weights(), other.get_weights(), strict=True)])


@pytest.mark.parametrize("method", kerasxai.METHODS)
def test_a_series_is_explained_as_the_image_of_one_row(method: str) -> None:
    series, image = network((12,)), network((1, 12), kernel=(1, 3))
    same_weights(series, image)
    options, flat = (dict(CHEAPER.get(method, {})) for _ in range(2))
    if method == "occlusion":
        flat["patch"] = (1, 2)
    if method == "rise":
        pytest.skip("draws the cells of both sides; its masks are compared below")
    values = noise(3, 12, 2)
    found = kerasxai.Explainer(series, method, **options)(values)
    expected = kerasxai.Explainer(image, method, **flat)(values[:, None])
    assert found.heatmaps.shape == (3, 12)
    assert found.layer == expected.layer
    np.testing.assert_array_equal(found.targets, expected.targets)
    np.testing.assert_allclose(found.heatmaps, expected.heatmaps[:, 0], atol=2e-4 * np.abs(expected.heatmaps).max())


@pytest.mark.parametrize(
    "method", ["gradcam++", "eigencam", "saliency", "integrated_gradients", "occlusion", "scorecam"]
)
def test_a_flat_volume_is_explained_as_its_image(method: str) -> None:
    """Flat along one side and then along another, so that no side stands for another."""
    for flat in (1, 3):
        sides = [6, 5]
        sides.insert(flat - 1, 1)
        kernel = [3, 3]
        kernel.insert(flat - 1, 1)
        volume, image = network(tuple(sides), kernel=tuple(kernel)), network((6, 5))
        same_weights(volume, image)
        values = noise(2, 6, 5, 2)
        patch = [2, 2]
        patch.insert(flat - 1, 1)
        options: dict[str, Any] = dict(CHEAPER.get(method, {}))
        deep = options | ({"patch": tuple(patch)} if method == "occlusion" else {})
        found = kerasxai.Explainer(volume, method, **deep)(np.expand_dims(values, flat)).heatmaps
        expected = kerasxai.Explainer(image, method, **options)(values).heatmaps
        np.testing.assert_allclose(np.squeeze(found, flat), expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("kind", SIDES)
def test_identities_hold_for_series_and_volumes(kind: str) -> None:
    sides = SIDES[kind]
    model, values = network(sides), noise(2, *sides, 2)
    cam = kerasxai.Explainer(model, "cam")(values)
    gradcam = kerasxai.Explainer(model, "gradcam")(values, cam.targets)
    np.testing.assert_allclose(gradcam.heatmaps * np.prod(sides), np.maximum(cam.heatmaps, 0), atol=1e-5)
    assert cam.layer == gradcam.layer == "last"
    exact = kerasxai.Explainer(model, "integrated_gradients", steps=200)(values)
    risen = exact.heatmaps.reshape(2, -1).sum(1)
    black = kerasxai.Explainer(model, "gradcam")(0 * values, cam.targets).scores
    np.testing.assert_allclose(risen, exact.scores - black, atol=0.02)
    shares = kerasxai.Explainer(model, "kernelshap", segments=5, samples=64)(values)
    total = [w.sum() for w in shares.notes["superpixel_weights"]]
    np.testing.assert_allclose(total, shares.scores - shares.notes["baseline_scores"], atol=1e-4)
    calm = kerasxai.Explainer(model, "saliency", smooth="smoothgrad", samples=3, sigma=1e-6)(values).heatmaps
    np.testing.assert_allclose(calm, kerasxai.Explainer(model, "saliency")(values).heatmaps, atol=1e-3)


@pytest.mark.parametrize("kind", SIDES)
def test_occlusion_of_a_linear_function_is_its_weights_on_any_sides(kind: str) -> None:
    sides = SIDES[kind]
    weights, values = noise(*sides, 3), noise(2, *sides, 3)
    function = lambda x: (x * weights).reshape(len(x), -1).sum(1, keepdims=True)  # noqa: E731
    maps = kerasxai.Explainer(function, "occlusion", patch=1, stride=1)(values, 1).heatmaps
    np.testing.assert_allclose(maps, (values * weights).sum(-1), atol=1e-4)


def test_masks_of_volumes_are_those_of_images_where_the_cells_are_the_same_along_a_side() -> None:
    cells = np.random.default_rng(1).integers(0, 2, (4, 3, 4)).astype("float32")
    shifts = np.random.default_rng(2).random((4, 3)).astype("float32")
    deep = np.repeat(cells[..., None], 3, -1)
    found = upsampled_masks(deep, shifts, np.array((7, 9, 5), np.int32)).numpy()
    expected = upsampled_masks(cells, shifts[:, :2], np.array((7, 9), np.int32)).numpy()
    np.testing.assert_allclose(found, np.repeat(expected[..., None], 5, -1), atol=1e-6)


@pytest.mark.parametrize("sides", [(9,), (4, 5, 6)])
def test_channels_may_come_first_in_series_and_volumes(sides: tuple[int, ...]) -> None:
    keras.utils.set_random_seed(4)
    count = len(sides)
    inputs = keras.Input((3, *sides))
    x = convolution(count, 4, 3, data_format="channels_first", name="last")(inputs)
    x = pooled(count, data_format="channels_first")(x)
    first = keras.Model(inputs, layers.Dense(2)(x))
    inputs = keras.Input((*sides, 3))
    last = keras.Model(inputs, layers.Dense(2)(pooled(count)(convolution(count, 4, 3, name="last")(inputs))))
    same_weights(first, last)
    values = noise(2, *sides, 3)
    turned = np.moveaxis(values, -1, 1)
    for method in ("cam", "gradcam", "hirescam", "saliency"):
        found = kerasxai.Explainer(first, method)(turned, 1).heatmaps
        expected = kerasxai.Explainer(last, method)(values, 1).heatmaps
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=method)


def reader(words: int = 20) -> Any:
    """Sums its words' embeddings through one dense layer: each word's share of the logit is known."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(words, 4, name="words")(inputs)
    return keras.Model(inputs, layers.Dense(3, name="top")(layers.GlobalAveragePooling1D()(x)))


def test_tokens_are_explained_at_their_embedding() -> None:
    model, tokens = reader(), np.random.default_rng(3).integers(1, 20, (4, 6))
    table, kernel = model.get_layer("words").get_weights()[0], model.get_layer("top").kernel.numpy()
    shares = table[tokens] @ kernel[:, 2] / 6
    found = kerasxai.Explainer(model, "gradient*input")(tokens, 2)
    assert found.heatmaps.shape == (4, 6)
    np.testing.assert_allclose(found.heatmaps, shares, atol=1e-6)
    np.testing.assert_allclose(found.heatmaps.sum(1), found.scores, atol=1e-6)
    saliency = kerasxai.Explainer(model, "saliency")(tokens, 2).heatmaps
    np.testing.assert_allclose(saliency, np.abs(kernel[:, 2]).max() / 6, rtol=1e-5)
    cam = kerasxai.Explainer(model, "cam")(tokens, 2)
    np.testing.assert_allclose(cam.heatmaps, shares * 6, atol=1e-5)
    dropped = kerasxai.Explainer(model, "occlusion")(tokens, 2)
    assert dropped.notes["patch"] == (1,)
    np.testing.assert_allclose(dropped.heatmaps, shares - table[0] @ kernel[:, 2] / 6, atol=1e-6)
    other = kerasxai.Explainer(model, "occlusion", fill=7)(tokens, 2)
    np.testing.assert_allclose(other.heatmaps, shares - table[7] @ kernel[:, 2] / 6, atol=1e-6)


def test_words_of_a_question_are_explained_beside_an_image() -> None:
    """Each position has a vector of its own, whose embedding does not look at the words."""
    keras.utils.set_random_seed(6)
    image, words = keras.Input((8, 8, 3), name="image"), keras.Input((5,), dtype="int32", name="question")
    places = layers.Embedding(5, 4)(tf.range(5))
    x = layers.Embedding(9, 4, name="table")(words) + places
    x = layers.LSTM(6)(x)
    seen = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu", name="eyes")(image))
    model = keras.Model([image, words], layers.Dense(3)(x * seen))
    pictures, questions = noise(3, 8, 8, 3), np.random.default_rng(1).integers(0, 9, (3, 5))
    explained = kerasxai.Explainer(model, "gradient*input", image_input="question")([pictures, questions], 1)
    table = model.get_layer("table").embeddings
    rest = keras.Model([image, model.get_layer("table").output], model.output)
    vectors = tf.gather(table, questions)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        score = rest([tf.constant(pictures), vectors])[:, 1]
    expected = tf.reduce_sum(vectors * tape.gradient(score, vectors), -1)
    np.testing.assert_allclose(explained.heatmaps, expected, atol=1e-6)
    assert kerasxai.Explainer(model, "gradcam", image_input="image")([pictures, questions]).layer == "eyes"


def test_what_tokens_cannot_be_explained_by_says_so() -> None:
    model, tokens = reader(), np.ones((2, 6), int)
    for method in ("integrated_gradients", "rise", "lime", "kernelshap", "scorecam"):
        with pytest.raises(kerasxai.KerasxaiError, match=rf"explains tokens .*, got {method}.* occlusion"):
            kerasxai.Explainer(model, method)(tokens)
    with pytest.raises(kerasxai.KerasxaiError, match="to add noise to, got tokens"):
        kerasxai.Explainer(model, "saliency", smooth="smoothgrad")(tokens)
    with pytest.raises(kerasxai.KerasxaiError, match="number of a token"):
        kerasxai.Explainer(model, "occlusion", fill="mean")(tokens)
    one_hot = keras.Sequential([keras.Input((6,), dtype="int32"), layers.CategoryEncoding(20), layers.Dense(2)])
    with pytest.raises(
        kerasxai.KerasxaiError, match=r"expected a keras[.]layers[.]Embedding that reads the tokens, got none"
    ):
        kerasxai.Explainer(one_hot, "saliency")(tokens)
    assert np.isfinite(kerasxai.Explainer(one_hot, "occlusion")(tokens).heatmaps).all()


def test_numbers_of_a_table_are_explained_one_by_one() -> None:
    table = keras.Sequential([keras.Input((5,)), layers.Dense(2)])
    rows = noise(3, 5)
    found = kerasxai.Explainer(table, "gradient*input")(rows, 1)
    np.testing.assert_allclose(found.heatmaps, rows * table.layers[0].kernel[:, 1], atol=1e-6)


def test_refining_and_quickshift_are_for_images_alone() -> None:
    values = noise(1, 12, 2)
    with pytest.raises(kerasxai.KerasxaiError, match="for refine=, got"):
        kerasxai.Explainer(network((12,)), "gradcam", refine="flip")(values)
    with pytest.raises(kerasxai.KerasxaiError, match="for quickshift, got shape"):
        kerasxai.Explainer(network((12,)), "lime", segmentation="quickshift")(values)


def test_a_saved_model_is_explained_by_its_scores_alone(tmp_path: Path) -> None:
    model, values = network((8, 8), colors=3), noise(2, 8, 8, 3)
    model.export(tmp_path / "saved", verbose=False)
    loaded = layers.TFSMLayer(tmp_path / "saved", call_endpoint="serving_default")
    with pytest.warns(UserWarning, match="look like probabilities"):
        found = kerasxai.Explainer(loaded, "occlusion", explain="probability")(values, 1)
    expected = kerasxai.Explainer(model, "occlusion", explain="probability")(values, 1)
    np.testing.assert_allclose(found.heatmaps, expected.heatmaps, atol=1e-6)
    with pytest.warns(UserWarning, match="look like probabilities"):
        assert np.isfinite(kerasxai.Explainer(loaded, "saliency")(values).heatmaps).all()
    for method in ("gradcam", "cam", "ablationcam"):
        with pytest.raises(kerasxai.KerasxaiError, match=r"TFSMLayer, which hides them.*occlusion"):
            kerasxai.Explainer(loaded, method)(values)


def transformer(extra: int, head: str, sides: tuple[int, int] = (8, 12)) -> Any:
    """Patches of 4 x 4 on 2 x 3 places, class and register tokens before them, two blocks."""
    keras.utils.set_random_seed(9)
    image = keras.Input((*sides, 3))
    x = layers.Conv2D(6, 4, strides=4, name="patches")(image)
    count = sides[0] * sides[1] // 16
    x = layers.ZeroPadding1D((extra, 0))(layers.Reshape((count, 6))(x))
    x = layers.Add(name="placed")([x, layers.Embedding(count + extra, 6)(tf.range(count + extra)[None])])
    for number in range(2):
        seen = layers.LayerNormalization(name=f"seen_{number}")(x)
        x = layers.Add(name=f"block_{number}")([x, layers.MultiHeadAttention(2, 3)(seen, seen)])
    x = layers.GlobalAveragePooling1D()(x) if head == "pool" else x[:, 0]
    return keras.Model(image, layers.Dense(3, name="top")(x))


@pytest.mark.parametrize(
    ("head", "extra"),
    [
        ("pool", 0),
        ("pool", 5),
        ("class token", 1),
        *(pytest.param(*case, marks=pytest.mark.exhaustive) for case in [("pool", 1), ("class token", 0)]),
        pytest.param("class token", 5, marks=pytest.mark.exhaustive),
    ],
)
def test_tokens_of_vision_transformers_lie_on_the_grid_of_their_patches(head: str, extra: int) -> None:
    model, values = transformer(extra, head), noise(2, 8, 12, 3)
    found = kerasxai.Explainer(model, "gradcam", resize=False)(values, 1)
    # Where one token is read, the others have no gradient behind the last attention.
    layer = "block_1" if head == "pool" else "seen_1"
    assert found.layer == layer
    if head == "pool":
        tokens = keras.Model(model.input, model.get_layer(layer).output)(values)
        gradient = tf.broadcast_to(model.get_layer("top").kernel[:, 1] / tokens.shape[1], tokens.shape)
    else:
        both = keras.Model(model.input, [model.get_layer("seen_1").output, model.get_layer("block_0").output])
        attention = next(one for one in reversed(model.layers) if isinstance(one, layers.MultiHeadAttention))
        tokens, before = both(values)
        with tf.GradientTape() as tape:
            tape.watch(tokens)
            score = model.get_layer("top")((before + attention(tokens, tokens))[:, 0])[:, 1]
        gradient = tape.gradient(score, tokens)
    shown, weights = tokens[:, extra:], tf.reduce_mean(gradient[:, extra:], 1, keepdims=True)
    expected = tf.reshape(tf.nn.relu(tf.reduce_sum(shown * weights, -1)), (2, 2, 3))
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found.heatmaps, expected, atol=1e-6)
    without = kerasxai.Explainer(model, "ablationcam", resize=False)(values, 1)
    assert without.layer == layer and without.heatmaps.shape == (2, 2, 3)


def test_a_grid_of_tokens_may_be_given_and_is_checked() -> None:
    inputs = keras.Input((16, 16, 3))
    x = layers.Dense(4, name="tokens")(layers.Reshape((16, 48))(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    values = noise(1, 16, 16, 3)
    assert kerasxai.Explainer(model, "gradcam", resize=False)(values).heatmaps.shape == (1, 4, 4)
    wide = kerasxai.Explainer(model, "gradcam", layer="tokens", token_grid=(2, 8), resize=False)(values)
    assert wide.heatmaps.shape == (1, 2, 8)
    with pytest.raises(kerasxai.KerasxaiError, match=r"expected tokens that fill the token_grid \(5, 5\)"):
        kerasxai.Explainer(model, "gradcam", layer="tokens", token_grid=(5, 5))(values)
    with pytest.raises(kerasxai.KerasxaiError, match="token_grid must be"):
        kerasxai.Explainer(model, "gradcam", token_grid=4)  # type: ignore[arg-type]
    odd = keras.Model(
        inputs, layers.Dense(2)(layers.Flatten()(layers.Dense(4, name="odd")(layers.Reshape((48, 16))(inputs))))
    )
    with pytest.raises(kerasxai.KerasxaiError, match=r"token_grid=\(rows, columns\)"):
        kerasxai.Explainer(odd, "gradcam", layer="odd")(values)


def boxes(x: Any) -> Any:
    return layers.Reshape((-1, 3))(layers.Conv2D(3, 1, name="scores")(x))


def words(x: Any) -> Any:
    return layers.Dense(7)(layers.LSTM(5, return_sequences=True)(layers.RepeatVector(9)(pooled(2)(x))))


@pytest.mark.parametrize(("head", "score"), [(boxes, kerasxai.scores.box()), (words, kerasxai.scores.token())])
def test_boxes_and_words_after_a_map_are_not_taken_for_it(head: Callable[[Any], Any], score: Any) -> None:
    inputs = keras.Input((12, 12, 3))
    model = keras.Model(inputs, head(convolution(2, 4, 3, name="last")(inputs)))
    targets = None if head is boxes else np.array([[2, 1]])
    layer = kerasxai.Explainer(model, "gradcam", score=score)(noise(1, 12, 12, 3), targets).layer
    assert layer == ("scores" if head is boxes else "last")
