"""Several labels an image: pairs of image and class, `evaluate`, the callback, `explain` and `localize`."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from PIL import Image

from kerasxai import data
from kerasxai.callbacks import LocalizationCallback
from kerasxai.cli import main
from kerasxai.data.information import Part
from kerasxai.evaluation.evaluated_runs import read_runs
from kerasxai.explainer import Explainer
from kerasxai.localization import heatmap_to_boxes
from kerasxai.metrics import GTKnownLoc, PointingGameByClass
from kerasxai.metrics.label_pairs import explain_pairs, pair_scores, pairs_of, true_boxes
from kerasxai.segmentation import SeedIoU
from kerasxai.tools.errors import KerasxaiError

NAMES = ["blue", "green", "red"]
SIDE = 32


def model_of_colors() -> keras.Model:
    """Returns a model whose class maps are red, green and blue, so that everything about it is known."""
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(3, 1, activation="relu", name="features")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(3, activation="sigmoid", name="predictions")(x))
    model.get_layer("features").set_weights([np.eye(3)[:, ::-1].reshape(1, 1, 3, 3), np.zeros(3)])
    model.get_layer("predictions").set_weights([200 * np.eye(3), np.full(3, -9.2)])
    return model


def draw(rng: np.random.Generator, classes: list[int]) -> tuple[np.ndarray, list[list[int]]]:
    """Returns an image with a rectangle for each class, in a column of its own, and the boxes."""
    image, boxes = rng.integers(0, 20, (SIDE, SIDE, 3)).astype(np.uint8), []
    for place, number in enumerate(classes):
        x0, y0 = 11 * place + rng.integers(0, 3), rng.integers(0, 12)
        box = [int(x0), int(y0), int(x0 + rng.integers(5, 8)), int(y0 + rng.integers(8, 18))]
        # The class is the last channel but its number: red is class 2.
        image[box[1] : box[3], box[0] : box[2], 2 - number] = rng.integers(120, 250)
        boxes.append(box)
    return image, boxes


LABELS = [[0, 1], [2], [1, 2], [0, 1, 2], [0], [2, 0], [1], [2, 1]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a model, `photos` with several labels in a CSV, boxes as COCO JSON, and class masks."""
    folder = tmp_path_factory.mktemp("labels")
    model_of_colors().save(folder / "model.keras")
    rng = np.random.default_rng(0)
    coco: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(NAMES)],
    }
    (folder / "masks").mkdir()
    for split in ("train", "validation", "test"):
        (folder / "photos" / split).mkdir(parents=True)
        for number, classes in enumerate(LABELS):
            image, boxes = draw(rng, classes)
            name = f"{split}/{split}{number}.png"
            Image.fromarray(image).save(folder / "photos" / name)
            mask = np.zeros((SIDE, SIDE), np.uint8)
            identity = len(coco["images"]) + 1
            coco["images"].append({"id": identity, "file_name": name, "height": SIDE, "width": SIDE})
            for kind, (x0, y0, x1, y1) in zip(classes, boxes, strict=True):
                mask[y0:y1, x0:x1] = kind + 1
                coco["annotations"].append(
                    {
                        "id": len(coco["annotations"]) + 1,
                        "image_id": identity,
                        "category_id": kind + 1,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "iscrowd": 0,
                    }
                )
            Image.fromarray(mask).save(folder / "masks" / f"{split}{number}.png")
    (folder / "boxes.json").write_text(json.dumps(coco))
    return folder


class Photos:
    """The images as a source of samples with several labels."""

    is_sorted = False

    def __init__(self, place: Path, boxes: bool, masks: bool) -> None:
        self.place, self.kept = place, {"boxes": boxes, "class_mask": masks}
        splits = dict.fromkeys(("train", "validation", "test"), len(LABELS))
        self.info = data.DatasetInfo(
            "photos", tuple(NAMES), splits, boxes, False, multi_label=True, has_class_masks=masks
        )

    def samples(
        self, split: str, annotations: bool, mix: int | None = None, part: Part | None = None
    ) -> tf.data.Dataset:
        batch = batch_of(self.place, split)
        left_out = [name for name, kept in self.kept.items() if not (kept and annotations)]
        if "boxes" in left_out:
            left_out += ["box_labels", "box_difficult"]
        return tf.data.Dataset.from_tensor_slices(
            {name: values for name, values in batch.items() if name not in left_out}
        )

    def labels(self, split: str, most: int | None = None) -> Any:
        return batch_of(self.place, split)["labels"][:most]

    def unreadable(self, split: str) -> dict[Path, str]:
        return {}


