"""`EmbeddingCallback`: its figures, its pictures, and that training does not notice."""

import random
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import zoo
from PIL import Image
from sklearn.metrics import silhouette_score

from kerasxai import features
from kerasxai.callbacks import EmbeddingCallback
from kerasxai.tools.errors import KerasxaiError

LABELS = np.arange(24) % zoo.CLASSES
# Each class has a color of its own, so that training pulls the classes apart.
IMAGES = (
    zoo.images(24, seed=8) * 0.5
    + np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0]], "float32")[LABELS][:, None, None]
)


def compiled(kind: str = "functional", optimizer: type = keras.optimizers.SGD, **options: Any) -> Any:
    model = zoo.build(kind)
    model.compile(optimizer(1e-2), "sparse_categorical_crossentropy", **options)
    return model


def fit(model: Any, *callbacks: Any, epochs: int = 1) -> Any:
    return model.fit(IMAGES, LABELS, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks))


@pytest.mark.parametrize(("kind", "options"), [("functional", {}), ("subclassed", {"run_eagerly": True})])
def test_training_is_bit_identical(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    def train(*callbacks: Any) -> tuple[list[np.ndarray], list[Any]]:
        model = compiled(kind, keras.optimizers.Adam, **options)
        keras.utils.set_random_seed(1)
        fit(model, *callbacks, epochs=2)
        return model.get_weights(), [random.random(), np.random.random()]  # noqa: NPY002

    plain, drawn = train(), train(EmbeddingCallback((IMAGES, LABELS), log_dir=tmp_path))
    assert all(np.array_equal(a, b) for a, b in zip(plain[0], drawn[0], strict=True)) and plain[1] == drawn[1]


def test_figures_and_pictures(tmp_path: Path) -> None:
    model = compiled(optimizer=keras.optimizers.Adam)
    callback = EmbeddingCallback((IMAGES, LABELS), "convolutions_last", tmp_path, neighbors=3, every=2)
    history = fit(model, callback, epochs=5).history
    assert sorted(callback.results) == [0, 1, 2, 4, 5]
    for figure in ("silhouette", "knn_accuracy"):
        measured = [callback.results[epoch][figure] for epoch in (1, 2, 2, 4, 5)]
        assert history[f"val_{figure}"] == pytest.approx(measured)
    vectors = features.embed(model, IMAGES, "convolutions_last").vectors
    last = callback.results[5]
    assert last["silhouette"] == pytest.approx(silhouette_score(vectors, LABELS, metric="cosine"), abs=1e-5)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = unit @ unit.T - 2 * np.eye(24)
    right = 0
    for i, row in enumerate(near):
        nearest = LABELS[np.argsort(-row)[:3]].tolist()
        right += max(nearest, key=lambda label: (nearest.count(label), -nearest.index(label))) == LABELS[i]
    assert last["knn_accuracy"] == pytest.approx(right / 24)
    assert last["silhouette"] > callback.results[0]["silhouette"]
    pictures = sorted(path.name for path in (tmp_path / "embedding").glob("*.png"))
    assert pictures == [f"epoch_{epoch:03d}.png" for epoch in (0, 1, 2, 4, 5)]
    with Image.open(tmp_path / "embedding" / "epoch_005.png") as shown:
        assert shown.size == (1280, 1024)
    assert list((tmp_path / "embedding").glob("events*"))
    assert callback._capture is None


def test_other_callbacks_can_use_the_figures() -> None:
    embedding = EmbeddingCallback((IMAGES, LABELS))
    stopping = keras.callbacks.EarlyStopping("val_knn_accuracy", mode="max", patience=1)
    fit(compiled(), embedding, stopping, epochs=2)
    assert stopping.best == max(result["knn_accuracy"] for done, result in embedding.results.items() if done)
    with pytest.raises(KerasxaiError, match="put EmbeddingCallback first"):
        fit(compiled(), stopping, EmbeddingCallback((IMAGES, LABELS)))


def test_a_failure_warns_once_and_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "embedding").write_text("a file where the folder should be")
    callback = EmbeddingCallback((IMAGES, LABELS), log_dir=tmp_path, tensorboard=False)
    with pytest.warns(UserWarning, match="could not draw the embedding") as caught:
        history = fit(compiled(), callback, epochs=2).history
    assert len(caught) == 1 and len(history["val_silhouette"]) == 2
    model = compiled()
    model.get_layer("convolutions_normalization").gamma.assign(np.full(6, np.nan))
    with pytest.warns(UserWarning, match="could not measure the embedding"):
        history = fit(model, EmbeddingCallback((IMAGES, LABELS), "convolutions_normalization")).history
    assert "val_silhouette" not in history and "call" not in vars(model)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (IMAGES, {}, "with labels"),
        ((IMAGES, np.zeros(24)), {}, "at least two classes"),
        ((IMAGES, LABELS), {"neighbors": 24}, "neighbors must be less than"),
        ((IMAGES, LABELS), {"every": 0}, "every must be 1"),
        ((IMAGES, LABELS), {"projection": "mds"}, "expected a known projection"),
        ((IMAGES, LABELS), {"layer": "nowhere"}, "expected a known layer"),
    ],
)
def test_mistakes_are_told(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(KerasxaiError, match=message):
        fit(compiled(), EmbeddingCallback(data, **options))
