"""`kerasxai benchmark` from end to end, on a few images of the embedded data, and its arithmetic."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_backbone import in_backbones

import kerasxai
from kerasxai.cli import main
from kerasxai.data.shapes import builder
from kerasxai.training import benchmark as benchmark_module
from kerasxai.training.benchmark import rows_of
from kerasxai.training.benchmark_tables import cell, csv_table, differences, markdown_table, summarize, table_of

WORDS = ["--head-epochs", "0", "--epochs", "1", "--image-size", "64", "--batch-size", "8"]
WORDS += ["--backbone", "Tiny", "--features", "4"]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The command without recipes and folder, on data that is prepared once."""
    folder = str(tmp_path_factory.mktemp("data"))
    with in_backbones(64), pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "COUNTS", {"train": 16, "validation": 8, "test": 8})
        kerasxai.data.info("shapes", data_dir=folder)
        yield ["benchmark", "--data", "shapes", "--data-dir", folder, *WORDS, "--head-option", "width=8"]


def test_a_killed_benchmark_goes_on_where_it_was(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "b"
    words = [*words, "--recipes", "gap,acol", "--seeds", "1", "--sheet-images", "3", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["kerasxai", *words])
    train = benchmark_module.train
    trained: list[Path] = []

    def killed(config: Any, folder: Path, **settings: Any) -> Path:
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(folder)
        return train(config, folder, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(benchmark_module, "train", killed)
        assert main(words) == 130
    early = json.loads((out / "benchmark.json").read_text())
    assert {name: row["n"] for name, row in early["rows"].items()} == {"gap": 1}
    assert "min left" in capsys.readouterr().out
    written = (out / "gap" / "seed_0" / "evaluation_cam" / "evaluation.json").stat().st_mtime_ns

    assert main(words) == 0
    assert (out / "gap" / "seed_0" / "evaluation_cam" / "evaluation.json").stat().st_mtime_ns == written
    content = json.loads((out / "benchmark.json").read_text())
    assert {name: row["n"] for name, row in content["rows"].items()} == {"gap": 1, "acol": 1}
    assert content["runs"]["gap"]["0"]["figures"] == early["runs"]["gap"]["0"]["figures"]
    for name in ("gap", "acol"):
        evaluation = json.loads((out / name / "seed_0" / "evaluation_cam" / "evaluation.json").read_text())
        row = content["rows"][name]
        assert row["body_recall"]["mean"] == 100 * evaluation["masks"]["coverage"]["body"]["recall"]["0.5"]
        assert row["tuned_gt_known_loc"]["mean"] == 100 * evaluation["tuned"]["gt_known_loc"]
        assert row["body_recall"]["std"] is None, "one run has no spread"
    assert set(content["differences"]) == {"acol - gap"}
    assert set(content["baselines"]) == {"whole image", "centered box", "centered Gaussian"}
    assert 0 < content["baselines"]["centered Gaussian"]["max_box_acc_v2"]["mean"] <= 100
    assert "tuned_gt_known_loc" in content["baselines"]["centered Gaussian"]
    page = (out / "benchmark.md").read_text()
    assert "kerasxai benchmark --data shapes" in page, "the command that made it"
    assert "MaxBoxAccV2 (oracle)" in page
    with (out / "runs.csv").open() as file:
        assert [(row["row"], row["seed"]) for row in csv.DictReader(file)] == [
            ("gap", "0"),
            ("acol", "0"),
        ]
    for name in ("thresholds.png", "sheet.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 200
    told = capsys.readouterr().out
    assert "body recall" in told
    assert "tables and pictures" in told

    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert all(document[key] == content[key] for key in ("rows", "baselines", "differences"))

    # Other settings do not fit the runs that are there.
    assert main([*words, "--epochs", "2"]) == 2
    assert "epochs was 1, is 2" in capsys.readouterr().err


def test_models_that_are_compared_take_images_of_one_size(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[object, object]] = []

    # Any: other arguments are ignored.
    def stopped(config: Any, folder: Path, **_: Any) -> Path:
        sizes.append((config.image_size, config.final_image_size))
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark_module, "train", stopped)
    probe = ["--head-phase", "probe", "--head-epochs", "1", "--head-option", "depth=0"]
    assert main([*words, *probe, "--recipes", "gap", "--seeds", "1", "--out", str(tmp_path / "b")]) == 130
    assert sizes == [(64, 64)]


def test_mistakes_are_told_in_one_line(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "b")]
    for more, message in [
        (["--recipes", "gap,akol"], "expected a known recipe, got 'akol'; nearest: acol"),
        (["--recipes", "gap", "--recipe-option", "acul.erase_threshold=0.5"], "expected a known recipe, got 'acul'"),
        (["--recipes", "acol", "--recipe-option", "acol.erase=0.5"], "erase"),
    ]:
        assert main([*words, *more, *out]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1, told
    with pytest.raises(SystemExit) as ended:
        main([*words, "--recipes", "gap", "--seeds", "0", *out])
    assert ended.value.code == 2
    assert "--seeds: must be a whole number, 1 or more, got '0'" in capsys.readouterr().err
    assert not (tmp_path / "b").exists(), "a mistake leaves no folder behind"


def test_rows_of_weak_labels_are_compared_with_the_same_recipe() -> None:
    robust = "categorical_generalized_cross_entropy"
    rows = rows_of(["gap", "acol"], [0.1, 1.0], [0.0, 0.2], robust)
    assert {row.name: reference.name for row, reference in rows.items()} == {
        "gap": "gap",
        "acol": "gap",
        "gap, 10 % of the labels": "gap",
        "gap, 20 % of the labels wrong": "gap",
        f"gap, 20 % of the labels wrong, {robust}": "gap",
        "acol, 10 % of the labels": "acol",
        "acol, 20 % of the labels wrong": "acol",
        f"acol, 20 % of the labels wrong, {robust}": "acol",
    }
    assert [row.folder for row in rows][:5] == [
        "gap", "acol", "gap_labels_0.1", "gap_noise_0.2", f"gap_noise_0.2_{robust}",
    ]  # fmt: skip


def test_means_spreads_and_paired_differences() -> None:
    one = {0: {"accuracy": 90.0, "pxap": 50.0}, 1: {"accuracy": 94.0, "pxap": 60.0}, 2: {"accuracy": 95.0, "pxap": 1.0}}
    two = {0: {"accuracy": 91.0, "pxap": 40.0}, 1: {"accuracy": 91.0}}
    row = summarize(list(one.values()))
    assert row["n"] == 3
    assert row["accuracy"]["mean"] == 93.0
    assert row["accuracy"]["std"] == pytest.approx(7.0**0.5)
    assert summarize([one[0]])["accuracy"] == {"mean": 90.0, "std": None}
    paired = differences(one, two)
    assert paired["n"] == 2
    assert paired["accuracy"] == {"mean": 1.0, "std": pytest.approx(8.0**0.5), "higher": 1}
    assert "pxap" not in paired, "a measure that a run lacks has no mean"
    head, lines = table_of({"gap": row, "flat": {"n": None, "pxap": {"mean": 3.0, "std": None}}})
    assert head == ["", "n", "accuracy", "PxAP"]
    assert lines[0] == ["gap", "3", "93.0 ± 2.6", "37.0 ± 31.6"]
    assert lines[1] == ["flat", "", "", "3.0"]
    assert cell(paired["accuracy"], sign=True) == "+1.0 ± 2.8"
    assert markdown_table(head, lines).splitlines()[1] == "| --- | ---: | ---: | ---: |"
    assert csv_table({"gap": row}).splitlines()[0] == "row,n,accuracy_mean,accuracy_std,pxap_mean,pxap_std"
