"""What a model takes for an image: size, channels, range; and whether it rescales images itself."""

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai
from kerasxai.engine.images.builtin_preprocessing import InputRangeWarning, range_doubt, warn_of_range
from kerasxai.engine.images.image_input import ImageInput, image_input
from kerasxai.metrics.faithfulness import Deletion, Infidelity, Scorer
from kerasxai.metrics.stability import MaxSensitivity
from kerasxai.models.preprocessing import preprocess as own_layers
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.input_range import RANGES, ConvertedImagesWarning, name_of_range, preprocessed, preprocessing

layers = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 8, 6, 3)).astype("float32")


class TestRanges:
    @pytest.mark.parametrize(("name", "mode"), [("caffe", "caffe"), ("imagenet", "torch"), ("-1,1", "tf")])
    def test_they_are_those_of_keras(self, name: str, mode: str) -> None:
        expected = keras.applications.imagenet_utils.preprocess_input(IMAGES.copy(), mode=mode)
        np.testing.assert_allclose(preprocessed(preprocessing(name), IMAGES), expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(preprocessing(name)(tf.constant(IMAGES)), expected, rtol=1e-5, atol=1e-5)

    def test_divided_or_left(self) -> None:
        np.testing.assert_allclose(preprocessing("0, 1")(IMAGES), IMAGES / 255)
        assert preprocessing(None)(IMAGES) is IMAGES is preprocessing("0,255")(IMAGES)

    def test_a_function_of_a_module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "my_range.py").write_text("def halved(images):\n    images /= 2\n    return images\n")
        monkeypatch.chdir(tmp_path)
        path = list(sys.path)
        before = IMAGES.copy()
        np.testing.assert_array_equal(preprocessed(preprocessing("my_range:halved"), IMAGES), before / 2)
        np.testing.assert_array_equal(IMAGES, before, "the images themselves stay")
        assert sys.path == path
        keras_own = "keras.applications.mobilenet_v2:preprocess_input"
        np.testing.assert_allclose(preprocessed(preprocessing(keras_own), IMAGES), IMAGES / 127.5 - 1, atol=1e-6)

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ("0,2", "expected a known input range, got '0,2'"),
            ("no_such_module:f", "ModuleNotFoundError"),
            ("math:nothing", "AttributeError"),
            ("math:pi", "expected a function as input range"),
            (3, "must be a name or a function"),
        ],
    )
    def test_what_is_no_range(self, given: Any, told: str) -> None:
        with pytest.raises(KerasxaiError, match=told):
            preprocessing(given)

    @pytest.mark.parametrize(
        ("function", "told"),
        [
            (lambda images: images[:, ::2], r"of shape \(2, 8, 6, 3\), got \(2, 4, 6, 3\)"),
            (lambda images: images.astype(object).astype(str), "real numbers"),
            (lambda images: images / 0 * 0, "finite numbers"),
            (lambda images: images.nothing, "cannot preprocess images: AttributeError"),
            (RANGES["caffe"], "got 1"),
        ],
    )
    def test_what_a_function_gives_is_checked(self, function: Callable[[Any], Any], told: str) -> None:
        images = IMAGES[..., :1] if function is RANGES["caffe"] else IMAGES
        with pytest.raises(KerasxaiError, match=told), np.errstate(all="ignore"):
            preprocessed(function, images)

    def test_how_they_are_written_down(self) -> None:
        assert [name_of_range(given) for given in (None, "0, 1", len)] == ["0,255", "0,1", "builtins:len"]


