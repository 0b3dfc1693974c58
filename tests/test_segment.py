"""`kerasxai segment` from end to end, on small images of red and blue squares."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tiny_backbone import tiny_row_of

import kerasxai
from kerasxai.cli import main
from kerasxai.data import DatasetInfo, ImageDataset
from kerasxai.data.information import Part
from kerasxai.segmentation import read_label_map
from kerasxai.tools.errors import KerasxaiError
from kerasxai.training import segment_seeds
from kerasxai.training.run_folder import RunFolder
from kerasxai.training.segment import backbone_of, segment
from kerasxai.training.segment_config import Measuring, SegmentConfig
from kerasxai.training.segment_fit import new_segmenter
from kerasxai.training.segment_predictions import Predictor

SIDE = 32
COUNTS = {"train": 12, "validation": 4, "test": 4}


class Squares:
    """A source of images with a red and a blue square, or one of them.

    Args:
        masks: Whether there are true masks, and 2 for wrong ones.
    """

    is_sorted = False

    def __init__(self, masks: int = 1) -> None:
        self.masks = masks
        self.info = DatasetInfo(
            "squares", ("blue", "red"), COUNTS, False, False, multi_label=True, has_class_masks=bool(masks)
        )
        self.read: list[tuple[str, bool]] = []

    def sample(self, split: str, index: int) -> dict[str, Any]:
        generator = np.random.default_rng([index, len(split)])
        image = generator.integers(60, 100, (SIDE, SIDE, 3), dtype=np.uint8)
        mask, labels = np.zeros((SIDE, SIDE), np.uint8), np.zeros(2, np.float32)
        for label, channel in ((0, 2), (1, 0)):
            if index % 3 == label:
                continue
            x, y = generator.integers(1, 6) + 16 * label, generator.integers(1, 20)
            image[y : y + 10, x : x + 10] = 30
            image[y : y + 10, x : x + 10, channel] = 250
            mask[y : y + 10, x : x + 10] = label + 1
            labels[label] = 1
        name = f"{split}/{index}.jpg"
        return {"index": index, "image": image, "name": name, "labels": labels, "class_mask": mask}

    def samples(
        self, split: str, annotations: bool, mix: int | None = None, part: Part | None = None
    ) -> tf.data.Dataset:
        self.read.append((split, annotations))
        rows = [self.sample(split, index) for index in (part if isinstance(part, list) else range(COUNTS[split]))]
        columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        if self.masks == 2:
            columns["class_mask"] = np.ones_like(columns["class_mask"])
        if not (annotations and self.masks):
            del columns["class_mask"]
        return tf.data.Dataset.from_tensor_slices(columns)

    def labels(self, split: str, most: int | None = None) -> np.ndarray:
        return np.stack([self.sample(split, index)["labels"] for index in range(COUNTS[split])])

    def unreadable(self, split: str) -> dict[Path, str]:
        return {}


tiny_row = tiny_row_of(SIDE)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that sees colors: how much bluer, or redder, a pixel is than the other channels."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    colors = keras.layers.Conv2D(2, 3, padding="same", activation="relu", name="colors")
    x = colors(keras.layers.Rescaling(1 / 255)(image))
    kernel = np.zeros((3, 3, 3, 2), np.float32)
    kernel[1, 1] = np.array([[-1, 1], [0, 0], [1, -1]])
    colors.set_weights([kernel, np.full(2, -0.1, np.float32)])
    scores = keras.layers.Dense(2, activation="sigmoid", name="predictions")
    x = scores(keras.layers.GlobalAveragePooling2D()(x))
    scores.set_weights([30 * np.eye(2, dtype=np.float32), np.full(2, -0.5, np.float32)])
    path = tmp_path_factory.mktemp("runs") / "colors.keras"
    keras.Model(image, x).save(path)
    return path


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Squares:
    return use(Squares(), monkeypatch)


def use(source: Squares, monkeypatch: pytest.MonkeyPatch) -> Squares:
    monkeypatch.setattr(kerasxai.data, "open", lambda *_, **__: ImageDataset(source))
    return source


@pytest.fixture(scope="module")
def config(classifier: Path) -> SegmentConfig:
    return SegmentConfig(
        "squares",
        str(classifier),
        refine="",
        cut="labelcut:segments=100",
        foreground=0.4,
        background=0.2,
        backbone="Tiny",
        width=8,
        epochs=2,
        batch_size=4,
    )


@pytest.fixture(scope="module")
def finished(config: SegmentConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "seg"
    with pytest.MonkeyPatch.context() as patch:
        use(Squares(), patch)
        segment(config, out, Measuring(true_masks=True, sheet_images=2), verbose=0)
    return out


def assert_same(one: Path, other: Path) -> None:
    for first, second in zip(
        *(kerasxai.models.load(path / "model.keras").get_weights() for path in (one, other)), strict=True
    ):
        np.testing.assert_array_equal(first, second)
    assert_same_masks(one, other)


def assert_same_masks(one: Path, other: Path) -> None:
    for path in sorted((one / "pseudo_masks").rglob("*.png")):
        assert path.read_bytes() == (other / path.relative_to(one)).read_bytes()


def test_a_run_leaves_masks_predictions_sheets_and_figures(finished: Path) -> None:
    for split in ("train", "validation"):
        assert len(list((finished / "pseudo_masks" / split / split).glob("*.png"))) == COUNTS[split]
    assert not (finished / "pseudo_masks" / "test").exists(), "test images get no pseudo-masks"
    for folder in (finished, finished / "true_masks"):
        for masks in ("predictions", "refined_predictions"):
            assert len(list((folder / masks).rglob("*.png"))) == COUNTS["test"]
        assert [(row["phase"], row["epoch"]) for row in RunFolder(folder).rows] == [("segmenter", 0), ("segmenter", 1)]
        assert len(list((folder / "sheets").glob("*.png"))) == 2
        assert (folder / "history.png").exists()
        assert not (folder / "checkpoints").exists()
    results = json.loads((finished / "segmentation.json").read_text())
    steps = {"seeds", "refined", "centered_gaussian", "all_background"}
    steps |= {"pseudo_masks_filled", "pseudo_masks", "pseudo_masks_labeled"}
    assert set(results["train"]) == steps
    networks = {"segmenter", "true_masks"}
    assert set(results["test"]) == steps | networks | {f"{name}_refined" for name in networks}
    assert results["images"] == COUNTS
    assert results["test"]["seeds"]["threshold"] == results["train"]["seeds"]["threshold"]
    assert results["train"]["seeds"]["mean_iou"] > 0.9 > results["train"]["centered_gaussian"]["mean_iou"]
    assert results["train"]["all_background"]["by_class"] == [0.0, 0.0]


def test_pseudo_masks_are_made_of_seeds(finished: Path) -> None:
    true = Squares().sample("train", 5)["class_mask"]
    mask = read_label_map(finished / "pseudo_masks" / "train" / "train" / "5.png")
    certain = mask != 255
    assert certain.mean() > 0.5
    assert (mask == true)[certain].mean() > 0.95


def test_without_true_masks_the_same_pseudo_masks_are_made(
    finished: Path, config: SegmentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = use(Squares(masks=0), monkeypatch), tmp_path / "seg"
    results = segment(replace(config, epochs=1), out, Measuring(sheet_images=0), verbose=0)
    assert_same_masks(finished, out)
    assert results["train"] == results["test"] == {}
    assert not any(annotations for _, annotations in source.read)


def test_a_killed_run_with_wrong_true_masks_ends_with_the_same_weights(
    finished: Path, config: SegmentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """True masks do not reach training, and it continues after any stop."""
    use(Squares(masks=2), monkeypatch)
    out = tmp_path / "seg"
    measuring = Measuring(sheet_images=0)
    written: list[Path] = []

    def killed_while_making_seeds(path: Path, content: object) -> None:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path)
        write_json(path, content)

    write_json = segment_seeds.write_json
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(segment_seeds, "write_json", killed_while_making_seeds)
        segment(config, out, measuring, verbose=0)
    assert json.loads((out / "seeds" / "train.json").read_text())["done"] == 8
    keep = RunFolder.keep

    def killed_after_an_epoch(folder: RunFolder, model: keras.Model, row: dict[str, Any]) -> None:
        keep(folder, model, row)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "keep", killed_after_an_epoch)
        segment(config, out, measuring, verbose=0)
    assert len(RunFolder(out).rows) == 1
    segment(config, out, measuring, verbose=0)
    assert_same(finished, out)
    with pytest.raises(KerasxaiError, match=r"expected the folder of this run, got .*epochs was 2, is 3"):
        segment(replace(config, epochs=3), out, measuring, verbose=0)


def test_limited_images_are_spread_over_sorted_ones(
    config: SegmentConfig, source: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Squares, "is_sorted", True)
    out, limited = tmp_path / "seg", replace(config, epochs=1, images=6, validation_images=3)
    positions = {split: ImageDataset(source).spread(split, count) for split, count in (("train", 6), ("validation", 3))}
    segment(limited, out, Measuring(test_images=3, sheet_images=2), verbose=0)
    for split, chosen in positions.items():
        assert chosen is not None and chosen != list(range(len(chosen)))
        masks = {path.stem for path in (out / "pseudo_masks" / split).rglob("*.png")}
        assert masks == {str(position) for position in chosen}
    results = segment(limited, out, Measuring(test_images=4, sheet_images=2), verbose=0)
    again = tmp_path / "again"
    assert results["images"] == {"train": 6, "validation": 3, "test": 4}
    assert segment(limited, again, Measuring(test_images=4, sheet_images=0), verbose=0)["test"] == results["test"]


def test_a_refinement_is_chosen_on_images_of_the_whole_split(
    config: SegmentConfig, source: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[np.ndarray] = []

    def choose(maker: object, images: np.ndarray) -> None:
        chosen.append(images)
        raise InterruptedError

    monkeypatch.setattr(Squares, "is_sorted", True)
    monkeypatch.setattr("kerasxai.training.segment.MOST", 4)
    monkeypatch.setattr(segment_seeds.Explainer, "choose_refinement", choose)
    with pytest.raises(InterruptedError):
        segment(replace(config, refine="auto"), tmp_path / "seg", verbose=0)
    positions = ImageDataset(source).spread("train", 4)
    assert positions is not None
    expected = np.stack([source.sample("train", position)["image"] for position in positions])
    np.testing.assert_array_equal(chosen, [expected])


def test_the_command_prints_the_table_and_adds_nothing_to_a_finished_run(
    finished: Path, config: SegmentConfig, source: Squares, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "model.keras").stat().st_mtime_ns
    words = ["--data", "squares", "--seeds", config.seeds, "--refine", "", "--foreground", "0.4", "--background", "0.2"]
    words += ["--cut", config.cut]
    words += ["--backbone", "Tiny"]
    words += ["--width", "8", "--epochs", "2", "--batch-size", "4", "--true-masks", "--out", str(finished)]
    assert main(["segment", *words]) == 0
    printed = capsys.readouterr().out
    for text in ("blind: all background", "refined seeds", "segmenter, refined", "segmenter trained on true masks"):
        assert text in printed
    assert main(["segment", *words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert 0 < document["test"]["segmenter"]["mean_iou"] <= 1 and "refined" in document["train"]
    assert (finished / "model.keras").stat().st_mtime_ns == before


def test_mistakes_end_the_command_before_anything_is_written(
    config: SegmentConfig, source: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "seg"
    with pytest.raises(KerasxaiError, match="expected a backbone with maps of two or more of the strides"):
        segment(replace(config, backbone=None), out)
    with pytest.raises(KerasxaiError, match="background must be a number, at least 0 and below 1"):
        replace(config, background=1.0)
    with pytest.raises(KerasxaiError, match="smallest must be at most largest"):
        replace(config, smallest=2.0)
    with pytest.raises(KerasxaiError, match="expected labelcut, perhaps with options"):
        replace(config, cut="graphcut")
    with pytest.raises(KerasxaiError, match="expected labelcut, perhaps with options"):
        Measuring(refine_predictions="labelcut,flip")
    with pytest.raises(KerasxaiError, match="expected low and high for --cut alone"):
        Measuring(refine_predictions="labelcut:low=0.1")
    use(Squares(masks=0), monkeypatch)
    with pytest.raises(KerasxaiError, match="expected data with class masks for true_masks"):
        segment(config, out, Measuring(true_masks=True))
    assert not out.exists()


def test_predictions_are_refined_by_image_and_mirrored_image() -> None:
    """A network of one pixel is the same for mirrored images, one that shifts is not."""
    image = Squares().sample("train", 5)["image"][None]
    kernel = np.zeros((1, 3, 3, 3), np.float32)
    kernel[0, 0] = np.array([[0, -1, 1], [0, 0, 0], [0, 1, -1]]) / 20
    layer = keras.layers.Conv2D(3, (1, 3), padding="same")
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), layer])
    layer.set_weights([kernel, np.array([3.0, 0, 0], np.float32)])
    (plain,) = Predictor(model)(image)
    np.testing.assert_array_equal(plain, model.predict(image.astype(np.float32), verbose=0).argmax(-1))
    first, flipped = Predictor.of(model, "flip")(image)
    np.testing.assert_array_equal(first, plain)
    np.testing.assert_array_equal(flipped[:, :, ::-1], Predictor.of(model, "flip")(image[:, :, ::-1])[1])
    assert (plain[:, :, ::-1] != Predictor(model)(image[:, :, ::-1])[0]).any()
    true = Squares().sample("train", 5)["class_mask"]
    _, cut = Predictor.of(model, "labelcut:segments=200")(image)
    assert (cut[0] == true).mean() > 0.98 > (plain[0] == true).mean()


def test_refinements_of_predictions_can_be_added_to_a_finished_run(
    config: SegmentConfig, source: Squares, tmp_path: Path
) -> None:
    out = tmp_path / "seg"
    plain = segment(config, out, Measuring(refine_predictions="", sheet_images=0), verbose=0)
    assert "segmenter_refined" not in plain["test"] and not (out / "refined_predictions").exists()
    refined = segment(config, out, Measuring(sheet_images=0), verbose=0)
    assert refined["test"]["segmenter"] == plain["test"]["segmenter"]
    assert len(list((out / "refined_predictions").rglob("*.png"))) == COUNTS["test"]


def test_a_run_is_not_continued_on_data_that_have_grown(
    config: SegmentConfig, source: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, few = tmp_path / "seg", replace(config, epochs=1)
    segment(few, out, Measuring(sheet_images=0), verbose=0)
    monkeypatch.setitem(COUNTS, "train", COUNTS["train"] + 1)
    before = (out / "segmentation.json").read_bytes()
    with pytest.raises(
        KerasxaiError, match=f"got more or fewer .train was {COUNTS['train'] - 1}, is {COUNTS['train']}"
    ):
        segment(few, out, Measuring(sheet_images=0), verbose=0)
    assert (out / "segmentation.json").read_bytes() == before


def test_the_default_backbone_is_a_copy_of_the_classifier(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    kerasxai.models.build_classifier("Tiny", 2, weights=None, features=8, depth=1, width=4).save(path)
    config = SegmentConfig("squares", str(path), backbone_share=1.0)
    model = new_segmenter(backbone_of(config), 2, (SIDE, SIDE), config)
    names = [layer.name for layer in model.get_layer("backbone").layers]
    assert "head_conv1" in names and "logits" not in names
    expected = kerasxai.models.load(path).get_layer("head_conv1").get_weights()
    np.testing.assert_array_equal(model.get_layer("backbone").get_layer("head_conv1").get_weights()[0], expected[0])
    again = new_segmenter(backbone_of(config), 2, (SIDE, SIDE), config)
    assert not {id(variable) for variable in model.variables} & {id(variable) for variable in again.variables}


def test_a_pseudo_mask_of_another_run_is_not_replaced(config: SegmentConfig, source: Squares, tmp_path: Path) -> None:
    out = tmp_path / "seg"
    path = out / "pseudo_masks" / "train" / "train" / "0.png"
    path.parent.mkdir(parents=True)
    Image.new("L", (SIDE, SIDE), 2).save(path)
    with pytest.raises(KerasxaiError, match="it exists with other labels"):
        segment(config, out, verbose=0)
    assert (read_label_map(path) == 2).all()
