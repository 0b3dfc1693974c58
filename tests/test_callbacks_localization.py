"""Measuring localization while training: the figures, their way into `logs`, and strategies with replicas."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from kerasxai.callbacks import LocalizationCallback
from kerasxai.data.samples import batches, class_indices
from kerasxai.explainer import Explainer
from kerasxai.metrics import LocalizationReport
from kerasxai.tools.errors import KerasxaiError

ROOT = Path(__file__).parent.parent
COUNT = 10
LABELS = np.arange(COUNT) % zoo.CLASSES
TRAINING = zoo.images(16, seed=8), np.arange(16) % zoo.CLASSES
FIGURES = ("gt_known_loc", "best_gt_known_loc", "top1_loc", "mean_iou", "pointing_game")


def some_boxes() -> list[np.ndarray]:
    """Boxes of whole pixels, none to two an image."""
    generator = np.random.default_rng(3)
    first = generator.integers(0, 9, (COUNT, 2, 2))
    boxes = np.concatenate([first, first + generator.integers(3, 8, (COUNT, 2, 2))], -1) / 16
    return [boxes[i, : (i + 1) % 3].astype("float32") for i in range(COUNT)]


def drawn(boxes: list[np.ndarray]) -> np.ndarray:
    """Images of faint noise with something bright in each box, so that heatmaps have something to find."""
    images = 0.2 * zoo.images(COUNT, seed=7)
    for image, found in zip(images, boxes, strict=True):
        for x0, y0, x1, y1 in (found * 16).astype(int):
            image[y0:y1, x0:x1] += 1.0
    return images


BOXES = some_boxes()
IMAGES = drawn(BOXES)
PADDED = np.stack([np.concatenate([b, np.full((2 - len(b), 4), -1, "float32")]) for b in BOXES])
MASKS = (np.random.default_rng(5).uniform(size=(COUNT, 16, 16)) < 0.3).astype("uint8")


@pytest.fixture
def model() -> Any:
    # Compiled in a third of the time of Adam.
    return compiled("functional", optimizer=keras.optimizers.SGD)


def compiled(kind: str, seed: int = 1, optimizer: type = keras.optimizers.Adam) -> Any:
    keras.utils.set_random_seed(seed)
    model = zoo.KINDS[kind]()
    loss = "binary_crossentropy" if kind == "single_sigmoid" else "sparse_categorical_crossentropy"
    model.compile(optimizer(3e-2), loss)
    return model


def fit(model: Any, *callbacks: Any, epochs: int = 1, **options: Any) -> Any:
    return model.fit(*TRAINING, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks), **options).history


def reported(model: Any, method: str, **options: Any) -> dict[str, Any]:
    """The figures by the way of `kerasxai evaluate`."""
    report = LocalizationReport(**options)
    scores = model(IMAGES, training=False).numpy()
    if scores.shape[1] == 1:
        scores = np.concatenate([1 - scores, scores], axis=1)
    labels = LABELS % scores.shape[1]
    report.update(Explainer(model, method)(IMAGES, labels).heatmaps, scores, labels, BOXES, masks=MASKS)
    return report.result()


@pytest.mark.parametrize(
    ("kind", "method"), [("functional", "cam"), ("subclassed", "gradcam"), ("mixed_bfloat16", "gradcam")]
)
def test_figures_are_those_of_the_report(kind: str, method: str) -> None:
    figures = (*FIGURES, "top5_loc", "best_threshold", "pxap")
    callback = LocalizationCallback(
        (IMAGES, LABELS, PADDED, MASKS), method, threshold=0.35, iou_threshold=0.2, figures=figures, batch_size=4
    )
    model = compiled(kind)
    history = fit(model, callback, epochs=2)
    expected = reported(model, method, threshold=0.35, iou_threshold=0.2)
    expected["pxap"] = expected["masks"]["pxap"]
    for figure in figures:
        assert len(history[f"val_{figure}"]) == 2
        assert history[f"val_{figure}"][1] == pytest.approx(expected[figure], abs=1e-6), figure
    assert callback.results[2] == {figure: history[f"val_{figure}"][1] for figure in figures}
    assert 0 < expected["gt_known_loc"] < 1


def test_a_single_unit_means_two_classes() -> None:
    model = compiled("single_sigmoid", seed=3)
    callback = LocalizationCallback((IMAGES, LABELS % 2, PADDED), "gradcam", iou_threshold=0.2)
    history = model.fit(TRAINING[0], TRAINING[1] % 2, verbose=0, callbacks=[callback]).history
    expected = reported(model, "gradcam", iou_threshold=0.2)
    assert {f: history[f"val_{f}"][0] for f in FIGURES} == pytest.approx({f: expected[f] for f in FIGURES})
    assert expected["top1_loc"] != expected["gt_known_loc"]


def test_data_come_in_any_form() -> None:
    samples = [{"image": i, "label": y, "boxes": b} for i, y, b in zip(IMAGES, LABELS, BOXES, strict=True)]
    dataset = tf.data.Dataset.from_tensor_slices
    ragged = tf.ragged.constant([b.tolist() for b in BOXES], ragged_rank=1, inner_shape=(4,))
    forms: list[Any] = [
        (IMAGES, LABELS, BOXES),
        {"image": IMAGES, "label": np.eye(4)[LABELS], "boxes": PADDED},
        samples,
        dataset((IMAGES, LABELS, PADDED)).batch(3),
        dataset({"image": IMAGES, "label": LABELS, "boxes": PADDED, "name": LABELS}),
        dataset({"image": IMAGES, "label": LABELS, "boxes": ragged}).batch(3),
        dataset({"image": IMAGES, "label": LABELS, "boxes": ragged}),
    ]
    whole = next(batches((IMAGES, LABELS, BOXES), COUNT))
    for form in forms:
        LocalizationCallback(form)
        parts = list(batches(form, 4))
        assert [len(part["image"]) for part in parts] == [4, 4, 2]
        joined = {name: [row for part in parts for row in part[name]] for name in ("image", "label", "boxes")}
        np.testing.assert_array_equal(joined["image"], IMAGES)
        np.testing.assert_array_equal(class_indices(np.stack(joined["label"])), LABELS)
        for one, other in zip(joined["boxes"], whole["boxes"], strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(KerasxaiError, match="boxes for each of 10"):
        list(batches((IMAGES, LABELS, BOXES[1:]), 4))


def test_data_are_read_batch_by_batch(model: Any) -> None:
    read: list[int] = []

    def generate() -> Any:
        for i in range(COUNT):
            read.append(i)
            yield {"image": IMAGES[i], "label": LABELS[i], "boxes": PADDED[i]}

    shapes = {"image": (16, 16, 3), "label": (), "boxes": (2, 4)}
    signature = {name: tf.TensorSpec(shape, tf.float32) for name, shape in shapes.items()}
    callback = LocalizationCallback(
        tf.data.Dataset.from_generator(generate, output_signature=signature), batch_size=3, method="gradcam"
    )
    assert not read
    ahead: list[int] = []
    explained: list[int] = []
    callback.set_model(model)
    callback.on_train_begin()
    assert callback._explainer is not None
    measured: Explainer = callback._explainer

    class Counting:
        predict = measured.predict

        def __call__(self, images: np.ndarray, labels: np.ndarray) -> Any:
            explained.append(len(images))
            ahead.append(len(read) - sum(explained))
            return measured(images, labels)

    explainer: Any = Counting()
    callback._explainer = explainer
    callback.on_epoch_end(0, {})
    assert explained == [3, 3, 3, 1]
    assert max(ahead) <= 5  # A batch, and the two images that tf.data itself reads ahead; all at once would be 7.


def test_checkpoints_and_early_stopping_use_the_figures(model: Any, tmp_path: Path) -> None:
    logged: dict[str, Any] = {"monitor": "val_mean_iou", "mode": "max"}
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True, **logged)
    stop = keras.callbacks.EarlyStopping(patience=2, **logged)
    history = fit(model, LocalizationCallback((IMAGES, LABELS, PADDED)), best, stop, epochs=12)["val_mean_iou"]
    place = int(np.argmax(history))
    assert len(history) == min(place + 3, 12)
    assert len(set(history)) > 1
    kept = keras.models.load_model(tmp_path / "best.keras")
    assert reported(kept, "cam")["mean_iou"] == pytest.approx(max(history))


def test_a_callback_that_comes_too_early_is_named(model: Any, tmp_path: Path) -> None:
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_gt_known_loc", mode="max")
    localization = LocalizationCallback((IMAGES, LABELS, PADDED))
    with pytest.raises(KerasxaiError, match=r"before ModelCheckpoint, which monitors 'val_gt_known_loc'"):
        fit(model, best, localization)
    with pytest.raises(KerasxaiError, match="put LocalizationCallback first"):
        fit(model, [best], [localization])
    fit(model, keras.callbacks.EarlyStopping("loss"), localization, best)


def test_epochs_between_repeat_the_last_figures(model: Any) -> None:
    data = (IMAGES, LABELS, PADDED)
    callback = LocalizationCallback(data, every=3)
    each = LocalizationCallback(data, prefix="each_")
    history = fit(model, callback, each, epochs=8)
    assert list(callback.results) == [1, 3, 6, 8]
    for figure in FIGURES:
        measured = history[f"each_{figure}"]
        assert history[f"val_{figure}"] == [measured[i] for i in (0, 0, 2, 2, 2, 5, 5, 7)]
    assert len({tuple(result.values()) for result in callback.results.values()}) > 1
    stop = keras.callbacks.EarlyStopping("val_gt_known_loc", mode="max", patience=2)
    with pytest.raises(KerasxaiError, match="patience of EarlyStopping must be 3 or more"):
        fit(model, callback, stop)
    # A second training, which goes on counting, measures its own first epoch.
    history = fit(model, callback, initial_epoch=9, epochs=11)
    assert list(callback.results) == [1, 3, 6, 8, 10, 11]
    assert len(history["val_mean_iou"]) == 2


def test_a_failure_warns_once_and_leaves_the_figures_out(model: Any) -> None:
    in_pixels = {"image": IMAGES, "label": LABELS, "boxes": PADDED * 16}
    with pytest.warns(UserWarning, match="LocalizationCallback") as about_pixels:
        fit(model, LocalizationCallback(in_pixels), epochs=1)
    told = str(about_pixels[0].message)
    assert "from 0 to 1, got [[" in told and "if these are pixels, divide x by the width" in told
    assert "relative=False" not in told, "the callback has no such argument"
    broken = {"image": IMAGES, "label": LABELS + 3, "boxes": PADDED}
    with pytest.warns(UserWarning) as caught:
        history = fit(model, LocalizationCallback(broken), epochs=3)
    (warning,) = caught
    assert "could not measure the localization of cam: KerasxaiError" in str(warning.message)
    assert "target must be from 0 to 3, got 6" in str(warning.message)
    assert list(history) == ["loss"]
    with pytest.warns(UserWarning, match="one image with a box, got none"):
        fit(model, LocalizationCallback((IMAGES, LABELS, np.full_like(PADDED, -1))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "cm"}, "expected a known method, got 'cm'; nearest: cam"),
        ({"every": 0}, "every=0"),
        ({"threshold": 1.5}, "threshold"),
        ({"figures": "gt_known"}, "nearest: gt_known_loc"),
        ({"figures": ()}, "at least one figure"),
        ({"figures": "pxap"}, "the data have no mask"),
        ({"data": (IMAGES, LABELS)}, r"got image, label; the data have no boxes"),
        ({"data": tf.data.Dataset.from_tensor_slices({"image": IMAGES})}, "no label and no boxes"),
        ({"data": (IMAGES, LABELS, np.ones(COUNT))}, "expected boxes of x0, y0, x1, y1"),
        ({"data": []}, "got nothing; the data have no image"),
    ],
    ids=str,
)
def test_mistakes_are_told_before_training(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(KerasxaiError, match=message):
        LocalizationCallback(**{"data": (IMAGES, LABELS, PADDED)} | arguments)


def test_an_option_that_does_not_exist_stops_training_at_once(model: Any) -> None:
    with pytest.raises(KerasxaiError, match="expected a known option of gradcam, got 'nonsense'"):
        fit(model, LocalizationCallback((IMAGES, LABELS, PADDED), "gradcam", nonsense=1))


_REPLICAS = """
    import sys, warnings
    sys.path.insert(0, "tests")
    import keras, numpy as np, tensorflow as tf, zoo
    from kerasxai.callbacks import ExplanationCallback, LocalizationCallback
    from kerasxai.callbacks.map_files import MapFiles
    from kerasxai.explainer import Explainer
    cpu, = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        model = zoo.build("functional")
        model.compile("sgd", "sparse_categorical_crossentropy")
    images, labels = zoo.images(8), np.arange(8) % 4
    boxes = np.tile(np.array([[0.2, 0.2, 0.7, 0.7]], "float32"), (8, 1, 1))
    warnings.filterwarnings("error", message=".*could not.*")
    history = model.fit(images, labels, batch_size=4, epochs=2, verbose=0, callbacks=[
        LocalizationCallback((images, labels, boxes)), ExplanationCallback(images[:2], log_dir=sys.argv[1]),
    ]).history
    assert len(history["val_gt_known_loc"]) == 2
    expected = Explainer(model, "gradcam")(images[:2]).heatmaps
    found = MapFiles(sys.argv[1]).load("gradcam", 2).heatmaps
    np.testing.assert_allclose(found, expected, atol=2e-3 * expected.max())
    print("replicas agree")
"""


def test_training_on_several_replicas(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_REPLICAS), tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "replicas agree" in run.stdout, run.stderr[-3000:]
    assert (tmp_path / "heatmaps" / "gradcam" / "timeline.png").exists()
