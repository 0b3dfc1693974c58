"""Measuring some images of a split only: those of a folder represent it, and few classes are warned of."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from kerasxai import data
from kerasxai.data.choosing import spread_over_positions
from kerasxai.engine.outputs.kinds import Predictions
from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.evaluation.data_check import MissingClassesWarning, warn_of_missing_classes
from kerasxai.evaluation.evaluate import Evaluator
from kerasxai.evaluation.measured_method import MeasuredMethod
from kerasxai.explainer import Explainer
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.settings import described
from kerasxai.training.benchmark_config import BenchmarkConfig


def info_of(num_classes: int) -> data.DatasetInfo:
    names = tuple(f"class {number}" for number in range(num_classes))
    return data.DatasetInfo(name="photos", class_names=names, splits={"test": 208}, has_boxes=True, has_masks=False)


@pytest.mark.parametrize(
    "labels", [np.repeat(np.arange(13), 16)[:60], np.zeros(10, int), np.repeat(np.arange(13), 4)[:48]]
)
def test_first_images_of_a_sorted_split_are_warned_of(labels: np.ndarray) -> None:
    seen = len(np.unique(labels))
    with pytest.warns(MissingClassesWarning, match=f"the first {len(labels)} of 208 images of test have {seen} of 13"):
        warn_of_missing_classes(info_of(13), "test", labels)


@pytest.mark.parametrize("count", [4, 10, 60])
def test_images_in_random_order_are_not(count: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(13), 16))[:count]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_missing_classes(info_of(13), "test", labels)


def test_images_of_a_folder_are_spread_over_it(tmp_path: Path) -> None:
    counts = {"a": 4, "b": 24, "c": 12}
    for name, count in counts.items():
        (tmp_path / "test" / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "test" / name / f"{number:02d}.png")
    dataset = data.open(str(tmp_path))
    positions = dataset.spread("test", 10)
    assert positions is not None
    whole = list(dataset.samples("test", None).as_numpy_iterator())
    chosen = list(dataset.samples("test", None, part=positions).as_numpy_iterator())
    assert [one["name"] for one in chosen] == [whole[position]["name"] for position in positions]
    assert np.bincount([one["label"] for one in chosen]).tolist() == [1, 6, 3], "each class has its share"
    limited = list(dataset.samples("test", None, part=10).as_numpy_iterator())
    assert [one["name"] for one in limited] == [one["name"] for one in chosen]
    (batch,) = dataset.batches("test", 8, 16, part=10).as_numpy_iterator()
    assert batch["label"].tolist() == [one["label"] for one in chosen]
    assert positions == data.open(str(tmp_path)).spread("test", 10)
    assert dataset.spread("test", 40) is dataset.spread("test", None) is None
    assert data.open("shapes").spread("test", 10) is None, "mixed when it was made"


def test_limited_samples_of_tfds_are_the_first_ones() -> None:
    dataset = data.open("shapes")
    samples = list(dataset.samples("test", 32, part=5).as_numpy_iterator())
    first = list(dataset.samples("test", 32).take(5).as_numpy_iterator())
    assert all((one["image"] == its["image"]).all() for one, its in zip(samples, first, strict=True))
    with pytest.raises(KerasxaiError, match="part must be 0 samples or more, got -1"):
        dataset.samples("test", 32, part=-1)


def test_chosen_images_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / "test" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "test" / "ab"[number % 2] / f"{number}.png")
    # Files are sorted by class: 0, 2, 4, 6 and 1, 3, 5, 7.
    (tmp_path / "test" / "a" / "6.png").write_bytes(b"no image")
    dataset = data.open(str(tmp_path), skip_unreadable=True)
    samples = list(dataset.samples("test", None, part=[1, 3, 4]).as_numpy_iterator())
    assert [int(one["image"][0, 0, 0]) for one in samples] == [2, 1]


@pytest.fixture
def sorted_folder(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of two classes, of twelve test images each, and its boxes."""
    folder, rows = tmp_path / "photos", ["image,x0,y0,x1,y1"]
    for split, count in (("validation", 3), ("test", 12)):
        for name in "ab":
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                path = f"{split}/{name}/{number:02d}.png"
                Image.new("RGB", (16, 16), (10 * number, 99, 0)).save(folder / path)
                rows += [f"{path},2,2,12,12"] if split == "test" else []
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    return folder, tmp_path / "boxes.csv"


@pytest.mark.parametrize(("limit", "in_parts"), [(None, False), (None, True), (10, True)])
def test_a_rule_without_boxes_looks_at_images_of_all_classes(
    sorted_folder: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, limit: int | None, in_parts: bool
) -> None:
    folder, boxes = sorted_folder
    monkeypatch.setattr("kerasxai.evaluation.evaluate.RULE_IMAGES", 6)
    config = EvaluateConfig(str(folder), tune_split=None, limit=limit, boxes_csv=str(boxes), image_size=16)
    evaluator = Evaluator(small_model(), [config], progress=False)
    seen = record_labels(monkeypatch)
    evaluator.choose_thresholds(in_parts)
    assert seen == [0, 0, 0, 1, 1, 1]
    (method,) = evaluator.methods
    assert isinstance(method, MeasuredMethod) and method.chosen.source == "deviation on heatmaps of test"


