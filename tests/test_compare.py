"""`kerasxai compare`: paired differences of evaluations on the same images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from kerasxai.cli import main
from kerasxai.evaluation.compare_config import CompareConfig
from kerasxai.evaluation.comparison import FIGURES, bootstrap_means, compare, difference_rows, figure_rows
from kerasxai.evaluation.comparison_picture import differing_images, frame_of
from kerasxai.evaluation.evaluate import with_chosen
from kerasxai.evaluation.evaluated_runs import common_images, read_runs
from kerasxai.tools.errors import KerasxaiError, KerasxaiWarning

COUNT = 40
IOUS = np.random.default_rng(0).uniform(0.1, 0.9, COUNT)


def record(number: int, iou: float, **changes: Any) -> dict[str, Any]:
    located: dict[str, Any] = {
        "iou": 0.0,
        "box": None,
        "boxes": [[2, 2, 15, 15]],
        "image_size": [20, 20],
        "pointing": 1.0,
        "energy": 0.5,
        "chosen": {"iou": iou, "box": [2, 3, 15, 18], "baselines": {"centered_gaussian": 0.6}},
    }
    label = number % 2
    # The last image has no box.
    entries = located if number < COUNT - 1 else {}
    return {"name": f"{'ab'[label]}/{number}.png", "label": label, "place": number % 4, **entries} | changes


def write(folder: Path, records: list[dict[str, Any]], **changes: Any) -> Path:
    folder.mkdir(parents=True)
    evaluation = {
        "command": "kerasxai evaluate",
        "data": "photos",
        "split": "test",
        "method": "cam",
        "refine": None,
        "protocol": "kerasxai",
        "iou_threshold": 0.5,
        "threshold": 0.2,
        "chosen": {"threshold": 0.4, "source": "boxes of validation"},
        "settings": {"name_or_path": str(folder.parent / "photos"), "split": "test", "data_dir": None},
    }
    (folder / "evaluation.json").write_text(json.dumps(evaluation | changes))
    (folder / "records.json").write_text(json.dumps(records))
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    """Returns two evaluations; each IoU of the second is higher by 0.1, and it is right where the first is not."""
    first = [record(number, iou) for number, iou in enumerate(IOUS)]
    # Twice the size of the input: boxes are the same relative to the image. The order makes no difference.
    twice = {"boxes": [[4, 4, 30, 30]], "image_size": [40, 40]}
    second = [
        record(number, iou + 0.1, place=0, **(twice if number < COUNT - 1 else {})) for number, iou in enumerate(IOUS)
    ]
    return [write(tmp_path / "gap" / "evaluation_cam", first), write(tmp_path / "acol" / "evaluation", second[::-1])]


def test_figures_by_hand_and_intervals_by_scipy(pair: list[Path]) -> None:
    runs = read_runs([pair[0].parent, pair[1]])
    assert [run.name for run in runs] == ["gap", "acol"]
    found = compare(runs, CompareConfig(runs=["a", "b"], resamples=20_000))
    assert (found["images"], found["images_with_boxes"]) == (COUNT, COUNT - 1)
    ious, places = IOUS[:-1], np.arange(COUNT) % 4
    one, two = (run["figures"] for run in found["runs"])
    assert one["top1_accuracy"]["value"] == 0.25 and two["top1_accuracy"]["value"] == 1.0
    assert one["gt_known_loc"]["value"] == pytest.approx((ious >= 0.5).mean())
    assert one["top1_loc"]["value"] == pytest.approx(((ious >= 0.5) & (places[:-1] == 0)).mean())
    assert one["mean_iou"]["value"] == pytest.approx(ious.mean())
    assert (one["pointing_game"]["value"], one["energy_pointing_game"]["value"]) == (1.0, 0.5)
    assert found["baseline"]["figures"]["gt_known_loc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    (difference,) = found["differences"]
    assert (difference["run"], difference["reference"]) == ("acol", "gap")
    # Paired: the same difference on each image has no spread, although the IoUs have.
    assert list(difference["figures"]["mean_iou"].values()) == pytest.approx([0.1, 0.1, 0.1])
    for values, figure in (
        (ious, one["mean_iou"]),
        (places == 0, one["top1_accuracy"]),
        (1.0 - (places == 0), difference["figures"]["top1_accuracy"]),
    ):
        expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1)
        np.testing.assert_allclose(
            [figure["low"], figure["high"]], expected.confidence_interval, atol=0.3 * expected.standard_error
        )
    assert figure_rows(found)[0][3] == f"{(ious >= 0.5).mean():.3f} " + "[{low:.2f}, {high:.2f}]".format(
        **one["gt_known_loc"]
    )
    (row,) = difference_rows(found)
    assert row[0] == "acol" and row[1].startswith("+0.750 [") and row[1].endswith("]*") and row[5].endswith("] ")
    assert len(row) == 1 + len(FIGURES)


def test_the_same_seed_draws_the_same_images_in_one_chunk_or_many(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((50, 3))
    whole = bootstrap_means(values, 100, 3)
    monkeypatch.setattr("kerasxai.evaluation.comparison._CHUNK", 500)
    np.testing.assert_array_equal(bootstrap_means(values, 100, 3), whole)
    assert not np.array_equal(bootstrap_means(values, 100, 4), whole)


def test_images_that_are_not_in_all_runs_are_left_out_with_a_warning(tmp_path: Path) -> None:
    folders = [
        write(tmp_path / name, [record(number, iou) for number, iou in enumerate(IOUS)][part])
        for name, part in (("one", slice(0, 30)), ("two", slice(10, 40)))
    ]
    with pytest.warns(KerasxaiWarning, match="compared on the 20 images that all runs measured, of 30 in one, 30 in"):
        assert compare(read_runs(folders), CompareConfig(runs=["a"], resamples=100))["images"] == 20


def test_thresholds_of_different_rules_are_reported(pair: list[Path], tmp_path: Path) -> None:
    records = [record(number, iou) for number, iou in enumerate(IOUS)]
    given = write(tmp_path / "given", records, chosen={"threshold": 0.2, "source": "given"})
    with pytest.warns(KerasxaiWarning, match="boxes of validation in gap; given, 0.2 in given"):
        compare(read_runs([pair[0], given]), CompareConfig(runs=["a"], resamples=100))


def test_rows_are_named_by_what_makes_a_difference(tmp_path: Path) -> None:
    one = [record(0, 0.5), record(1, 0.5)]
    for run in ("gap", "acol"):
        for method in ("cam", "gradcam"):
            write(tmp_path / run / f"evaluation_{method}", one, method=method, refine="best")
    both = read_runs([tmp_path / "gap", tmp_path / "acol"])
    expected = ["gap: cam + best", "gap: gradcam + best", "acol: cam + best", "acol: gradcam + best"]
    assert [run.name for run in both] == expected
    assert [run.name for run in read_runs([tmp_path / "gap"])] == ["cam + best", "gradcam + best"]


ONE = [record(0, 0.5), record(1, 0.5)]


@pytest.mark.parametrize(
    ("records", "changes", "message"),
    [
        (
            ONE,
            {"protocol": "wsolevaluation"},
            "expected evaluations with the same protocol, got kerasxai in .*one, wsol",
        ),
        (ONE, {"iou_threshold": 0.3}, "expected evaluations with the same iou_threshold, got 0.5 in .*one, 0.3 in"),
        ([record(2, 0.5)], {}, "expected evaluations of the same images, got none in common"),
        ([record(0, 0.5, label=1), ONE[1]], {}, "got another class of a/0.png in .*two than in .*one"),
        ([record(0, 0.5, boxes=[[4, 2, 15, 15]]), ONE[1]], {}, "got another true boxes of a/0.png"),
        ([ONE[0], ONE[0]], {}, "names of images must be unique, got a/0.png twice"),
        ([ONE[0], {"name": "b", "iou": 0.5}], {}, "got one of an older version or a damaged one"),
    ],
)
def test_evaluations_that_cannot_be_compared_are_refused(
    tmp_path: Path, records: list[dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    folders = [write(tmp_path / "one", ONE), write(tmp_path / "two", records, **changes)]
    with pytest.raises(KerasxaiError, match=message):
        compare(read_runs(folders), CompareConfig(runs=["a"], resamples=100))


def test_folders_without_an_evaluation(pair: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for words, message in (
        ([str(tmp_path / "empty")], "got a folder without one; run `kerasxai evaluate MODEL --data DATA` first"),
        ([str(tmp_path / "none")], "got no folder"),
        ([str(pair[0])], "expected two or more evaluations, got one"),
    ):
        assert main(["compare", *words, "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_prints_and_writes_and_overwrites_nothing(
    pair: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(COUNT):
        path = tmp_path / "gap" / "photos" / "test" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (9 * (number % 20), 80, 80)).save(path)
    # The records of a folder with splits name them too.
    for folder in pair:
        records = json.loads((folder / "records.json").read_text())
        named = [one | {"name": f"test/{one['name']}"} for one in records]
        (folder / "records.json").write_text(json.dumps(named))
    monkeypatch.chdir(tmp_path)
    words = ["compare", "gap/evaluation_cam", "acol", "--resamples", "200", "--images", "3"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "photos/test: 40 images in all runs, 39 with boxes; 95 % intervals" in printed
    assert "minus gap" in printed and "baseline: centered gaussian" in printed and "+0.750 [" in printed
    written = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    assert [run["name"] for run in written["runs"]] == ["gap", "acol"]
    with Image.open(tmp_path / "comparison" / "images.png") as sheet:
        assert sheet.size[0] > 3 * 100 and sheet.size[1] > 2 * 100
    assert main([*words[:-1], "0"]) == 0
    assert not (tmp_path / "comparison-2" / "images.png").exists(), "other settings have another folder"
    assert main([*words[:-1], "1", "--out", "comparison"]) == 2
    assert "comparison, whose figures were made with other settings (images was 3, is 1)" in capsys.readouterr().err
    assert json.loads((tmp_path / "comparison" / "comparison.json").read_text()) == written


def test_drawn_images_are_those_of_the_largest_range(tmp_path: Path) -> None:
    other = [0.5, 0.9, 0.1, 0.6]
    folders = [
        write(tmp_path / name, [record(number, iou) for number, iou in enumerate(ious)])
        for name, ious in (("one", [0.5, 0.5, 0.5, 0.5]), ("two", other))
    ]
    runs = read_runs(folders)
    assert differing_images(runs, common_images(runs), 2) == ["b/1.png", "a/2.png"]


def test_images_are_drawn_as_the_input_was_fitted(tmp_path: Path) -> None:
    records = [record(number, 0.5, image_size=[10, 20]) for number in range(2)]
    runs = read_runs([write(tmp_path / "one", records, fit="crop"), write(tmp_path / "two", records)])
    assert [frame_of(run, ["a/0.png"]) for run in runs] == [(112, 224, "crop"), (112, 224, "stretch")]


def test_records_have_the_entries_at_the_chosen_threshold() -> None:
    at: list[dict[str, Any]] = [
        {"name": "a", "iou": 0.7, "box": [0, 0, 2, 2], "baselines": {"centered_gaussian": 0.4}, "place": 0},
        {"name": "b"},
    ]
    kept = with_chosen([at[0] | {"iou": 0.1, "box": None}, at[1]], at)
    assert kept[0]["iou"] == 0.1 and kept[0]["chosen"] == {name: at[0][name] for name in ("iou", "box", "baselines")}
    assert kept[1] == {"name": "b"}
