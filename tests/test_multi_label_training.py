"""Training with several labels an image: the plan, the probe, losses, recipes, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from tiny_backbone import tiny_row_of

import kerasxai
from kerasxai.data import cutmix
from kerasxai.tools.errors import KerasxaiError
from kerasxai.training.binary_probe import binary_loss, fit_binary_probe, mean_average_precision
from kerasxai.training.config import TrainConfig
from kerasxai.training.multi_label import check_labels, drawn_samples, multi_label_loss, smoothed_labels
from kerasxai.training.plan import AFTER_EPOCHS, AFTER_PROBE, plan_of
from kerasxai.training.pooled_features import PooledFeatures
from kerasxai.training.probe_phase import spread_labels
from kerasxai.training.run_folder import RunFolder
from kerasxai.training.train import train

SIDE = 32
CLASSES = ("blue", "green", "red")


tiny_row = tiny_row_of(SIDE)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Noise with squares of up to three colors, and some labels that are unknown."""
    folder = tmp_path_factory.mktemp("colors")
    random = np.random.default_rng(0)
    lines, boxes = [f"file,split,{','.join(CLASSES)}"], ["image,x0,y0,x1,y1,name"]
    for split, count in (("train", 24), ("validation", 8)):
        for number in range(count):
            image = random.integers(0, 100, (SIDE, SIDE, 3), dtype=np.uint8)
            present = random.random(3) < 0.5
            name = f"{split}{number}.png"
            for channel in np.flatnonzero(present):
                x, y = random.integers(0, SIDE - 12, 2)
                image[y : y + 12, x : x + 12, 2 - channel] = 250
                boxes.append(f"{name},{x},{y},{x + 12},{y + 12},{CLASSES[channel]}")
            Image.fromarray(image).save(folder / name)
            known = ["-1" if random.random() < 0.1 else str(int(one)) for one in present]
            lines.append(f"{name},{split},{','.join(known)}")
    (folder / "labels.csv").write_text("\n".join(lines))
    (folder / "boxes.csv").write_text("\n".join(boxes))
    return TrainConfig(data=str(folder), backbone="Tiny", image_size=SIDE, epochs=2, averages=1, batch_size=8)


