"""Captioner and answerer from end to end on a few drawn scenes, and their measure on cases made by hand."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import pytest
from kills import copied
from PIL import Image
from tiny_backbone import in_backbones

import kerasxai
from kerasxai import data
from kerasxai.cli import COMMANDS, main, parser_of
from kerasxai.data.shapes.language import ANSWERS, CAPTION_WORDS, KINDS, NOBODY, swapped
from kerasxai.training.run_folder import RunFolder
from kerasxai.training.words import caption as caption_module
from kerasxai.training.words import vqa as vqa_module
from kerasxai.training.words import word_task
from kerasxai.training.words.attention_reader import END, EVIDENCE, PADDING, START, numbered, vocabulary
from kerasxai.training.words.caption import WORDS, caption, described_object, predict_captions, spelled
from kerasxai.training.words.pointing_accuracy import BACKGROUND, OBJECT, OTHER, Case, by_group, counted, point, rows
from kerasxai.training.words.scene_config import SceneConfig
from kerasxai.training.words.vqa import vqa

SIDE = 160


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    from kerasxai.data.shapes import pairs_builder

    with in_backbones(SIDE), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs_builder, "COUNTS", {"train": 8, "validation": 4, "test": 3})
        path = tmp_path_factory.mktemp("scenes")
        data.info("shapes_two", data_dir=path)
        yield path


@pytest.fixture(scope="module")
def config(folder: Path) -> SceneConfig:
    return SceneConfig(
        "caption", backbone="Tiny", weights="none", features=8, width=18, epochs=2, batch_size=4, data_dir=str(folder),
        seed=1,  # with this one it says a word
    )  # fmt: skip


@contextlib.contextmanager
def scenes_read() -> Iterator[list[bool]]:
    """Yield a list that has for each reading of scenes in a training whether masks are read."""
    read: list[bool] = []
    load, train = data.load_scenes, word_task.train_reader

    def watched(*arguments: Any, with_masks: bool = False, **options: Any) -> Any:
        read.append(with_masks)
        return load(*arguments, with_masks=with_masks, **options)

    def training(*arguments: Any) -> keras.Model:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(data, "load_scenes", watched, raising=False)
            return train(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_task, "train_reader", training)
        yield read


@pytest.fixture(scope="module")
def captioned(config: SceneConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("runs") / "caption"
    with copied(1, out.parent / "killed"), scenes_read() as read:
        figures = caption(config, out, gallery=2, verbose=0)
    # Of the training and of the validation images.
    assert read == [False] * 2
    return out, figures


@pytest.fixture(scope="module")
def answered(config: SceneConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("runs") / "vqa"
    return out, vqa(replace(config, task="vqa", epochs=1), out, gallery=2, verbose=0)


def images_of(folder: Path) -> np.ndarray:
    return np.stack([one["image"] for one in data.load_scenes("test", data_dir=folder).as_numpy_iterator()])


def assert_all_is_there(out: Path, task: str, epochs: int) -> None:
    assert {path.name for path in out.iterdir()} == {
        *("config.json", "command.txt", "history.csv", "metrics.json", "model.keras"),
        *("evaluation_gradcam.json", "gallery_gradcam.png"),
    }
    assert json.loads((out / "config.json").read_text())["task"] == task
    assert len(RunFolder(out).rows) == epochs
    with Image.open(out / "gallery_gradcam.png") as picture:
        assert picture.width > 500


def test_a_caption_run_leaves_all_that_made_it(captioned: tuple[Path, dict[str, Any]]) -> None:
    out, result = captioned
    assert_all_is_there(out, "caption", epochs=2)
    assert json.loads((out / "evaluation_gradcam.json").read_text()) == result
    assert (result["images"], result["captions"], result["layer"]) == (3, 3, EVIDENCE)
    for both in result["words"].values():
        one = both["all"]
        assert one["cases"] == one[OBJECT] + one[OTHER] + one[BACKGROUND]


def test_a_vqa_run_leaves_all_that_made_it(answered: tuple[Path, dict[str, Any]]) -> None:
    out, result = answered
    assert_all_is_there(out, "vqa", epochs=1)
    assert set(result["questions"]) == set(KINDS)
    assert [result[f"{kind}_questions"] for kind in KINDS] == [6] * 4
    assert [result["questions"][kind]["all"]["cases"] for kind in KINDS[1:]] == [6] * 3


def test_the_captioner_is_one_model_from_pixels_to_words(captioned: tuple[Path, dict[str, Any]], folder: Path) -> None:
    model = keras.models.load_model(captioned[0] / "model.keras")
    assert kerasxai.models.class_names(model) == list(WORDS)
    assert not model.get_layer("backbone").trainable_weights
    images = images_of(folder)
    said = predict_captions(model, images)
    assert said.shape == (3, 9) and (said[:, 0] == START).all()
    outputs = model.predict_on_batch({"image": images.astype("float32"), "words": said})
    np.testing.assert_allclose(outputs.sum(axis=-1), 1, rtol=1e-5)
    # The backbone's maps are kept in half precision for training and for saying.
    for row, words in zip(outputs, said, strict=True):
        for place in range(1, 9):
            if words[place] > END:
                assert row[place - 1, words[place]] > row[place - 1].max() - 1e-2


def test_a_captioner_that_says_nothing_has_no_heatmaps() -> None:
    assert (
        caption_module._heatmaps(cast("Any", None), np.zeros((2, SIDE, SIDE, 3)), np.full((2, 9), PADDING)).shape[0]
        == 0
    )


def test_words_to_come_do_not_change_what_is_said_before(captioned: tuple[Path, dict[str, Any]], folder: Path) -> None:
    model = kerasxai.models.load(captioned[0] / "model.keras")
    words = numbered([f"{WORDS[START]} a striped star"] * 3, WORDS, 9)
    other = words.copy()
    other[:, 3:] = 7
    one, two = (model.predict_on_batch({"image": images_of(folder), "words": w}) for w in (words, other))
    np.testing.assert_allclose(one[:, :3], two[:, :3], atol=1e-6)
    assert np.abs(one[:, 3:] - two[:, 3:]).max() > 1e-6


def test_the_answerer_says_what_was_trained_for_many_questions_at_once(
    answered: tuple[Path, dict[str, Any]], folder: Path
) -> None:
    model = keras.models.load_model(answered[0] / "model.keras")
    assert kerasxai.models.class_names(model) == list(ANSWERS)
    scenes = next(data.load_scenes("test", batch_size=3, data_dir=folder).as_numpy_iterator())
    asked = vqa_module._numbers(scenes["questions"])
    images = scenes["image"].astype("float32")
    maps = model.get_layer("backbone").predict_on_batch(images)
    together = keras.ops.softmax(model.get_layer("reader").predict_on_batch([maps, asked]))
    for number in range(8):
        alone = model.predict_on_batch({"image": images, "question": asked[:, number]})
        np.testing.assert_allclose(alone, together[:, number], atol=1e-5)


def test_a_killed_run_goes_on_to_the_same_weights_and_reads_no_masks(
    config: SceneConfig, captioned: tuple[Path, dict[str, Any]]
) -> None:
    killed = captioned[0].parent / "killed"
    assert len(RunFolder(killed).rows) == 1
    with scenes_read() as read:
        resumed = caption_module.train(config, killed, verbose=0)
    assert read == [False] * 2
    whole = kerasxai.models.load(captioned[0] / "model.keras")
    for first, second in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_finished_run_is_left_alone_and_another_config_is_refused(
    config: SceneConfig, captioned: tuple[Path, dict[str, Any]]
) -> None:
    out = captioned[0]
    written = (out / "model.keras").stat().st_mtime_ns
    caption_module.train(config, out, verbose=0)
    assert (out / "model.keras").stat().st_mtime_ns == written
    with pytest.raises(kerasxai.KerasxaiError, match="task was 'caption', is 'vqa'"):
        vqa_module.train(replace(config, task="vqa"), out, verbose=0)


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"width": 1}, {"backbone": "nope"}, {"weights": "nope"}, {"train_images": 0}]
)
def test_a_config_out_of_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(kerasxai.KerasxaiError):
        SceneConfig("caption", **change)


def masks(*columns: int) -> np.ndarray:
    """Two objects of one column each, on four columns."""
    found = np.zeros((2, 2, 4), np.uint8)
    for k, column in enumerate(columns):
        found[k, :, column] = 1
    return found


def peak(column: int) -> np.ndarray:
    heatmap = np.full((2, 4), 0.5)
    heatmap[1, column] = 2.0
    return heatmap


@pytest.mark.parametrize(
    ("column", "spoken", "where"),
    [(0, 0, OBJECT), (3, 0, OTHER), (1, 0, BACKGROUND), (0, 1, OTHER), (3, 1, OBJECT), (0, NOBODY, OTHER)],
)
def test_a_maximum_lies_on_the_object_or_not(column: int, spoken: int, where: str) -> None:
    assert point(peak(column), masks(0, 3), spoken) == (where, 0.0 if spoken == NOBODY else 0.25)


def test_a_map_without_evidence_points_nowhere() -> None:
    assert point(np.zeros((2, 4)), masks(0, 3), 0) == (BACKGROUND, 0.25)
    assert point(np.full((2, 4), -1.0), masks(0, 3), 0) == (BACKGROUND, 0.25)


def test_cases_are_counted_apart() -> None:
    cases = [
        Case("noun", True, OBJECT, 0.1),
        Case("noun", True, OBJECT, 0.2),
        Case("noun", True, OTHER, 0.3),
        Case("noun", False, BACKGROUND, 0.0),
        Case("adjective", False, BACKGROUND, 0.4),
    ]
    noun = by_group(cases)["noun"]
    assert noun["correct"] == {
        "cases": 3,
        "on_object": 2,
        "on_other": 1,
        "on_background": 0,
        "share_on_object": 0.6667,
        "share_on_other": 0.3333,
        "share_on_background": 0.0,
        "of_hits": 0.6667,
        "chance": 0.2,
        "chance_of_hits": 0.5,
    }
    assert noun["all"]["cases"] == 4 and noun["all"]["share_on_object"] == 0.5
    assert counted([])["all"]["share_on_object"] is None
    assert [row[:3] for row in rows(by_group(cases))] == [
        ["noun", "correct", "3"],
        ["noun", "all", "4"],
        ["adjective", "correct", "0"],
        ["adjective", "all", "1"],
    ]


def test_each_word_of_a_caption_is_measured_on_its_own_object() -> None:
    said = numbered(
        [f"{WORDS[START]} a striped star left of a spotted arrow", f"{WORDS[START]} a striped heart above a"], WORDS, 9
    )
    batch: dict[str, Any] = {
        "caption": [b"a spotted arrow right of a striped star", b"a striped star above a spotted arrow"],
        "forms": np.array([[1, 0], [0, 1]]),
        "patterns": np.array([[1, 0], [0, 1]]),
        "masks": np.stack([masks(0, 3), masks(0, 3)]),
    }
    listed = caption_module._words(said)
    assert " ".join(word.text for word in listed if word.image == 0) == "a striped star left of a spotted arrow"
    # In the first image the arrow is at the left, column 0; every map points at the right column, 3.
    cases, drawn, counts = caption_module._cases(batch, said, np.stack([peak(3)] * len(listed)))
    assert cases == [
        Case("adjective", True, OBJECT, 0.25),
        Case("noun", True, OBJECT, 0.25),
        Case("adjective", True, OTHER, 0.25),
        Case("noun", True, OTHER, 0.25),
        Case("adjective", False, OTHER, 0.25),
        Case("noun", False, OTHER, 0.0),
    ]
    assert counts == {"captions": 2, "true_captions": 1}
    assert [word for word, _ in drawn[1]] == ["a", "striped", "heart", "above", "a"]


def test_each_answer_is_measured_on_the_object_it_tells_of() -> None:
    places = [KINDS.index(kind) for kind in ("relation", "texture", "relation")]
    batch = {
        "questions": np.array([[b"what is left of the star", b"what texture has the star", b"what is above the star"]]),
        "answers": np.array([[b"arrow", b"striped", b"nothing"]]),
        "kinds": np.array([places]),
        "about": np.array([[1, 0, NOBODY]]),
        "masks": masks(0, 3)[None],
    }
    answered = np.array([[ANSWERS.index(answer) for answer in ("arrow", "spotted", "nothing")]])
    cases, drawn, counts = vqa_module._cases(batch, answered, np.stack([peak(3), peak(3), peak(0)])[None])
    assert cases == [Case("relation", True, OBJECT, 0.25), Case("texture", False, OTHER, 0.25)]
    assert drawn[0][1][0] == "what texture has the star? spotted"
    assert (counts["relation_questions"], counts["relation_right"], counts["texture_right"]) == (2, 2, 0)


def test_saying_stops_at_the_end() -> None:
    sentence = numbered([f"a striped star {WORDS[END]} a heart a cross"], WORDS, 9)[0]
    taken, words = keras.Input((1, 1, 1)), keras.Input((9,), dtype="int32")
    following = keras.ops.one_hot(keras.ops.zeros_like(words) + sentence, len(WORDS))
    reader = keras.Model([taken, words], following, name="reader")
    image = keras.Input((1, 1, 1))
    base = keras.Model(image, keras.layers.Rescaling(1.0)(image), name="backbone")

    class Both:
        def get_layer(self, name: str) -> Any:
            return {"backbone": base, "reader": reader}[name]

    said = predict_captions(Both(), np.zeros((2, 1, 1, 1)))
    assert [spelled(row) for row in said] == ["a striped star"] * 2
    assert (said[:, 4:] == PADDING).all()


def test_words_have_numbers() -> None:
    words = vocabulary(CAPTION_WORDS)
    assert numbered(["a star", ""], words, 3, at_end=True).tolist() == [
        [PADDING, words.index("a"), words.index("star")],
        [PADDING] * 3,
    ]
    with pytest.raises(kerasxai.KerasxaiError, match="got 'cat' in 'a cat'"):
        numbered(["a cat"], words, 3)
    with pytest.raises(kerasxai.KerasxaiError, match="at most 2 words, got 3"):
        numbered(["a star a"], words, 2)


def test_captions_can_be_turned_round() -> None:
    for text in ("a striped star left of a spotted arrow", "a rayed heart above a zigzag cross"):
        assert swapped(text) != text and swapped(swapped(text)) == text
    with pytest.raises(kerasxai.KerasxaiError, match="expected a caption of two objects"):
        swapped("a star")
    assert described_object("star", [1, 0], [3, 2]) == 1 and described_object("heart", [1, 0], [3, 2]) == NOBODY


@pytest.mark.parametrize("name", ["caption", "vqa"])
def test_figures_are_printed_as_json(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, figures = request.getfixturevalue({"caption": "captioned", "vqa": "answered"}[name])
    monkeypatch.setattr(word_task.WordTask, "train_and_measure", lambda *arguments, **settings: figures)
    assert main([name, "--out", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == figures


@pytest.mark.parametrize("name", ["caption", "vqa"])
def test_the_command_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not COMMANDS[name].arguments.endswith(name), "arguments are there without TensorFlow"
    assert f"kerasxai {name} --out" in parser_of(name).format_help()
    assert main([name, "--out", str(tmp_path / "run"), "--features", "nope", "--weights", "none"]) == 2
    told = capsys.readouterr().err
    assert "nope" in told and told.count("\n") == 1
    with pytest.raises(SystemExit) as ended:
        main([name, "--out", str(tmp_path / "run"), "--epochs", "0"])
    assert ended.value.code == 2
    assert "--epochs: must be a whole number, 1 or more, got '0'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists(), "a mistake leaves no folder behind"
    with pytest.raises(SystemExit):
        main([name, "--out", "run", "--method", "cam"])