class TestImageInput:
    @pytest.mark.parametrize("shape", [(16, 24, 1), (16, 24, 3), (16, 24, 4), (None, None, 1), (None, None, None)])
    def test_size_and_channels_are_the_models(self, shape: tuple[int | None, ...]) -> None:
        found = image_input(keras.Sequential([keras.Input(shape), layers.GlobalAveragePooling2D()]), (16, 24))
        assert found.size == (16, 24) and found.channels == (shape[-1] or 3) and not found.channels_first
        batch = found.batch([RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8), RNG.integers(0, 256, (30, 40, 4))])
        assert batch.shape == (2, 16, 24, found.channels) and batch.dtype == np.float32

    def test_a_subclassed_model_has_the_shape_it_was_built_with(self) -> None:
        model = zoo.Subclassed()
        assert image_input(model).size == (224, 224)
        model(np.zeros((1, 20, 12, 3), np.float32))
        assert image_input(model).size == (20, 12) and image_input(model, 32).size == (32, 32)

    @pytest.mark.parametrize("turned", [False, True])
    def test_channels_first(self, turned: bool) -> None:
        inputs = keras.Input((3, 8, 12))
        first = layers.Permute((2, 3, 1)) if turned else layers.Conv2D(2, 3, data_format="channels_first")
        found = image_input(keras.Model(inputs, first(inputs)), preprocess="caffe")
        assert found.channels_first and found.size == (8, 12)
        image = RNG.integers(0, 256, (8, 12, 3)).astype(np.uint8)
        np.testing.assert_allclose(
            found.batch([image])[0].transpose(1, 2, 0), RANGES["caffe"](image.astype(np.float32)), atol=1e-4
        )

    def test_conversions_of_color(self) -> None:
        image = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
        grey = np.asarray(ImageInput((5, 4), 1).colored(image))
        expected = image @ np.array([0.299, 0.587, 0.114])
        assert grey.dtype == np.uint8 and abs(grey[..., 0] - expected).max() <= 0.5 + 1e-4
        np.testing.assert_array_equal(ImageInput((5, 4), 3).colored(grey), np.repeat(grey, 3, -1))
        with_alpha = np.asarray(ImageInput((5, 4), 4).colored(image))
        np.testing.assert_array_equal(with_alpha[..., :3], image)
        assert (with_alpha[..., 3] == 255).all()
        np.testing.assert_array_equal(ImageInput((5, 4), 3).colored(with_alpha), image)

    @pytest.mark.parametrize(
        ("inputs", "told"),
        [
            ([(8, 8, 3), (5,)], "got one of several inputs"),
            ([(10,)], r"got one that takes 10"),
            ([(4, 8, 8, 3)], "got one that takes 4 x 8 x 8 x 3"),
            ([(8, 8, 2)], "1, 3 or 4 channels"),
            ([(8, 8, 7)], "1, 3 or 4 channels"),
        ],
    )
    def test_models_that_take_no_image(self, inputs: list[tuple[int, ...]], told: str) -> None:
        given = [keras.Input(shape) for shape in inputs]
        outputs = [layers.Flatten()(x) for x in given]
        with pytest.raises(KerasxaiError, match=told):
            image_input(keras.Model(given if len(given) > 1 else given[0], outputs))

    def test_another_size_than_the_models(self) -> None:
        with pytest.raises(KerasxaiError, match="takes images of 16 x 16 pixels"):
            image_input(zoo.build("functional"), (16, 20))


def net(before: Callable[[Any], Any], shape: tuple[int | None, ...] = (16, 16, 3), dtype: str = "float32") -> Any:
    inputs = keras.Input(shape, dtype=dtype)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(before(inputs)))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(x))


def adapted(scale: float) -> Any:
    layer = layers.Normalization()
    layer.adapt(scale * RNG.random((8, 16, 16, 3)).astype("float32"))
    return layer


class Own(keras.Model):
    """Kernels without layers, perhaps after a division."""

    def __init__(self, divisor: float = 1.0) -> None:
        super().__init__()
        self.divisor = divisor
        self.kernel = self.add_weight(shape=(3, 3, 3, 4))

    def call(self, inputs: Any, training: bool = False) -> Any:
        return tf.reduce_mean(tf.nn.conv2d(inputs / self.divisor, self.kernel, 1, "SAME"), (1, 2))


class Decorated(zoo.Subclassed):
    """A call that is a function of TensorFlow."""

    @tf.function
    def call(self, inputs: Any, training: bool = False) -> Any:
        return super().call(inputs / 255.0)


def quantized(before: Callable[[Any], Any]) -> Any:
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(before(inputs))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.quantize("int8")
    return model


def same(x: Any) -> Any:
    return x