@pytest.fixture(scope="module", autouse=True)
def _opened(place: Path) -> Iterator[None]:
    """Makes the folder a data set with several labels."""

    def opened(name: str, labels: str = "auto", **given: Any) -> data.ImageDataset:
        assert labels in ("auto", "multi")
        return data.ImageDataset(
            Photos(place, given.get("boxes_csv") is not None, given.get("class_masks") is not None)
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "open", opened)
        yield


def run(place: Path, out: Path, *words: str) -> dict[str, Any]:
    given = ["--data", str(place / "photos"), "--boxes", str(place / "boxes.json"), "--class-masks"]
    given += [str(place / "masks"), "--out", str(out), "--batch-size", "3", *words]
    assert main(["evaluate", str(place / "model.keras"), *given]) == 0
    return json.loads((out / "evaluation.json").read_text()) if "," not in " ".join(words) else {}


@pytest.fixture(scope="module")
def written(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("written") / "cam"
    run(place, out)
    return out


def batch_of(place: Path, split: str = "test") -> dict[str, Any]:
    """Returns all images of a split with their annotations, read without kerasxai.data."""
    coco = json.loads((place / "boxes.json").read_text())
    files = [one for one in coco["images"] if one["file_name"].startswith(split)]
    boxes = np.full((len(files), 3, 4), -1, np.float32)
    numbers = np.full((len(files), 3), -1)
    for row, file in enumerate(files):
        its = [one for one in coco["annotations"] if one["image_id"] == file["id"]]
        for column, one in enumerate(its):
            x, y, w, h = one["bbox"]
            boxes[row, column] = np.array([x, y, x + w, y + h]) / SIDE
            numbers[row, column] = one["category_id"] - 1
    return {
        "name": np.array([one["file_name"] for one in files]),
        "image": np.stack([np.asarray(Image.open(place / "photos" / one["file_name"])) for one in files]),
        "labels": np.stack([np.isin(np.arange(3), classes).astype(np.float32) for classes in LABELS]),
        "boxes": boxes,
        "box_labels": numbers,
        "box_difficult": np.zeros(numbers.shape, bool),
        "class_mask": np.stack(
            [np.asarray(Image.open(place / "masks" / Path(one["file_name"]).name)) for one in files]
        ),
    }


def test_pairs_have_the_boxes_and_the_mask_of_their_class() -> None:
    batch = {
        "labels": np.array([[1, 0, 1], [0, 0, -1]]),
        "boxes": np.array([[[0, 0, 0.5, 0.5], [0, 0, 0.2, 0.2], [0.5, 0, 1, 1]], [[0, 0, 1, 1], [-1] * 4, [-1] * 4]]),
        "box_labels": np.array([[2, 0, 2], [2, -1, -1]]),
        "box_difficult": np.array([[True, True, False], [True, False, False]]),
        "class_mask": np.array([[[0, 1, 3, 255]], [[3, 3, 0, 0]]], np.uint8),
    }
    pairs = pairs_of(batch)
    assert (pairs.images.tolist(), pairs.classes.tolist()) == ([0, 0], [0, 2])
    # All boxes of class 0 are difficult; of class 2 one is not, and then the difficult one is a hit as well.
    assert [len(np.asarray(box)) for box in pairs.truth.boxes] == [0, 2]
    assert np.asarray(pairs.truth.masks).tolist() == [[[0, 1, 0, 255]], [[0, 0, 1, 255]]]
    assert pairs.difficult.tolist() == [False, False], "class 2 fills three quarters"
    scores = pair_scores(np.array([[0.1, 0.5, 0.9], [0.0, 0.0, 0.0]], np.float32), batch["labels"], pairs)
    np.testing.assert_allclose(scores, [[0.1, 0.5, -np.inf], [-np.inf, 0.5, 0.9]], rtol=1e-6)
    batch.pop("boxes")
    (first, second) = true_boxes(batch)
    assert np.asarray(first.boxes).tolist() == [[0.25, 0, 0.5, 1], [0.5, 0, 0.75, 1]]
    assert first.classes.tolist() == [0, 2] and second.classes.tolist() == [2]  # type: ignore[union-attr]


def test_outputs_of_images_without_a_class_are_predicted(place: Path) -> None:
    batch = batch_of(place)
    batch["labels"][[0, 3]] = 0
    explainer = Explainer(model_of_colors(), "cam")
    images = batch["image"].astype(np.float32)
    explanation, outputs = explain_pairs(explainer, images, pairs_of(batch))
    assert explanation is not None and len(explanation.heatmaps) == int(batch["labels"].sum())
    np.testing.assert_allclose(outputs.probabilities, explainer.predict(images).probabilities, rtol=1e-6)
    batch["labels"][:] = 0
    assert explain_pairs(explainer, images, pairs_of(batch))[0] is None


def test_figures_are_those_of_the_metrics(place: Path, written: Path) -> None:
    evaluation = json.loads((written / "evaluation.json").read_text())
    batch = batch_of(place)
    pairs, explainer = pairs_of(batch), Explainer(model_of_colors(), "cam")
    heatmaps = explainer(batch["image"][pairs.images].astype(np.float32), pairs.classes).heatmaps
    boxes = [np.asarray(box) * SIDE for box in pairs.truth.boxes]
    known, game = GTKnownLoc(), PointingGameByClass()
    known.update(heatmaps, boxes)
    game.update(heatmaps, pairs.classes, pairs.difficult, boxes)
    count = len(pairs)
    assert (evaluation["images"], evaluation["pairs"], evaluation["labels"]) == (len(LABELS), count, "multi")
    assert evaluation["mean_average_precision"] == 1.0 and evaluation["f1"] == 1.0
    assert set(evaluation["average_precision"]) == set(NAMES)
    assert evaluation["gt_known_loc"] == known.result()["gt_known_loc"]
    chosen = evaluation["chosen"]
    assert chosen["gt_known_loc"] == known.at(chosen["threshold"]) > 0.8
    assert evaluation["corloc"] == np.mean([one["gt_known_loc"] for one in chosen["by_class"].values()])
    assert evaluation["pointing_game_all"] == float(game.result())
    assert evaluation["pairs_difficult"] == game.result()["pairs_difficult"] > 0
    assert 0.8 < evaluation["box_ap50"] <= 1.0 and set(evaluation["box_average_precision"]) == set(NAMES)
    seeds = SeedIoU(3)
    for number, mask in enumerate(batch["class_mask"]):
        its = pairs.images == number
        seeds.update(list(heatmaps[its]), pairs.classes[its], mask)
    assert evaluation["seed_mean_iou"] == seeds.result(evaluation["seed_threshold"])["mean_iou"] > 0.9
    assert set(evaluation["seed_iou"]) == {"background", *NAMES}
    assert evaluation["seed_baselines"]["centered_gaussian"]["seed_mean_iou"] < 0.5


def test_records_are_of_image_and_class_and_the_files_of_today(written: Path) -> None:
    records = json.loads((written / "records.json").read_text())
    assert [(one["name"], one["class"]) for one in records[:3]] == [
        ("test/test0.png", "blue"),
        ("test/test0.png", "green"),
        ("test/test1.png", "red"),
    ]
    assert all(one["place"] == 0 and one["probability"] > 0.5 for one in records)
    assert all({"iou", "chosen", "difficult"} <= set(one) for one in records)
    for name in ("cases.png", "threshold.png"):
        with Image.open(written / name) as picture:
            assert picture.size[0] > 200


def test_several_methods_share_images_and_outputs(
    place: Path, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Explainer, "predict", lambda *_: pytest.fail("the outputs are known"))
    run(place, tmp_path / "both", "--method", "cam,gradcam")
    table = json.loads((tmp_path / "both" / "methods.json").read_text())["methods"]
    alone, row = (json.loads((folder / "evaluation.json").read_text()) for folder in (written, tmp_path / "both/cam"))
    for name in ("mean_average_precision", "seed_mean_iou", "box_ap50", "chosen", "corloc"):
        assert alone[name] == row[name]
    assert [one["mean_average_precision"] for one in table] == [1.0, 1.0]


def test_without_boxes_those_of_the_class_masks_are_measured(place: Path, tmp_path: Path) -> None:
    words = ["--data", str(place / "photos"), "--class-masks", str(place / "masks"), "--out", str(tmp_path / "out")]
    assert main(["evaluate", str(place / "model.keras"), *words]) == 0
    evaluation = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert evaluation["chosen"]["gt_known_loc"] > 0.8 and "box_ap50" not in evaluation


def test_classes_alone_are_measured_of_data_without_boxes_and_masks(
    place: Path, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(place / "photos"), "--out", str(tmp_path / "out")]
    assert main(["evaluate", str(place / "model.keras"), *words]) == 0
    printed = capsys.readouterr()
    assert "the predicted classes alone are measured" in printed.err and "heatmaps" not in printed.out
    evaluation, located = (
        json.loads((folder / "evaluation.json").read_text()) for folder in (tmp_path / "out", written)
    )
    for name in ("mean_average_precision", "average_precision", "f1", "f1_scores", "images"):
        assert evaluation[name] == located[name]
    assert evaluation["measured"] == "classes" and "chosen" not in evaluation
    records = json.loads((tmp_path / "out" / "records.json").read_text())
    assert [np.flatnonzero(one["labels"]).tolist() for one in records] == [sorted(classes) for classes in LABELS]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["evaluation.json", "records.json"]
    assert main(["evaluate", str(place / "model.keras"), *words, "--method", "cam,gradcam"]) == 2
    assert "expected data with boxes or class masks" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "out"), str(written)]) == 2
    assert "got one of classes alone" in capsys.readouterr().err


