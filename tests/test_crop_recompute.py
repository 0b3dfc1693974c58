"""Occlusion that computes early layers anew around the patch alone: the same maps, or the plain way."""

from typing import Any

import keras
import numpy as np
import pytest
import zoo

import kerasxai
from kerasxai.methods.occlusion import occluded_scores
from kerasxai.methods.windowed import windowed_scores

layers = keras.layers
HEIGHT, WIDTH = 48, 32


def ending(x: Any) -> Any:
    for filters in (12, 16):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    return layers.Dense(zoo.CLASSES, dtype="float32")(layers.GlobalAveragePooling2D()(x))


def early(x: Any) -> Any:
    """What convolutional networks begin with: strides, depthwise kernels, paddings of its own, a sum around two."""
    x = layers.Conv2D(12, 3, padding="same", use_bias=False, name="first")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, strides=2, use_bias=False)(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))
    x = layers.BatchNormalization()(x)
    around = layers.Conv2D(12, 3, padding="same", activation="swish")(layers.Conv2D(12, 1)(x))
    x = layers.add([x, around], name="sum")
    return layers.MaxPooling2D(3, 2, padding="same", name="pooled")(x)


def model_of(first: Any, size: tuple[Any, Any] = (HEIGHT, WIDTH)) -> Any:
    inputs = keras.Input((*size, 3))
    return keras.Model(inputs, ending(first(inputs)))


def gated(x: Any) -> Any:
    """All of the image decides about every place."""
    return early(x * layers.Dense(3, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x)))


def placed(x: Any) -> Any:
    """Places that are not alike."""
    return early(x + keras.ops.convert_to_tensor(np.linspace(0, 1, WIDTH, dtype="float32")[:, None]))


def cropped(x: Any) -> Any:
    return early(layers.ZeroPadding2D(2)(layers.Cropping2D(2)(x)))


def rounded_about(x: Any) -> Any:
    """The image goes round every layer."""
    pooled = layers.AveragePooling2D(4)(x)
    return layers.concatenate([early(x), pooled])


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        inputs = keras.Input((HEIGHT, WIDTH, 3))
        self.inside = keras.Model(inputs, early(inputs))
        self.last = layers.Conv2D(16, 3, activation="relu")
        self.top = layers.Dense(zoo.CLASSES)

    def call(self, inputs: Any) -> Any:
        return self.top(keras.ops.mean(self.last(self.inside(inputs)), (1, 2)))


def images(count: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (count, *size, 3)).astype("float32")


def built(make: Any) -> Any:
    """Gives weights that make scores and normalizations matter; see `zoo.with_weights`."""
    keras.utils.set_random_seed(3)
    model = make()
    height, width = getattr(model, "input_shape", (0, HEIGHT, WIDTH))[1:3]
    model(images(1, (height or 32, width or 32)))
    generator = np.random.default_rng(5)
    model.set_weights(
        [np.abs(w) + generator.uniform(0.1, 0.5, w.shape) if w.ndim == 1 else w * 1.5 for w in model.get_weights()]
    )
    return model


def questions(explain: Any) -> set[Any]:
    return {key[0] for key, _ in explain._model._traces.items()}


def both(model: Any, x: np.ndarray, tolerance: float = 2e-5, **options: Any) -> tuple[Any, Any]:
    """Returns the explainer, after it was compared with the plain way, and the explanation."""
    explain = kerasxai.Explainer(model, "occlusion", **options)
    explained = explain(x, 1)
    plain = kerasxai.Explainer(model, "occlusion", fold=False, **options)
    expected = plain(x, 1)
    assert windowed_scores not in questions(plain)
    scale = np.abs(expected.heatmaps).max()
    assert scale > 0.01 * np.abs(expected.scores).max()
    np.testing.assert_allclose(explained.heatmaps, expected.heatmaps, atol=tolerance * np.abs(expected.scores).max())
    return explain, explained


@pytest.mark.parametrize(
    "options",
    [
        {"patch": 4, "stride": 3},
        {"patch": (5, 1), "stride": (4, 1)},
        {"patch": 7, "stride": 5, "fill": "mean", "explain": "probability"},
        {"patch": (3, 6), "fill": images(1)[0, ::-1]},
    ],
)
def test_windows_give_the_same_maps(options: dict[str, Any]) -> None:
    explain, _ = both(built(lambda: model_of(early)), images(2), **options)
    assert windowed_scores in questions(explain)
    assert occluded_scores not in questions(explain)


@pytest.mark.parametrize("kind", ["subclassed", "mixed_float16", "mixed_bfloat16"])
def test_windows_of_other_models(kind: str) -> None:
    make = Subclassed if kind == "subclassed" else lambda: zoo.with_policy(kind, lambda: model_of(early))
    explain, _ = both(built(make), images(1), 2e-5 if kind == "subclassed" else 2e-2, patch=4)
    assert windowed_scores in questions(explain)


@pytest.mark.parametrize("first", [gated, placed, cropped, rounded_about], ids=lambda first: first.__name__)
def test_what_cannot_be_read_goes_the_plain_way(first: Any) -> None:
    size = (WIDTH, WIDTH)
    explain, _ = both(built(lambda: model_of(first, size)), images(1, size), patch=4, stride=4)
    assert windowed_scores not in questions(explain)


@pytest.mark.parametrize("size", [(None, None), (33, 32)])
def test_sizes_that_do_not_divide_go_the_plain_way(size: Any) -> None:
    given = images(1, (33, 32))
    explain, _ = both(built(lambda: model_of(early, size)), given, patch=4, stride=4)
    assert windowed_scores not in questions(explain)


def test_a_patch_that_changes_all_goes_the_plain_way() -> None:
    explain, _ = both(built(lambda: model_of(early)), images(1), patch=30)
    assert windowed_scores not in questions(explain)


def test_windows_see_new_weights_and_are_traced_once() -> None:
    model = built(lambda: model_of(early))
    explain, before = both(model, images(2), patch=4)
    traced = len(explain._model._traces)
    kernel = model.get_layer("first").kernel
    kernel.assign(kernel * -1)
    assert not np.allclose(explain(images(2), 1).heatmaps, before.heatmaps)
    fresh = kerasxai.Explainer(model, "occlusion", patch=4, fold=False)
    np.testing.assert_allclose(explain(images(3), 2).heatmaps, fresh(images(3), 2).heatmaps, atol=2e-4)
    assert len(explain._model._traces) == traced


def test_a_score_of_ones_own_and_a_chosen_target() -> None:
    model = built(lambda: model_of(early))

    def margin(outputs: Any, targets: Any) -> Any:
        return outputs[:, 0] - outputs[:, 1]

    explain, explained = both(model, images(2), patch=4, score=margin)
    assert windowed_scores in questions(explain)
    assert explained.layer is None