RAW: dict[str, Callable[[], Any]] = {
    "nothing": lambda: net(same),
    "padding and resizing": lambda: net(lambda x: layers.Resizing(9, 9)(layers.ZeroPadding2D(2)(x))),
    "a rescaling by 1": lambda: net(layers.Rescaling(1.0)),
    "augmentation": lambda: net(keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)])),
    "grey": lambda: net(same, (16, 16, 1)),
    "open size": lambda: net(same, (None, None, 3)),
    "uint8": lambda: net(lambda x: keras.ops.cast(x, "float32"), dtype="uint8"),
    "quantized": lambda: quantized(same),
    "normalized after the first kernel": lambda: net(lambda x: layers.BatchNormalization()(layers.Conv2D(3, 1)(x))),
    "subclassed": lambda: zoo.build("subclassed"),
    "own kernels": lambda: Own(),
}


def with_own_layers(mode: str) -> Any:
    return net(lambda x: own_layers(x, mode))


RESCALED: dict[str, Callable[[], Any]] = {
    "Rescaling": lambda: net(layers.Rescaling(1 / 255)),
    "Normalization": lambda: net(adapted(255.0)),
    "BatchNormalization": lambda: net(layers.BatchNormalization()),
    "LayerNormalization": lambda: net(layers.LayerNormalization()),
    "Lambda": lambda: net(layers.Lambda(lambda x: x / 127.5 - 1)),
    "arithmetic": lambda: net(lambda x: (x - 127.0) / 128.0),
    "mean alone": lambda: net(lambda x: x - keras.ops.array([123.68, 116.779, 103.939])),
    "each image by itself": lambda: net(layers.Lambda(tf.image.per_image_standardization)),
    "each image in a loop": lambda: net(layers.Lambda(lambda x: tf.map_fn(tf.image.per_image_standardization, x))),
    "nested": lambda: net(keras.Sequential([layers.RandomFlip(), layers.Rescaling(1 / 255)])),
    "uint8": lambda: net(lambda x: keras.ops.cast(x, "float32") / 255, dtype="uint8"),
    "quantized": lambda: quantized(layers.Rescaling(1 / 255)),
    "open size": lambda: net(layers.Rescaling(1 / 255), (None, None, 3)),
    "RGBA": lambda: net(layers.Rescaling(1 / 255), (16, 24, 4)),
    "one of two branches": lambda: net(lambda x: layers.Concatenate()([x, layers.Rescaling(1 / 255)(x)])),
    "own kernels": lambda: Own(255.0),
    "a decorated call": Decorated,
    "EfficientNet": lambda: keras.applications.EfficientNetB0(weights=None, input_shape=(64, 64, 3), classes=3),
    "ConvNeXt": lambda: keras.applications.ConvNeXtTiny(weights=None, input_shape=(64, 64, 3), classes=3),
    "MobileNetV3": lambda: keras.applications.MobileNetV3Small(weights=None, input_shape=(64, 64, 3), classes=3),
    **{f"ours, {mode}": functools.partial(with_own_layers, mode) for mode in ("lite", "tf", "torch", "caffe")},
}


class TestOwnPreprocessing:
    @pytest.mark.parametrize("kind", RAW)
    def test_models_without_any_are_doubted(self, kind: str) -> None:
        model = RAW[kind]()
        taken = image_input(model, 16)
        assert "--input-range" in (range_doubt(model, taken) or "")
        assert range_doubt(model, taken, is_given=True) is None

    @pytest.mark.parametrize("kind", RESCALED)
    def test_models_with_some_are_not(self, kind: str) -> None:
        model = RESCALED[kind]()
        assert range_doubt(model, image_input(model, None if model.built else 16)) is None

    @pytest.mark.parametrize("before", [adapted(1.0), layers.Rescaling(2.0, -1.0)])
    def test_one_that_was_made_for_smaller_numbers(self, before: Any) -> None:
        model = net(before)
        assert "made for a smaller range" in (range_doubt(model, image_input(model)) or "")
        assert range_doubt(model, image_input(model, preprocess="0,1"), is_given=True) is None

    def test_images_that_would_be_rescaled_twice(self) -> None:
        model = net(layers.Rescaling(1 / 255))
        assert "rescaled twice" in (range_doubt(model, image_input(model, preprocess="0,1"), is_given=True) or "")

    def test_the_model_stays_as_it_was(self) -> None:
        model = zoo.build("nested")
        before = model(zoo.images()).numpy()
        with pytest.warns(InputRangeWarning):
            warn_of_range(model, image_input(model))
        np.testing.assert_array_equal(model(zoo.images()), before)
        assert not any("call" in vars(layer) for layer in model._flatten_layers())

    def test_a_size_that_the_model_cannot_take(self) -> None:
        model = net(same, (None, None, 3))
        with pytest.raises(KerasxaiError, match="cannot call the model with images of 2 x 2 pixels"):
            range_doubt(model, image_input(model, 2))


