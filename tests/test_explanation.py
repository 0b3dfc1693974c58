"""Explanation as users handle it: shown, indexed, plotted, saved; and explain and show_methods from files."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

import kerasxai
from kerasxai.cli.explain_files import write_explained
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.localization import heatmap_to_boxes
from kerasxai.viz.overlays import lookup_table

NAMES = ["cat", "<dog>", "bird", "fish", "cow"]


@pytest.fixture(scope="module")
def model() -> Any:
    """A GAP classifier with class names."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    backbone = keras.Model(image, keras.layers.Conv2D(6, 3, strides=4, activation="relu")(x), name="tiny")
    return kerasxai.build_classifier(backbone, 5, class_names=NAMES, seed=0)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def explanation(model: Any, images: np.ndarray) -> kerasxai.Explanation:
    return kerasxai.Explainer(model, "gradcam")(images)


@pytest.fixture
def files(images: np.ndarray, tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "in" / f"{name}.png" for name in ("b", "a")]
    paths[0].parent.mkdir()
    for path, image in zip(paths, images, strict=False):
        Image.fromarray(np.kron(image, np.ones((2, 3, 1), np.uint8))).save(path)
    return paths


def test_indexing_takes_all_that_is_about_an_image(explanation: kerasxai.Explanation) -> None:
    part = explanation[1:4]
    assert len(part) == 3 and part.class_names == tuple(NAMES) and part.layer == explanation.layer
    for name in ("heatmaps", "targets", "scores", "images"):
        np.testing.assert_array_equal(getattr(part, name), getattr(explanation, name)[1:4])
    assert part.outputs is not None and explanation.outputs is not None
    np.testing.assert_array_equal(part.outputs.probabilities, explanation.outputs.probabilities[1:4])
    np.testing.assert_array_equal(explanation[-1].heatmaps, explanation.heatmaps[-1:])
    np.testing.assert_array_equal(explanation[np.array([3, 0])].targets, explanation.targets[[3, 0]])
    assert [len(one) for one in explanation] == [1] * 5
    with pytest.raises(IndexError):
        explanation[5]


def test_notes_of_each_image_follow(model: Any, images: np.ndarray) -> None:
    explanation = kerasxai.Explainer(model, "integrated_gradients", steps=2)(images)
    name = "completeness_error"
    np.testing.assert_array_equal(explanation[2].notes[name], explanation.notes[name][2:3])


def test_a_notebook_shows_pictures_with_class_probability_and_layer(explanation: kerasxai.Explanation) -> None:
    page = explanation._repr_html_()
    assert "\N{NO-BREAK SPACE}%" in page and " %" not in page
    assert page.count("<img") == 5 and explanation.layer is not None and explanation.layer in page
    target = int(explanation.targets[0])
    assert explanation.outputs is not None
    share = explanation.outputs.probabilities[0, target]
    assert explanation.caption(0) == f"{NAMES[target]}, {100 * share:.0f} %"
    assert "<dog>" not in page and "against" not in page
    signed = replace(explanation, heatmaps=explanation.heatmaps - explanation.heatmaps.max() / 2)
    assert "blue: against" in signed._repr_html_()
    repeated = explanation[[0] * 30]
    assert repeated._repr_html_().count("<img") == 24 and "the first 24 of 30" in repeated._repr_html_()
    assert re.fullmatch(r"<Explanation: gradcam at \S+, 5x32x32 heatmaps: .*, \.\.\.>", repr(explanation))


def test_captions_say_what_is_right_where_labels_are_known(model: Any, images: np.ndarray) -> None:
    predicted = kerasxai.Explainer(model).predict(images).classes
    labels = [int(predicted[0]), (int(predicted[1]) + 1) % 5]
    explanation = kerasxai.explain(model, images[:2], labels=labels)
    assert explanation.caption(0).endswith(", right")
    assert explanation.caption(1).endswith(f", wrong: {NAMES[labels[1]]}")


def test_tokens_have_no_pictures_but_a_text(explanation: kerasxai.Explanation) -> None:
    tokens = kerasxai.Explanation(np.zeros((2, 7), np.float32), np.array([0, 1]), np.zeros(2), "gradcam")
    assert "2x7" in tokens._repr_html_() and "<img" not in tokens._repr_html_()
    with pytest.raises(kerasxai.KerasxaiError, match="with images"):
        tokens.plot()


