"""With `kerasxai.engine.fast` switched off everything gives the same maps, slower."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import zoo

import kerasxai
from kerasxai.engine import fast
from kerasxai.engine.fast import constant_weights
from kerasxai.methods.windowed import windowed_scores

ROOT = Path(__file__).parent.parent
layers = keras.layers
SIZE = 32
CHEAPER = zoo.CHEAPER | {"occlusion": {"patch": 4, "stride": 4}}
CONFORMANCE = "tests/test_conformance.py"
ORACLES = [
    f"tests/test_{name}.py" for name in ("input_methods", "layer_methods", "scorecam", "rise", "occlusion", "lime")
]


def network() -> keras.Model:
    """Gives each optimization something to do: normalized convolutions, a long way that a small patch affects."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same", use_bias=False)(inputs)))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, strides=2, use_bias=False)(x))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Dense(zoo.CLASSES)(layers.GlobalAveragePooling2D()(x)))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(3)
    made = network()
    generator = np.random.default_rng(5)
    weights = made.get_weights()
    made.set_weights([np.abs(w) + generator.uniform(0.1, 0.5, w.shape) if w.ndim == 1 else w for w in weights])
    return made


@pytest.mark.parametrize("method", kerasxai.METHODS)
def test_maps_are_the_same(method: str, model: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constant_weights, "WORTHWHILE", 0)
    images = zoo.images(2, SIZE)
    explain = kerasxai.Explainer(model, method, batch_size=2, **CHEAPER.get(method, {}))
    on = explain(images)
    with fast.disabled():
        off = explain(images)
    again = explain(images)
    assert off.layer == on.layer
    scale = np.abs(on.heatmaps).max()
    assert scale > 0
    # Differences of scores, which occlusion maps are, lose digits.
    tolerance = 2e-5 * max(scale, np.abs(on.scores).max())
    np.testing.assert_allclose(off.heatmaps, on.heatmaps, rtol=2e-5, atol=tolerance)
    np.testing.assert_allclose(off.scores, on.scores, rtol=2e-5)
    np.testing.assert_array_equal(again.heatmaps, on.heatmaps)


def test_off_is_off(model: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constant_weights, "WORTHWHILE", 0)
    explain = kerasxai.Explainer(model, "occlusion", **CHEAPER["occlusion"])

    def operations() -> set[str]:
        return {op.type for _, trace in traces.items() for op in trace.concrete.graph.get_operations()}

    traces = zoo.traced_model(explain)._traces
    with fast.disabled():
        assert not fast.enabled()
        assert (fast.fitting(32, 2**30), fast.fitting(32, 0, factor=4), fast.max_concurrent()) == (32, 32, 1)
        explain(zoo.images(1, SIZE), targets=1)
        assert windowed_scores not in {query for (query, *_), _ in traces.items()}
        assert "FusedBatchNormV3" in operations() or "Rsqrt" in operations()
        assert not zoo.traced_model(explain)._constant_weights._candidates
        # Other threads go on as they were.
        found: list[bool] = []
        thread = threading.Thread(target=lambda: found.append(fast.enabled()))
        thread.start()
        thread.join()
        assert found == [os.environ.get("KERASXAI_FAST", "1") != "0"]
    assert fast.enabled()
    explain(zoo.images(1, SIZE), targets=1)
    assert windowed_scores in {query for (query, *_), _ in traces.items()}
    assert zoo.traced_model(explain)._constant_weights._candidates


@pytest.mark.parametrize(
    "chosen",
    [
        # Methods of many passes plan their batches; the maps of all methods are compared in this process.
        "oracle or by_hand or shapley or recovered or (functional and batching and (occlusion or rise or ablation))",
        pytest.param("test_conformance or oracle or by_hand", marks=pytest.mark.exhaustive),
    ],
)
def test_conformance_tests_and_oracles_pass(chosen: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", chosen]
    environment = os.environ | {"KERASXAI_FAST": "0"}
    done = subprocess.run(
        [*command, CONFORMANCE, *ORACLES], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_seam_is_the_only_way_in() -> None:
    """No other module imports a single optimization, so that the switch reaches all."""
    inside = ROOT / "kerasxai" / "engine" / "fast"
    sources = [path for folder in ("kerasxai", "callbacks", "training") for path in (ROOT / folder).rglob("*.py")]
    imports = re.compile(r"^\s*(from|import) kerasxai\.engine\.fast\.", re.MULTILINE)
    assert not [path for path in sources if inside not in path.parents and imports.search(path.read_text())]
