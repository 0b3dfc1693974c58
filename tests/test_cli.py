"""The command line as people meet it: help, one-line errors, files on disk."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import zoo
from PIL import Image

from kerasxai.cli import COMMANDS, main, parser_of
from kerasxai.cli.explain import _classes_of
from kerasxai.tools.commands import parse_option


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "model.keras"
    zoo.build("functional").save(path)
    return str(path)


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(path)
    return str(path)


def run(*words: str) -> int:
    return main(list(words))


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    assert "Traceback" not in told
    return told


def test_help_and_tables_import_no_tensorflow() -> None:
    program = (
        "import sys, contextlib, io\n"
        "from kerasxai.cli import COMMANDS, main, parser_of\n"
        "with contextlib.redirect_stdout(io.StringIO()) as told:\n"
        "    for name in COMMANDS: parser_of(name).print_help()\n"
        "    for name in ('methods', 'backbones', 'datasets'): main([name])\n"
        "assert 'gradcam' in told.getvalue() and 'EfficientNetLite0' in told.getvalue()\n"
        "heavy = {'tensorflow', 'keras', 'tensorflow_datasets', 'matplotlib', 'skimage'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent.parent)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name: str) -> None:
    told = parser_of(name).format_help()
    assert f"kerasxai {name}" in told.split("examples:")[1]


def test_no_command_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 0
    assert "explain" in capsys.readouterr().out


def test_explain_writes_overlays_maps_and_a_record(model_file: str, photo: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("explain", model_file, photo, photo, "--method", "cam,gradcam", "--target", "1", "--out", str(out)) == 0
    names = {path.name for path in out.iterdir()}
    one = {"photo.png", "photo_cam.png", "photo_cam.npy", "photo_gradcam.png", "photo_gradcam.npy"}
    assert names == one | {name.replace("photo", "photo-2") for name in one} | {"explanations.json"}
    assert np.load(out / "photo_cam.npy").shape == (zoo.SIZE, zoo.SIZE)
    with Image.open(out / "photo_cam.png") as overlay:
        assert overlay.size == (30, 20), "overlays have the photograph's own size"
    record = json.loads((out / "explanations.json").read_text())["images"][0]
    assert [e["method"] for e in record["explanations"]] == ["cam", "gradcam"]
    assert record["explanations"][0]["target"] == 1
    assert record["explanations"][1]["layer"] == "convolutions_last"
    assert abs(sum(p["probability"] for p in record["predicted"]) - 1) < 0.5


def test_explain_tells_of_an_empty_map(photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second class has negative weights only, so that Grad-CAM has no positive evidence."""
    inputs = keras.Input((16, 16, 3))
    maps = keras.layers.Conv2D(2, 3, activation="relu", kernel_initializer="ones", name="maps")(inputs / 255)
    dense = keras.layers.Dense(2, activation="softmax")
    model = keras.Model(inputs, dense(keras.layers.GlobalAveragePooling2D()(maps)))
    dense.set_weights([np.array([[1.0, -1.0], [1.0, -1.0]]), np.zeros(2)])
    model.save(tmp_path / "model.keras")
    words = ["explain", str(tmp_path / "model.keras"), photo, "--target", "1"]
    assert run(*words, "--method", "gradcam,cam", "--out", str(tmp_path / "out")) == 0
    assert "(gradcam, empty map: no evidence)" in " ".join(capsys.readouterr().out.split())
    record = json.loads((tmp_path / "out" / "explanations.json").read_text())["images"][0]
    assert [one["remark"] for one in record["explanations"]] == ["empty map: no evidence", ""]
    empty = {"target_name": "cat", "remark": "empty map"}
    several = [empty | {"method": "gradcam"}, {"target_name": "cat", "method": "cam"}, empty | {"method": "saliency"}]
    assert _classes_of(several) == "cat (gradcam, empty map; saliency, empty map)"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "gradcm"], "expected a known method, got 'gradcm'; nearest: gradcam"),
        (["--target", "9"], "target must be from 0 to 3, got 9"),
        (["--target", "tabby"], "carries no class names"),
        (["--layer", "convolutions_lst"], "expected a known layer, got 'convolutions_lst'; nearest: convolutions_last"),
        (["--option", "color=3"], "expected a known option of gradcam, got 'color'"),
        (["--image-size", "64"], "16 x 16 pixels"),
    ],
)
def test_explain_tells_mistakes_in_one_line(
    words: list[str], message: str, model_file: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("explain", model_file, photo, "--out", str(tmp_path / "out"), *words) == 2
    assert message in one_line(capsys)
    assert not (tmp_path / "out").exists(), "nothing half-written"


def test_missing_and_corrupt_files(
    model_file: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(photo).read_bytes()[:200])
    damaged = tmp_path / "damaged.keras"
    damaged.write_bytes(Path(model_file).read_bytes()[:500])
    for words, message in [
        (["explain", model_file, str(tmp_path / "none.png")], "none.png"),
        (["explain", model_file, str(broken)], "broken.png"),
        (["explain", str(tmp_path / "none.keras"), photo], "none.keras"),
        (["explain", str(damaged), photo], "damaged.keras"),
        (["layers", "imagenet:EfficientNetLte0"], "EfficientNetLite0"),
    ]:
        assert run(*words) == 2
        assert message in one_line(capsys)


def test_a_folder_that_cannot_be_written_to(
    model_file: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    assert run("explain", model_file, photo, "--out", str(in_the_way / "out")) == 2
    assert "cannot write" in one_line(capsys)


def test_wrong_arguments_end_with_status_2_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["explain"], ["nothing"], ["train", "--data", "shapes", "--out", "x", "--head", "none"]):
        with pytest.raises(SystemExit) as ended:
            run(*words)
        assert ended.value.code == 2
        assert "--help" in one_line(capsys)


def test_layers_prints_what_list_layers_finds(model_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("layers", model_file, "--maps") == 0
    told = capsys.readouterr().out
    assert "convolutions_last" in told
    assert "8 x 8 x 8" in told
    assert "top" not in told.split("feature map", 1)[1]


def test_a_model_of_any_size_takes_the_size_that_is_asked_for(photo: str, tmp_path: Path) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    )
    model.save(tmp_path / "any.keras")
    assert run("explain", str(tmp_path / "any.keras"), photo, "--image-size", "48", "--out", str(tmp_path)) == 0
    assert np.load(tmp_path / "photo_gradcam.npy").shape == (48, 48)


@pytest.mark.parametrize(
    ("text", "expected"), [("a=1", 1), ("a=0.5", 0.5), ("a=true", True), ("a=[1, 2]", [1, 2]), ("a=mean", "mean")]
)
def test_options_are_read_as_json_or_text(text: str, expected: Any) -> None:
    assert parse_option(text) == ("a", expected)
