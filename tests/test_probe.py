"""The linear probe as the first phase of a training run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from kills import killed
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from squares import write_squares
from tiny_backbone import tiny_row_of

import kerasxai
from kerasxai.models.classification_metrics import TEMPERATURES, BalancedAccuracy, CalibratedLoss
from kerasxai.report.runs import read_reported
from kerasxai.report.sections import training_section
from kerasxai.tools.epoch_names import epoch_names, kept_model
from kerasxai.training import pooled_features as pooled_module
from kerasxai.training.class_balance import balanced_weights, with_weights
from kerasxai.training.config import TrainConfig
from kerasxai.training.head_start import start_head
from kerasxai.training.kept import kept_line
from kerasxai.training.plan import AFTER_EPOCHS, AFTER_PROBE, plan_of
from kerasxai.training.pooled_features import PooledFeatures, pooled_features
from kerasxai.training.probe import fit_probe
from kerasxai.training.run_folder import RunFolder
from kerasxai.training.train import train

SIDE = 32


tiny_row = tiny_row_of(SIDE)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    folder = write_squares(tmp_path_factory.mktemp("squares"), SIDE)
    return TrainConfig(
        data=str(folder), backbone="Tiny", image_size=SIDE, epochs=2, averages=1, finetunings=1, batch_size=8
    )


CHECKPOINTS: dict[str, list[np.ndarray]] = {}
"""Weights of the checkpoints that the run `finished` had at its end, by file."""


@pytest.fixture(scope="module")
def finished(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    finish = RunFolder.finish

    def kept(self: RunFolder) -> None:
        CHECKPOINTS.update(
            {path.name: kerasxai.models.load(path).get_weights() for path in self.checkpoints.glob("*.keras")}
        )
        finish(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "finish", kept)
        return train(config, tmp_path_factory.mktemp("runs") / "gap", methods=(), verbose=0).parent


@pytest.fixture(scope="module")
def features(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> PooledFeatures:
    return features_of_images(config, tmp_path_factory.mktemp("features") / "features.npz")


def backbone() -> keras.Model:
    return kerasxai.models.build_classifier("Tiny", 3, weights=None, input_size=SIDE).get_layer("backbone")


def features_of_images(config: TrainConfig, path: Path) -> PooledFeatures:
    pairs = kerasxai.data.training_pairs(config.data, "train", SIDE, 8, shuffle=False)
    return pooled_features(backbone(), pairs, 21, path, with_covariance=True, progress=False)


def images_of(config: TrainConfig, split: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*kerasxai.data.training_pairs(config.data, split, SIDE, None, shuffle=False), strict=True)
    return np.stack(images), np.array([int(label) for label in labels])


def test_the_head_is_a_logistic_regression_on_pooled_features(config: TrainConfig, finished: Path) -> None:
    rows = RunFolder(finished).rows
    assert [row["phase"] for row in rows] == ["head", "finetune", "finetune", "average"]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    only = train(replace(config, epochs=0, averages=None), finished.parent / "only", methods=(), verbose=0)
    model = kerasxai.models.load(only)
    weights = np.array(model.get_layer("logits").kernel)
    np.testing.assert_allclose(weights.mean(1), 0, atol=1e-6)
    written = json.loads((only.parent / "probe.json").read_text())
    (images, labels), (held_out, truth) = images_of(config, "train"), images_of(config, "validation")
    pooled = keras.Model(model.input, model.get_layer("avg_pool").output)
    x, held = pooled.predict(images, verbose=0), pooled.predict(held_out, verbose=0)
    scale = np.sqrt(x.var(0).mean())
    fitted = LogisticRegression(fit_intercept=False, C=written["C"], max_iter=1000).fit(x / scale, labels)
    np.testing.assert_allclose(model.predict(held_out, verbose=0), fitted.predict_proba(held / scale), atol=1e-2)
    expected = -np.log(model.predict(held_out, verbose=0)[np.arange(21), truth]).mean()
    assert rows[0]["val_loss"] == pytest.approx(expected, rel=1e-4)
    assert written["validation_log_loss"][f"{written['C']:g}"] == min(written["validation_log_loss"].values())
    assert rows[0]["val_loss"] == pytest.approx(min(written["validation_log_loss"].values()), rel=1e-3)


def test_features_are_the_same_after_a_kill(
    config: TrainConfig, features: PooledFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = images_of(config, "train")
    maps = backbone().predict(images, verbose=0)
    np.testing.assert_allclose(features.means, maps.mean((1, 2)), atol=1e-5)
    np.testing.assert_array_equal(features.labels, labels)
    np.testing.assert_allclose(features.covariance, np.cov(maps.reshape(-1, 8).T, bias=True), atol=1e-4)

    path, write = tmp_path / "features.npz", pooled_module._write

    def killed(*arguments: Any) -> None:
        write(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pooled_module, "_SAVE_SECONDS", -1.0)
        patch.setattr(pooled_module, "_write", killed)
        features_of_images(config, path)
    with np.load(path) as part:
        assert part["images"] == 8
    again = features_of_images(config, path)
    for one, other in zip(vars(features).values(), vars(again).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_killed_run_goes_on_to_the_same_weights(config: TrainConfig, finished: Path, tmp_path: Path) -> None:
    """Killed before the row of the probe, after the first epoch of fine-tuning, and before the row of the average."""
    for rows, is_written in ((1, False), (2, True), (4, False)):
        with killed(rows, is_written):
            train(config, tmp_path / "run", methods=(), verbose=0)
    model = train(config, tmp_path / "run", methods=(), verbose=0)
    ours, theirs = (kerasxai.models.load(path).get_weights() for path in (model, finished / "model.keras"))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not (model.parent / "checkpoints").exists()


def test_the_probe_is_kept_if_fine_tuning_is_no_better(
    config: TrainConfig, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="kerasxai"):
        model = train(replace(config, finetune_rate=10.0, patience=1), tmp_path / "run", methods=(), verbose=0)
    assert "than the probe, which is kept" in caplog.text
    assert "21 / 21 images for training and validation\n" in caplog.text
    # Keras prints nothing of these rows.
    assert "epoch 1 is the probe: val_calibrated_loss" in caplog.text and " is the average: " in caplog.text
    metrics = json.loads((model.parent / "metrics.json").read_text())
    assert metrics["kept"] == "probe"
    assert metrics["best"]["val_loss"] == RunFolder(finished).rows[0]["val_loss"]
    assert metrics["plan"]["monitor"] == "val_calibrated_loss"
    only = kerasxai.models.load(finished.parent / "only" / "model.keras").get_weights()
    for one, other in zip(kerasxai.models.load(model).get_weights(), only, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_monitor_chooses_the_best_epoch(tmp_path: Path) -> None:
    rows = [(0, 1.0, 0.5), (1, 2.0, 0.75), (2, 1.5, 0.75), (3, 3.0, 0.25)]
    for monitor, best in (("val_loss", 0), ("val_accuracy", 2), ("val_gt_known_loc", 0)):
        folder = RunFolder(tmp_path, monitor)
        folder.rows = [
            {"phase": "head", "epoch": epoch, "val_loss": loss, "val_accuracy": accuracy}
            for epoch, loss, accuracy in rows
        ]
        assert folder.best_row["epoch"] == best
        assert folder.stale("head", 1)
        assert folder.stale("head", 2) == (best == 0)


def test_a_monitor_without_boxes_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match="data without boxes"):
        train(replace(config, monitor="val_gt_known_loc"), tmp_path / "run", methods=(), verbose=0)
    assert not (tmp_path / "run").exists()


def test_an_average_lies_between_the_models_before_and_after_fine_tuning(finished: Path) -> None:
    assert not (finished / "checkpoints").exists()
    kept = CHECKPOINTS
    assert any((one != other).any() for one, other in zip(kept["start.keras"], kept["end.keras"], strict=True))
    for one, other, average in zip(kept["start.keras"], kept["end.keras"], kept["epoch_0003.keras"], strict=True):
        np.testing.assert_allclose(average, (one + other) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("head", "options"),
    [("gap", {"depth": 2, "width": 9}), ("conv1x1", {}), ("acol", {"width": 8}), ("spg", {"normalize": False})],
)
def test_a_head_starts_with_the_maps_of_the_probe(
    config: TrainConfig, features: PooledFeatures, head: str, options: dict[str, Any]
) -> None:
    model = kerasxai.models.build_classifier("Tiny", 3, head, weights=None, input_size=SIDE, seed=0, **options)
    weights = np.random.default_rng(0).normal(size=(8, 3))
    weights -= weights.mean(1, keepdims=True)
    start_head(model, weights, features)
    images, labels = images_of(config, "validation")
    maps = backbone().predict(images, verbose=0)
    np.testing.assert_allclose(
        model.predict(images, verbose=0), softmax(maps.mean((1, 2)) @ weights, axis=1), atol=2e-3
    )
    if head != "acol":  # Its maps are fused.
        found = kerasxai.Explainer(model, "cam", resize=False)(images, labels).heatmaps
        expected = np.einsum("bhwk,kb->bhw", maps, weights[:, labels])
        # A constant factor and the bias of a class are no difference in a map.
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


def test_training_mode_keeps_the_start(config: TrainConfig, features: PooledFeatures) -> None:
    """Batch statistics of the same images give the same logits as the moving ones."""
    model = kerasxai.models.build_classifier("Tiny", 3, "conv1x1", weights=None, input_size=SIDE, depth=2, width=16)
    start_head(model, np.eye(8)[:, :3] - 1 / 3, features)
    images, _ = images_of(config, "train")
    model.get_layer("backbone").trainable = False
    np.testing.assert_allclose(model(images, training=True), model(images, training=False), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "probe"),
    [
        ({}, True),
        ({"head": "acol"}, True),
        ({"features": 16}, False),
        ({"features": 16, "head_options": {"depth": 0}}, True),
        ({"features": 16, "head": "acol"}, False),
        ({"output_stride": 16}, True),
        ({"weights": "none"}, False),
        ({"head_epochs": 0}, False),
        ({"recipe": "gap"}, True),
        ({"recipe": "has"}, False),
        ({"recipe": "adl"}, False),
        ({"label_fraction": 0.5}, False),
        ({"loss": "categorical_generalized_cross_entropy"}, False),
        ({"head_phase": "epochs"}, False),
    ],
)
def test_where_the_first_phase_is_a_probe(change: dict[str, Any], probe: bool) -> None:
    settings = TrainConfig(data="photos", **change)
    plan = plan_of(settings, 32)
    assert plan.probe == probe
    defaults = AFTER_PROBE if probe else AFTER_EPOCHS
    assert (plan.epochs, plan.label_smoothing, plan.patience) == (
        defaults.epochs,
        defaults.label_smoothing,
        defaults.patience,
    )
    if not probe and settings.head_phase == "auto":
        with pytest.raises(kerasxai.KerasxaiError, match="head_phase must be 'epochs'"):
            plan_of(replace(settings, head_phase="probe"), 32)


def test_the_recommended_early_map_of_a_data_set_keeps_its_epochs() -> None:
    assert not plan_of(TrainConfig(data="shapes"), 8).probe


def test_a_run_of_an_older_version_does_not_continue_with_a_probe(config: TrainConfig, tmp_path: Path) -> None:
    config.write(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    del settings["head_phase"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(kerasxai.KerasxaiError, match="head_phase was 'epochs', is 'auto'"):
        config.check_same(tmp_path)


def test_a_class_without_training_images_gets_a_low_probability() -> None:
    generator = np.random.default_rng(0)
    means = generator.uniform(0, 1, (60, 5)).astype(np.float32)
    labels = np.repeat([0, 2, 3], 20)
    means[np.arange(60), labels] += 2
    pooled = PooledFeatures(means, labels, np.zeros(5), np.zeros((5, 5)))
    probe = fit_probe(pooled, pooled, 4)
    assert softmax(means @ probe.weights, axis=1)[:, 1].max() < 0.1
    assert fit_probe(pooled, pooled, 4).weights.tobytes() == probe.weights.tobytes()


def test_class_weights_make_rare_classes_count(config: TrainConfig, tmp_path: Path) -> None:
    weights = balanced_weights([0, 0, 0, 1, -1], 3)
    np.testing.assert_allclose(weights, [2 / 3, 2, 1])
    images = tf.zeros((2, 1, 1, 3))
    for labels, expected in (([0, 1], [2 / 3, 2]), ([[0.5, 0.5, 0], [0, 0, 1.0]], [4 / 3, 1])):
        pairs = tf.data.Dataset.from_tensors((images, tf.constant(labels)))
        np.testing.assert_allclose(next(iter(with_weights(pairs, weights)))[2], expected, rtol=1e-6)
    balanced = replace(config, class_weights="balanced", epochs=1, averages=None)
    model = train(balanced, tmp_path / "run", methods=(), verbose=0)
    row = RunFolder(model.parent).rows[0]
    probabilities = kerasxai.models.load(model.parent / "model.keras").predict(images_of(config, "train")[0], verbose=0)
    assert probabilities.shape == (21, 3)
    assert {"balanced_accuracy", "val_balanced_accuracy"} <= row.keys()


def test_balanced_accuracy_equals_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    labels, scores = generator.integers(0, 3, 40), generator.uniform(size=(40, 4))
    scores[:, 3] = 0
    expected = balanced_accuracy_score(labels, scores.argmax(1))
    for given in (labels, labels[:, None], np.eye(4)[labels]):
        metric = BalancedAccuracy(4)
        for part in (slice(0, 15), slice(15, 40)):
            metric.update_state(given[part], scores[part])
        assert float(metric.result()) == pytest.approx(expected)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.num_classes == 4


def test_the_calibrated_loss_is_that_of_the_best_temperature() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 40)
    logits = 3 * generator.normal(size=(40, 3)) + 4 * np.eye(3)[labels]
    found = {}
    for sharpness in (1.0, 2.0**0.5):
        metric = CalibratedLoss(3)
        for part in (slice(0, 15), slice(15, 40)):
            metric.update_state(labels[part], softmax(sharpness * logits[part], axis=1))
        found[sharpness] = float(metric.result())
    expected = [-np.log(softmax(logits / one, axis=1)[np.arange(40), labels]).mean() for one in TEMPERATURES]
    assert found[1.0] == pytest.approx(min(expected), rel=1e-4)
    assert 0 < np.argmin(expected) < len(expected) - 1
    assert found[2.0**0.5] == pytest.approx(found[1.0], rel=1e-4)


def test_the_end_names_what_is_kept_as_keras_numbers_it(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    rows = RunFolder(finished).rows
    names = epoch_names(rows, metrics["plan"]["probe"])
    # Keras prints "Epoch 2/N" first, where a probe was the first.
    assert names == ["probe", *(str(row["epoch"] + 1) for row in rows if row["phase"] == "finetune"), "average"]
    best, monitor = metrics["best"], metrics["plan"]["monitor"]
    line = kept_line(finished)
    assert line.startswith(f"kept: {kept_model(best, rows, True)} (lowest {monitor}, {best[monitor]:.4g})")
    assert line.endswith(f"validation accuracy {best['val_accuracy']:.3f}")


def test_kept_models_are_numbered_from_1() -> None:
    phases = ["head", "finetune", "finetune", "average"]
    rows: list[dict[str, Any]] = [{"phase": phase, "epoch": str(number)} for number, phase in enumerate(phases)]
    kept = [kept_model(row, rows, True) for row in rows]
    assert kept[:3] == ["the probe", "epoch 2 of 3", "epoch 3 of 3"] and kept[3].startswith("the average of")
    assert kept_model(rows[0], rows, False) == "epoch 1 of 3"
    more = [*rows, {"phase": "average", "epoch": 4}]
    assert kept_model(more[4], more, True).endswith("(2 of 2)")


def test_the_report_names_the_probe_and_the_average(finished: Path) -> None:
    (run,) = read_reported([str(finished)])
    section = training_section(run)
    assert run.training is not None
    assert kept_model(run.training.metrics["best"], run.training.history, True) in section.notes[0]
    (table,) = [table for table in section.details if table.caption == "All epochs"]
    column = table.header.index("epoch")
    assert [row[column] for row in table.rows] == epoch_names(run.training.history, True)
    ticks = [tick.text for tick in section.lines[0].x_ticks]
    assert ticks[0] == "probe" and ticks[-1] == "average"
