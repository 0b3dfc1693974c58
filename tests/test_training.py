"""Training and evaluation from end to end, on a folder of small images with boxes."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from kills import copied
from PIL import Image
from tiny_backbone import tiny_row_of

import kerasxai
from kerasxai.callbacks import draw_timeline
from kerasxai.cli import main
from kerasxai.evaluation.evaluate import evaluate
from kerasxai.localization import AUTO_RULE
from kerasxai.metrics import MaxBoxAcc, MaxBoxAccV2
from kerasxai.training import phases
from kerasxai.training.config import TrainConfig
from kerasxai.training.new_model import new_model
from kerasxai.training.phases import prepare
from kerasxai.training.plan import plan_of
from kerasxai.training.run_folder import RunFolder
from kerasxai.training.train import _curves, _marks, train

SIDE = 48


tiny_row = tiny_row_of(SIDE)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue squares on noise, 12 for training, 4 for validation and 4 for testing of each color."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    rows = []
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        for label, channel in (("blue", 2), ("red", 0)):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                image = generator.integers(60, 120, (SIDE, SIDE, 3), dtype=np.uint8)
                x, y = generator.integers(2, SIDE - 22, 2)
                image[y : y + 20, x : x + 20] = 30
                image[y : y + 20, x : x + 20, channel] = 250
                name = f"{split}/{label}/{number}.png"
                Image.fromarray(image).save(folder / name)
                rows.append([name, x, y, x + 20, y + 20])
    with (folder / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", "x_min", "y_min", "x_max", "y_max"], *rows])
    return folder


@pytest.fixture(scope="module")
def config(photos: Path) -> TrainConfig:
    return TrainConfig(
        data=str(photos),
        backbone="Tiny",
        features=4,
        image_size=SIDE,
        head_epochs=1,
        epochs=2,
        batch_size=8,
        learning_rate=1e-2,
        boxes_csv=str(photos / "boxes.csv"),
    )


@pytest.fixture(scope="module")
def finished(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "gap"
    with copied(1, out.parent / "between_epochs"), copied(2, out.parent / "before_a_row", row_is_written=False):
        assert train(config, out, methods=("cam",), explain_images=2, verbose=0) == out / "model.keras"
    return out


def weights_of(path: Path) -> list[np.ndarray]:
    return kerasxai.models.load(path).get_weights()


def assert_same_weights(one: Path, other: Path) -> None:
    for first, second in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_run_leaves_all_that_made_it(finished: Path, config: TrainConfig) -> None:
    rows = RunFolder(finished).rows
    assert [(row["phase"], row["epoch"]) for row in rows] == [("head", 0), ("finetune", 1), ("finetune", 2)]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "val_gt_known_loc", "seconds"} <= set(rows[0])
    assert json.loads((finished / "config.json").read_text())["image_size"] == SIDE
    assert (finished / "command.txt").read_text().strip()
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["best"] == min(rows, key=lambda row: row["val_loss"])
    assert metrics["epochs"] == 3
    with Image.open(finished / "history.png") as plot:
        assert plot.size[0] > 100
    assert list(finished.glob("heatmaps/*/timeline.png"))
    kept, timeline = metrics["best"]["epoch"] + 1, finished / "heatmaps" / "cam" / "timeline.png"
    drawn = timeline.read_bytes()
    assert draw_timeline(finished, "cam", kept=kept).read_bytes() == drawn
    assert draw_timeline(finished, "cam").read_bytes() != drawn, "the kept epoch is marked"
    timeline.write_bytes(drawn)
    assert not list(finished.rglob("*.tmp-*"))
    assert kerasxai.models.class_names(kerasxai.models.load(finished / "model.keras")) == ["blue", "red"]


def test_images_that_are_measured_each_epoch_are_of_all_classes(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels: list[list[int]] = []

    class Watched(phases.LocalizationCallback):
        def __init__(self, data: Any, *words: Any, **more: Any) -> None:
            labels.append([label for batch in data for label in batch["label"].numpy().tolist()])
            super().__init__(data, *words, **more)

    monkeypatch.setattr(phases, "LocalizationCallback", Watched)
    short = replace(config, batch_size=2, epochs=1)
    train(short, tmp_path / "run", methods=(), explain_images=0, localize_images=3, verbose=0)
    assert labels == [[0, 0, 1, 1]] * 2, "rounded up to whole batches"


def test_the_history_marks_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks: list[dict[str, float]] = []
    monkeypatch.setattr(kerasxai.viz, "plot_history", lambda *args, **more: marks.append(more["marks"]))
    header = "phase,epoch,seconds,val_loss\n"
    for number, losses in enumerate(([3, 2, 1, 2], [3, 2, 2, 1], [1, 2, 2, 2])):
        folder = tmp_path / str(number)
        folder.mkdir()
        phases = ["head", "finetune", "finetune", "average"]
        rows = [f"{phase},{epoch},1,{loss}" for epoch, (phase, loss) in enumerate(zip(phases, losses, strict=True))]
        (folder / "history.csv").write_text(header + "\n".join(rows) + "\n")
        _curves(RunFolder(folder), replace(plan_of(TrainConfig(data="shapes"), 32), probe=True))
    assert marks[0] == {"probe": 1, "kept": 3, "average": 4}
    assert marks[1] == {"probe": 1, "average, kept": 4} and marks[2] == {"probe, kept": 1, "average": 4}


@pytest.mark.parametrize(
    ("kept", "marks"),
    [
        (2, {"probe": 1, "kept": 2, "averages": 3}),
        (3, {"probe": 1, "average, kept": 3}),
        (4, {"probe": 1, "averages": 3, "average, kept": 4}),
        (5, {"probe": 1, "averages": 3, "average, kept": 5}),
    ],
)
def test_the_kept_one_of_several_averages_is_marked(kept: int, marks: dict[str, float]) -> None:
    assert _marks(["probe", "2", "average", "average", "average"], [1, 2, 3, 4, 5], kept) == marks


def test_the_first_phase_trains_the_head_alone(config: TrainConfig) -> None:
    info = kerasxai.data.info(config.data)
    model = new_model(config, info)
    prepare(model, config, plan_of(config, 32), "head", 3)
    heads = {"head_conv1", "head_conv1_bn", "head_conv2", "head_conv2_bn", "logits"}
    assert {w.path.split("/")[0] for w in model.trainable_weights} == heads
    prepare(model, config, plan_of(config, 32), "finetune", 3)
    trained = {w.path for w in model.trainable_weights}
    assert 1 < len(trained) < len(model.weights)
    frozen = [path for path in trained if "bn" in path and not path.startswith("head_")]
    assert not frozen, "batch normalization stays frozen in a pretrained backbone"


def test_the_best_model_is_the_one_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phase that is repeated after a kill starts from the best model before it, not from its own first epoch."""

    def model_of(value: float) -> keras.Model:
        return keras.Sequential(
            [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(value))]
        )

    def best() -> float:
        return float(weights_of(RunFolder(tmp_path).best)[0][0, 0])

    row = {"phase": "head", "seconds": 1.0}
    RunFolder(tmp_path).keep(model_of(1.0), {**row, "epoch": 0, "val_loss": 3.0})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "_write_rows", interrupted)
        RunFolder(tmp_path).keep(model_of(2.0), {**row, "epoch": 1, "val_loss": 2.0})
    assert best() == 1.0
    for epoch, loss, expected in ((1, 2.0, 2.0), (2, 4.0, 2.0), (3, 1.0, 4.0)):
        RunFolder(tmp_path).keep(model_of(epoch + 1.0), {**row, "epoch": epoch, "val_loss": loss})
        assert best() == expected
        assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    # A run that version 0.1.0 began.
    RunFolder(tmp_path).best.rename(tmp_path / "checkpoints" / "best.keras")
    assert best() == 4.0


