"""`kerasxai fiftyone`: results by image, and a dataset in a real database where FiftyOne is installed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_folders import write_photos, write_run, write_run_of_several_labels

from kerasxai.cli import main
from kerasxai.report.image_results import Box, Boxes, Heatmap, Label, read_image_results
from kerasxai.tools.files import read_csv

PLACE = Path(__file__).parent
HEIGHT, WIDTH = 48, 60
"""Of the photographs."""
SALIENCY = ("--method", "saliency", "--refine", "none", "--threshold", "0.5")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a run, and with boxes and explanations of its test images."""
    root = tmp_path_factory.mktemp("place")
    boxes = write_photos(root / "photos")
    model = str(write_run(root / "run", root / "photos", boxes) / "model.keras")
    words = [model, str(root / "photos" / "test")]
    assert main(["localize", *words, "--out", str(root / "boxes"), "--all-boxes", *SALIENCY]) == 0
    assert main(["explain", *words, "--out", str(root / "maps"), "--method", "cam,gradient*input"]) == 0
    for fit in ("crop", "pad"):
        assert main(["explain", *words, "--out", str(root / f"maps_{fit}"), "--fit", fit, "--method", "cam"]) == 0
        evaluate = ["evaluate", model, "--data", str(root / "photos"), "--boxes", str(boxes), "--fit", fit]
        assert main([*evaluate, "--out", str(root / f"evaluation_{fit}"), "--report", "0"]) == 0
    return root


def pixels(box: Box) -> list[float]:
    return np.multiply(box.corners, (WIDTH, HEIGHT) * 2).tolist()


def test_boxes_and_masks_are_those_of_the_files(place: Path) -> None:
    results = read_image_results([place / "boxes"])
    rows = read_csv(place / "boxes" / "boxes.csv")
    coco = json.loads((place / "boxes" / "boxes.json").read_text())
    masks = {image["file_name"]: image["kerasxai"]["files"][0] for image in coco["images"]}
    assert len(results) == len(masks) == 12
    for path, fields in results.items():
        found = fields["boxes_saliency"]
        assert isinstance(found, Boxes)
        its = [row for row in rows if row["image"] == path]
        expected = [[int(row[key]) for key in ("x0", "y0", "x1", "y1")] for row in its]
        np.testing.assert_allclose(np.array([pixels(box) for box in found.boxes]), expected, atol=1e-9)
        assert [(box.name, round(box.confidence or 0, 6)) for box in found.boxes] == [
            (row["name"], float(row["score"])) for row in its
        ]
        drawn = np.zeros((HEIGHT, WIDTH), bool)
        for box, (x0, y0, x1, y1) in zip(found.boxes, expected, strict=True):
            mask = box.mask()
            assert mask is not None
            drawn[y0:y1, x0:x1] |= mask
        with Image.open(place / "boxes" / masks[path]) as png:
            np.testing.assert_array_equal(drawn, np.asarray(png) > 0)
        assert fields["prediction"] == Label(its[0]["name"], found.boxes[0].confidence)


def test_a_given_class_is_no_prediction(place: Path, tmp_path: Path) -> None:
    content = json.loads((place / "boxes" / "boxes.json").read_text())
    content["info"]["settings"]["target"] = "0"
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    assert {name for fields in read_image_results([tmp_path]).values() for name in fields} == {"boxes_saliency"}


def test_heatmaps_are_those_of_the_files(place: Path) -> None:
    records = json.loads((place / "maps" / "explanations.json").read_text())["images"]
    results = read_image_results([place / "maps"])
    for record in records:
        fields = results[record["image"]]
        assert fields["prediction"] == Label(*record["predicted"][0].values())
        for one, name in zip(record["explanations"], ("heatmap_cam", "heatmap_gradient_input"), strict=True):
            found = fields[name]
            assert isinstance(found, Heatmap)
            file = place / "maps" / f"{record['source']['stem']}_{one['method']}.npy"
            np.testing.assert_array_equal(found.values(), np.load(file))
            assert (found.name, found.score) == (one["target_name"], one["score"])


def test_heatmaps_of_fitted_images_are_those_of_the_whole_image(place: Path) -> None:
    (cropped, padded) = (
        [fields["heatmap_cam"] for fields in read_image_results([place / f"maps_{fit}"]).values()]
        for fit in ("crop", "pad")
    )
    for found in (*cropped, *padded):
        assert isinstance(found, Heatmap)
        assert found.values().shape == (HEIGHT, WIDTH)
    # The center square fills the input; nothing is known of the 6 columns on each side.
    for found in cropped:
        assert isinstance(found, Heatmap)
        known = np.abs(found.values()).max(0) > 0
        assert known[6:54].all() and not known[:6].any() and not known[54:].any()


