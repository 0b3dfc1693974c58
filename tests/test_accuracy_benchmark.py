"""The measurement of accuracy for passes: resumable, and right where the answer is known."""

import argparse
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasxai
from benchmarks import accuracy, shapes_models
from benchmarks.accuracy_cases import LADDERS, Estimator, Ladder

TINY = (
    Ladder(
        "rise",
        (Estimator("default"), Estimator("coarse", {"grid": 2})),
        ((8, {"masks": 8}), (200, {"masks": 200})),
        {"masks": 200},
        quantity="probability",
    ),
    Ladder("smoothgrad", (Estimator("default"),), ((2, {"samples": 2}),), {"samples": 4}, method="saliency"),
    Ladder("occlusion", (Estimator("default"),), ((0, {"stride": 2}),), {"stride": 1}, quantity="logit"),
)


@pytest.fixture(scope="module")
def model() -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(x)))


def settings(folder: Path) -> argparse.Namespace:
    return argparse.Namespace(out=folder, batch_size=8)


def test_rows_are_measured_once_and_their_scores_are_stored(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(0).random((16, 16, 3)).astype("float32")
    accuracy.measure(model, image, "noise", list(TINY), settings(tmp_path))
    rows = accuracy._stored(tmp_path)
    assert rows["rise | default | masks=200"]["correlations"]["noise"] == pytest.approx(1)
    assert rows["rise | default | masks=8"]["correlations"]["noise"] < 0.999
    assert rows["rise | coarse | masks=200"]["correlations"]["noise"] < 0.999
    # The default patch has 2 pixels: 8 positions along each side, and the pass of the whole image is not one of them.
    assert rows["occlusion | default | stride=2"]["passes"] == {"noise": 64}
    assert [row[:2] for row in accuracy.table(rows, "net").rows] == [
        ("rise", "default"),
        ("rise", "coarse"),
        ("smoothgrad", "default"),
        ("occlusion", "default"),
    ]

    def fail(*_: Any) -> None:
        raise AssertionError("a stored row was measured again")

    monkeypatch.setattr(accuracy.Scorer, "heatmap", fail)
    accuracy.measure(model, image, "noise", list(TINY), settings(tmp_path))
    assert accuracy._stored(tmp_path) == rows


def test_rows_of_another_model_are_refused(tmp_path: Path) -> None:
    for _ in range(2):
        accuracy.check_rows(tmp_path / "new", "net")
    with pytest.raises(
        kerasxai.KerasxaiError, match=r"expected a folder of other, got .* of net; choose another --out"
    ):
        accuracy.check_rows(tmp_path / "new", "other")


def test_stored_scores_take_no_pass_and_give_the_map_of_the_model(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(1).random((16, 16, 3)).astype("float32")
    scorer = accuracy.Scorer(model, image, tmp_path, 8)
    heatmap, passes = scorer.heatmap(TINY[0], {"masks": 20})
    assert passes == 20
    expected = kerasxai.Explainer(model, "rise", masks=20)(image[None], scorer._target).heatmaps[0]
    np.testing.assert_allclose(heatmap, expected, rtol=1e-4)
    again = accuracy.Scorer(model, image, tmp_path, 8)
    monkeypatch.setattr(again, "_classes", None)
    np.testing.assert_allclose(again.heatmap(TINY[0], {"masks": 20})[0], heatmap, rtol=1e-6)


def test_passes_until_a_level_follow_the_law_of_averages() -> None:
    def correlation(count: int) -> float:
        return float((1 + 100 / count) ** -0.5)

    means = {count: correlation(count) for count in (200, 400, 800, 1600)}
    exact = 100 / (1 / 0.95**2 - 1)
    assert float(accuracy.passes_until(means)) == pytest.approx(exact, abs=1)
    assert float(accuracy.passes_until({200: means[200]}).strip("()")) == pytest.approx(exact, abs=1)
    assert accuracy.passes_until({1600: means[1600]}) == "at most 1600"


@pytest.mark.parametrize("ladder", LADDERS, ids=lambda ladder: ladder.name)
def test_every_estimator_has_options_of_its_method(ladder: Ladder, model: Any) -> None:
    smooth: dict[str, Any] = {"smooth": ladder.name} if ladder.method else {}
    for estimator in ladder.estimators:
        for _, step in ladder.steps:
            kerasxai.Explainer(model, ladder.method or ladder.name, **smooth, **estimator.options, **step)


def test_strides_are_the_same_share_of_every_side() -> None:
    ladders = {ladder.name: ladder for ladder in LADDERS if ladder.name != "occlusion"}
    assert all(ladder.at_side(96) == ladder for ladder in ladders.values())
    plain, coarse = (ladder.at_side(96) for ladder in LADDERS if ladder.name == "occlusion")
    assert [options["stride"] for _, options in plain.steps] == [14, 10, 7] and plain.reference == {"stride": 3}
    assert coarse.estimators[1].options == {"stride": 3, "refine_from": 0.7}
    assert [ladder.at_side(224) for ladder in LADDERS] == list(LADDERS)


def test_a_table_of_some_methods_has_a_key_of_its_own(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, model(keras.layers.Rescaling(1 / 255)(inputs)))
    monkeypatch.setattr(accuracy, "LADDERS", TINY)
    monkeypatch.setattr(accuracy, "load_classifier", lambda _: model)
    arguments = argparse.Namespace(
        model="net", images=["example:cat"], batch_size=8, out=tmp_path, trained=tmp_path, quick=False
    )

    def measured(*methods: str) -> Any:
        arguments.methods = list(methods)
        (table,) = accuracy.run(arguments)
        return table

    every, some = measured("rise", "smoothgrad", "occlusion"), measured("rise", "occlusion")
    assert every.key == f"{model.name}-1" and some.key == f"{model.name}-1-rise-occlusion"
    assert every.title.endswith("1 image") and some.title.endswith("1 image, rise, occlusion")
    # Rows that are stored in the folder, but of a method that was not asked for, are left out.
    assert some.rows == tuple(row for row in every.rows if row[0] != "smoothgrad")


def test_drawn_images_are_the_same_each_time_and_differ_between_splits() -> None:
    images, labels = shapes_models.drawn("test", 9)
    assert images.shape == (9, 96, 96, 3) and images.dtype == np.uint8 and labels.tolist() == [*range(8), 0]
    np.testing.assert_array_equal(images[:2], shapes_models.drawn("test", 2)[0])
    assert not np.array_equal(images[0], images[8]) and not np.array_equal(images, shapes_models.drawn("train", 9)[0])


def test_a_backbone_is_trained_once_and_measured_on_ten_drawn_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes_models, "TEST", 16)
    monkeypatch.setattr(accuracy, "LADDERS", TINY[-1:])
    trainings = []

    def fitted(backbone: str, count: int, epochs: int) -> keras.Model:
        trainings.append(backbone)
        inputs = keras.Input((96, 96, 3))
        pooled = keras.layers.AveragePooling2D(32)(keras.layers.Rescaling(1 / 255)(inputs))
        outputs = keras.layers.Dense(8, activation="softmax")(keras.layers.Flatten()(pooled))
        model = keras.Model(inputs, outputs, name=backbone)
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    monkeypatch.setattr(shapes_models, "fitted_model", fitted)
    model, correct = shapes_models.trained("Net", tmp_path)
    images, labels = shapes_models.drawn("test", 16)
    assert correct == pytest.approx((model.predict(images, verbose=0).argmax(1) == labels).mean())
    arguments = argparse.Namespace(
        model="shapes:Net", images=None, methods=["occlusion"], batch_size=64, out=tmp_path / "rows", trained=tmp_path
    )
    table = accuracy._measured(arguments)
    assert trainings == ["Net"]
    assert table.key == "Net-10" and f"its accuracy on 16 test images is {correct:.3f}" in table.notes[0]
    assert "shapes:0, shapes:1" in table.notes[1]
