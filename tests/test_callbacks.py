"""Explaining while training: what is written, and that training does not notice."""

import io
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from PIL import Image

from kerasxai.callbacks import (
    AuditCallback,
    EmbeddingCallback,
    ExplanationCallback,
    LocalizationCallback,
    draw_timeline,
    drawing,
)
from kerasxai.callbacks.drawing import pictures_of
from kerasxai.callbacks.map_files import Images, MapFiles, Maps
from kerasxai.engine.traced_model import TracedModel
from kerasxai.explainer import Explainer
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.log_services import MissingTensorBoardWarning

IMAGES = zoo.images(3, seed=7)
LABELS = np.array([0, 3, 1])
BOXES = np.array([[[0.1, 0.1, 0.6, 0.7]], [[0.5, 0.2, 0.9, 0.9]], [[0.0, 0.0, 0.5, 0.5]]], "float32")
TRAINING = zoo.images(24, seed=8), np.arange(24) % zoo.CLASSES


def compiled(kind: str = "functional", optimizer: type = keras.optimizers.SGD, **options: Any) -> Any:
    """SGD is compiled in a third of the time of other optimizers."""
    model = zoo.build(kind)
    model.compile(optimizer(1e-2), "sparse_categorical_crossentropy", **options)
    return model


def fit(model: Any, *callbacks: Any, epochs: int = 1, **options: Any) -> Any:
    return model.fit(*TRAINING, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks), **options)


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        return np.asarray(file)


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("functional", {}),
        ("functional", {"run_eagerly": True}),
        ("subclassed", {"jit_compile": True}),
        ("mixed_float16", {"steps_per_execution": 2}),
    ],
    ids=str,
)
def test_training_is_bit_identical(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    def train(*callbacks: Any) -> tuple[list[np.ndarray], list[Any]]:
        # An optimizer with a state of its own.
        model = compiled(kind, keras.optimizers.Adam, **options)
        model.get_layer(index=-2 if kind == "functional" else 0).activity_regularizer = keras.regularizers.L2(0.01)
        keras.utils.set_random_seed(4)
        if kind == "subclassed":
            data = tf.data.Dataset.from_tensor_slices(TRAINING).shuffle(24).batch(8)
            history = model.fit(data, shuffle=False, epochs=3, verbose=0, callbacks=list(callbacks))
        else:
            history = fit(model, *callbacks, epochs=3)
        state = [np.array(v) for v in (*model.variables, *model.optimizer.variables)]
        # The next numbers of every global generator tell whether anybody drew from it on the way.
        drawn = [np.random.random(), random.random(), float(tf.random.uniform(())), keras.random.uniform(()).numpy()]  # noqa: NPY002
        return state, [*drawn, *history.history["loss"]]

    plain, plain_numbers = train()
    methods: dict[str, dict[str, Any]] = {"gradcam": {}} if options else {"gradcam": {}, "rise": {"masks": 16}}
    watched, watched_numbers = train(
        LocalizationCallback((IMAGES, LABELS, BOXES), "gradcam"),
        ExplanationCallback(IMAGES, methods=methods, log_dir=tmp_path),
    )
    assert plain_numbers == watched_numbers
    for one, two in zip(plain, watched, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (tmp_path / "heatmaps" / "gradcam" / "timeline.png").exists()


def test_files_hold_what_the_explainer_says_at_each_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[Any] = []
    trace = TracedModel._trace

    def counted(*arguments: Any) -> Any:
        traced.append(arguments[1])
        return trace(*arguments)

    monkeypatch.setattr(TracedModel, "_trace", counted)
    expected: dict[int, Any] = {}
    # Made of another view, so that the callback's own cannot be wrong together with it.
    model = compiled()
    explainer = Explainer(model, "gradcam")
    expected[0] = explainer(IMAGES, LABELS)
    before = len(traced)
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: expected.__setitem__(epoch + 1, explainer(IMAGES, LABELS))
    )
    callback = ExplanationCallback(IMAGES, "true", labels=LABELS, log_dir=tmp_path, tensorboard=False)
    fit(model, callback, keep, epochs=2)
    assert len(traced) == before + 1
    names = [f"epoch_{epoch:03d}" for epoch in range(3)]
    assert files_below(tmp_path) == {
        "heatmaps/gradcam/timeline.png",
        "heatmaps/maps/images.npz",
        *(f"heatmaps/gradcam/{name}.png" for name in names),
        *(f"heatmaps/maps/gradcam/{name}.npz" for name in names),
    }
    files = MapFiles(tmp_path)
    for epoch, explanation in expected.items():
        maps = files.load("gradcam", epoch)
        np.testing.assert_array_equal(maps.targets, LABELS)
        np.testing.assert_array_equal(maps.scores, explanation.scores)
        highest = explanation.heatmaps.max(axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(maps.heatmaps, explanation.heatmaps, rtol=1e-3, atol=1e-3 * highest.max())
    assert not np.array_equal(expected[0].scores, expected[2].scores)
    sheets = [picture(files.sheet("gradcam", epoch)) for epoch in range(3)]
    assert not np.array_equal(sheets[0], sheets[2])


def test_pictures_appear_in_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    callback = ExplanationCallback(IMAGES, 2, methods=("gradcam", "cam"), log_dir=tmp_path, every=2)
    fit(compiled(), callback, epochs=3)
    events = EventAccumulator(str(tmp_path / "explanations"), size_guidance={"tensors": 0}).Reload()
    assert set(events.PluginTagToContent("images")) == {"gradcam", "cam"}
    for method in ("gradcam", "cam"):
        assert [event.step for event in events.Tensors(method)] == [0, 2, 3]
        for event in events.Tensors(method):
            width, height, png = tensor_util.make_ndarray(event.tensor_proto).tolist()
            file = tmp_path / "heatmaps" / method / f"epoch_{event.step:03d}.png"
            shown = np.asarray(Image.open(io.BytesIO(png)))
            assert shown.shape == (int(height), int(width), 3)
            np.testing.assert_array_equal(shown, picture(file))


def test_a_training_that_goes_on_continues_the_timeline(tmp_path: Path) -> None:
    def callback(images: np.ndarray = IMAGES) -> ExplanationCallback:
        return ExplanationCallback(images, log_dir=tmp_path, tensorboard=False)

    def epochs() -> list[int]:
        files = MapFiles(tmp_path)
        found = files.epochs("gradcam", files.load_images().identity)
        sheets = sorted(int(path.stem[-3:]) for path in files.sheet("gradcam", 0).parent.glob("epoch_*.png"))
        assert sheets == sorted(found)
        return list(found)

    model = compiled()
    fit(model, callback(), epochs=3)
    two, three = (MapFiles(tmp_path).sheet("gradcam", epoch).read_bytes() for epoch in (2, 3))
    timeline = MapFiles(tmp_path).timeline("gradcam")
    width = picture(timeline).shape[1]
    again = callback()
    fit(model, again, initial_epoch=2, epochs=4)
    assert epochs() == [0, 1, 2, 3, 4]
    assert MapFiles(tmp_path).sheet("gradcam", 2).read_bytes() == two
    assert MapFiles(tmp_path).sheet("gradcam", 3).read_bytes() != three
    assert picture(timeline).shape[1] > width
    # A second `fit` that counts from the beginning is a new training: of later epochs nothing stays.
    fit(model, again, epochs=1)
    assert epochs() == [0, 1]
    with pytest.warns(UserWarning, match="maps of other images; a new timeline begins"):
        fit(model, callback(IMAGES[:2]), initial_epoch=1, epochs=2)
    assert list(MapFiles(tmp_path).epochs("gradcam", MapFiles(tmp_path).load_images().identity)) == [1, 2]


def test_a_killed_training_leaves_a_timeline_to_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(epoch: int, logs: Any) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    killer = keras.callbacks.LambdaCallback(on_epoch_end=stop)
    with pytest.raises(KeyboardInterrupt):
        fit(compiled(), ExplanationCallback(IMAGES, log_dir=tmp_path, tensorboard=False), killer, epochs=4)
    path = tmp_path / "heatmaps" / "gradcam" / "timeline.png"
    assert not path.exists()
    assert draw_timeline(tmp_path) == path
    assert picture(path).shape[1] > 4 * 96
    columns: list[Any] = []

    def drawn(rows: Any, epochs: Any, **more: Any) -> np.ndarray:
        columns.append(epochs)
        return picture(path)

    monkeypatch.setattr(drawing, "timeline", drawn)
    draw_timeline(tmp_path, kept=2)
    assert columns == [["before training", 1, "epoch 2, kept"]]
    with pytest.raises(KerasxaiError, match="expected maps of the images"):
        draw_timeline(tmp_path, "cam")
    with pytest.raises(KerasxaiError, match="cannot read the images of an ExplanationCallback"):
        draw_timeline(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_written_warns_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    callback = ExplanationCallback(IMAGES, methods=("gradcam", "cam"), log_dir=tmp_path / "file" / "logs")
    model = compiled()
    for _ in range(2):
        with pytest.warns(UserWarning) as caught:
            history = fit(model, callback, epochs=2)
        assert len(history.history["loss"]) == 2
        (warning,) = caught
        assert "ExplanationCallback could not write its files: KerasxaiError: cannot write" in str(warning.message)
        assert "training continues" in str(warning.message)


def test_a_method_that_cannot_explain_warns_once_and_is_left_out(tmp_path: Path) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), *zoo.convolutions(), layers.Flatten(), layers.Dense(5, "relu"), layers.Dense(4)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = ExplanationCallback(IMAGES, methods=("cam", "gradcam"), log_dir=tmp_path, tensorboard=False)
    with pytest.warns(UserWarning) as caught:
        fit(model, callback, epochs=2)
    (warning,) = caught
    assert "could not explain with cam" in str(warning.message)
    assert "training continues without cam" in str(warning.message)
    assert not (tmp_path / "heatmaps" / "cam").exists()
    assert (tmp_path / "heatmaps" / "gradcam" / "epoch_002.png").exists()


def test_a_diverged_model_is_warned_of_and_nothing_is_written(tmp_path: Path) -> None:
    model = compiled()
    model.layers[-1].set_weights([np.full_like(one, np.nan) for one in model.layers[-1].get_weights()])
    with pytest.warns(UserWarning, match=r"could not explain with gradcam: .*; training continues without gradcam"):
        history = fit(model, ExplanationCallback(IMAGES, log_dir=tmp_path, tensorboard=False))
    assert len(history.epoch) == 1
    assert not list((tmp_path / "heatmaps").rglob("epoch_*"))


def test_layers_and_options_reach_the_methods_and_mistakes_stop_training_at_once(tmp_path: Path) -> None:
    methods = {"gradcam": {}, "occlusion": {"patch": 8, "stride": 8}}
    callback = ExplanationCallback(
        IMAGES, methods=methods, layer="convolutions_first", log_dir=tmp_path, tensorboard=False, png=False
    )
    model = compiled()
    fit(model, callback)
    assert not list(tmp_path.rglob("epoch_*.png"))
    expected = Explainer(model, "gradcam", layer="convolutions_first")(IMAGES).heatmaps
    found = MapFiles(tmp_path).load("gradcam", 1).heatmaps
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.max())
    before = model.get_weights()
    for options in ({"layer": "nonsense"}, {"methods": {"gradcam": {"nonsense": 1}}}):
        with pytest.raises(KerasxaiError, match=r"expected a known .*, got 'nonsense'"):
            fit(model, ExplanationCallback(IMAGES, log_dir=tmp_path, **options))
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


def test_images_come_in_any_form() -> None:
    one_hot = np.eye(4)[LABELS]
    samples = [{"image": image, "label": label, "name": "x"} for image, label in zip(IMAGES, LABELS, strict=True)]
    dataset = tf.data.Dataset.from_tensor_slices
    forms: list[Any] = [
        samples,
        (IMAGES, LABELS),
        {"image": IMAGES, "label": LABELS, "boxes": list(BOXES)},
        dataset((IMAGES, LABELS)),
        dataset((IMAGES, one_hot)).batch(2),
        dataset((IMAGES, LABELS[:, None], np.ones(3))).batch(2),
        dataset({"image": IMAGES, "label": LABELS, "boxes": BOXES}).batch(2).repeat(),
    ]
    for form in forms:
        callback = ExplanationCallback(form, "true", count=3)
        np.testing.assert_array_equal(callback.images, IMAGES)
        assert callback.targets is not None
        np.testing.assert_array_equal(callback.targets, LABELS)
    for form in (IMAGES, tf.constant(IMAGES), list(IMAGES), dataset(IMAGES), dataset(IMAGES).batch(2)):
        callback = ExplanationCallback(form, "true", labels=one_hot)
        np.testing.assert_array_equal(callback.images, IMAGES)
    for data, count in ((zoo.images(20), 20), (dataset(zoo.images(20)), 16)):
        kept: Any = ExplanationCallback(data).images
        assert len(kept) == count


def test_a_dataset_that_shuffles_anew_is_warned_of() -> None:
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).shuffle(3)
    with pytest.warns(UserWarning, match="shuffled differently at each reading"):
        ExplanationCallback(dataset.batch(2).prefetch(1))
    steady = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).shuffle(3, seed=1, reshuffle_each_iteration=False)
    ExplanationCallback(steady.batch(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": IMAGES[0, 0]}, "expected images"),
        ({"images": IMAGES[:0]}, "at least one image"),
        ({"images": [IMAGES[0], IMAGES[0, :8]]}, "of one size"),
        ({"images": {"picture": IMAGES[0, 0]}}, "a dict of picture"),
        ({"images": (IMAGES, LABELS[:2])}, "label for each of 3 images, got 2"),
        ({"targets": "true"}, "give labels="),
        ({"targets": "predictd"}, "nearest: predicted"),
        ({"targets": [1, 2]}, "one label for each of 3"),
        ({"targets": -1}, "counted from 0"),
        ({"labels": [0.5, 1, 2]}, "counted from 0"),
        ({"methods": "gradcm"}, "nearest: gradcam"),
        ({"methods": ()}, "at least one method"),
        ({"every": 0}, "every=0"),
        ({"pictures": IMAGES[:1]}, "expected pictures"),
    ],
    ids=str,
)
def test_mistakes_are_told_before_training(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(KerasxaiError, match=message):
        ExplanationCallback(**{"images": IMAGES} | arguments)


def test_pictures_are_stretched_for_the_eye_alone() -> None:
    ramp = np.linspace(0, 1, 64).reshape(1, 8, 8, 1)
    full = pictures_of(np.round(ramp * 255).astype(np.uint8))
    assert full.shape == (1, 8, 8, 3)
    np.testing.assert_array_equal(pictures_of(ramp), full)
    np.testing.assert_array_equal(pictures_of(ramp * 2 - 1), full)
    np.testing.assert_array_equal(pictures_of(ramp * 255), full)
    np.testing.assert_array_equal(pictures_of(np.repeat(ramp, 5, axis=-1)), full)
    dim = (ramp * 100).astype(np.float32)
    np.testing.assert_array_equal(pictures_of(dim)[..., 0], np.rint(dim)[..., 0])
    assert pictures_of(np.zeros((1, 4, 4, 3), np.uint8) + 1).max() == 1
    shown = ExplanationCallback(IMAGES, pictures=lambda images: (images + 1) * 127.5)._drawn.pictures
    np.testing.assert_allclose(shown, (IMAGES + 1) * 127.5, atol=0.51)


def test_without_tensorboard_the_files_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(KerasxaiError, match="TensorBoard: it is not installed"):
        ExplanationCallback(IMAGES, log_dir=tmp_path, tensorboard=True)
    with pytest.warns(MissingTensorBoardWarning) as warned:
        callback = ExplanationCallback(IMAGES, log_dir=tmp_path)
    (told,) = [str(one.message) for one in warned]
    assert "PNG files" in told and str(tmp_path) in told and "pip install 'kerasxai[tensorboard]'" in told
    assert warned[0].filename == __file__ and "\n" not in told
    # Warnings are errors here: neither the training nor a callback that writes nothing for TensorBoard warns.
    fit(compiled(), callback)
    ExplanationCallback(IMAGES, log_dir=tmp_path, tensorboard=False)
    EmbeddingCallback((IMAGES, [0, 0, 1]), neighbors=2)
    assert (tmp_path / "heatmaps" / "gradcam" / "epoch_001.png").exists()
    assert not (tmp_path / "explanations").exists()


def test_class_names_of_another_number_than_the_classes_are_warned_of(tmp_path: Path) -> None:
    callback = ExplanationCallback(IMAGES, log_dir=tmp_path, class_names=["a", "b"], png=False, tensorboard=False)
    with pytest.warns(UserWarning, match=f"expected {zoo.CLASSES} class_names, one for each class .* got 2"):
        fit(compiled(), callback)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("EmbeddingCallback", lambda folder: EmbeddingCallback((IMAGES, [0, 0, 1]), log_dir=folder, neighbors=2)),
        ("AuditCallback", lambda folder: AuditCallback({"image": IMAGES}, log_dir=folder)),
    ],
)
def test_other_callbacks_with_a_folder_warn_without_tensorboard(
    name: str, make: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kerasxai.tools.log_services.has_tensorboard", lambda: False)
    with pytest.warns(MissingTensorBoardWarning, match=name):
        make(tmp_path)


def test_the_true_class_is_below_the_remark_on_an_empty_map() -> None:
    pictures, labels = np.zeros((1, 16, 16, 3), np.uint8), np.array([1])
    maps = Maps(np.zeros((1, 16, 16), np.float32), np.array([0]), np.array([-0.04], np.float32))
    names = [np.array(["a moss", name]) for name in ("amber", "zebra")]
    sheets = [drawing.draw_sheet(Images(pictures, labels, both, ""), maps, "gradcam") for both in names]
    assert not np.array_equal(sheets[0], sheets[1])
