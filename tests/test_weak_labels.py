"""Few labels, wrong labels, and losses that bear them."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import zoo
from hypothesis import given
from hypothesis import strategies as st
from kills import copied
from PIL import Image
from tiny_backbone import tiny_row_of

import kerasxai
from kerasxai.training.config import TrainConfig
from kerasxai.training.labels import corrupt, describe, keep_share, pseudo_labels
from kerasxai.training.losses import LOSSES, keras_loss
from kerasxai.training.plan import plan_of
from kerasxai.training.run_folder import RunFolder
from kerasxai.training.train import train

SIDE = 32


tiny_row = tiny_row_of(SIDE)


LABELS = st.lists(st.integers(0, 4), min_size=5, max_size=60).map(lambda found: np.array(found, np.int64))


@given(LABELS, st.floats(0.01, 1), st.integers(0, 3))
def test_labels_are_kept_as_evenly_as_there_are_images(labels: np.ndarray, fraction: float, seed: int) -> None:
    kept = keep_share(labels, fraction, seed)
    classes = np.unique(labels)
    assert (kept >= 0).sum() == max(len(classes), round(fraction * len(labels)))
    assert (kept[kept >= 0] == labels[kept >= 0]).all()
    np.testing.assert_array_equal(kept, keep_share(labels, fraction, seed))
    counts = {label: (kept == label).sum() for label in classes}
    for label in classes:
        assert counts[label] >= 1
        # A class has fewer than another one only if it has no more images.
        if counts[label] < max(counts.values()) - 1:
            assert counts[label] == (labels == label).sum()


@given(LABELS, st.floats(0, 0.99), st.integers(0, 3))
def test_the_share_that_is_asked_for_is_made_wrong(labels: np.ndarray, share: float, seed: int) -> None:
    labels = np.where(np.arange(len(labels)) % 3 == 0, -1, labels)
    noisy = corrupt(labels, share, 5, seed)
    np.testing.assert_array_equal(noisy == -1, labels == -1)
    assert (noisy != labels).sum() == round(share * (labels >= 0).sum())
    assert noisy.max() < 5
    np.testing.assert_array_equal(noisy, corrupt(labels, share, 5, seed))


def test_noise_is_symmetric_and_hangs_on_the_seed() -> None:
    labels = np.full(30_000, 2)
    noisy = corrupt(labels, 0.5, 4, seed=0)
    np.testing.assert_allclose(np.bincount(noisy) / 30_000, [1 / 6, 1 / 6, 1 / 2, 1 / 6], atol=0.01)
    assert (noisy != corrupt(labels, 0.5, 4, seed=1)).any()
    assert (keep_share(labels, 0.5, seed=0) != keep_share(labels, 0.5, seed=1)).any()


def test_pseudo_labels_are_those_that_the_model_is_sure_of() -> None:
    given_labels = np.array([1, -1, -1, -1])
    said = np.array([[0.95, 0.05], [0.95, 0.05], [0.3, 0.7], [0.1, 0.9]])
    then = pseudo_labels(given_labels, said, 0.9)
    assert then.tolist() == [1, 0, -1, 1]
    counts = describe([1, 0, 1, 0], given_labels, then)
    assert counts == {"images": 4, "labeled": 1, "wrong": 0, "pseudo": 2, "pseudo_right": 1}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright red and dark blue pictures, easy to tell apart: 24 to train, 4 to validate of each."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for split, count in (("train", 24), ("validation", 4)):
        for label, color in (("blue", (20, 30, 90)), ("red", (230, 60, 40))):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                noise = generator.integers(-20, 20, (SIDE, SIDE, 3)) + np.array(color)
                Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(folder / split / label / f"{number}.png")
    return folder


@pytest.fixture
def config(photos: Path) -> TrainConfig:
    return TrainConfig(
        data=str(photos), backbone="Tiny", features=4, image_size=SIDE, head_options={"depth": 1, "width": 8},
        head_epochs=2, epochs=1, batch_size=8, learning_rate=2e-2, label_fraction=0.25, confidence=0.6,
    )  # fmt: skip


def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_training_pairs_take_labels_from_outside(photos: Path) -> None:
    true = kerasxai.data.read_labels(str(photos), "train")
    assert np.bincount(true).tolist() == [24, 24]
    given_labels = np.where(np.arange(48) % 4 == 0, 1 - true, -1)
    plain = kerasxai.data.training_pairs(str(photos), "train", SIDE, None, shuffle=False)
    images = np.stack([image for image, _ in plain.as_numpy_iterator()])
    for shuffle in (False, True):
        pairs = kerasxai.data.training_pairs(str(photos), "train", SIDE, None, shuffle=shuffle, labels=given_labels)
        found = list(pairs.as_numpy_iterator())
        places = [int(np.abs(images - image).sum((1, 2, 3)).argmin()) for image, _ in found]
        assert sorted(places) == list(range(0, 48, 4))
        assert [int(label) for _, label in found] == [int(given_labels[place]) for place in places]
    with pytest.raises(kerasxai.KerasxaiError, match="48 samples"):
        kerasxai.data.training_pairs(str(photos), "train", SIDE, labels=[0, 1])
    with pytest.raises(kerasxai.KerasxaiError, match="every sample"):
        kerasxai.data.training_pairs(str(photos), "train", SIDE, labels=[-1] * 48)


def test_few_labels_then_pseudo_labels_and_a_killed_run_ends_at_the_same_weights(
    config: TrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="kerasxai")
    # Killed in the last phase, between the model and its row: pseudo-labels are not made again.
    with copied(4, tmp_path / "killed", row_is_written=False):
        whole = train(config, tmp_path / "whole", methods=(), verbose=0)
    rows = RunFolder(tmp_path / "whole").rows
    assert [row["phase"] for row in rows] == ["head", "head", "finetune", "pseudo"]
    told = lines(tmp_path / "whole")
    assert [line["given"] for line in told].count("-1") == 36
    counts = json.loads((tmp_path / "whole" / "metrics.json").read_text())["labels"]
    taken = [line for line in told if line["given"] == "-1" and line["pseudo"] != "-1"]
    assert counts["labeled"] == 12
    assert counts["wrong"] == 0
    assert counts["pseudo"] == len(taken) > 0
    assert counts["pseudo_right"] == sum(line["pseudo"] == line["true"] for line in taken)
    assert f"12 of 48 training images have one; {len(taken)} of the others" in caplog.text

    assert len(RunFolder(tmp_path / "killed").rows) == 3
    again = train(config, tmp_path / "killed", methods=(), verbose=0)
    assert len(RunFolder(tmp_path / "killed").rows) == len(rows)
    for one, other in zip(
        kerasxai.models.load(whole).get_weights(), kerasxai.models.load(again).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert lines(tmp_path / "killed") == told


def test_without_a_confident_label_the_last_phase_is_left_out(config: TrainConfig, tmp_path: Path) -> None:
    sure = replace(config, confidence=1.0, head_epochs=1, learning_rate=1e-6, finetune_rate=1e-6)
    train(sure, tmp_path / "run", methods=(), verbose=0)
    assert [row["phase"] for row in RunFolder(tmp_path / "run").rows] == ["head", "finetune"]


# The first one is that of all other tests of training.
@pytest.mark.parametrize("loss", zoo.mostly(list(LOSSES)[1:], LOSSES))
def test_noise_trains_acol_with_each_loss(config: TrainConfig, tmp_path: Path, loss: str) -> None:
    noisy = replace(
        config, label_fraction=1.0, label_noise=0.25, loss=loss, head="acol", head_options={"width": 8}, head_epochs=1,
        epochs=0,
    )  # fmt: skip
    model = kerasxai.models.load(train(noisy, tmp_path / "run", methods=(), verbose=0))
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    told = lines(tmp_path / "run")
    assert sum(line["given"] != line["true"] for line in told) == 12
    assert plan_of(noisy, 32).epochs_of("pseudo") == (1, 1)
    with pytest.raises(kerasxai.KerasxaiError, match=r"label_noise was 0\.25, is 0\.5"):
        train(replace(noisy, label_noise=0.5), tmp_path / "run", verbose=0)


def test_losses_are_those_of_their_papers_on_class_numbers() -> None:
    labels = np.array([0, 2])
    probabilities = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], "float32")
    own = probabilities[[0, 1], labels]
    robust = keras_loss("categorical_generalized_cross_entropy", {"q": 0.7})
    assert float(robust(labels, probabilities)) == pytest.approx(((1 - own**0.7) / 0.7).mean(), rel=1e-5)
    plain = keras_loss("categorical_crossentropy", {})
    assert float(plain(labels, probabilities)) == pytest.approx(-np.log(own).mean(), rel=1e-5)
    soft = keras_loss("categorical_crossentropy", {"label_smoothing": 0.1}, soft_labels=True)
    assert isinstance(soft, keras.losses.CategoricalCrossentropy)
    for name, options, rows, message in [
        ("crossentropy", {}, False, "expected a known loss"),
        ("categorical_generalized_cross_entropy", {"q": 2.0}, False, "cannot make the loss"),
        ("categorical_generalized_cross_entropy", {"p": 0.5}, False, "cannot make the loss"),
        ("categorical_generalized_cross_entropy", {}, True, "mixed labels"),
    ]:
        with pytest.raises(kerasxai.KerasxaiError, match=message):
            keras_loss(name, options, rows)