def test_a_color_means_the_same_in_all_pictures(explanation: kerasxai.Explanation) -> None:
    heatmaps = np.abs(explanation.heatmaps) + 1
    assert explanation.images is not None and not replace(explanation, heatmaps=heatmaps).is_signed
    heatmaps[1, 0] *= -1
    mixed = replace(explanation, heatmaps=heatmaps)
    assert mixed.is_signed
    expected = kerasxai.viz.draw_heatmap(explanation.images[0], heatmaps[0], signed=True)
    np.testing.assert_array_equal(mixed.pictures()[0], expected)
    assert (expected != kerasxai.viz.draw_heatmap(explanation.images[0], heatmaps[0])).any()


def test_all_pictures_come_with_the_meaning_of_their_colors(explanation: kerasxai.Explanation, tmp_path: Path) -> None:
    unsigned = replace(explanation, heatmaps=np.abs(explanation.heatmaps) + 1)[[0]]
    signed = replace(unsigned, heatmaps=unsigned.heatmaps * np.resize([1.0, -1.0], unsigned.heatmaps.shape))
    for one, key in ((unsigned, "dark: no evidence"), (signed, "blue: against")):
        assert key in one._repr_html_() and key in one.plot()[0].figure.get_supxlabel()
    plt.close("all")
    assert unsigned.images is not None
    image = unsigned.images[0].astype(np.uint8)
    colormaps = {"inferno": [unsigned], "RdBu_r": [signed], "inferno RdBu_r": [unsigned, signed]}
    for names, written in colormaps.items():
        files = write_explained(tmp_path, "x", image, written, [0], ImageInput((32, 32)))
        with Image.open(files[-1]) as opened:
            bottom = np.asarray(opened.convert("RGB"))[-60:].reshape(-1, 3)
        for colormap in names.split():
            for color in lookup_table(colormap)[[0, 254]]:
                assert (bottom == color).all(1).any(), f"the last line of {files[-1]} has no bar of {colormap}"


