"""Logging to TensorBoard, MLflow and Weights & Biases: what is written is read back, and no failure ends a training."""

import importlib
import struct
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_backbone import in_backbones

import kerasxai
from kerasxai.callbacks.log_sinks import LogSinks
from kerasxai.cli import main
from kerasxai.tools.files import read_csv, read_json
from kerasxai.training.run_folder import RunFolder
from kerasxai.viz import encode_png, open_sink
from kerasxai.viz.log_sinks import Value

SIDE = 16
_BLOCK, _WHOLE, _LAST = 2**15, 1, 4
PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
# Of packages of other people, which are not up to date with each other.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of one database of MLflow, which takes seconds to make its tables."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def stores(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep what the services write in temporary folders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    yield tmp_path
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)


def write(sink: Any) -> None:
    sink.settings({"epochs": 2, "head": "gap", "flip": True})
    for step in (1, 2):
        sink.scalars({"val_loss": 1 / step}, step)
        sink.picture("gradcam++", encode_png(PICTURE), step)
    sink.close()


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def hparams_of(found: Any) -> dict[str, Any]:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    (content,) = found.PluginTagToContent("hparams").values()
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def test_tensorboard_has_settings_scalars_and_pictures(tmp_path: Path) -> None:
    write(open_sink("tensorboard", tmp_path))
    found = events(tmp_path)
    assert [(one.step, one.tensor_proto.float_val[0]) for one in found.Tensors("val_loss")] == [(1, 1.0), (2, 0.5)]
    strings = found.Tensors("gradcam++")[1].tensor_proto.string_val
    assert strings[:2] == [b"6", b"4"]
    assert strings[2] == encode_png(PICTURE)
    assert hparams_of(found) == {"epochs": 2.0, "head": "gap", "flip": True}


def test_mlflow_has_settings_metrics_and_images(stores: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="an optional package")
    sink = open_sink("mlflow", title="first")
    write(sink)
    client = mlflow.MlflowClient()
    run = client.get_run(sink.identity)
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params == {"epochs": "2", "head": "gap", "flip": "True"}
    history = client.get_metric_history(sink.identity, "val_loss")
    assert [(one.step, one.value) for one in history] == [(1, 1.0), (2, 0.5)]
    images = [one.path for one in client.list_artifacts(sink.identity, "images") if one.path.endswith(".png")]
    assert len(images) == 2
    with Image.open(client.download_artifacts(sink.identity, images[0])) as picture:
        np.testing.assert_array_equal(np.asarray(picture), PICTURE)
    with mlflow.start_run() as active:
        used = open_sink("mlflow")
        used.close()
        assert used.identity == active.info.run_id
        assert mlflow.active_run() is not None, "the user's own run stays open"


def records_of(folder: Path) -> list[Any]:
    """Return the records in the file of an offline run of Weights & Biases."""
    record_type = importlib.import_module("wandb.proto.wandb_internal_pb2").Record
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    content, position, parts, records = path.read_bytes(), 7, b"", []
    # The log format of LevelDB: blocks of 32 KiB, of pieces with checksum, length and type, behind a header.
    while position + 7 <= len(content):
        if _BLOCK - position % _BLOCK < 7:
            position += _BLOCK - position % _BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (_WHOLE, _LAST):
            records.append(record_type.FromString(parts))
            parts = b""
    return records


