"""Maps of models that crop, pad or mirror their input lie where they belong on it."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasxai
from kerasxai.engine.coverage.extents import cut_to, laid_over

layers = keras.layers
HEIGHT, WIDTH = 24, 32
LAYER_METHODS = [name for name, row in kerasxai.METHODS.items() if row.takes_layer or name == "cam"]


class Fronted(keras.Model):
    """A network behind any function of the images."""

    def __init__(self, front: Callable[[Any], Any], network: Any) -> None:
        super().__init__()
        self.front, self.network = front, network

    def call(self, images: Any) -> Any:
        return self.network(self.front(images))


def network(height: int | None, width: int | None) -> Any:
    """A network whose map has a place for every two pixels, whatever it is given."""
    keras.utils.set_random_seed(7)
    inputs = keras.Input((height, width, 3))
    x = layers.Conv2D(5, 3, padding="same", strides=2, activation="relu", name="map")(inputs)
    return keras.Model(inputs, layers.Dense(3, name="top")(layers.GlobalAveragePooling2D()(x)))


def pictures(count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, (count, HEIGHT, WIDTH, 3)).astype("float32")


@pytest.mark.parametrize("method", LAYER_METHODS)
def test_the_map_of_a_crop_lies_where_the_crop_does(method: str) -> None:
    inner = network(12, 16)
    inputs = keras.Input((HEIGHT, WIDTH, 3))
    model = keras.Model(inputs, inner(layers.CenterCrop(12, 16)(inputs)))
    images = pictures()
    explanation = kerasxai.Explainer(model, method)(images, 1)
    expected = np.zeros((2, HEIGHT, WIDTH), np.float32)
    expected[:, 6:18, 8:24] = kerasxai.Explainer(inner, method)(images[:, 6:18, 8:24], 1).heatmaps
    assert expected.max() > 0
    np.testing.assert_allclose(explanation.heatmaps, expected, rtol=1e-4, atol=1e-6 * expected.max())
    if method != "guided_gradcam":
        assert explanation.notes["map_extent"] == ((6.0, 18.0), (8.0, 24.0))


@pytest.mark.parametrize("method", ["gradcam", "scorecam", "guided_gradcam"])
def test_the_map_of_a_padded_image_is_cut_to_it(method: str) -> None:
    inner = network(HEIGHT + 12, WIDTH + 12)
    inputs = keras.Input((HEIGHT, WIDTH, 3))
    model = keras.Model(inputs, inner(layers.ZeroPadding2D(((4, 8), (12, 0)))(inputs)))
    images = pictures()
    padded = np.pad(images, ((0, 0), (4, 8), (12, 0), (0, 0)))
    expected = kerasxai.Explainer(inner, method)(padded, 1).heatmaps[:, 4:-8, 12:]
    found = kerasxai.Explainer(model, method)(images, 1).heatmaps
    # Masks are stretched to [0, 1] over the image, and not over its padding.
    np.testing.assert_allclose(found, expected, rtol=1e-2 if method == "scorecam" else 1e-4, atol=2e-6)


FRONTS: dict[str, tuple[Callable[[Any], Any], tuple[float, ...]]] = {
    "slice": (lambda x: x[:, 2:14, -20:-4], (2, 14, 12, 28)),
    "crop at the edges": (layers.Cropping2D(((0, 12), (16, 0))), (0, 12, 16, 32)),
    "crop to the aspect": (layers.Resizing(16, 16, crop_to_aspect_ratio=True), (0, 24, 4, 28)),
    "pad to the aspect": (layers.Resizing(32, 32, pad_to_aspect_ratio=True), (-4, 28, 0, 32)),
    "central crop": (lambda x: tf.image.central_crop(x, 0.5), (6, 18, 8, 24)),
    "resize with pad": (lambda x: tf.image.resize_with_pad(x, 16, 16), (-4, 28, 0, 32)),
    "crop or pad": (lambda x: tf.image.resize_with_crop_or_pad(x, 32, 16), (-4, 28, 8, 24)),
    "crop, then resize": (lambda x: tf.image.resize(x[:, 4:12, 8:], (32, 32)), (4, 12, 8, 32)),
    "pad, then crop": (lambda x: layers.Cropping2D(4)(layers.ZeroPadding2D(8)(x)), (-4, 28, -4, 36)),
    "mirror": (lambda x: x[:, :, ::-1], (0, 24, 32, 0)),
    "mirror and crop": (lambda x: tf.reverse(x[:, :12], [1, 2]), (12, 0, 32, 0)),
    "a function": (tf.function(lambda x: x[:, 4:16, 8:24]), (4, 16, 8, 24)),
    "one part of several": (lambda x: tf.split(x, 2, axis=2)[1], (0, 24, 16, 32)),
    "half of each picture": (lambda x: tf.vectorized_map(lambda y: y[:12], x), (0, 12, 0, 32)),
    "a random crop, at inference none": (layers.RandomCrop(8, 8), (0, 24, 0, 32)),
    "other colors": (lambda x: x[..., ::-1] / 2 + 1, (0, 24, 0, 32)),
    "another size": (layers.Resizing(40, 10), (0, 24, 0, 32)),
}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("open_sides", [False, True])
def test_what_a_map_covers_is_read_off_the_graph(front: str, open_sides: bool) -> None:
    """The bright spot is where the map has its maximum, and where occlusion has it."""
    change, (top, bottom, left, right) = FRONTS[front]
    if open_sides and front in ("a random crop, at inference none", "pad, then crop"):
        pytest.skip("the layer takes no open sides")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")(inputs)
    inner = keras.Model(inputs, layers.Dense(2, kernel_initializer="ones")(layers.GlobalAveragePooling2D()(x)))
    model = Fronted(change, inner)
    if open_sides:
        images = keras.Input((None, None, 3))
        try:
            model = keras.Model(images, inner(layers.Lambda(lambda x: change(x), output_shape=(None, None, 3))(images)))
        except Exception:
            pytest.skip("Keras builds no model of it")
    picture = np.zeros((1, HEIGHT, WIDTH, 3), np.float32)
    picture[:, 8:11, 17:20] = 1
    explanation = kerasxai.Explainer(model, "gradcam")(picture, 1)
    if (top, bottom, left, right) == (0, 24, 0, 32):
        assert "map_extent" not in explanation.notes
    else:
        np.testing.assert_allclose(explanation.notes["map_extent"], [(top, bottom), (left, right)], atol=1e-3)
    occluded = kerasxai.Explainer(model, "occlusion", patch=3, stride=2)(picture, 1).heatmaps
    for heatmap in (explanation.heatmaps[0], occluded[0]):
        row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
        assert abs(row - 9) <= 2 and abs(column - 18) <= 3


UNREAD: dict[str, Callable[[Any], Any]] = {
    "roll": lambda x: tf.roll(x, 5, 1),
    "a loop": lambda x: tf.map_fn(lambda y: y[4:12, 4:12], x),
    "boxes": lambda x: tf.image.crop_and_resize(x, [[0.0, 0.0, 0.5, 0.5]], [0], (8, 8)),
    "halves in another order": lambda x: tf.concat([x[:, 12:], x[:, :12]], 1),
}


@pytest.mark.parametrize("front", UNREAD)
def test_what_cannot_be_read_is_warned_of(front: str) -> None:
    model = Fronted(UNREAD[front], network(None, None))
    with pytest.warns(UserWarning, match="operations that cannot be read"):
        kerasxai.Explainer(model, "gradcam")(pictures(1), 1)


def test_padding_that_convolutions_use_up_moves_nothing() -> None:
    """As in ResNet, MobileNet, DenseNet and NASNet: such maps lie over the whole image, as they always did."""
    inputs = keras.Input((HEIGHT, WIDTH, 3))
    x = layers.Conv2D(4, 7, strides=2)(layers.ZeroPadding2D(3)(inputs))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(layers.ReLU()(x)))
    x = layers.DepthwiseConv2D(3, strides=2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))
    y = layers.Cropping2D(((1, 0), (1, 0)))(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))
    y = layers.Conv2D(4, 3, dilation_rate=2)(layers.ZeroPadding2D(2)(layers.Add()([x, y])))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Add()([x, y]))))
    assert "map_extent" not in kerasxai.Explainer(model, "gradcam")(pictures(1), 1).notes


def test_a_crop_behind_convolutions_counts_as_well_and_layers_before_it_see_all() -> None:
    inputs = keras.Input((HEIGHT, WIDTH, 3))
    x = layers.Conv2D(4, 3, padding="same", strides=2, activation="relu", name="all")(inputs)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="part")(layers.Cropping2D(((0, 6), (4, 4)))(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    found = {name: kerasxai.Explainer(model, "layercam", layer=name)(pictures(1), 1) for name in ("all", "part")}
    assert "map_extent" not in found["all"].notes
    assert found["part"].notes["map_extent"] == ((0.0, 12.0), (8.0, 24.0))
    both = kerasxai.Explainer(model, "layercam", layer=["all", "part"], fuse="max")(pictures(1), 1)
    expected = np.max([one.heatmaps / one.heatmaps.max() for one in found.values()], axis=0)
    np.testing.assert_allclose(both.heatmaps, expected, rtol=1e-4, atol=1e-6)
    assert "map_extent" not in both.notes


def test_without_resizing_the_notes_say_where_the_map_belongs() -> None:
    model = Fronted(layers.CenterCrop(12, 16), network(None, None))
    small = kerasxai.Explainer(model, "gradcam", resize=False)(pictures(), 1)
    assert small.heatmaps.shape == (2, 6, 8)
    extent = np.array(small.notes["map_extent"]) / [[HEIGHT], [WIDTH]]
    laid = laid_over(small.heatmaps, (HEIGHT, WIDTH), tf.constant(extent, tf.float32))
    np.testing.assert_allclose(laid, kerasxai.Explainer(model, "gradcam")(pictures(), 1).heatmaps, atol=1e-6)


@pytest.mark.parametrize("refine", ["pc1", "discriminant:factor=1", "flip", "enlarge:factors=2"])
@pytest.mark.parametrize("smooth", [None, {"average": "smoothgrad", "samples": 2}])
def test_refinements_and_noise_see_the_map_where_it_lies(refine: str, smooth: Any) -> None:
    # Symmetric, so that the mirrored image is cropped alike, and as a fraction, so that the enlarged one is too.
    model = Fronted(lambda x: tf.image.central_crop(x, 0.5), network(None, None))
    found = kerasxai.Explainer(model, "gradcam", refine=refine, smooth=smooth)(pictures(), 1).heatmaps
    inside = np.zeros(found.shape, bool)
    inside[:, 5:19, 7:25] = True
    assert found[inside].max() > 0 and not found[~inside].any()


def test_series_and_volumes_are_cropped_too() -> None:
    steps = keras.Input((20, 3))
    x = layers.Conv1D(4, 3, padding="same", activation="relu")(layers.Cropping1D((5, 3))(steps))
    series = keras.Model(steps, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    explanation = kerasxai.Explainer(series, "gradcam")(np.ones((1, 20, 3), np.float32), 1)
    assert explanation.notes["map_extent"] == ((5.0, 17.0),)
    assert not explanation.heatmaps[:, :5].any() and not explanation.heatmaps[:, 17:].any()
    blocks = keras.Input((8, 8, 8, 1))
    x = layers.Conv3D(4, 3, padding="same", activation="relu")(layers.ZeroPadding3D(((0, 0), (4, 4), (0, 8)))(blocks))
    volumes = keras.Model(blocks, layers.Dense(2)(layers.GlobalAveragePooling3D()(x)))
    explanation = kerasxai.Explainer(volumes, "gradcam")(np.ones((1, 8, 8, 8, 1), np.float32), 1)
    assert explanation.heatmaps.shape == (1, 8, 8, 8)
    assert explanation.notes["map_extent"] == ((0.0, 8.0), (-4.0, 12.0), (0.0, 16.0))


def test_cutting_undoes_laying() -> None:
    maps = np.random.default_rng(0).random((2, 6, 8)).astype("float32")
    for ends in ([[0.25, 0.5], [0.5, 0.75]], [[0.5, 0.25], [0.75, 0.5]]):
        extents = tf.constant([ends])
        laid = laid_over(maps, (24, 32), extents[0]).numpy()
        np.testing.assert_allclose(cut_to(laid, extents), maps, atol=1e-6)
    beyond = cut_to(maps, tf.constant([[[-0.5, 1.0], [0.0, 2.0]]]))
    np.testing.assert_array_equal(beyond, np.pad(maps, ((0, 0), (3, 0), (0, 8))))
