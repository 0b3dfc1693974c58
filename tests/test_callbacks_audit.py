"""Faithfulness and evidence on the object while training."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import zoo

from kerasxai.callbacks import AuditCallback
from kerasxai.explainer import Explainer
from kerasxai.metrics.faithfulness import Deletion, Insertion
from kerasxai.tools.errors import KerasxaiError

IMAGES = zoo.images(6, seed=7)
BOXES = np.tile(np.array([[[0.25, 0.25, 0.75, 0.5]]], "float32"), (6, 1, 1))
DATA: dict[str, Any] = {"image": IMAGES, "label": np.arange(6) % zoo.CLASSES, "boxes": BOXES}
TRAINING = zoo.images(16, seed=8), np.arange(16) % zoo.CLASSES


@pytest.fixture
def model() -> Any:
    keras.utils.set_random_seed(1)
    made = zoo.KINDS["functional"]()
    made.compile(keras.optimizers.SGD(3e-2), "sparse_categorical_crossentropy")
    return made


def fit(model: Any, *callbacks: Any, epochs: int = 1, **options: Any) -> Any:
    return model.fit(*TRAINING, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks), **options).history


def test_figures_are_those_of_the_metrics_and_training_is_the_same(model: Any, tmp_path: Path) -> None:
    begin = [np.array(weights) for weights in model.get_weights()]
    callback = AuditCallback(DATA, steps=4, count=5, log_dir=tmp_path)
    history = fit(model, callback, epochs=2)
    found = Explainer(model, "gradcam")(IMAGES[:5])
    given = IMAGES[:5], found.targets, found.heatmaps
    assert history["val_deletion"][1] == pytest.approx(Deletion(model, 4)(*given).mean(), abs=1e-5)
    assert history["val_insertion"][1] == pytest.approx(Insertion(model, 4)(*given).mean(), abs=1e-5)
    positive = np.maximum(found.heatmaps, 0)
    energy = [one[4:8, 4:12].sum() / one.sum() for one in positive if one.sum() > 0]
    expected = sum(energy) / 5
    assert history["val_evidence_on_object"][1] == pytest.approx(expected, abs=1e-4)
    assert callback.results[2] == {figure: history[f"val_{figure}"][1] for figure in callback.figures}
    assert list(tmp_path.iterdir())
    after = [np.array(weights) for weights in model.get_weights()]
    keras.utils.set_random_seed(1)
    plain = zoo.KINDS["functional"]()
    plain.set_weights(begin)
    plain.compile(keras.optimizers.SGD(3e-2), "sparse_categorical_crossentropy")
    fit(plain, epochs=2)
    for one, two in zip(after, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_epochs_between_repeat_the_last_figures_and_data_without_objects_have_two(model: Any) -> None:
    callback = AuditCallback(IMAGES, "saliency", steps=2, every=3, prefix="each_")
    history = fit(model, callback, epochs=5)
    assert list(callback.results) == [1, 3, 5] and callback.figures == ("deletion", "insertion")
    values = [result["deletion"] for result in callback.results.values()]
    assert history["each_deletion"] == [values[0], values[0], values[1], values[1], values[2]]


def test_a_failure_warns_once_and_leaves_the_figures_out(model: Any) -> None:
    callback = AuditCallback(np.full_like(IMAGES, np.nan), steps=2)
    with pytest.warns(UserWarning, match="AuditCallback could not audit gradcam") as caught:
        history = fit(model, callback, epochs=2)
    assert len(caught) == 1 and list(history) == ["loss"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "gradcm"}, "nearest: gradcam"),
        ({"steps": 0}, "steps must be 1 or more"),
        ({"every": 0}, "every must be 1 or more"),
        ({"count": 0}, "count must be 1 or more"),
        ({"data": []}, "expected images"),
    ],
    ids=str,
)
def test_mistakes_are_reported_before_training(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(KerasxaiError, match=message):
        AuditCallback(**{"data": DATA} | arguments)


def test_callbacks_that_use_the_figures_come_after(model: Any, tmp_path: Path) -> None:
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_insertion", mode="max")
    for first in (best, keras.callbacks.TensorBoard(tmp_path / "logs")):
        with pytest.raises(KerasxaiError, match=f"expected AuditCallback before {type(first).__name__}"):
            fit(model, first, AuditCallback(DATA, steps=2))
