"""How many images go through the model at once, which must change nothing but time and memory."""

import os
import platform
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import kerasxai
from kerasxai.engine.fast import batching
from kerasxai.engine.fast.batching import fitting, largest_map, max_concurrent
from kerasxai.engine.keras_internals import uses_onednn
from kerasxai.engine.outputs.checks import clean
from kerasxai.engine.samples import Samples
from kerasxai.engine.traced_model import TracedModel

# Of the models in the zoo, for each image: the first convolution's map, 8 x 8 x 6 floats; the image itself has 768.
LARGEST = 16 * 16 * 3 * 4


def small_room(monkeypatch: pytest.MonkeyPatch, images: int) -> None:
    monkeypatch.setattr(batching, "_memory", lambda: images * LARGEST)


@pytest.mark.parametrize(
    ("onednn", "most", "largest", "expected"),
    [
        (False, 32, 0, 32),
        (False, 32, 2**20, 20),
        (False, 8, 2**20, 8),
        (False, 32, 2**30, 1),
        (True, 32, 2**20, 32),
        (True, 32, 5 * 2**20, 16),
        (True, 32, 2**30, 1),
    ],
)
def test_as_many_as_fit_and_at_least_one(
    monkeypatch: pytest.MonkeyPatch, onednn: bool, most: int, largest: int, expected: int
) -> None:
    monkeypatch.setattr(batching, "uses_onednn", lambda: onednn)
    assert fitting(most, largest) == expected


def test_whether_onednn_is_on_is_known() -> None:
    code = "from kerasxai.engine.keras_internals import uses_onednn; print(uses_onednn())"
    here = os.environ["TF_ENABLE_ONEDNN_OPTS"]
    there = {"0": "1", "1": "0"}[here]
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": there}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    # TensorFlow for other processors than x86 may have been built without it.
    possible = platform.machine() in ("x86_64", "AMD64")
    assert (uses_onednn(), printed.stdout.strip()) == (possible and here == "1", str(possible and there == "1"))


def test_an_accelerator_takes_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [SimpleNamespace(device_type=kind) for kind in ("CPU", "GPU")]
    assert (fitting(32, 2**30), max_concurrent()) == (1, 2)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda: devices)
    assert (fitting(32, 2**30), max_concurrent()) == (32, 1)


def test_the_largest_map_is_read_off_the_graph() -> None:
    view = TracedModel(zoo.build("functional"))
    assert view.effective_batch_size == 32
    view.evaluate(clean, Samples.of(zoo.images(1), np.zeros(1)))
    ((_, trace),) = view._traces.items()
    assert largest_map(trace.concrete) == LARGEST


def test_maps_of_open_size_do_not_count() -> None:
    inputs = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(zoo.CLASSES)(x))
    explain = kerasxai.Explainer(model, "saliency", batch_size=2)
    assert explain(zoo.images(3)).heatmaps.shape == (3, 16, 16)
    assert explain(zoo.images(3, 20)).heatmaps.shape == (3, 20, 20)
    assert explain._model.effective_batch_size == 2


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradcam", {}),
        ("saliency", {"smooth": "smoothgrad", "samples": 5}),
        ("integrated_gradients", {"steps": 7}),
        ("ablationcam", {}),
        ("occlusion", zoo.CHEAPER["occlusion"]),
        ("lime", zoo.CHEAPER["lime"]),
    ],
)
def test_smaller_batches_give_the_same_maps(monkeypatch: pytest.MonkeyPatch, method: str, options: Any) -> None:
    model, images = zoo.build("functional"), zoo.images(5)
    whole = kerasxai.Explainer(model, method, **options)(images, targets=1)
    small_room(monkeypatch, 2)
    explain = kerasxai.Explainer(model, method, **options)
    sizes: list[int] = []
    prepare = TracedModel._prepare

    def counted(model: TracedModel, query: Any, batch: Samples, *tensors: Any, **settings: Any) -> Any:
        # How many channels are ablated per pass has its own limit, and coalitions are flat.
        copies = [] if method in ("ablationcam", "lime") else tensors
        sizes.append(max(map(len, (batch, *copies))))
        return prepare(model, query, batch, *tensors, **settings)

    monkeypatch.setattr(TracedModel, "_prepare", counted)
    for _ in range(2):
        sizes.clear()
        parted = explain(images, targets=1)
        np.testing.assert_allclose(parted.heatmaps, whole.heatmaps, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(parted.targets, whole.targets)
        np.testing.assert_allclose(parted.scores, whole.scores, rtol=1e-5)
    # Only before the first batch of the first call nothing is known of the model.
    assert max(sizes) <= 2 < 5


def test_each_image_is_explained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    small_room(monkeypatch, 3)
    explain = kerasxai.Explainer(zoo.build("functional"), "gradcam", batch_size=4)
    batches: list[Any] = []
    inner = explain._explain

    def counted(model: Any, batch: Samples) -> Any:
        batches.append(len(batch))
        return inner(model, batch)

    monkeypatch.setattr(explain, "_explain", counted)
    explain(zoo.images(9))
    assert batches == [4, 3, 2]
    batches.clear()
    explain(zoo.images(9))
    assert batches == [3, 3, 3]
    with pytest.raises(kerasxai.KerasxaiError):
        explain(zoo.images(0))