@pytest.mark.parametrize(("fit", "side", "left", "top"), [("crop", 48, 6, 0), ("pad", 60, 0, -6)])
def test_evaluated_boxes_are_mapped_back_to_the_image(place: Path, fit: str, side: int, left: int, top: int) -> None:
    results = read_image_results([place / f"evaluation_{fit}"])
    rows = {row["image"]: row for row in read_csv(place / "boxes.csv")}
    records = json.loads((place / f"evaluation_{fit}" / "records.json").read_text())
    assert len(records) == len(results) == 12
    for record in records:
        fields = results[str(place / "photos" / record["name"])]
        true, found = fields["ground_truth_boxes"], fields["boxes_cam"]
        assert isinstance(true, Boxes) and isinstance(found, Boxes)
        drawn = np.array([float(rows[record["name"]][key]) for key in ("x0", "y0", "x1", "y1")])
        # What was cut off of the object is not in its box.
        limits = ([left, 0] * 2, [left + side, HEIGHT] * 2) if fit == "crop" else ([0, 0] * 2, [WIDTH, HEIGHT] * 2)
        np.testing.assert_allclose([pixels(box) for box in true.boxes], [np.clip(drawn, *limits)], atol=1e-3)
        (box,) = found.boxes
        at = np.add(np.multiply(record["chosen"]["box"], side / 40), [left, top] * 2)
        np.testing.assert_allclose(pixels(box), np.clip(at, 0, [WIDTH, HEIGHT] * 2), atol=1e-3)
        assert box.iou == fields["iou_cam"] == record["chosen"]["iou"]
        assert box.name == Path(record["name"]).parent.name
        assert fields["ground_truth"] == Label(box.name)


def test_folders_are_joined_by_image(place: Path) -> None:
    """The model has no names of classes, so that those of the data are another prediction than its own."""
    results = read_image_results([place / "boxes", place / "maps", place / "run", place / "maps"])
    assert len(results) == 12
    names = {name for fields in results.values() for name in fields}
    localized, explained = {"boxes_saliency"}, {"heatmap_cam", "heatmap_gradient_input"}
    evaluated = {"boxes_cam", "iou_cam", "boxes_gradient_input", "iou_gradient_input"}
    both = {"prediction", "prediction_2", "ground_truth", "ground_truth_boxes"}
    assert names == localized | explained | evaluated | both
    again = read_image_results([place / "maps", place / "maps_crop"])
    assert {"heatmap_cam", "heatmap_cam_2"} <= set(next(iter(again.values())))


def test_several_labels(tmp_path: Path) -> None:
    run = write_run_of_several_labels(tmp_path)
    words = [str(run / "model.keras"), str(tmp_path / "photos")]
    assert main(["localize", *words, "--out", str(tmp_path / "boxes"), "--refine", "none"]) == 0
    assert main(["explain", *words, "--out", str(tmp_path / "maps"), "--method", "cam"]) == 0
    results = read_image_results([tmp_path / "boxes", tmp_path / "maps", run])
    compared = 0
    for record in json.loads((tmp_path / "maps" / "explanations.json").read_text())["images"]:
        fields = results[record["image"]]
        stored = np.load(tmp_path / "maps" / f"{record['source']['stem']}_cam.npy")
        names = ["heatmap_cam", *(f"heatmap_cam_class_{number + 2}" for number in range(len(stored) - 1))]
        for name, its, one in zip(names, stored, record["explanations"], strict=True):
            found = fields[name]
            assert isinstance(found, Heatmap) and found.name == one["target_name"]
            np.testing.assert_array_equal(found.values(), its)
        predicted = fields["prediction"]
        assert isinstance(predicted, list)
        explained = [one["target_name"] for one in record["explanations"]]
        compared += [label.name for label in predicted] == explained
    assert compared, "some images have several classes in both"
    entries = json.loads((run / "evaluation_cam" / "records.json").read_text())
    classes: dict[str, list[str]] = {}
    for entry in entries:
        classes.setdefault(str(tmp_path / "photos" / entry["name"]), []).append(entry["class"])
    for path, names in classes.items():
        assert results[path]["ground_truth"] == [Label(name) for name in names]
        assert isinstance(results[path]["ground_truth_boxes"], Boxes) and "iou_cam" not in results[path]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["fiftyone", *words]) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    return text