class TestExplainer:
    @pytest.mark.parametrize("method", ["gradcam", "saliency", "occlusion"])
    def test_raw_images_are_explained_as_preprocessed_ones(self, method: str) -> None:
        model = zoo.build("functional")
        images = RNG.integers(0, 256, (3, zoo.SIZE, zoo.SIZE, 3), dtype=np.uint8)
        options = zoo.CHEAPER.get(method, {})
        raw = kerasxai.Explainer(model, method, preprocess="-1,1", batch_size=2, **options)(images)
        scaled = kerasxai.Explainer(model, method, batch_size=2, **options)(images / 127.5 - 1)
        np.testing.assert_allclose(raw.heatmaps, scaled.heatmaps, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(raw.targets, scaled.targets)

    def test_of_several_inputs_the_explained_one(self) -> None:
        image, more = keras.Input((8, 8, 3)), keras.Input((2,))
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
        model = keras.Model([image, more], layers.Dense(3)(layers.Concatenate()([x, more])))
        images, numbers = RNG.integers(0, 256, (2, 8, 8, 3)).astype("float32"), np.ones((2, 2), np.float32)
        raw = kerasxai.Explainer(model, "gradcam", preprocess=lambda x: x / 255)([images, numbers])
        scaled = kerasxai.Explainer(model, "gradcam")([images / 255, numbers])
        np.testing.assert_allclose(raw.heatmaps, scaled.heatmaps, rtol=1e-4, atol=1e-7)


class TestArrays:
    def warned(self, call: Callable[[], object]) -> list[str]:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", InputRangeWarning)
            call()
        return [str(one.message) for one in found]

    CALLS: ClassVar[dict[str, Callable[[Any, Any], object]]] = {
        "explain": lambda model, images: kerasxai.explain(model, images),
        "Explainer": lambda model, images: kerasxai.Explainer(model, "gradcam")(images),
        "predict": lambda model, images: kerasxai.Explainer(model, "gradcam").predict(images),
        "Deletion": lambda model, images: Deletion(model, steps=2)(images, None, images[..., 0]),
        "Scorer": lambda model, images: Infidelity(Scorer(model), squares=2)(images, None, images[..., 0]),
        "MaxSensitivity": lambda model, images: MaxSensitivity(kerasxai.Explainer(model), samples=1)(images),
    }

    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("highest", [1, 255])
    @pytest.mark.parametrize("kind", ["nothing", "Rescaling"])
    def test_values_decide(self, call: str, highest: int, kind: str) -> None:
        model, images = (RAW | RESCALED)[kind](), highest * RNG.random((2, 16, 16, 3)).astype("float32")
        found = self.warned(lambda: self.CALLS[call](model, images))
        assert len(found) == ((highest == 255) == (kind == "nothing"))
        for text in found:
            assert "--input-range" not in text and f"{images.max():.4g}]" in text and "are fed" not in text
            if highest == 255:
                assert "preprocess=" in text and "-1,1" in text
            else:
                assert "rescaled twice" in text and "give arrays in [0, 255]" in text
        assert not self.warned(lambda: self.CALLS[call](model, images)), "once for each model"

    @pytest.mark.parametrize("call", ["Explainer", "Deletion"])
    def test_black_images_and_masks_are_no_fractions(self, call: str) -> None:
        images = np.concatenate([np.zeros((1, 16, 16, 3)), RNG.integers(0, 2, (1, 16, 16, 3))]).astype("float32")
        assert not self.warned(lambda: self.CALLS[call](RESCALED["Rescaling"](), images))

    @pytest.mark.parametrize("range_of_files", [None, "0,1", "caffe"])
    def test_after_files_arrays_of_other_values_are_checked(self, range_of_files: str | None) -> None:
        model, image = net(same), RNG.random((16, 16, 3)).astype("float32")
        with pytest.warns(InputRangeWarning) if range_of_files is None else contextlib.nullcontext():
            kerasxai.explain(model, "example:cat", preprocess=range_of_files)
        found = self.warned(lambda: kerasxai.Explainer(model, "gradcam")(255 * image[None]))
        assert len(found) == (range_of_files is not None), "one warning for each model"

    @pytest.mark.parametrize("preprocess", ["0,1", lambda images: images / 255])
    def test_converted_images_are_not_doubted_twice(self, preprocess: Any) -> None:
        model = RESCALED["Rescaling"]()
        found = self.warned(lambda: kerasxai.explain(model, "example:cat", preprocess=preprocess))
        assert len(found) == 1 and "leave out preprocess=" in found[0]

    @pytest.mark.parametrize(
        "images",
        [
            2 * RNG.random((2, 16, 16, 3)) - 1,
            10 * RNG.normal(size=(2, 16, 16, 3)),
            RANGES["imagenet"](IMAGES[:, :8, :6]),
            RANGES["caffe"](IMAGES[:, :8, :6]),
            np.full((2, 16, 16, 3), 255.0),
        ],
        ids=["-1 to 1", "standardized", "imagenet", "caffe", "pixels"],
    )
    def test_only_pixels_are_doubted(self, images: Any) -> None:
        model = net(same, (None, None, 3))
        found = self.warned(lambda: kerasxai.Explainer(model, "gradcam")(np.float32(images)))
        assert len(found) == (images.min() == 255)

    @pytest.mark.parametrize("kind", ["Rescaling", "BatchNormalization", "arithmetic"])
    def test_models_with_rescaling_take_pixels(self, kind: str) -> None:
        model, images = RESCALED[kind](), np.uint8(255 * RNG.random((2, 16, 16, 3)))
        assert not self.warned(lambda: kerasxai.Explainer(model, "gradcam")(images))

    def test_a_range_that_was_chosen_is_right(self) -> None:
        images = np.full((2, 16, 16, 3), 255.0, "float32")
        assert not self.warned(lambda: kerasxai.Explainer(net(same), "gradcam", preprocess="0,255")(images))
        assert not self.warned(lambda: kerasxai.explain(net(same), images, preprocess="0,255"))

    @pytest.mark.parametrize("highest", [1, 255])
    def test_callbacks_check_their_arrays(self, highest: int, tmp_path: Path) -> None:
        model, images = net(same), highest * RNG.random((2, 16, 16, 3)).astype("float32")
        model.compile("sgd", "sparse_categorical_crossentropy")
        watched = kerasxai.callbacks.ExplanationCallback(images, log_dir=tmp_path, png=False, tensorboard=False)
        found = self.warned(lambda: model.fit(images / highest, np.zeros(2), verbose=0, callbacks=[watched]))
        assert len(found) == (highest == 255)

    @pytest.mark.parametrize("images", [RNG.random((2, 8, 8, 3)), 2 * RNG.random((2, 8, 8, 3)) - 1])
    def test_images_are_not_preprocessed_twice_without_a_warning(self, images: np.ndarray) -> None:
        with pytest.warns(ConvertedImagesWarning, match="preprocessed already"):
            preprocessed(preprocessing("0,1"), images)

    def test_the_line_of_the_call_is_named(self) -> None:
        images = np.full((1, 16, 16, 3), 255.0, "float32")
        with pytest.warns(InputRangeWarning) as found:
            kerasxai.Explainer(net(same), "gradcam")(images)
            Deletion(net(same), steps=2)(images, None, images[..., 0])
        assert [one.filename for one in found] == [__file__] * 2

    def test_models_that_take_other_arrays_are_not_checked(self) -> None:
        image, more = keras.Input((8, 8, 3)), keras.Input((2,))
        pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
        model = keras.Model([image, more], layers.Dense(3)(layers.Concatenate()([pooled, more])))
        given = [np.full((2, 8, 8, 3), 255.0, "float32"), np.ones((2, 2), "float32")]
        assert not self.warned(lambda: kerasxai.Explainer(model, "gradcam")(given))
        whole = RAW["uint8"]()
        assert not self.warned(lambda: kerasxai.Explainer(whole, "gradcam")(np.full((2, 16, 16, 3), 255, np.uint8)))
        two = net(same, (16, 16, 2))
        assert not self.warned(lambda: kerasxai.Explainer(two, "gradcam")(np.full((2, 16, 16, 2), 9.0, "float32")))