def interrupted(folder: RunFolder) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("killed", "methods"), [("between_epochs", ("cam",)), ("before_a_row", ())])
def test_a_killed_run_goes_on_to_the_same_weights(
    config: TrainConfig, finished: Path, killed: str, methods: tuple[str, ...]
) -> None:
    """Killed between two epochs, in the next phase; and between an epoch's checkpoint and its row, within a phase."""
    run = finished.parent / killed
    assert len(RunFolder(run).rows) == 1
    model = train(config, run, methods, explain_images=2, verbose=0)
    assert_same_weights(model, finished / "model.keras")
    before, after = RunFolder(finished).rows, RunFolder(run).rows
    assert [row["val_loss"] for row in before] == [row["val_loss"] for row in after]


def test_boxes_and_drawing_do_not_touch_what_is_learned(config: TrainConfig, finished: Path, tmp_path: Path) -> None:
    stripped = train(replace(config, boxes_csv=None), tmp_path / "run", methods=(), verbose=0)
    assert_same_weights(stripped, finished / "model.keras")
    assert "val_gt_known_loc" not in RunFolder(tmp_path / "run").rows[0]


def test_a_finished_run_is_left_alone_and_another_config_is_refused(config: TrainConfig, finished: Path) -> None:
    written = (finished / "model.keras").stat().st_mtime_ns
    assert train(config, finished, verbose=0) == finished / "model.keras"
    assert (finished / "model.keras").stat().st_mtime_ns == written
    with pytest.raises(kerasxai.KerasxaiError, match="seed was 0, is 1"):
        train(replace(config, seed=1), finished, verbose=0)