def test_folders_without_such_results_are_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "got no folder" in refused([str(tmp_path / "none")], capsys)
    assert "got a folder without them" in refused([str(place / "photos")], capsys)
    older = json.loads((place / "maps" / "explanations.json").read_text())
    del older["images"][3]["fit"]
    (tmp_path / "explanations.json").write_text(json.dumps(older))
    assert "got those of an older one" in refused([str(tmp_path)], capsys)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("evaluation.json", "records.json"):
        text = (place / "evaluation_crop" / name).read_text()
        (other / name).write_text(text.replace(json.dumps(str(place / "photos")), '"shapes"'))
    assert "got one of shapes" in refused([str(other)], capsys)


def test_the_missing_package_is_named(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    text = refused([str(place / "boxes")], capsys)
    assert "cannot write a FiftyOne dataset: " in text and "pip install 'kerasxai[fiftyone]'" in text


READ = """
import json, sys
import fiftyone
import numpy as np
dataset, arrays, facts = fiftyone.load_dataset("photos"), {}, {}
for number, sample in enumerate(dataset):
    facts[sample.filepath] = {"number": number, "prediction": sample.prediction.label, "boxes": []}
    for name in ("heatmap_cam", "heatmap_gradient_input"):
        arrays[f"{number} {name}"] = sample[name].map
        facts[sample.filepath][name] = sample[name].range
    for row, one in enumerate(sample.boxes_saliency.detections):
        arrays[f"{number} mask {row}"] = one.mask
        facts[sample.filepath]["boxes"].append([one.label, one.confidence, *one.bounding_box])
    facts[sample.filepath]["true"] = [list(one.bounding_box) for one in sample.ground_truth_boxes.detections]
np.savez(sys.argv[1], **arrays)
facts["iou filter"] = len(dataset.match(fiftyone.ViewField("iou_cam") > 0.5))
print(json.dumps(facts))
"""


@pytest.mark.exhaustive
@pytest.mark.skipif(
    importlib.util.find_spec("fiftyone") is None, reason="FiftyOne, which needs a MongoDB server, is not installed"
)
def test_a_dataset_is_read_back_from_the_database(place: Path, tmp_path: Path) -> None:
    """In processes of their own: FiftyOne warns of deprecated modules, and keeps its database open."""
    environment = os.environ | {"FIFTYONE_DATABASE_DIR": str(tmp_path / "database"), "FIFTYONE_DO_NOT_TRACK": "true"}
    environment["FIFTYONE_DATABASE_VALIDATION"] = "false"

    def ran(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        ended = subprocess.run(command, env=environment, cwd=PLACE.parent, capture_output=True, text=True, check=False)
        assert ended.returncode == status, ended.stderr
        return ended

    folders = [str(place / name) for name in ("boxes", "maps", "run")]
    write = ("-m", "kerasxai", "fiftyone", *folders, "--name", "photos")
    assert "dataset: photos (12 images)" in ran(*write).stdout
    assert "name must be that of no dataset, got 'photos'" in ran(*write, status=2).stderr
    ran(*write, "--overwrite")
    facts = json.loads(ran("-c", READ, str(tmp_path / "arrays.npz")).stdout.splitlines()[-1])
    arrays = np.load(tmp_path / "arrays.npz")
    results = read_image_results([Path(folder) for folder in folders])
    passed = facts.pop("iou filter")
    assert passed == sum(float(fields["iou_cam"]) > 0.5 for fields in results.values())  # type: ignore[arg-type]
    assert facts.keys() == results.keys()
    for path, fact in facts.items():
        fields = results[path]
        assert fact["prediction"] == fields["prediction"].name  # type: ignore[union-attr]
        for name in ("heatmap_cam", "heatmap_gradient_input"):
            found = fields[name]
            assert isinstance(found, Heatmap)
            stored = arrays[f"{fact['number']} {name}"]
            assert stored.dtype == found.values().dtype
            np.testing.assert_array_equal(stored, found.values())
            low, high = fact[name]
            assert low <= stored.min() and stored.max() <= high and high == np.abs(stored).max()
        for name, boxes in (("boxes_saliency", fact["boxes"]), ("ground_truth_boxes", fact["true"])):
            of_results = fields[name]
            assert isinstance(of_results, Boxes) and of_results.boxes
            for box, stored in zip(of_results.boxes, boxes, strict=True):
                x, y, width, height = stored[-4:]
                np.testing.assert_allclose([x, y, x + width, y + height], box.corners, atol=1e-12)
                assert stored[:-4] in ([box.name, box.confidence], [])
        for row, box in enumerate(fields["boxes_saliency"].boxes):  # type: ignore[union-attr]
            np.testing.assert_array_equal(arrays[f"{fact['number']} mask {row}"], box.mask())
