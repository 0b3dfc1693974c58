"""Callbacks in company, with data and labels of every form, and with models of several inputs."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from kerasxai.callbacks import EmbeddingCallback, ExplanationCallback, LocalizationCallback
from kerasxai.data.samples import batches, class_indices
from kerasxai.explainer import Explainer
from kerasxai.metrics import LocalizationReport
from kerasxai.tools.errors import KerasxaiError

IMAGES, LABELS = zoo.images(8, seed=3), np.arange(8) % zoo.CLASSES
BOXES = np.tile(np.array([[[0.1, 0.2, 0.7, 0.8]]], "float32"), (8, 1, 1))
ARRAYS = {"image": IMAGES, "label": LABELS, "boxes": BOXES}
EXTRA = np.random.default_rng(4).normal(size=(8, 3)).astype("float32")


def compiled(**options: Any) -> Any:
    model = zoo.build("functional")
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False, **options)
    return model


def fit(model: Any, *callbacks: Any, **options: Any) -> Any:
    settings = {"epochs": 1, "batch_size": 8, "verbose": 0} | options
    return model.fit(IMAGES, LABELS, callbacks=list(callbacks), **settings)


def explanation(folder: Path, images: Any = IMAGES[:3], methods: Any = ("gradcam",), **options: Any) -> Any:
    return ExplanationCallback(images, None, methods, folder, tensorboard=False, **options)


def test_callbacks_that_would_overwrite_one_another_are_refused_before_the_first_step(tmp_path: Path) -> None:
    model = compiled()
    before = model.get_weights()
    localization = LocalizationCallback(ARRAYS, "gradcam")
    embedding = [EmbeddingCallback((IMAGES, LABELS), neighbors=2, prefix=prefix) for prefix in ("val_", "val_")]
    drawn = [EmbeddingCallback((IMAGES, LABELS), None, tmp_path, neighbors=2, prefix=prefix) for prefix in "ab"]
    same = [explanation(tmp_path), explanation(tmp_path / "." / ".." / tmp_path.name)]
    others = [explanation(tmp_path), explanation(tmp_path, IMAGES[3:6], ("saliency",))]
    for pair, remedy in (
        (embedding, "prefix="),
        (drawn, "log_dir="),
        (same, "log_dir="),
        (others, "log_dir="),
    ):
        with pytest.raises(KerasxaiError, match=f"expected .* give one another {remedy}"):
            fit(model, *pair)
    with pytest.raises(KerasxaiError, match="the same LocalizationCallback twice"):
        fit(model, localization, localization)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_figures_of_one_name_are_told_apart_by_their_methods() -> None:
    measured = [LocalizationCallback(ARRAYS, method) for method in ("gradcam", "saliency", "saliency")]
    with pytest.warns(UserWarning, match="second LocalizationCallback .*set prefix=") as told:
        history = fit(compiled(), *measured).history
    assert len(told) == 2
    for callback, prefix in zip(measured, ("val_", "val_saliency_", "val_saliency_2_"), strict=True):
        assert history[f"{prefix}mean_iou"] == [callback.results[1]["mean_iou"]]
    assert history["val_mean_iou"] != history["val_saliency_mean_iou"]


def test_callbacks_with_names_of_their_own_get_along(tmp_path: Path) -> None:
    one, two = LocalizationCallback(ARRAYS, "gradcam"), LocalizationCallback(ARRAYS, "saliency", prefix="saliency_")
    pictures = explanation(tmp_path), explanation(tmp_path, methods=("saliency",)), explanation(tmp_path / "b")
    history = fit(compiled(), one, two, *pictures).history
    assert history["val_mean_iou"] == [one.results[1]["mean_iou"]]
    assert history["saliency_mean_iou"] == [two.results[1]["mean_iou"]]
    assert len(list(tmp_path.rglob("timeline.png"))) == 3


def test_a_second_training_starts_from_nothing_and_a_continued_one_goes_on(tmp_path: Path) -> None:
    measured, embedded = (
        LocalizationCallback(ARRAYS, "gradcam"),
        EmbeddingCallback((IMAGES, LABELS), None, tmp_path, neighbors=2, tensorboard=False),
    )
    drawn = explanation(tmp_path)
    model = compiled()
    fit(model, measured, embedded, drawn, epochs=3)
    assert list(measured.results) == [1, 2, 3] and list(embedded.results) == [0, 1, 2, 3]
    fit(model, measured, embedded, drawn, initial_epoch=1, epochs=2)
    assert list(measured.results) == [1, 2] and list(embedded.results) == [0, 1, 2]
    fit(compiled(), measured, embedded, drawn)
    assert list(measured.results) == [1] and list(embedded.results) == [0, 1]
    for folder in (tmp_path / "embedding", tmp_path / "heatmaps" / "gradcam"):
        assert {path.name for path in folder.glob("epoch_*.png")} == {"epoch_000.png", "epoch_001.png"}


@pytest.mark.parametrize(
    "labels", [[[0, 1, 1], [1, 0, 0]], [[0, 0, 0], [1, 0, 0]], [[0.5, 0.5, 0], [1, 0, 0]], [[0.9, 0.8, 0.1]] * 2]
)
def test_labels_of_several_classes_or_none_are_refused(labels: Any, tmp_path: Path) -> None:
    rows = np.array(labels, "float32")
    with pytest.raises(KerasxaiError, match=r"one true class for each image.*rows 0"):
        ExplanationCallback(IMAGES[:2], "true", labels=rows, log_dir=tmp_path)
    data = {"image": IMAGES[:2], "label": rows, "boxes": BOXES[:2]}
    for form in (data, [data], tf.data.Dataset.from_tensor_slices(data).batch(2)):
        with pytest.raises(KerasxaiError, match="one true class for each image"):
            LocalizationCallback(form)
    with pytest.raises(KerasxaiError, match="one true class for each image"):
        EmbeddingCallback((IMAGES[:2], rows), neighbors=1)
    assert ExplanationCallback((IMAGES[:2], rows), labels=[0, 1], log_dir=tmp_path)._drawn.labels.tolist() == [0, 1]


def test_one_class_is_read_of_each_row() -> None:
    one_hot = np.eye(4)[[2, 0, 3]]
    for labels in (
        one_hot,
        one_hot.astype(bool),
        one_hot.astype("float16") * 0.9 + 0.025,
        [2, 0, 3],
        [[2.0], [0.0], [3.0]],
    ):
        assert class_indices(labels).tolist() == [2, 0, 3]
    for wrong in ([0.5], [-1], [np.nan], ["cat"], [[[1]]], [[-1.0]]):
        with pytest.raises(KerasxaiError, match="expected labels"):
            class_indices(wrong)


class Batches(keras.utils.PyDataset):
    """Batches of 3 of whatever arrays, as dict or tuple."""

    def __init__(self, *arrays: Any, names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.arrays, self.names = arrays, names

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        rows = [keras.tree.map_structure(lambda x: x[3 * index : 3 * index + 3], one) for one in self.arrays]
        return dict(zip(self.names, rows, strict=True)) if self.names else tuple(rows)


class Endless(keras.utils.PyDataset):
    @property
    def num_batches(self) -> None:
        return None

    def __getitem__(self, index: int) -> Any:
        return IMAGES[:2], LABELS[:2], BOXES[:2]


def test_a_pydataset_is_read_as_fit_reads_it(tmp_path: Path) -> None:
    callback = ExplanationCallback(Batches(IMAGES, LABELS, np.ones(8)), "true", log_dir=tmp_path, count=5)
    np.testing.assert_array_equal(callback.images, IMAGES[:5])
    np.testing.assert_array_equal(callback.targets, LABELS[:5])
    whole = LocalizationCallback(ARRAYS, "gradcam")
    read = LocalizationCallback(
        Batches(IMAGES, LABELS, BOXES, names=("image", "label", "boxes")), "gradcam", prefix="read_"
    )
    embedded = EmbeddingCallback(Batches(IMAGES, LABELS, np.ones(8)), neighbors=2)
    history = fit(compiled(), whole, read, embedded).history
    assert read.results == whole.results and history["val_knn_accuracy"]
    kept: Any = ExplanationCallback(Endless(), log_dir=tmp_path, count=5).images
    assert len(kept) == 5
    for endless in (Endless(), tf.data.Dataset.from_tensor_slices(ARRAYS).repeat()):
        with pytest.raises(KerasxaiError, match="without an end"):
            LocalizationCallback(endless)


def test_what_can_be_read_once_is_refused_in_one_line(tmp_path: Path) -> None:
    class Loader:
        def __iter__(self) -> Any:
            return iter([(IMAGES, LABELS)])

        def __len__(self) -> int:
            return 1

    Loader.__module__ = "torch.utils.data"
    for data in ((pair for pair in [(IMAGES, LABELS)]), Loader(), iter([IMAGES])):
        for make in (ExplanationCallback, LocalizationCallback, EmbeddingCallback):
            with pytest.raises(
                KerasxaiError, match=r"^expected arrays, a list, .*give some of its batches as a list"
            ) as caught:
                make(data)
            assert "\n" not in str(caught.value)
    with pytest.raises(KerasxaiError, match="not sample weights"):
        LocalizationCallback((IMAGES, LABELS, np.ones(8)))


def two_inputs() -> Any:
    keras.utils.set_random_seed(0)
    image, extra = keras.Input((*IMAGES.shape[1:],), name="image"), keras.Input((3,), name="extra")
    maps = keras.layers.Conv2D(4, 3, activation="relu", name="maps")(image)
    joined = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling2D()(maps), extra])
    outputs = keras.layers.Dense(zoo.CLASSES, activation="softmax")(joined)
    model = keras.Model({"image": image, "extra": extra}, outputs)
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    return model


def forms_of_two_inputs() -> dict[str, Any]:
    inputs = {"image": IMAGES, "extra": EXTRA}
    flat = {**inputs, "label": LABELS, "boxes": BOXES}
    return {
        "a dict of inputs": {"image": inputs, "label": LABELS, "boxes": BOXES},
        "as fit takes them": (inputs, LABELS, BOXES),
        "a field for each": flat,
        "a dataset": tf.data.Dataset.from_tensor_slices((inputs, LABELS, BOXES)).batch(3),
        "single samples": tf.data.Dataset.from_tensor_slices(flat),
        "a PyDataset": Batches(inputs, LABELS, BOXES),
    }


def test_models_of_several_inputs_get_the_others_from_the_same_data(tmp_path: Path) -> None:
    model, inputs = two_inputs(), {"image": IMAGES, "extra": EXTRA}
    made: list[Any] = []
    for number, data in enumerate(forms_of_two_inputs().values()):
        made.append(LocalizationCallback(data, "gradcam", prefix=f"{number}_", batch_size=3))
        made.append(EmbeddingCallback(data, "maps", neighbors=2, prefix=f"{number}_", count=8))
        made.append(explanation(tmp_path / str(number), data, labels=LABELS, count=8))
    made.append(explanation(tmp_path / "alone", inputs))
    model.fit(inputs, LABELS, epochs=1, batch_size=8, verbose=0, callbacks=made)
    found = Explainer(model, "gradcam")(inputs, LABELS)
    report = LocalizationReport()
    report.update(found.heatmaps, model.predict(inputs, verbose=0), LABELS, list(BOXES))
    expected = report.result()["mean_iou"]
    for callback in made:
        if isinstance(callback, LocalizationCallback):
            assert callback.results[1]["mean_iou"] == pytest.approx(expected), callback.prefix
            assert callback.results == made[0].results
        elif isinstance(callback, EmbeddingCallback):
            assert callback.results == made[1].results
        else:
            kept = callback._files.load("gradcam", 1)
            np.testing.assert_array_equal(kept.targets, model.predict(inputs, verbose=0).argmax(-1))
            np.testing.assert_array_equal(callback._drawn.pictures, made[2]._drawn.pictures)


def test_inputs_that_the_model_does_not_take_stop_training_at_once(tmp_path: Path) -> None:
    for callback in (
        explanation(tmp_path),
        LocalizationCallback(ARRAYS, "gradcam"),
        EmbeddingCallback((IMAGES, LABELS), neighbors=2),
    ):
        with pytest.raises(KerasxaiError, match=r"expected 2 inputs \(.*image.*\) as the model takes, got 1"):
            two_inputs().fit({"image": IMAGES, "extra": EXTRA}, LABELS, verbose=0, callbacks=[callback])
    with pytest.raises(KerasxaiError, match="expected 1 input"):
        fit(compiled(), explanation(tmp_path, {"a": IMAGES, "b": EXTRA}))


def test_several_inputs_are_read_sample_by_sample() -> None:
    shared = ({"left": IMAGES, "right": IMAGES[:1]}, LABELS)
    (batch,) = batches(shared, 8)
    np.testing.assert_array_equal(batch["image"][5]["right"], IMAGES[0])
    np.testing.assert_array_equal(batch["image"][5]["left"], IMAGES[5])
    with pytest.raises(KerasxaiError, match="an input for each of 8 images"):
        next(batches(({"left": IMAGES, "right": EXTRA[:3]}, LABELS), 8))


def test_a_disk_that_fills_up_in_the_middle_warns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callback = explanation(tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    class Fills(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                monkeypatch.setattr(callback._files, "save", full)

    with pytest.warns(UserWarning, match="No space left on device") as warned:
        history = fit(compiled(), Fills(), callback, epochs=4)
    assert len(warned) == 1 and len(history.epoch) == 4


def test_figures_of_a_score_that_fails_are_left_out_with_one_warning() -> None:
    def broken(outputs: Any, targets: Any) -> Any:
        raise RuntimeError("no such output")

    callback = LocalizationCallback(ARRAYS, "gradcam", score=broken)
    with pytest.warns(UserWarning, match="no such output") as warned:
        history = fit(compiled(), callback, epochs=3)
    assert len(warned) == 1 and len(history.epoch) == 3 and not callback.results