def test_patience_ends_a_phase(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.rows = [{"phase": "head", "epoch": n, "val_loss": loss} for n, loss in enumerate([3.0, 1.0, 2.0, 2.0])]
    assert folder.stale("head", 2)
    assert not folder.stale("head", 3)
    assert not folder.stale("finetune", 1)


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"finetune_share": 1.5}, {"head_epochs": 0, "epochs": 0}])
def test_a_config_out_of_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(kerasxai.KerasxaiError):
        TrainConfig(data="shapes", **change)


def test_mixed_precision_trains_and_leaves_the_policy_as_it_was(config: TrainConfig, tmp_path: Path) -> None:
    half = replace(config, mixed_precision=True, head_epochs=0, epochs=1, boxes_csv=None)
    model = kerasxai.models.load(train(half, tmp_path / "run", methods=(), verbose=0))
    convolutions = [layer for layer in model.get_layer("backbone").layers if "conv" in layer.name]
    assert {layer.compute_dtype for layer in convolutions} == {"float16"}
    assert model.get_layer("predictions").compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_xla_compiles_the_steps_if_it_is_asked_for(config: TrainConfig) -> None:
    info = kerasxai.data.open(config.data, boxes_csv=config.boxes_csv).info
    for jit, compiled in (("on", True), ("off", False), ("auto", False)):
        chosen = replace(config, jit=jit, weights="none")
        model = new_model(chosen, info)
        prepare(model, chosen, plan_of(chosen, 32), "finetune", 10)
        # Keras compiles on GPUs alone by itself.
        assert model.jit_compile is compiled or (jit == "auto" and tf.config.list_physical_devices("GPU"))


