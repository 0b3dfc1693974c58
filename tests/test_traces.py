"""Models of open size: the maps of a model that was built for the size, and traces for a bounded number of sizes."""

import gc
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai
from kerasxai.engine.trace_cache import MOST_SIZES, Trace, Traces

layers = keras.layers
SIZES = ((20, 20), (24, 17))
HALVED = {"strides": 2, "padding": "same", "use_bias": False}


def functional(size: tuple[int | None, int | None], activation: str = "relu") -> Any:
    inputs = keras.Input((*size, 3))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(inputs)
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, strides=2, use_bias=False)(x))
    x = layers.Conv2D(5, 3, activation=activation)(x)
    x = layers.Conv2D(5, 3, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def sequential(size: tuple[int | None, int | None]) -> Any:
    stack = [
        layers.Conv2D(6, 3, activation="relu", **HALVED),
        layers.BatchNormalization(),
        layers.Conv2D(5, 3, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3),
    ]
    return keras.Sequential([keras.Input((*size, 3)), *stack])


class Subclassed(keras.Model):
    def __init__(self, size: Any) -> None:
        super().__init__()
        self.inner = sequential((None, None))
        self.top = layers.Softmax()

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.top(self.inner(inputs, training=training))


def of_sizes(build: Any, images: np.ndarray, *args: Any) -> tuple[Any, Any]:
    """Returns a model of open size and the same model of the images' size."""
    models = []
    for size in ((None, None), images.shape[1:3]):
        keras.utils.set_random_seed(3)
        model = build(size, *args)
        model(images)
        models.append(model)
    models[0].set_weights([w + 0.1 for w in models[0].get_weights()])
    models[1].set_weights(models[0].get_weights())
    return models[0], models[1]


# Methods whose query depends on the size: gradients of a map, through other rectifiers, of the image; windows and masks
# of the image; ablated maps. Maps without gradients are part of them.
OPEN = ("gradcam", "integrated_gradients", "guided_gradcam", "occlusion", "scorecam", "ablationcam")


def pictures(count: int, size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(4).uniform(0, 1, (count, *size, 3)).astype("float32")


@pytest.mark.parametrize(
    ("build", "method"),
    [
        *((functional, method) for method in OPEN),
        *((build, "gradcam") for build in (sequential, Subclassed)),
        *(
            pytest.param(functional, method, marks=pytest.mark.exhaustive)
            for method in kerasxai.METHODS
            if method not in OPEN
        ),
        *(
            pytest.param(build, "integrated_gradients", marks=pytest.mark.exhaustive)
            for build in (sequential, Subclassed)
        ),
    ],
)
def test_a_model_of_open_size_gives_the_maps_of_one_of_that_size(build: Any, method: str) -> None:
    options = zoo.CHEAPER.get(method, {})
    open_model, _ = of_sizes(build, pictures(1, SIZES[0]))
    explain = kerasxai.Explainer(open_model, method, **options)
    for size in SIZES:
        images = pictures(2, size)
        _, fixed = of_sizes(build, images)
        found = explain(images, targets=1)
        expected = kerasxai.Explainer(fixed, method, **options)(images, targets=1)
        assert found.heatmaps.shape == images.shape[:3]
        assert (found.layer is None) == (expected.layer is None)
        np.testing.assert_allclose(found.heatmaps, expected.heatmaps, rtol=1e-4, atol=1e-6)


def test_an_explainer_of_a_model_without_known_shape_takes_every_size() -> None:
    model = keras.Sequential(sequential((None, None)).layers)
    explain = kerasxai.Explainer(model, "gradcam")
    for size in SIZES:
        images = pictures(2, size)
        _, fixed = of_sizes(sequential, images)
        found = explain(images, targets=1).heatmaps
        fixed.set_weights(model.get_weights())
        expected = kerasxai.Explainer(fixed, "gradcam")(images, targets=1).heatmaps
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"refine": "flip,enlarge:factors=1.5"},
        {"refine": "stride:stride=1"},
        {"smooth": "smoothgrad", "samples": 3},
        {"method": "integrated_gradients", "steps": 5, "smooth": "vargrad", "samples": 3},
    ],
)
def test_refinements_and_averages_hold_for_open_sizes(settings: dict[str, Any]) -> None:
    method = settings.pop("method", "gradcam")
    for size in SIZES:
        images = pictures(2, size)
        maps = [
            kerasxai.Explainer(model, method, **settings)(images, targets=1).heatmaps
            for model in of_sizes(functional, images, "swish")
        ]
        np.testing.assert_allclose(maps[0], maps[1], rtol=1e-4, atol=1e-6)


def graphs() -> int:
    gc.collect()
    return sum(isinstance(x, tf.Graph) for x in gc.get_objects())


def test_traces_of_many_sizes_are_dropped_with_their_graphs() -> None:
    explain = kerasxai.Explainer(of_sizes(functional, pictures(1, (20, 20)), "swish")[0], "saliency")
    traces = zoo.traced_model(explain)._traces
    assert traces._most == MOST_SIZES
    # Fewer of them need fewer traces to be dropped.
    traces._most = most = 2
    counts = []
    for number in range(3 * most):
        explain(pictures(1, (20 + number, 20)))
        if number % most == most - 1:
            assert len(traces) == most
            counts.append(graphs())
    assert counts[0] == counts[1] == counts[2]
    explain(pictures(2, (20 + number, 20)))
    assert len(traces) == most, "a kept size is not traced again"


def test_the_size_asked_longest_ago_is_dropped_with_all_its_questions() -> None:
    dropped: list[Any] = []
    traces = Traces(dropped.append, most=2)

    def trace(value: int) -> Trace:
        return Trace(tf.function(lambda x: x + value).get_concrete_function(tf.TensorSpec((None, 3))))

    first = traces.get("small", "a", lambda: trace(1))
    more = traces.get("small", "b", lambda: trace(2))
    traces.get("middle", "a", lambda: trace(3))
    assert traces.get("small", "a", lambda: trace(4)) is first
    traces.get("large", "a", lambda: trace(5))
    assert len(dropped) == 1, "small was asked after middle"
    traces.get("larger", "a", lambda: trace(6))
    assert dropped[1:] == [first.concrete, more.concrete]
    assert len(traces) == 2
