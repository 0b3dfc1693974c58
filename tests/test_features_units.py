"""Kernels, activations, quantiles, dissection and top patches against slow plain ways."""

from typing import Any, cast, get_type_hints

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from kerasxai import features
from kerasxai.features import activation_quantiles, activations, top_patches
from kerasxai.features.units import QuantileSample, select_channels
from kerasxai.features.visualization import AscentOptions, AscentSettings
from kerasxai.tools.errors import KerasxaiError

layers = keras.layers


def one_layer(layer: Any, channels: int = 4) -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((9, 9, channels))
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(6, 3, name="x"),
        layers.Conv2D(6, 3, groups=2, name="x"),
        layers.DepthwiseConv2D(3, depth_multiplier=2, name="x"),
        layers.SeparableConv2D(5, 3, depth_multiplier=2, name="x"),
        layers.Dense(3, name="x"),
    ],
    ids=["plain", "grouped", "depthwise", "separable", "dense"],
)
def test_kernels_make_what_the_layer_makes(layer: Any) -> None:
    model = one_layer(layer)
    found = features.filters(model, "x", sort=True)
    assert (np.diff(found.norms) <= 0).all()
    images = np.random.default_rng(0).normal(size=(2, 9, 9, 4)).astype("float32")
    expected = np.asarray(model(images))[..., found.channels]
    size = found.kernels.shape[1]
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), (1, 2))
    for i, kernel in enumerate(found.kernels):
        made = np.einsum("bhwcyx,yxc->bhw", windows[:, :, :, found.inputs[i]], kernel)
        np.testing.assert_allclose(made, expected[..., i], atol=1e-5)


def test_tiles_and_slices() -> None:
    model = one_layer(layers.Conv2D(6, 3), 3)
    found = features.filters(model)
    each, together = found.tiles(), found.tiles("together")
    assert each.shape == (6, 3, 3, 3) and each.dtype == np.uint8
    assert all(0 in (tile.min(), 255 - tile.max()) for tile in each)
    strongest = np.abs(found.kernels).max((1, 2, 3)).argmax()
    np.testing.assert_array_equal(each[strongest], together[strongest])
    slices = found.slices(most=2)
    assert slices.shape == (6, 2, 3, 3, 3)
    largest = np.linalg.norm(found.kernels, axis=(1, 2)).argmax(1)
    np.testing.assert_array_equal(slices[:, 0, :, :, 0], found.slices()[np.arange(6), largest, :, :, 0])
    with pytest.raises(KerasxaiError, match="slices"):
        features.filters(one_layer(layers.Conv2D(2, 3))).tiles()
    with pytest.raises(KerasxaiError, match="no kernel"):
        features.filters(zoo.build("functional"), "convolutions_normalization")


