"""`kerasxai localize`: its files as other tools read them."""

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from PIL import Image

import kerasxai
from kerasxai.cli import localize as localize_module
from kerasxai.cli import main
from kerasxai.cli.images_in import resized
from kerasxai.cli.localize_config import LocalizeConfig
from kerasxai.cli.localize_files import SheetCell, regions, run_lengths, write_sheet
from kerasxai.cli.localize_threshold import announce, resolve_threshold
from kerasxai.evaluation.found_thresholds import MATCHED
from kerasxai.explainer import Explainer
from kerasxai.localization import AUTO_RULE, heatmap_to_boxes, mask_to_boxes
from kerasxai.tools.commands import command_line
from kerasxai.tools.digests import model_identity
from kerasxai.tools.files import write_json

SIZES = [(20, 30), (40, 24), (16, 16)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a model and three photographs, one of them deeper."""
    folder = tmp_path_factory.mktemp("place")
    zoo.build("functional").save(folder / "model.keras")
    for number, (height, width) in enumerate(SIZES):
        path = folder / "photos" / ("deeper" if number == 2 else "") / f"photo{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


FLIP = ["--refine", "flip"]


def localize(place: Path, out: Path, *words: str) -> int:
    images = [str(place / "photos")] if not any(word.endswith(".png") for word in words) else []
    return main(["localize", str(place / "model.keras"), *images, "--out", str(out), "--method", "saliency", *words])


def filled(runs: dict[str, list[int]]) -> np.ndarray:
    """Reads COCO's run lengths, as its manual says: down the columns, first those outside."""
    height, width = runs["size"]
    values = np.repeat(np.arange(len(runs["counts"])) % 2, runs["counts"])
    return values.reshape(width, height).T.astype(bool)


def test_run_lengths_are_read_back() -> None:
    generator = np.random.default_rng(0)
    masks = [generator.random((7, 5)) < share for share in (0, 0.3, 0.7, 1)]
    for mask in masks:
        runs = run_lengths(mask)
        assert sum(runs["counts"]) == mask.size
        np.testing.assert_array_equal(filled(runs), mask)


def test_regions_are_those_of_the_boxes() -> None:
    mask = np.zeros((6, 9), bool)
    mask[1:3, 1:3], mask[3:6, 5:9], mask[0, 8] = True, True, True
    for largest in (True, False):
        boxes = mask_to_boxes(mask, largest)
        found = regions(mask, boxes)
        assert [mask_to_boxes(region)[0].tolist() for region in found] == boxes.tolist()
    np.testing.assert_array_equal(np.any(found, 0), mask)
    assert regions(np.zeros((3, 3), bool), np.zeros((0, 4))) == []


@pytest.mark.filterwarnings("ignore::kerasxai.engine.images.builtin_preprocessing.InputRangeWarning")
def test_boxes_masks_and_tables_agree_with_the_explainer(place: Path, tmp_path: Path) -> None:
    assert localize(place, tmp_path, "--target", "1", "--threshold", "0.3", "--refine", "flip") == 0
    coco = json.loads((tmp_path / "boxes.json").read_text())
    rows = list(csv.DictReader((tmp_path / "boxes.csv").read_text().splitlines()))
    assert coco["info"]["command"] == command_line()
    sizes = {Path(image["file_name"]).name: (image["height"], image["width"]) for image in coco["images"]}
    assert sizes == {f"photo{number}.png": size for number, size in enumerate(SIZES)}
    assert {category["id"] for category in coco["categories"]} == {2}, "class 1, counted from 1"
    model = zoo.build("functional")
    explainer = kerasxai.Explainer(model, "saliency", refine="flip")
    checked = 0
    for image in coco["images"]:
        path = Path(image["file_name"])
        pixels = np.asarray(Image.open(path))
        batch = resized([pixels], (zoo.SIZE, zoo.SIZE))
        heatmap, probability = explainer(batch, 1).heatmaps, float(model(batch)[0, 1])
        expected = heatmap_to_boxes(resized([heatmap[0][..., None]], pixels.shape[:2])[0, ..., 0], 0.3).tolist()
        mine = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        x0y0wh = [a["bbox"] for a in mine]
        assert [[x, y, x + w, y + h] for x, y, w, h in x0y0wh] == expected
        in_csv = [[int(row[key]) for key in ("x0", "y0", "x1", "y1")] for row in rows if row["image"] == str(path)]
        assert in_csv == expected
        with Image.open(tmp_path / "masks" / f"{path.stem}.png") as png:
            mask = np.asarray(png) > 0
            assert set(np.unique(np.asarray(png))) <= {0, 255}
        assert mask_to_boxes(mask).tolist() == expected
        for annotation in mine:
            np.testing.assert_array_equal(filled(annotation["segmentation"]), mask)
            assert annotation["area"] == mask.sum() and annotation["category_id"] == 2
            assert annotation["score"] == pytest.approx(probability, abs=1e-5)
            checked += 1
    assert checked == 3
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > 256


def test_the_sheet_shows_images_of_all_folders_in_the_same_colors(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        path = tmp_path / "photos" / ("cats" if number < 7 else "dogs") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (9 * number, 0, 0)).save(path)
    sheets: list[Sequence[SheetCell]] = []
    legends: list[Any] = []
    grid = kerasxai.viz.grid

    def written(path: Path, cells: Sequence[SheetCell], *words: Any) -> None:
        sheets.append(cells)
        write_sheet(path, cells, *words)

    def drawn(*args: Any, **more: Any) -> Any:
        legends.append(more["legend"])
        return grid(*args, **more)

    monkeypatch.setattr(localize_module, "_MOST_ON_SHEET", 4)
    monkeypatch.setattr(localize_module, "write_sheet", written)
    monkeypatch.setattr(kerasxai.viz, "grid", drawn)
    words = [str(place / "model.keras"), str(tmp_path / "photos"), "--out", str(tmp_path / "out")]
    words += ["--method", "cam", "--refine", "none", "--target", "1", "--input-range", "0,1"]
    assert main(["localize", *words]) == 0
    (cells,) = sheets
    folders = [int(cell.image[..., 0].mean().round() / 9) >= 7 for cell in cells]
    assert folders == [False, False, True, True], "two of each"
    assert any((cell.heatmap < 0).any() for cell in cells)
    assert legends[0] == kerasxai.viz.map_legend(signed=True, predicted=True)
    assert main(["localize", *words]) == 0 and len(sheets) == 1, "the same images, which are done"
    (tmp_path / "photos" / "birds").mkdir()
    (tmp_path / "photos" / "birds" / "broken.png").write_bytes(b"no image")
    assert main(["localize", *words]) == 1 and len(sheets) == 1, "the new image of the sheet cannot be read"
    Image.new("RGB", (20, 20), (200, 0, 0)).save(tmp_path / "photos" / "birds" / "broken.png")
    assert main(["localize", *words]) == 0 and len(sheets) == 2


def test_the_threshold_is_that_of_an_evaluation_of_the_same_model(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "run" / "model.keras"
    model.parent.mkdir()
    shutil.copy(place / "model.keras", model)
    settings: dict[str, Any] = dict.fromkeys(MATCHED) | {"method": "saliency", "refine": "auto"}
    settings |= {"method_options": {}, "preprocess": "0,255", "protocol": "kerasxai"}
    evaluation = {"command": "", "method": "saliency", "model": model_identity(str(model)), "settings": settings}
    folder = tmp_path / "run" / "evaluation_saliency"
    folder.mkdir()
    write_json(folder / "evaluation.json", evaluation | {"tuned": {"threshold": 0.34}})
    words = [str(place / "photos" / "photo0.png"), "--method", "saliency"]
    for out, more, threshold, phrase in (
        ("found", [], 0.34, "threshold 0.34 of the maximum"),
        ("given", ["--threshold", "0.5"], 0.5, "threshold 0.5 of the maximum"),
        ("other", FLIP, AUTO_RULE, f"thresholds by the rule {AUTO_RULE}"),
    ):
        assert main(["localize", str(model), *words, *more, "--out", str(tmp_path / out)]) == 0
        info = json.loads((tmp_path / out / "boxes.json").read_text())["info"]
        assert info["settings"]["threshold"] == threshold
        printed = capsys.readouterr()
        assert f"images have a box at {phrase}; boxes" in printed.out
        assert (printed.out + printed.err).count("chosen on boxes by") == (out == "found"), "once"
        assert (printed.out + printed.err).count("more forward passes an image") == 1
    model.write_bytes(model.read_bytes() + b" ")
    config = LocalizeConfig(model=str(model), images=[], method="saliency")
    assert resolve_threshold(config)[0] == AUTO_RULE, "another model file"


def evaluated(folder: Path, command: str, **settings: Any) -> Path:
    """Writes the evaluation of a model that is not the tested one's, with a threshold chosen on boxes."""
    model = folder / "run" / "model.keras"
    (folder / "run" / "evaluation_cam").mkdir(parents=True)
    model.write_bytes(b"model")
    kept: dict[str, Any] = dict.fromkeys(MATCHED) | {"method": "cam", "method_options": {}, "preprocess": "0,255"}
    kept |= {"protocol": "kerasxai", "name_or_path": "photos", "boxes_csv": "boxes.csv"} | settings
    write_json(
        folder / "run" / "evaluation_cam" / "evaluation.json",
        {"command": command, "method": "cam", "model": model_identity(str(model)), "settings": kept}
        | {"tuned": {"threshold": 0.34}},
    )
    return model


EVALUATE = "kerasxai evaluate run/model.keras --data photos --boxes boxes.csv"


@pytest.mark.parametrize(
    ("command", "settings", "config", "ending"),
    [
        (EVALUATE, {}, {}, f"choose one: {EVALUATE} --refine none,auto"),
        (f"{EVALUATE} --out e --refine=best", {"refine": "best"}, {}, f"choose one: {EVALUATE} --refine best,auto"),
        (f"{EVALUATE} --refine best", {"refine": "best"}, {"refine": "flip,pc1"}, f"{EVALUATE} --refine flip,pc1"),
        (f"{EVALUATE} --method gradcam", {"method": "gradcam"}, {}, f"{EVALUATE} --refine auto"),
        (EVALUATE, {}, {"method": "gradcam"}, f"{EVALUATE} --method gradcam --refine auto"),
        ("train.py", {}, {}, "/run/model.keras --data photos --boxes boxes.csv --refine none,auto"),
        (EVALUATE, {"layer": "a"}, {"refine": None}, "its settings are others (layer was 'a', is None)"),
    ],
)
def test_a_threshold_that_does_not_fit_is_announced_with_the_command_that_does(
    command: str,
    settings: dict[str, Any],
    config: dict[str, Any],
    ending: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = evaluated(tmp_path, command, **settings)
    localized = LocalizeConfig(model=str(model), images=[], **config)
    threshold, origin, _ = resolve_threshold(localized)
    assert threshold == AUTO_RULE and origin.endswith(ending) and "the threshold 0.340 of" in origin
    announce(replace(localized, threshold=threshold), 3, origin)
    line = capsys.readouterr().err.splitlines()[1]
    assert f": thresholds by the rule {AUTO_RULE} (" in line and line.endswith(f"{ending})")


@pytest.mark.parametrize(
    ("images", "refine", "expected"),
    [
        (277, "auto", "277 images with --refine auto (more forward passes an image: 6.25 or 0; --refine none"),
        (
            2,
            "best",
            "2 images with --refine best (more forward passes an image: enlarge 6.25, discriminant 4, graphcut",
        ),
        (
            2,
            "scales:sizes=[1,2],pc1",
            "(more forward passes an image: scales 4 methods (crops), 2.25 (whole images), p",
        ),
        (1, None, "1 image without refinement"),
    ],
)
def test_the_work_is_announced(
    images: int, refine: str | None, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    announce(LocalizeConfig(model="m.keras", images=[], refine=refine, threshold=0.3), images, "given")
    assert expected in capsys.readouterr().err


def test_all_boxes_are_those_of_every_region(place: Path, tmp_path: Path) -> None:
    for name, words in (("one", ()), ("all", ("--all-boxes",))):
        assert localize(place, tmp_path / name, "--threshold", "otsu", *words) == 0
    one, every = ((tmp_path / name / "boxes.csv").read_text().splitlines() for name in ("one", "all"))
    assert set(one) <= set(every) and len(every) >= len(one)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--threshold", "otso"], "otsu"),
        (["--threshold", "1.5"], "[0, 1)"),
        (["--refine", "walkr"], "walker"),
        (["--target", "tabby"], "no class names"),
        (["missing.png"], "got missing.png"),
    ],
)
def test_mistakes_are_told_in_one_line(
    place: Path, tmp_path: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert localize(place, tmp_path / "out", *words) == 2
    message = capsys.readouterr().err
    assert told in message and message.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_folder_without_images(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["localize", str(place / "model.keras"), str(empty), "--out", str(tmp_path / "out")]) == 2
    assert "expected images" in capsys.readouterr().err


def test_auto_is_chosen_on_images_of_all_folders(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    choose = Explainer.choose_refinement

    def recorded(self: Explainer, images: Any) -> None:
        seen.append(len(images))
        choose(self, images)

    monkeypatch.setattr(Explainer, "choose_refinement", recorded)
    assert localize(place, tmp_path / "out", "--refine", "auto", "--batch-size", "1") == 0
    assert seen == [3], "before the first batch of one image"
    # Not again for a call with one image left.
    (tmp_path / "out" / "masks" / "photo0.png").unlink()
    assert localize(place, tmp_path / "out", "--refine", "auto", "--batch-size", "1") == 0
    assert seen == [3]
    streamed = ["--data", str(place / "photos"), "--shards", "3", "--refine", "auto", "--out", str(tmp_path / "shards")]
    assert main(["localize", str(place / "model.keras"), "--method", "saliency", *streamed]) == 0
    assert seen == [3, 3], "one choice for three shards"
    settings = json.loads((tmp_path / "out" / "boxes.json").read_text())["info"]["settings"]
    assert settings["refinement_of"] == "the first call"