def test_a_rule_looks_at_all_images_of_a_tuning_split_without_boxes(
    sorted_folder: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, boxes = sorted_folder
    config = EvaluateConfig(str(folder), boxes_csv=str(boxes), image_size=16)
    evaluator = Evaluator(small_model(), [config], progress=False)
    (method,) = evaluator.methods
    assert isinstance(method, MeasuredMethod) and method.thresholds.most is None
    seen = record_labels(monkeypatch)
    evaluator.choose_thresholds()
    assert seen == [0, 0, 0, 1, 1, 1] and not method.chosen.tuned


def small_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    features = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(features)))


def record_labels(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    add = MeasuredMethod.add

    def recorded(self: MeasuredMethod, batch: Mapping[str, Any], outputs: Predictions | None = None) -> Predictions:
        seen.extend(batch["label"].tolist())
        return add(self, batch, outputs)

    monkeypatch.setattr(MeasuredMethod, "add", recorded)
    return seen


def test_settings_name_the_spread_images_of_folders_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("shapes", "photos"):
        (tmp_path / name).mkdir()
    settings = {name: EvaluateConfig(name, limit=5).figure_settings() for name in ("shapes", "photos")}
    assert "limited_to" in settings["photos"] and "limited_to" not in settings["shapes"]
    assert "limited_to" not in EvaluateConfig("photos").figure_settings()
    by_rule = {name: EvaluateConfig(name, tune_split=None).figure_settings() for name in ("shapes", "photos")}
    assert "threshold_of" in by_rule["photos"] and "threshold_of" not in by_rule["shapes"] | settings["photos"]
    assert "threshold_of" not in EvaluateConfig("photos", tune_split=None, threshold=0.2).figure_settings()


@pytest.mark.parametrize(("total", "count"), [(0, 3), (5, 5), (7, 3), (1000, 999), (10, 0)])
def test_positions_are_one_of_each_part(total: int, count: int) -> None:
    positions = spread_over_positions(total, count)
    assert len(positions) == min(count, total) and (np.diff(positions) > 0).all()
    even = np.arange(len(positions)) * total / max(count, 1)
    assert (np.abs(positions - even) <= total / max(count, 1)).all()


def test_help_about_limits_says_which_images_are_measured() -> None:
    helps = {described(config)["limit"][1].help for config in (EvaluateConfig, BenchmarkConfig)}
    assert helps == {"maximum number of measured images of each split; of a folder they are spread evenly over it"}


@pytest.mark.parametrize("count", [0, 1, np.int64(3), 8, 100])
@pytest.mark.parametrize("shuffle", [True, False])
def test_any_number_of_samples_is_read(sorted_folder: tuple[Path, Path], count: int, shuffle: bool) -> None:
    dataset = data.open(str(sorted_folder[0]), boxes_csv=str(sorted_folder[1]))
    samples = dataset.samples("test", part=count, shuffle=shuffle)
    batches = list(dataset.batches("test", 8, 3, part=count, shuffle=shuffle).as_numpy_iterator())
    expected = min(int(count), dataset.info.splits["test"])
    assert len(list(samples)) == sum(len(batch["label"]) for batch in batches) == expected


def test_a_number_of_samples_of_an_unknown_split(sorted_folder: tuple[Path, Path]) -> None:
    with pytest.raises(KerasxaiError, match=r"expected a known split of .*, got 'tset'"):
        data.open(str(sorted_folder[0])).samples("tset", part=2)


@pytest.mark.parametrize("batch_size", [1, 32])
def test_refinements_are_chosen_on_images_of_all_classes(
    sorted_folder: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    batch_size: int,
) -> None:
    folder, boxes = sorted_folder
    caplog.set_level("INFO", "kerasxai")
    seen: list[np.ndarray] = []
    monkeypatch.setattr("kerasxai.evaluation.evaluate.MOST", 4)
    monkeypatch.setattr(Explainer, "choose_refinement", lambda _, images: seen.append(images))
    config = EvaluateConfig(
        str(folder), refine="auto", tune_split=None, boxes_csv=str(boxes), image_size=16, batch_size=batch_size
    )
    Evaluator(small_model(), [config, replace(config, refine=None)], progress=False).choose_refinements()
    assert caplog.messages == ["choosing the refinement on 4 images"]
    (images,) = seen
    reds = images[:, 0, 0, 0] / 10
    assert (np.diff(reds) > 0).tolist() == [True, False, True], "two images of each class"
    named = {refine: EvaluateConfig(str(folder), refine=refine).figure_settings() for refine in ("auto", "flip")}
    assert "refinement_of" in named["auto"] and "refinement_of" not in named["flip"]