def test_evaluations_are_compared_by_image_and_class(place: Path, written: Path, tmp_path: Path) -> None:
    run(place, tmp_path / "gradcam", "--method", "gradcam", "--threshold", "0.9")
    runs = read_runs([written, tmp_path / "gradcam"])
    assert len(runs[0].records) == sum(map(len, LABELS))
    words = ["--resamples", "200", "--out", str(tmp_path / "c")]
    assert main(["compare", str(written), str(tmp_path / "gradcam"), *words]) == 0
    table = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert table["runs"][0]["figures"]["gt_known_loc"]["value"] == pytest.approx(
        json.loads((written / "evaluation.json").read_text())["chosen"]["gt_known_loc"]
    )
    assert (table["images"], table["pairs"]) == (len(LABELS), sum(map(len, LABELS)))
    assert (tmp_path / "c" / "images.png").is_file()


def test_the_callback_measures_pairs(place: Path, written: Path) -> None:
    batch = batch_of(place)
    evaluation = json.loads((written / "evaluation.json").read_text())
    figures = ("gt_known_loc", "best_gt_known_loc", "mean_average_precision", "seed_mean_iou", "pxap")
    model = model_of_colors()
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
    callback = LocalizationCallback(batch, "cam", figures=figures, batch_size=3)
    history = model.fit(batch["image"].astype("float32"), batch["labels"], verbose=0, callbacks=[callback]).history
    for name in ("gt_known_loc", "best_gt_known_loc", "mean_average_precision"):
        assert history[f"val_{name}"][0] == pytest.approx(evaluation[name], abs=1e-6)
    assert history["val_seed_mean_iou"][0] == pytest.approx(max(evaluation["seed_curve"]["mean_iou"]), abs=1e-6)
    assert history["val_pxap"][0] == pytest.approx(evaluation["masks"]["pxap"], abs=1e-4)
    with pytest.raises(KerasxaiError, match="no box_labels"):
        LocalizationCallback({name: batch[name] for name in ("image", "labels", "boxes", "box_difficult")})
    with pytest.raises(KerasxaiError, match="labels of several classes for seed_mean_iou"):
        LocalizationCallback((zoo.images(2), np.zeros(2, int), np.ones((2, 1, 4))), figures="seed_mean_iou")


