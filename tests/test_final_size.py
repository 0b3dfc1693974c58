"""The finished model on larger images than those of training, and the number of fine-tunings that is chosen."""

import contextlib
import itertools
import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from kills import copied, killed
from squares import write_squares
from tiny_backbone import tiny_backbone, tiny_row_of

import kerasxai
from kerasxai import KerasxaiError
from kerasxai.callbacks import LocalizationCallback
from kerasxai.cli import main
from kerasxai.data import PairSettings
from kerasxai.engine.samples import Samples
from kerasxai.engine.traced_model import TracedModel
from kerasxai.models.tables import BACKBONES, Backbone
from kerasxai.refinements import automatic
from kerasxai.report.runs import read_reported
from kerasxai.report.sections import training_section
from kerasxai.tools.epoch_names import FINAL_SIZE
from kerasxai.training import final_size
from kerasxai.training.config import TrainConfig
from kerasxai.training.head_start import scale_classes
from kerasxai.training.kept import kept_line
from kerasxai.training.run_folder import RunFolder
from kerasxai.training.train import train

SIDE, CHOSEN, LARGER = 64, 96, 128
"""The backbone's size, the one that is chosen for training, and the one of the finished model."""

tiny_row = tiny_row_of(SIDE)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    folder = write_squares(tmp_path_factory.mktemp("squares"), 100)
    return TrainConfig(data=str(folder), backbone="Tiny", epochs=1, batch_size=8)