def test_wandb_has_settings_history_and_images(stores: Path) -> None:
    pytest.importorskip("wandb", reason="an optional package")
    write(open_sink("wandb", title="first"))
    # W&B writes from another process; on a busy machine the file was once read without these records.
    for _ in range(60):
        records = records_of(stores)
        history = [
            {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            for record in records
            if record.WhichOneof("record_type") == "history"
        ]
        losses = [(row["epoch"], row["val_loss"]) for row in history if "val_loss" in row]
        if len(losses) == 2:
            break
        time.sleep(0.5)
    assert losses == [("1", "1"), ("2", "0.5")] or losses == [("1", "1.0"), ("2", "0.5")]
    (image, _) = stores.glob("wandb/offline-run-*/files/media/images/**/*.png")
    with Image.open(image) as picture:
        np.testing.assert_array_equal(np.asarray(picture), PICTURE)
    config = {item.key: item.value_json for record in records for item in record.config.update}
    assert config["head"] == '"gap"'


class Recorder:
    """A sink that keeps what it is given, and fails if `broken`."""

    identity: str | None = None

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.calls: list[tuple[str, Any]] = []

    def _add(self, kind: str, value: Any) -> None:
        self.calls.append((kind, value))
        if self.broken:
            raise OSError("the server does not answer")

    def settings(self, values: Mapping[str, Value]) -> None:
        self._add("settings", dict(values))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._add("scalars", (sorted(values), step))

    def picture(self, name: str, png: bytes, step: int) -> None:
        self._add("picture", (name, step))

    def close(self, finished: bool = True) -> None:
        self._add("close", finished)


@pytest.fixture(scope="module")
def samples() -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    box = np.array([[0.1, 0.1, 0.7, 0.9]], np.float32)
    images = random.uniform(0, 255, (4, SIDE, SIDE, 3)).astype(np.float32)
    return [{"image": image, "label": number % 2, "boxes": box} for number, image in enumerate(images)]


def test_the_callbacks_write_figures_and_sheets(samples: list[dict[str, Any]], tmp_path: Path) -> None:
    sink, broken = Recorder(), Recorder(broken=True)
    callbacks = kerasxai.callbacks
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 5, 2)(keras.layers.Rescaling(1 / 255)(image)))
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(pooled))
    model.compile("sgd", "sparse_categorical_crossentropy")
    images, labels = (np.stack([sample[name] for sample in samples]) for name in ("image", "label"))
    shared: list[Any] = [broken, sink]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(
            images,
            labels,
            verbose=0,
            callbacks=[
                callbacks.LocalizationCallback(samples, "gradcam", figures=["mean_iou"], sinks=shared),
                callbacks.AuditCallback(samples, steps=2, count=2, prefix="audit_", sinks=[sink]),
                callbacks.ExplanationCallback(samples, log_dir=tmp_path, png=False, tensorboard=False, sinks=shared),
            ],
        )
    audited = ["audit_deletion", "audit_evidence_on_object", "audit_insertion"]
    assert sink.calls == [
        ("picture", ("gradcam", 0)),
        ("scalars", (["val_mean_iou"], 1)),
        ("scalars", (audited, 1)),
        ("picture", ("gradcam", 1)),
    ], "nothing is closed: the sinks are the user's"
    assert [kind for kind, _ in broken.calls] == ["picture", "scalars"], "a sink that failed is left out"
    messages = [str(one.message) for one in caught if "does not answer" in str(one.message)]
    assert len(messages) == 2, "one warning of each callback"
    assert (
        "could not log to Recorder 0: OSError: the server does not answer; training continues without it" in messages[0]
    )


def test_a_service_that_cannot_be_opened_warns_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("kerasxai.callbacks.log_sinks.open_sink", refuse)
    sinks = LogSinks("kerasxai train", ["tensorboard"], tmp_path)
    with pytest.warns(UserWarning, match="kerasxai train could not log to tensorboard: OSError: no route to host"):
        sinks.begin()
    sinks.scalars({"loss": 1.0}, 1)
    sinks.close()
    assert not sinks.names


def test_unknown_and_missing_services_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "mlflow" else find_spec(name))
    for name, message in {
        "mlfow": "expected a known service to log to, got 'mlfow'; nearest: mlflow",
        "mlflow": "cannot log to mlflow: it is not installed; run pip install 'kerasxai[mlflow]'",
    }.items():
        with pytest.raises(SystemExit) as ended:
            main(["train", "--data", "shapes", "--out", "x", "--log", name])
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("validation", 2)):
        for label, channel in (("blue", 2), ("red", 0)):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                image = random.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8)
                image[4:12, 4:12, channel] = 255
                Image.fromarray(image).save(folder / split / label / f"{number}.png")
    return folder


def test_a_training_logs_every_epoch_once(
    photos: Path, stores: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="an optional package")
    words = ["--data", str(photos), "--backbone", "Tiny", "--head-phase", "epochs", "--head-epochs", "3"]
    words += ["--epochs", "0", "--explain", "gradcam", "--explain-images", "2"]
    words += ["--log", "mlflow", "--log", "tensorboard"]
    out = stores / "runs" / "a"
    with in_backbones(SIDE):
        keep = RunFolder.keep

        def stop(folder: Any, model: Any, row: Mapping[str, Any]) -> None:
            keep(folder, model, dict(row))
            if row["epoch"] == 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "keep", stop)
            assert main(["train", *words, "--out", str(out)]) == 130
        client = mlflow.MlflowClient()
        identity = read_json(out / "logged_runs.json")["mlflow"]
        assert client.get_run(identity).info.status == "FAILED"
        assert main(["train", *words, "--out", str(out)]) == 0
    run = client.get_run(identity)
    assert run.info.status == "FINISHED"
    assert run.data.params["backbone"] == "Tiny"
    rows = read_csv(out / "history.csv")
    history = client.get_metric_history(identity, "val_accuracy")
    assert [one.step for one in history] == [1, 2, 3]
    np.testing.assert_allclose([one.value for one in history], [float(row["val_accuracy"]) for row in rows])
    found = events(out / "tensorboard")
    assert [one.step for one in found.Tensors("val_accuracy")] == [1, 2, 3]
    assert {one.step for one in found.Tensors("gradcam")} == {0, 1, 2, 3}
    assert hparams_of(found)["backbone"] == "Tiny"
    assert not (out / "explanations").exists(), "the sheets are in one place"
    assert "could not" not in capsys.readouterr().err