@pytest.mark.parametrize("size", [(20, 30), (700, 900)])
def test_the_only_picture_has_a_caption_and_the_size_of_the_image(
    size: tuple[int, int], explanation: kerasxai.Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[Any] = []
    grid = kerasxai.viz.grid

    def watched(*args: Any, **more: Any) -> Any:
        texts.append(more["captions"])
        return grid(*args, **more)

    monkeypatch.setattr(kerasxai.viz, "grid", watched)
    image = np.full((*size, 3), 128, np.uint8)
    (file,) = write_explained(tmp_path, "x", image, [explanation], [1], ImageInput((32, 32)))
    assert texts == [[[f"gradcam: {explanation.caption(1)}"]]]
    overlay = kerasxai.viz.draw_heatmap(image, explanation.heatmaps[1], signed=explanation[[1]].is_signed)
    with Image.open(file) as opened:
        picture = np.asarray(opened.convert("RGB"))
    assert picture.shape[0] > picture.shape[1] * size[0] / size[1], "no line of text"
    if size[1] > 300:
        margin = (picture.shape[1] - size[1]) // 2
        np.testing.assert_array_equal(picture[margin:][: size[0], margin:-margin], overlay)


@pytest.mark.parametrize("size", [(900, 12), (300, 3), (3, 900), (1, 1)])
def test_the_only_picture_of_a_narrow_image_is_not_huge(
    size: tuple[int, int], explanation: kerasxai.Explanation, tmp_path: Path
) -> None:
    image = np.full((*size, 3), 128, np.uint8)
    (file,) = write_explained(tmp_path, "x", image, [explanation], [1], ImageInput((32, 32)))
    with Image.open(file) as opened:
        assert max(opened.size) < max(size) + 400


def test_captions_tell_empty_and_constant_maps(explanation: kerasxai.Explanation) -> None:
    heatmaps = np.zeros_like(explanation.heatmaps)
    heatmaps[1], heatmaps[2, 3, 4], heatmaps[3, 0, 0] = 2.5, 1, -1
    captions = [replace(explanation, heatmaps=heatmaps).caption(i) for i in range(4)]
    assert captions[0].endswith(" %, empty map: no evidence") and captions[1].endswith(" %, constant map")
    assert captions[2].endswith(" %") and captions[3].endswith(" %"), "evidence against the class is drawn"
    assert "empty map" in repr(replace(explanation, heatmaps=heatmaps))


def test_plots_are_matplotlib_axes_with_the_pictures(explanation: kerasxai.Explanation) -> None:
    axes = explanation.plot(columns=3)
    assert axes.shape == (5,) and len(axes[0].figure.axes) == 6
    for one, picture in zip(axes, explanation.pictures(), strict=True):
        np.testing.assert_array_equal(one.images[0].get_array(), picture)
    assert axes[1].get_title() == explanation.caption(1)
    boxed = explanation.plot(threshold=0.5)
    assert any(
        (one.images[0].get_array() != other.images[0].get_array()).any() for one, other in zip(boxed, axes, strict=True)
    )
    plt.close("all")
    with pytest.raises(kerasxai.KerasxaiError, match="columns must be 1 or more"):
        explanation.plot(columns=0)


def test_boxes_are_those_of_the_heatmaps(explanation: kerasxai.Explanation) -> None:
    for found, heatmap in zip(explanation.to_boxes(0.5, largest=False), explanation.heatmaps, strict=True):
        np.testing.assert_array_equal(found, heatmap_to_boxes(heatmap, 0.5, largest=False))


def test_saving_overwrites_nothing(explanation: kerasxai.Explanation, tmp_path: Path) -> None:
    written = explanation[:2].save(tmp_path / "maps")
    assert [path.name for path in written] == [
        *("image_0000_gradcam.png", "image_0000_gradcam.npy", "image_0001_gradcam.png", "image_0001_gradcam.npy"),
        "gradcam.json",
    ]
    np.testing.assert_array_equal(np.load(written[3]), explanation.heatmaps[1])
    np.testing.assert_array_equal(np.asarray(Image.open(written[2])), explanation.pictures()[1])
    stamps = [path.stat().st_mtime_ns for path in written]
    with pytest.raises(kerasxai.KerasxaiError, match="expected a folder without files of these names"):
        explanation.save(tmp_path / "maps")
    assert [path.stat().st_mtime_ns for path in written] == stamps
    assert len(list((tmp_path / "maps").iterdir())) == 5


def test_files_are_explained_as_the_pixels_that_the_model_sees(model: Any, files: list[Path], tmp_path: Path) -> None:
    explanation = kerasxai.explain(model, files, "cam", "bird")
    assert explanation.names == ("b", "a") and set(explanation.targets) == {2}
    assert explanation.images is not None and explanation.images.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(
        explanation.heatmaps, kerasxai.Explainer(model, "cam")(explanation.images, 2).heatmaps
    )
    assert kerasxai.explain(model, files[0].parent, "cam").names == ("a", "b")
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = kerasxai.explain(path, str(files[0]), "cam", 2)
    np.testing.assert_allclose(loaded.heatmaps, explanation.heatmaps[:1], atol=1e-5)


def test_what_cannot_be_explained_is_refused_first(model: Any, files: list[Path], tmp_path: Path) -> None:
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((model, files, "gradcamm"), "gradcam"),
        ((tmp_path / "none.keras", tmp_path / "none.png"), "none.png"),
        ((model, []), "at least one image"),
        ((model, np.zeros((4, 4))), "shape"),
        ((model, files, "cam", "horse"), "horse"),
    ]
    for arguments, message in cases:
        with pytest.raises(kerasxai.KerasxaiError, match=message):
            kerasxai.explain(*arguments)
    (tmp_path / "empty").mkdir()
    with pytest.raises(kerasxai.KerasxaiError, match="empty"):
        kerasxai.explain(model, tmp_path / "empty")


def test_methods_are_shown_side_by_side(model: Any, files: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    figure = kerasxai.show_methods(model, files[0], methods=["cam", "saliency"], columns=2)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[1:] == ["cam", "saliency", ""] and "%" in titles[0]
    assert "dark: no evidence" in figure.get_supxlabel()
    # Without a pooling head no CAM: it is left out, with the reason.
    convolution = keras.layers.Conv2D(4, 3, strides=8)
    flat = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Rescaling(1 / 255),
            convolution,
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    figure = kerasxai.show_methods(flat, files[0], methods=["cam", "gradcam"])
    assert [axes.get_title() for axes in figure.axes][1:] == ["gradcam"] and "cam is left out" in caplog.text
    with Image.open(files[0]) as opened:
        pixels = np.asarray(opened.resize((32, 32)), np.float32)
    figure = kerasxai.show_methods(model, pixels / 127.5 - 1, methods=["cam"])
    np.testing.assert_allclose(np.asarray(figure.axes[0].images[0].get_array()), pixels, atol=1)
    plt.close("all")
    with pytest.raises(kerasxai.KerasxaiError, match="expected one image, got 2"):
        kerasxai.show_methods(model, files[0].parent)