@pytest.fixture(scope="module")
def tuned(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in which the average is better than the probe, and has the final size.

    Next to it are the folders of a kill before the last phase, and before and after the row of it.
    """
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as kills:
        patch.setattr(final_size, "standard_error", lambda *_: 10.0)
        for name, rows, is_written in (("before", 5, True), ("within", 6, False), ("after", 6, True)):
            kills.enter_context(copied(rows, folder.parent / name, is_written))
        train(replace(config, monitor="val_loss"), folder, methods=("cam",), explain_images=2, verbose=0)
    return folder


def choices(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "choices.json").read_text())


def size_of(folder: Path) -> tuple[int, ...]:
    return kerasxai.models.load(folder / "model.keras").input_shape[1:3]


def test_few_images_are_tuned_three_times_and_the_model_takes_larger_ones(tuned: Path) -> None:
    chosen = choices(tuned)
    assert (chosen["image_size"], chosen["final_image_size"], chosen["finetunings"]) == (CHOSEN, LARGER, 3)
    assert "validation" in chosen["reasons"]["final_image_size"] and chosen["reasons"]["finetunings"]
    rows = RunFolder(tuned, "val_loss").rows
    assert [row["phase"] for row in rows] == ["head", *["finetune"] * 3, "average", FINAL_SIZE]
    assert rows[-1]["allowance"] == 10.0 and size_of(tuned) == (LARGER, LARGER)
    assert "with images of the final size (val_loss" in kept_line(tuned)
    metrics = json.loads((tuned / "metrics.json").read_text())
    assert metrics["kept"] in ("finetune", "average") and metrics["image_size"] == LARGER


def test_the_model_can_be_trained_on(config: TrainConfig, tuned: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Skipping variable loading")
        model = kerasxai.models.load(tuned / "model.keras", compile=True)
    pairs = kerasxai.data.training_pairs(config.data, "train", LARGER, 8)
    before = [np.array(weight) for weight in model.trainable_variables]
    model.fit(pairs.map(lambda image, label: (image, tf.one_hot(label, 3))), shuffle=False, verbose=0)
    assert all((one != np.array(after)).any() for one, after in zip(before, model.trainable_variables, strict=True))


def test_the_report_numbers_the_epoch_of_the_final_size_as_all_others(tuned: Path) -> None:
    (run,) = read_reported([str(tuned)])
    section = training_section(run)
    assert " with images of the final size is kept (val_loss " in section.notes[0]
    (table,) = [table for table in section.details if table.caption == "All epochs"]
    columns = [[row[table.header.index(name)] for row in table.rows] for name in ("epoch", "source")]
    assert columns[0] == ["probe", "2", "3", "4", "average", FINAL_SIZE]
    kept = json.loads((tuned / "metrics.json").read_text())["best"]["source"]
    assert columns[1] == [""] * 5 + [columns[0][kept]]


def test_the_weights_are_those_of_the_kept_epoch(
    config: TrainConfig, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, monitor="val_loss")
    monkeypatch.setattr(final_size, "standard_error", lambda *_: -10.0)
    other = train(config, tuned.parent / "before", methods=(), verbose=0).parent
    assert size_of(other) == (CHOSEN, CHOSEN), "a worse figure than the allowance permits"
    assert "final size" not in kept_line(other)
    larger, smaller = (kerasxai.models.load(folder / "model.keras") for folder in (tuned, other))
    temperature = RunFolder(tuned, "val_loss").rows[-1]["temperature"]
    for one, another in zip(larger.layers, smaller.layers, strict=True):
        divided = temperature if isinstance(one, keras.layers.Dense) else 1
        for value, before in zip(one.get_weights(), another.get_weights(), strict=True):
            np.testing.assert_allclose(value, before / divided, rtol=1e-5 if divided != 1 else 0)


def test_larger_images_are_predicted_as_surely(config: TrainConfig, tuned: Path) -> None:
    dataset = kerasxai.data.open(config.data)
    sure = []
    for file, size in ((tuned / "model.keras", LARGER), (tuned.parent / "before" / "model.keras", CHOSEN)):
        pairs = dataset.training_pairs("validation", PairSettings(size, 8, shuffle=False))
        sure.append(kerasxai.models.load(file).predict(pairs, verbose=0).max(-1).mean())
    assert sure[0] == pytest.approx(sure[1], abs=1e-4)
    assert RunFolder(tuned, "val_loss").rows[-1]["temperature"] != pytest.approx(1, abs=0.01)


def test_refinements_enlarge_images_by_the_size_of_training(tuned: Path) -> None:
    """At 96 and 128 pixels images are 144 and 192 large, of a model that was trained at 96 and takes 128."""
    model = kerasxai.models.load(tuned / "model.keras")
    assert model.get_layer("predictions").training_size == (CHOSEN, CHOSEN)
    images = np.random.default_rng(0).uniform(0, 255, (8, LARGER, LARGER, 3)).astype(np.float32)
    share = CHOSEN / LARGER
    by_default = "enlarge,discriminant"
    given = f"enlarge:factors=[{1.5 * share},{2 * share}],discriminant:factor={2 * share}"
    one, other = (kerasxai.Explainer(model, "cam", refine=chain)(images).heatmaps for chain in (by_default, given))
    np.testing.assert_array_equal(one, other)
    # The choice of a refinement enlarges by 1.5 of the size of training.
    with pytest.MonkeyPatch.context() as patch:
        seen: list[float] = []
        original = automatic.enlarged

        def watched(model: TracedModel, batch: Samples, factor: float) -> object:
            seen.append(factor)
            return original(model, batch, factor)

        patch.setattr(automatic, "enlarged", watched)
        kerasxai.Explainer(model, "cam", refine="auto")(images)
    assert seen == [1.5 * share]
    model.get_layer("predictions").training_size = None
    other = kerasxai.Explainer(model, "cam", refine=by_default)(images).heatmaps
    assert np.abs(one - other).max() > 1e-3
    assert "training_size" not in model.get_layer("predictions").get_config(), "models of one size are saved as before"


@pytest.mark.parametrize("kill", ["within", "after"])
def test_a_run_that_is_killed_in_the_last_phase_goes_on_to_the_same_model(
    kill: str, config: TrainConfig, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, monitor="val_loss")
    monkeypatch.setattr(final_size, "standard_error", lambda *_: 10.0)
    model = train(config, tuned.parent / kill, methods=(), verbose=0)
    assert size_of(model.parent) == (LARGER, LARGER) and not (model.parent / "checkpoints").exists()
    for one, another in zip(
        kerasxai.models.load(model).get_weights(),
        kerasxai.models.load(tuned / "model.keras").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, another)


def test_a_size_that_is_given_is_kept_even_of_the_probe(config: TrainConfig, tmp_path: Path) -> None:
    given = replace(config, image_size=32, final_image_size=(48, 64), epochs=0)
    folder = train(given, tmp_path / "run", methods=(), verbose=0).parent
    assert size_of(folder) == (48, 64) and choices(folder)["reasons"]["final_image_size"] == "as given"
    assert "the probe with images of the final size" in kept_line(folder)
    small = train(replace(given, final_image_size=None), tmp_path / "small", methods=(), verbose=0)
    check_resized(folder / "model.keras", small)


def check_resized(path: Path, small: Path) -> None:
    """Compare a model for images of 48 x 64 with the layers of one for another size, whose logits it divides."""
    temperature = RunFolder(path.parent).rows[-1]["temperature"]
    images = np.random.default_rng(0).uniform(0, 255, (2, 48, 64, 3)).astype(np.float32)
    model, other = (kerasxai.models.load(one) for one in (path, small))
    whole = keras.Sequential([keras.Input((None, None, 3)), *other.get_layer("backbone").layers[1:]])
    maps = keras.layers.GlobalAveragePooling2D()(whole(images))
    dense = next(layer for layer in other.layers if isinstance(layer, keras.layers.Dense))
    expected = keras.ops.softmax(dense(maps) / temperature)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-5)


def scaled_backbone(include_top: bool, weights: Any, input_tensor: Any, input_shape: Any) -> keras.Model:
    """Build one that normalizes by its weights, and if it is pretrained scales, as EfficientNetB0 of Keras does."""
    x = keras.layers.Normalization(name="normalization")(input_tensor)
    if weights == "imagenet":
        x = keras.layers.Rescaling(3.0)(x)
    model = tiny_backbone(include_top, weights, x, input_shape)
    if weights is not None:
        layer = model.get_layer("normalization")
        layer.adapt_mean.assign([0.5, -0.5, 0.2])
        layer.finalize_state()
    return model


@pytest.mark.parametrize("weights", ["imagenet", "file"])
def test_the_rebuilt_model_has_all_layers_of_a_pretrained_backbone(
    weights: str, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        BACKBONES, "Scaled", Backbone("Scaled", f"{__name__}:scaled_backbone", "tf", SIDE, None, "tests")
    )
    file = tmp_path / "weights.h5"
    file.touch()
    weights = str(file) if weights == "file" else weights
    given = replace(config, backbone="Scaled", weights=weights, image_size=32, final_image_size=(48, 64), epochs=0)
    model = train(given, tmp_path / "run", methods=(), verbose=0)
    small = train(replace(given, final_image_size=None), tmp_path / "small", methods=(), verbose=0)
    check_resized(model, small)
    # The figures are those of the model in the file.
    pairs = kerasxai.data.training_pairs(config.data, "validation", (48, 64), None, shuffle=False)
    images, labels = (np.stack(one) for one in zip(*pairs, strict=True))
    right = kerasxai.models.load(model).predict(images, verbose=0)[np.arange(len(labels)), labels]
    assert math.isclose(-np.log(right).mean(), RunFolder(model.parent).rows[-1]["val_loss"], rel_tol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"augment": "flip"},
        {"head_phase": "epochs", "head_epochs": 1},
        {"averages": 0},
        {"image_size": CHOSEN},
        {"image_size": CHOSEN, "final_image_size": (CHOSEN, CHOSEN)},
    ],
)
def test_other_trainings_keep_their_size(change: dict[str, Any], config: TrainConfig, tmp_path: Path) -> None:
    folder = train(replace(config, finetunings=1, **change), tmp_path / "run", methods=(), verbose=0).parent
    chosen = choices(folder)
    assert chosen["final_image_size"] == chosen["image_size"] == size_of(folder)[0]
    assert FINAL_SIZE not in {row["phase"] for row in RunFolder(folder).rows}


def test_the_probe_keeps_its_size(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "kerasxai")
    # No other row is better.
    monkeypatch.setattr(RunFolder, "best_row", property(lambda self: self.rows[0]))
    monkeypatch.setattr(RunFolder, "best", property(lambda self: next(self.checkpoints.glob("best*"))))
    folder = train(replace(config, finetunings=1), tmp_path / "run", methods=(), verbose=0).parent
    assert f"images of {LARGER} x {LARGER} pixels: not tried with the probe" in caplog.text
    assert [row["phase"] for row in RunFolder(folder).rows] == ["head", "finetune", "average"]


def test_weak_labels_and_the_final_size(config: TrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "kerasxai")
    weak = replace(config, head_epochs=1, label_fraction=0.5, confidence=0.2, image_size=32, final_image_size=64)
    folder = train(weak, tmp_path / "run", methods=(), verbose=0).parent
    assert [row["phase"] for row in RunFolder(folder).rows] == ["head", "finetune", "pseudo", FINAL_SIZE]
    assert size_of(folder) == (64, 64)
    assert caplog.text.count("labels: ") == 3, "once for each phase that trains"


def test_a_run_of_an_older_version_ends_as_it_began(config: TrainConfig, tmp_path: Path) -> None:
    with killed(1, row_is_written=True):
        train(config, tmp_path / "run", methods=(), verbose=0)
    chosen = choices(tmp_path / "run")
    del chosen["final_image_size"], chosen["finetunings"]
    (tmp_path / "run" / "choices.json").write_text(json.dumps(chosen))
    folder = train(config, tmp_path / "run", methods=(), verbose=0).parent
    assert [row["phase"] for row in RunFolder(folder).rows] == ["head", "finetune", "average"]


def test_a_model_file_keeps_its_size(config: TrainConfig, tuned: Path, tmp_path: Path) -> None:
    given = replace(config, backbone=str(tuned / "model.keras"), final_image_size=64)
    with pytest.raises(KerasxaiError, match="final_image_size must be omitted with a model file as backbone, got 64"):
        train(given, tmp_path / "run", methods=(), verbose=0)


def test_a_size_without_a_map_is_refused_before_the_training(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(KerasxaiError, match="got one of 1 x 1 for images of 8 x 8"):
        train(replace(config, final_image_size=8), tmp_path / "run", methods=(), verbose=0)
    assert not (tmp_path / "run").exists()


def test_a_config_file_gives_height_and_width(config: TrainConfig, tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text(f"data = {config.data!r}\nbackbone = 'Tiny'\nfinal-image-size = [48, 64]\nepochs = 0\nreport = 0\n")
    assert main(["train", "--config", str(file), "--explain", "", "--out", str(tmp_path / "run")]) == 0
    assert size_of(tmp_path / "run") == (48, 64)


@pytest.mark.parametrize(
    ("head", "options"), [("gap", {}), ("gap", {"depth": 1}), ("conv1x1", {}), ("acol", {"width": 8})]
)
def test_logits_of_every_head_are_divided(head: str, options: dict[str, Any]) -> None:
    model = kerasxai.build_classifier("Tiny", 3, head=head, weights=None, input_size=SIDE, seed=0, **options)
    images = np.random.default_rng(0).uniform(0, 255, (4, SIDE, SIDE, 3)).astype(np.float32)

    def logits() -> np.ndarray:
        found = np.log(model.predict(images, verbose=0))
        return found - found.mean(1, keepdims=True)

    before = logits()
    scale_classes(model, 0.5)
    np.testing.assert_allclose(logits(), before / 2, atol=1e-5)


@pytest.mark.parametrize(("measured", "with_boxes", "images"), [(None, 12, 12), (5, 21, 8)])
def test_the_standard_error_of_localization_is_that_of_the_measured_images(
    measured: int | None,
    with_boxes: int,
    images: int,
    config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [
        f"validation/{name}/{number}.png" for name, count in (("a", 12), ("b", 6), ("c", 3)) for number in range(count)
    ]
    file = tmp_path / "boxes.csv"
    lines = [f"{name},0,0,100,100" for name in files[:with_boxes]]
    file.write_text("\n".join(["filename,x_min,y_min,x_max,y_max", *lines]))
    # Each epoch is better than the probe.
    shares = itertools.count(1)
    monkeypatch.setattr(LocalizationCallback, "_measured", lambda self: dict.fromkeys(self.figures, next(shares) / 10))
    config = replace(config, boxes_csv=str(file), monitor="val_gt_known_loc", finetunings=1)
    folder = train(config, tmp_path / "run", methods=(), localize_images=measured, verbose=0).parent
    *_, average, row = RunFolder(folder).rows
    assert row["phase"] == FINAL_SIZE and row["source"] == average["epoch"] and average["val_gt_known_loc"] == 0.3
    assert math.isclose(row["allowance"], math.sqrt(0.3 * 0.7 / images))