def test_training_sees_parts_of_images_resized_larger(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = []
    read = kerasxai.data.ImageDataset.training_pairs

    def watched(dataset: Any, split: str, settings: Any, **options: Any) -> Any:
        requested.append((split, settings.image_size, settings.resize))
        return read(dataset, split, settings, **options)

    monkeypatch.setattr(kerasxai.data.ImageDataset, "training_pairs", watched)
    train(replace(config, resize=SIDE + 16, head_epochs=1, epochs=0), tmp_path / "run", methods=(), verbose=0)
    assert sorted(requested) == [("train", SIDE, SIDE + 16), ("validation", SIDE, None)]


def test_random_weights_have_no_first_phase() -> None:
    config = TrainConfig(data="shapes", weights="none", head_epochs=3, epochs=2)
    assert plan_of(config, 32).epochs_of("head") == (0, 0)
    assert plan_of(config, 32).epochs_of("finetune") == (0, 2)


def test_evaluate_measures_and_writes(finished: Path, config: TrainConfig, tmp_path: Path) -> None:
    model = kerasxai.models.load(finished / "model.keras")
    result = evaluate(model, config.data, method="cam", boxes_csv=config.boxes_csv, out=tmp_path, batch_size=3)
    assert result["images"] == 8
    assert result["tuned"]["split"] == "validation"
    chosen, fixed = result["chosen"], evaluate(model, config.data, boxes_csv=config.boxes_csv, threshold=0.2)
    assert chosen["source"] == "boxes of validation"
    assert {name: chosen[name] for name in result["tuned"] if name != "split"} == {
        name: value for name, value in result["tuned"].items() if name != "split"
    }
    gaussian = chosen["baselines"]["centered_gaussian"]
    tuned = result["baselines"]["centered_gaussian"]["tuned"]
    assert (gaussian["threshold"], gaussian["gt_known_loc"]) == (tuned["threshold"], tuned["gt_known_loc"])
    assert result["threshold"] == 0.2 and fixed["chosen"]["source"] == "given"
    for name in ("gt_known_loc", "mean_iou", "top1_loc"):
        assert fixed["chosen"][name] == fixed[name] == result[name]
    assert set(result["by_class"]) == {"0", "1"}
    assert set(result["baselines"]) == {"whole_image", "centered_box", "centered_gaussian"}
    outputs = np.concatenate(
        [model.predict_on_batch(x) for x, _ in kerasxai.data.training_pairs(config.data, "test", SIDE, 4)]
    )
    labels = np.concatenate([y for _, y in kerasxai.data.training_pairs(config.data, "test", SIDE, 4)])
    assert result["top1_accuracy"] == (outputs.argmax(-1) == labels).mean()
    on_disk = json.loads((tmp_path / "evaluation.json").read_text())
    assert on_disk["gt_known_loc"] == result["gt_known_loc"]
    assert len(json.loads((tmp_path / "records.json").read_text())) == 8
    assert {path.name for path in tmp_path.iterdir()} == {
        "evaluation.json",
        "records.json",
        "cases.png",
        "threshold.png",
    }
    limited = evaluate(model, config.data, boxes_csv=config.boxes_csv, limit=5, batch_size=3, tune_split=None)
    assert limited["images"] == 5
    assert [it["images"] for it in limited["by_class"].values()] == [3, 2], "not the first ones, four of one class"
    assert "tuned" not in limited
    assert limited["chosen"]["source"] == f"{AUTO_RULE} on heatmaps of test"


def test_evaluate_measures_as_the_reference_does(finished: Path, config: TrainConfig, tmp_path: Path) -> None:
    """Heatmaps as CAM makes them, and every figure equal to that of the measures by themselves."""
    model = str(finished / "model.keras")
    out = tmp_path / "evaluation"
    words = ["evaluate", model, "--data", config.data, "--boxes", config.boxes_csv or "", "--out", str(out)]
    assert main([*words, "--protocol", "wsolevaluation"]) == 0
    result = json.loads((out / "evaluation.json").read_text())
    assert result["protocol"] == "wsolevaluation"
    batch = next(
        kerasxai.data.load(config.data, "test", SIDE, batch_size=8, boxes_csv=config.boxes_csv).as_numpy_iterator()
    )
    explain = kerasxai.Explainer(kerasxai.models.load(model), "cam", resize=False)
    heatmaps = explain(batch["image"].astype(np.float32), batch["label"]).heatmaps
    assert heatmaps.shape[1] < SIDE
    boxes = [np.rint(found * SIDE) for found in kerasxai.data.unpad_boxes(batch["boxes"])]
    first, second = (measure(protocol="wsolevaluation") for measure in (MaxBoxAcc, MaxBoxAccV2))
    for measure in (first, second):
        measure.update(heatmaps, boxes, SIDE)
    assert result["max_box_acc"] == pytest.approx(first.result()["max_box_acc"])
    assert result["max_box_acc_v2"] == pytest.approx(second.result()["max_box_acc_v2"])
    assert result["max_box_acc_v2_at"]["70"] == pytest.approx(second.result()["max_box_acc_70"])
    assert 0 < result["max_box_acc_v2"] < 100, "this says nothing about how boxes are compared"


def test_evaluate_tells_mistakes_in_one_line(
    finished: Path, config: TrainConfig, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(finished / "model.keras")
    other = tmp_path / "classes"
    for label in "abc":
        (other / label).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(other / label / f"{number}.png")
    (other / "boxes.csv").write_text("filename,x_min,y_min,x_max,y_max\na/0.png,0,0,4,4\n")
    for words, message in [
        (["--data", str(photos), "--method", "cam,gradcam"], "has no boxes"),
        (["--data", str(photos), "--boxes", config.boxes_csv or "", "--split", "nope"], "got 'nope'"),
        (["--data", str(other), "--boxes", str(other / "boxes.csv")], "got 2 classes"),
        (["--data", str(tmp_path / "nothing")], "nothing"),
    ]:
        assert main(["evaluate", model, *words]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1
    assert not (finished / "evaluation_cam").exists()


def test_train_tells_mistakes_in_one_line(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one_class = tmp_path / "one"
    (one_class / "a").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(one_class / "a" / "0.png")
    (tmp_path / "empty").mkdir()
    run = str(tmp_path / "run")
    for words in (
        ["--data", str(one_class), "--out", run],
        ["--data", str(tmp_path / "empty"), "--out", run],
        ["--data", str(photos), "--out", run, "--features", "nope"],
        ["--data", str(photos), "--out", run, "--explain", "gradcm"],
        ["--data", str(photos), "--out", run, "--head-option", "depht=2"],
        ["--data", str(photos), "--out", run, "--resize", "100", "--image-size", "128"],
    ):
        assert main(["train", *words]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1, told
    assert not (tmp_path / "run").exists(), "a mistake leaves no folder behind"