@pytest.fixture(scope="module")
def finished(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "gap"
    train(config, out, methods=("cam",), explain_images=2, verbose=0)
    return out


def images_of(config: TrainConfig, split: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*kerasxai.data.training_pairs(config.data, split, SIDE, None, shuffle=False), strict=True)
    return np.stack(images), np.stack(labels)


def test_a_run_has_the_figures_of_several_labels(config: TrainConfig, finished: Path) -> None:
    rows = RunFolder(finished).rows
    assert [row["phase"] for row in rows] == ["head", "finetune", "finetune", "average"]
    assert {"loss", "mean_average_precision", "val_loss", "val_mean_average_precision"} < set(rows[0])
    assert not any("accuracy" in name for row in rows for name in row)
    assert json.loads((finished / "choices.json").read_text())["labels"] == "multi"
    assert list(finished.glob("heatmaps/cam/*.png"))
    model = kerasxai.models.load(finished / "model.keras")
    assert kerasxai.models.is_multi_label(model) and kerasxai.models.class_names(model) == list(CLASSES)
    images, labels = images_of(config, "validation")
    scores = model.predict(images, verbose=0)
    best = json.loads((finished / "metrics.json").read_text())["best"]
    assert best["val_loss"] == min(row["val_loss"] for row in rows)
    np.testing.assert_allclose(best["val_mean_average_precision"], mean_average_precision(labels, scores), atol=0.02)
    np.testing.assert_allclose(best["val_loss"], binary_loss(labels, scores), rtol=1e-4)


def test_the_head_after_the_probe_is_logistic_regressions(config: TrainConfig, tmp_path: Path) -> None:
    out = train(replace(config, epochs=0), tmp_path / "run", methods=(), verbose=0)
    model = kerasxai.models.load(out)
    maps = keras.Model(model.inputs, model.get_layer("avg_pool").output)
    images, labels = images_of(config, "train")
    means = np.asarray(maps.predict(images, verbose=0), np.float64)
    scale = np.sqrt(means.var(0).mean())
    strength = json.loads((tmp_path / "run" / "probe.json").read_text())["C"]
    shown = model.predict(images, verbose=0)
    for c in range(len(CLASSES)):
        known = labels[:, c] >= 0
        oracle = LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(means[known] / scale, labels[known, c])
        np.testing.assert_allclose(shown[:, c], oracle.predict_proba(means / scale)[:, 1], atol=5e-3)


def test_a_killed_run_with_boxes_continues_to_the_same_weights(
    config: TrainConfig, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes, which the other run has not, are measured and change nothing."""
    config = replace(config, boxes_csv=str(Path(config.data) / "boxes.csv"))
    write = RunFolder._write_rows

    def killed(folder: RunFolder) -> None:
        write(folder)
        if len(folder.rows) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "_write_rows", killed)
        train(config, tmp_path / "run", methods=(), verbose=0)
    train(config, tmp_path / "run", methods=(), verbose=0)
    assert all(0 <= row["val_gt_known_loc"] <= 1 for row in RunFolder(tmp_path / "run").rows)
    one, other = (kerasxai.models.load(run / "model.keras").get_weights() for run in (tmp_path / "run", finished))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)


# One of them in two phases; what the phases do does not depend on the head.
@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "cutmix", "loss": "asymmetric", "label_smoothing": 0.1, "head_epochs": 1},
        {"recipe": "acol", "recipe_options": {"width": 8}, "positive_weights": "balanced", "head_epochs": 0},
        {"recipe": "spg", "recipe_options": {"width": 8}, "loss": "binary_focal_crossentropy", "head_epochs": 0},
    ],
    ids=["cutmix", "acol", "spg"],
)
def test_recipes_and_losses_train(change: dict[str, Any], config: TrainConfig, tmp_path: Path) -> None:
    chosen = replace(config, head="", epochs=1, averages=None, features=4, **change)
    out = train(chosen, tmp_path / "run", methods=(), verbose=0)
    rows = RunFolder(tmp_path / "run").rows
    assert [row["phase"] for row in rows] == ["head", "finetune"][1 - change["head_epochs"] :]
    assert all(np.isfinite(row["val_loss"]) for row in rows)
    model = kerasxai.models.load(out, compile=True)
    assert kerasxai.models.is_multi_label(model)
    if "positive_weights" in change:
        labels = images_of(config, "train")[1]
        weights = (labels == 0).sum(0) / (labels == 1).sum(0)
        np.testing.assert_allclose(kerasxai.models.load(out, compile=True).loss.positive_weights, weights, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_fraction": 0.5}, "label_fraction must be 1 with several labels"),
        ({"label_noise": 0.5}, "label_noise must be 0 with several labels"),
        ({"class_weights": "balanced"}, "class_weights must be 'none' with several labels.*; use positive_weights"),
        ({"monitor": "val_accuracy"}, "monitor must be val_loss or val_mean_average_precision"),
        ({"loss": "categorical_generalized_cross_entropy"}, "expected a known loss for several labels an image"),
        ({"labels": "single", "loss": "asymmetric"}, "expected a loss for one label an image, got 'asymmetric'"),
        ({"labels": "single", "positive_weights": "balanced"}, "positive_weights must be 'none' with one label"),
        ({"labels": "single", "monitor": "val_mean_average_precision"}, "monitor must be another one with one label"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], message: str, config: TrainConfig) -> None:
    chosen = replace(config, **{"labels": "multi", **change})
    with pytest.raises(KerasxaiError, match=message):
        check_labels(chosen)


def test_a_mistake_leaves_no_folder(config: TrainConfig, tmp_path: Path) -> None:
    for change, message in (
        ({"loss": "asymmetric", "loss_options": {"shift": 2}}, "shift must be"),
        ({"loss": "asymmetric", "loss_options": {"gamma": 2}}, "cannot make the loss asymmetric"),
        ({"head_options": {"labels": "single"}}, "expected a known option of head 'gap', got 'labels'"),
        ({"monitor": "val_gt_known_loc"}, "validation images with boxes for the monitor val_gt_known_loc"),
    ):
        with pytest.raises(KerasxaiError, match=message):
            train(replace(config, **change), tmp_path / "run", methods=(), verbose=0)
        assert not (tmp_path / "run").exists() or not any((tmp_path / "run").glob("*.json"))


def test_the_plan_monitors_the_loss(config: TrainConfig) -> None:
    multi = plan_of(replace(config, labels="multi"), 32)
    assert multi.probe and multi.monitor == "val_loss" and multi.label_smoothing == 0
    assert plan_of(config, 32).monitor == "val_calibrated_loss"


class TestProbe:
    random = np.random.default_rng(1)

    def features(self, count: int) -> PooledFeatures:
        means = self.random.normal(size=(count, 6)).astype("float32")
        labels = (means[:, :4] + 0.5 * self.random.normal(size=(count, 4)) > [0, 1, 9, 0]).astype("float32")
        labels[self.random.random(labels.shape) < 0.2] = -1
        return PooledFeatures(means, labels, np.zeros(6), np.zeros((6, 6)))

    def test_unknown_labels_and_classes_without_images_do_not_count(self) -> None:
        training, validation = self.features(300), self.features(200)
        probe = fit_binary_probe(training, validation)
        assert probe.biases is not None
        scores = expit(validation.means @ probe.weights + probe.biases)
        assert mean_average_precision(validation.labels, scores) > 0.9
        assert probe.validation_losses[probe.strength] == min(probe.validation_losses.values())
        np.testing.assert_allclose(binary_loss(validation.labels, scores), probe.validation_losses[probe.strength])
        assert not probe.weights[:, 2].any() and scores[:, 2].max() < 0.01
        changed = replace(training, means=np.where(training.labels[:, :1] < 0, 100, training.means).astype("float32"))
        other = fit_binary_probe(changed, validation)
        assert other.strength and np.isfinite(other.weights).all()

    def test_positive_weights_move_the_bias(self) -> None:
        training, validation = self.features(300), self.features(200)
        plain, weighted = (fit_binary_probe(training, validation, w) for w in (None, np.full(4, 20, "float32")))
        assert plain.biases is not None and weighted.biases is not None
        assert (weighted.biases[[0, 1, 3]] > plain.biases[[0, 1, 3]]).all()

    def test_average_precision_is_that_of_scikit_learn(self) -> None:
        labels = np.array([[1, 0], [0, 0], [-1, 0], [1, 0]])
        scores = np.array([[0.9, 1], [0.5, 1], [1.0, 1], [0.4, 1]])
        assert mean_average_precision(labels, scores) == average_precision_score([1, 0, 1], [0.9, 0.5, 0.4])


def test_labels_are_smoothed_but_unknown_ones_are_not() -> None:
    _, labels = smoothed_labels(tf.zeros((1,)), tf.constant([[1.0, 0.0, -1.0]]), 0.1)
    np.testing.assert_allclose(labels, [[0.95, 0.05, -1]])


def test_cutmix_mixes_known_labels() -> None:
    images = tf.random.stateless_uniform((2, 16, 16, 3), (1, 2))
    labels = tf.constant([[1.0, 0.0, -1.0], [1.0, 1.0, 0.0]])
    for seed in range(20):
        mixed, found = cutmix(images, labels, tf.constant([seed, 1]), num_classes=3)
        share = 1 - np.abs(np.asarray(mixed - images)).max(-1).astype(bool).mean((1, 2))
        if share.min() < 1:
            np.testing.assert_allclose(found[:, 0], 1, atol=1e-6)
            np.testing.assert_allclose(found[:, 1], [1 - share[0], share[1]], atol=1e-6)
            assert np.asarray(found)[:, 2].tolist() == [-1, -1]
            return
    pytest.fail("no batch was mixed")


def test_chosen_images_keep_their_rows() -> None:
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32)
    kept = spread_labels(labels, 2, 0)
    assert (kept == -1).all(1).sum() == 2
    np.testing.assert_array_equal(kept[(kept >= 0).all(1)], labels[(kept >= 0).all(1)])


def test_each_present_class_is_drawn() -> None:
    image = np.zeros((4, 4, 3))
    samples = [{"image": image, "labels": np.array(row)} for row in ([1, 0, 1], [0, -1, 0], [0, 1, 0])]
    assert [int(sample["label"]) for sample in drawn_samples(samples, 8)] == [0, 2, 0, 1]
    assert len(drawn_samples(samples, 2)) == 2


def test_the_default_loss_is_binary() -> None:
    loss = multi_label_loss("categorical_crossentropy", {}, np.array([1, 2], "float32"))
    assert isinstance(loss, kerasxai.models.MaskedBinaryCrossentropy) and loss.positive_weights == [1, 2]


def test_early_maps_of_several_labels_are_fine_tuned_at_a_higher_rate(config: TrainConfig) -> None:
    early = plan_of(TrainConfig("x", labels="multi", head="gap"), feature_stride=8)
    assert not early.probe and (early.finetune_rate, early.batch_size) == (3e-3, 16)
    late = plan_of(TrainConfig("x", labels="multi", head="gap"), feature_stride=32)
    assert late.probe and late.finetune_rate == AFTER_PROBE.finetune_rate
    single = plan_of(TrainConfig("x", labels="single", head="gap"), feature_stride=8)
    assert (single.finetune_rate, single.batch_size) == (AFTER_EPOCHS.finetune_rate, AFTER_EPOCHS.batch_size)
    assert plan_of(TrainConfig("x", labels="multi", head="gap", finetune_rate=1e-4), 8).finetune_rate == 1e-4