def test_localize_writes_boxes_of_each_predicted_class(place: Path, tmp_path: Path) -> None:
    words = ["--method", "cam", "--refine", "none", "--threshold", "0.4", "--out", str(tmp_path)]
    images = [str(place / "photos" / "test")]
    for _ in range(2):  # The second call finds everything done, and writes the tables from what it reads.
        assert main(["localize", str(place / "model.keras"), *images, *words]) == 0
        coco = json.loads((tmp_path / "boxes.json").read_text())
        assert len(coco["annotations"]) == sum(map(len, LABELS))
    rows = list(csv.DictReader((tmp_path / "boxes.csv").read_text().splitlines()))
    batch = batch_of(place)
    explainer, found = Explainer(model_of_colors(), "cam"), 0
    for number, classes in enumerate(LABELS):
        its = [row for row in rows if row["image"].endswith(f"test{number}.png")]
        assert {int(row["class"]) for row in its} == set(classes)
        for row in its:
            heatmap = explainer(batch["image"][number : number + 1].astype(np.float32), int(row["class"])).heatmaps[0]
            expected = heatmap_to_boxes(heatmap, 0.4)[0].tolist()
            assert [int(row[name]) for name in ("x0", "y0", "x1", "y1")] == expected
            found += 1
        with Image.open(tmp_path / "masks" / f"test{number}.png") as mask:
            agree = np.asarray(mask) == batch["class_mask"][number]
        assert mask.mode == "P" and agree.mean() > 0.9
    assert found == len(rows) == sum(map(len, LABELS))