@pytest.mark.parametrize("kind", ["functional", "sequential", "nested", "subclassed", "mixed_float16"])
def test_activations_are_the_layers_output(kind: str) -> None:
    model, images = zoo.build(kind), zoo.images(5)
    before = [w.copy() for w in model.get_weights()]
    maps = features.activations(model, images, channels=[2, 0], batch_size=2)
    assert maps.shape == (5, 8, 8, 2) and maps.dtype == np.float32
    layer = {"nested": "inner_last", "subclassed": "blocks_last"}.get(kind, "convolutions_last")
    np.testing.assert_allclose(maps, features.activations(model, images, layer)[..., [2, 0]], atol=1e-6)
    if kind == "functional":
        cut = keras.Model(model.inputs[0], model.get_layer(layer).output)
        np.testing.assert_allclose(maps, np.asarray(cut(images))[..., [2, 0]], atol=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert "call" not in vars(model)


def test_a_channel_that_there_is_not() -> None:
    with pytest.raises(KerasxaiError, match="channels must be from 0 to 7"):
        features.activations(zoo.build("functional"), zoo.images(1), channels=[8])


def test_quantiles_of_a_stream() -> None:
    values = np.random.default_rng(0).normal(size=(50_000, 3)).astype("float32") * [1, 10, 100]
    small = features.QuantileSample(size=100_000)
    sample, other = features.QuantileSample(size=4000), features.QuantileSample(size=4000)
    # Sorted data: what comes last must count as much as what comes first.
    for part in np.array_split(np.sort(values, 0), 37):
        small.update(part)
        sample.update(part)
    for part in np.array_split(np.sort(values, 0), 11):
        other.update(part)
    np.testing.assert_allclose(small.quantile(0.995), np.quantile(values, 0.995, 0), rtol=1e-6)
    assert sample._values.shape == (4000, 3) and sample.count == 50_000
    np.testing.assert_array_equal(sample.quantile(0.9), other.quantile(0.9))
    for share in (0.5, 0.9, 0.995):
        above = (values > sample.quantile(share)).mean(0)
        assert np.abs(above - (1 - share)).max() < 4 * np.sqrt(share * (1 - share) / 4000)


def test_thresholds_are_exceeded_as_often_as_asked_for() -> None:
    model, images = zoo.build("functional"), zoo.images(40)
    thresholds = features.activation_quantiles(model, images, quantile=0.9, batch_size=7)
    maps = features.activations(model, images)
    np.testing.assert_allclose(thresholds, np.quantile(maps, 0.9, (0, 1, 2)), rtol=1e-5, atol=1e-6)


def masked(count: int = 12) -> list[dict[str, Any]]:
    random = np.random.default_rng(3)
    samples = []
    for i in range(count):
        mask = np.zeros((16, 16), np.uint8)
        y, x = random.integers(0, 8, 2)
        mask[y : y + 8, x : x + 8] = 1
        mask[0, :3] = 255
        image = random.uniform(-1, 1, (16, 16, 3)).astype("float32") + mask[..., None] * 2.0 * (mask[..., None] == 1)
        parts = np.where(mask == 1, 1 + (np.arange(16) > x + 3), mask).astype(np.uint8)
        samples.append({"image": image.astype("float32"), "label": i % 2, "mask": mask, "part_mask": parts})
    return samples


@pytest.mark.parametrize("masks", ["mask", "part_mask"])
def test_dissection_is_the_iou_over_all_images(masks: str) -> None:
    model, data = zoo.build("functional"), masked()
    found = features.dissect(model, data, concepts=["a", "b", "never"], masks=masks, quantile=0.8, batch_size=5)
    maps = features.activations(model, np.stack([one["image"] for one in data]))
    both, either = np.zeros((8, 3)), np.zeros((8, 3))
    for one, sample in zip(maps, data, strict=True):
        active = tf.image.resize(one, (16, 16)).numpy() > found.thresholds
        for c in range(3):
            shown = (sample["mask"] == 1) & (sample["label"] == c) if masks == "mask" else sample["part_mask"] == c + 1
            known = sample[masks] != 255
            both[:, c] += (active & (shown & known)[..., None]).sum((0, 1))
            either[:, c] += ((active | shown[..., None]) & known[..., None]).sum((0, 1))
    np.testing.assert_allclose(found.ious[:, :2], (both / either)[:, :2], rtol=1e-5)
    assert np.isnan(found.ious[:, 2]).all()
    channel, concept, iou = found.best(1)[0]
    assert iou == found.ious[:, :2].max() == found.ious[channel, found.concepts.index(concept)]


def test_dissection_needs_masks_and_reads_twice() -> None:
    model = zoo.build("functional")
    with pytest.raises(KerasxaiError, match="expected data with 'mask'"):
        features.dissect(model, zoo.images(2), concepts=["a"])
    with pytest.raises(KerasxaiError, match="dissect can read twice"):
        features.dissect(model, iter(masked()), concepts=["a", "b"])


@pytest.mark.parametrize("repeat", [False, True])
def test_patches_against_brute_force(repeat: bool) -> None:
    model, images = zoo.build("nested"), zoo.images(30)
    images[11] = images[4]  # equal values: the first in the data wins
    maps = features.activations(model, images)
    found = features.top_patches(model, iter(list(images)), k=5, repeat=repeat, batch_size=7)
    field = features.receptive_field(model)
    for row in range(maps.shape[-1]):
        ranked = sorted(np.ndindex(maps.shape[:3]), key=lambda at: -maps[(*at, row)])
        if not repeat:
            ranked = list({at[0]: at for at in reversed(ranked)}.values())
            ranked = sorted(ranked, key=lambda at: (-maps[(*at, row)], at))
        for rank, (image, y, x) in enumerate(ranked[:5]):
            assert found.values[row, rank] == pytest.approx(maps[image, y, x, row], rel=1e-5, abs=1e-6)
            assert found.images[row, rank] == image and tuple(found.positions[row, rank]) == (y, x)
            x0, y0, x1, y1 = field.box(y, x)
            assert tuple(found.boxes[row, rank]) == (x0, y0, x1, y1)
            np.testing.assert_array_equal(found.crops[row][rank], images[image, y0:y1, x0:x1])
            assert found.names[row][rank] == str(image)
            crop = found.crops[row][rank]
            assert crop is not None and crop.base is None
    if not repeat:
        assert all(len(set(row)) == 5 for row in found.images.tolist())


def test_fewer_images_than_patches() -> None:
    found = features.top_patches(zoo.build("functional"), zoo.images(2), k=3, channels=[5], crops=False)
    assert found.values.shape == (1, 3) and np.isnan(found.values[0, 2]) and found.images[0, 2] == -1
    assert found.names[0][2] == "" and found.crops[0] == [None] * 3 and found.channels.tolist() == [5]


def saturating(channels: int = 12) -> Any:
    """Copies of the image's first channel through a ReLU6: all reach 6, each at other shares of the positions."""
    inputs = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(channels, 1, use_bias=False, name="gain")(inputs)
    model = keras.Model(inputs, keras.layers.ReLU(6.0, name="bounded")(maps))
    kernel = np.zeros((1, 1, 3, channels), "float32")
    kernel[0, 0, 0] = np.linspace(7, 60, channels)
    # Selective, and last in order: it sees another color, which few images have.
    kernel[0, 0, :, -1] = (0, 60, 0)
    model.get_layer("gain").set_weights([kernel])
    return model


def bright(count: int) -> np.ndarray:
    images = np.random.default_rng(0).uniform(0, 0.05, (count, 8, 8, 3)).astype("float32")
    images[:, 3, 3, 0] = 1.0
    images[-3:, :, :, 1] = 1.0
    return images


def test_saturated_channels_are_ranked_by_how_much_their_images_stand_out() -> None:
    model, images = saturating(), bright(30)
    highest = activations(model, images, "bounded").max((0, 1, 2))
    assert (highest == 6).all(), "by their highest values all channels are equal"
    chosen = select_channels(model, images, "bounded", 4, top=3)
    assert chosen[0] == 11 and len(set(chosen.tolist())) == 4
    dataset = tf.data.Dataset.from_tensor_slices(images)
    again = select_channels(model, dataset, "bounded", 4, top=3, batch_size=7)
    np.testing.assert_array_equal(again, chosen)
    assert len(select_channels(model, images, "bounded", 99)) == 12


def test_of_equal_patches_that_of_the_stronger_image_is_shown() -> None:
    images = bright(30)
    images[-3:, 3, 3, 1] = 0.05
    images[5, 2, 2, 1] = 1.0
    found = top_patches(saturating(), images, "bounded", 3, channels=[11], crops=False, batch_size=8)
    assert (found.values == 6).all() and set(found.images[0].tolist()) == {27, 28, 29}


def test_a_saturated_channel_exceeds_its_quantile_where_it_is_saturated() -> None:
    model, images = saturating(), bright(30)
    thresholds = activation_quantiles(model, images, "bounded", 0.9)
    maps = activations(model, images, "bounded")
    assert (thresholds < 6).all() and (maps > thresholds).any((0, 1, 2)).all()
    constant = QuantileSample()
    constant.update(np.full((5, 2), 3.0))
    np.testing.assert_array_equal(constant.quantile(0.9), 3)


def test_names_of_the_first_version_warn() -> None:
    sample = features.QuantileSample()
    with pytest.warns(DeprecationWarning, match="use QuantileSample.count"):
        assert getattr(sample, "seen") == 0  # noqa: B009
    model, images = zoo.build("functional"), zoo.images(3)
    found = features.top_patches(model, images, k=1, channels=[0])
    with pytest.warns(DeprecationWarning, match="use Patches.positions"):
        assert getattr(found, "places") is found.positions  # noqa: B009
    with pytest.raises(AttributeError):
        getattr(found, "spots")  # noqa: B009
    with pytest.raises(TypeError, match="unexpected keyword argument 'crop'"):
        features.top_patches(model, images, **cast("Any", {"crop": False}))


def test_keywords_of_ascend_are_the_settings() -> None:
    assert get_type_hints(AscentOptions) == get_type_hints(AscentSettings)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stepz'"):
        features.ascend(zoo.build("functional"), 0, **cast("Any", {"stepz": 3}))