def test_no_predicted_class_gives_no_box(place: Path, tmp_path: Path) -> None:
    words = ["--method", "cam", "--class-threshold", "1", "--out", str(tmp_path), str(place / "photos/test/test0.png")]
    assert main(["localize", str(place / "model.keras"), *words]) == 0
    assert json.loads((tmp_path / "boxes.json").read_text())["annotations"] == []
    assert not np.asarray(Image.open(tmp_path / "masks" / "test0.png")).any()


def test_explain_draws_each_predicted_class(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [str(place / "photos" / "test" / f"test{number}.png") for number in (0, 1, 3)]
    words = ["--method", "cam,gradcam", "--top", "2", "--out", str(tmp_path)]
    assert main(["explain", str(place / "model.keras"), *images, *words]) == 0
    records = json.loads((tmp_path / "explanations.json").read_text())["images"]
    for record, number in zip(records, (0, 1, 3), strict=True):
        its = [one for one in record["explanations"] if one["method"] == "cam"]
        assert len(record["explanations"]) == 2 * len(its) and len(its) == min(len(LABELS[number]), 2)
        assert {one["target"] for one in its} <= set(LABELS[number])
        assert np.load(tmp_path / f"test{number}_cam.npy").shape == (len(its), SIDE, SIDE)
    heatmap = Explainer(model_of_colors(), "cam")(
        np.asarray(Image.open(images[1]), np.float32)[None], records[1]["explanations"][0]["target"]
    ).heatmaps
    np.testing.assert_allclose(np.load(tmp_path / "test1_cam.npy"), heatmap, atol=1e-5)
    # A class that is named has one map, as of any model.
    words = ["--target", "1", "--out", str(tmp_path / "one")]
    assert main(["explain", str(place / "model.keras"), images[0], *words]) == 0
    assert np.load(tmp_path / "one" / "test0_gradcam.npy").shape == (SIDE, SIDE)
