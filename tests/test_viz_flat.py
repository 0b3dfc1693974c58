"""Series and volumes drawn, and followed through a training."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import kerasxai
from kerasxai import viz

layers = keras.layers


def test_a_heatmap_lies_over_the_steps_of_its_series() -> None:
    """One hot step of ten: the colors stand in its tenth of the picture, and the line's peak too."""
    series, heatmap = np.zeros((10, 1)), np.zeros(10)
    series[3], heatmap[3] = 1.0, 1.0
    plain = viz.series_picture(series, (40, 200))
    dark = (plain.sum(-1) < 380).any(0)
    top = np.nonzero((plain[:8].sum(-1) < 600).any(0))[0]
    assert dark.mean() > 0.8 and plain.dtype == np.uint8
    assert top.min() >= 60 and top.max() < 80
    drawn = viz.draw_heatmap(series, heatmap)
    colored = np.ptp(drawn.astype(int), axis=-1).max(0) > 60
    columns = np.nonzero(colored)[0] / drawn.shape[1]
    assert columns.min() > 0.25 and columns.max() < 0.45


def test_each_channel_has_a_line_and_a_color() -> None:
    picture = viz.series_picture(np.stack([np.arange(9), -np.arange(9)], -1))
    for color in ((0, 0, 0), (0, 114, 178)):
        assert (np.abs(picture.astype(int) - color).max(-1) < 12).any()
    flat = viz.series_picture(np.ones((1, 1)), (30, 40))
    assert (flat.sum(-1) < 100).any(0).all()
    with pytest.raises(kerasxai.KerasxaiError, match="one series"):
        viz.series_picture(np.ones((2, 3, 4)))


def test_slices_of_a_volume_and_of_its_heatmap_lie_in_the_same_places() -> None:
    volume = np.arange(5)[:, None, None, None] * np.ones((5, 4, 6, 1))
    laid = viz.slices(volume, count=3)
    assert laid.shape == (8, 12, 1)
    assert [laid[0, 0, 0], laid[0, 6, 0], laid[4, 0, 0], laid[4, 6, 0]] == [0, 2, 4, 0]
    heatmap = np.zeros((5, 4, 6))
    heatmap[4, 1, 2] = 1.0
    where = np.unravel_index(viz.flat_map(heatmap).argmax(), viz.flat_map(heatmap).shape)
    assert viz.flat_map(heatmap).shape == viz.flat_picture(volume, 3).shape[:2]
    assert where == (4 + 1, 6 + 2)
    assert viz.draw_heatmap(volume, heatmap, pixelwise=True).shape == (8, 18, 3)
    with pytest.raises(kerasxai.KerasxaiError, match="one volume"):
        viz.slices(np.ones((2, 3)))


def test_an_image_of_many_channels_is_drawn_by_their_mean() -> None:
    image = np.zeros((4, 4, 7))
    image[1, 2] = 3.0
    picture = viz.flat_picture(image, 2)
    assert picture[1, 2].tolist() == [255] * 3 and picture.sum() == 255 * 3
    assert viz.draw_heatmap(image, np.eye(4)).shape == (4, 4, 3)


@pytest.mark.parametrize("sides", [(12,), (4, 6, 6)])
def test_a_training_on_series_or_volumes_is_followed(sides: tuple[int, ...], tmp_path: Path) -> None:
    count = len(sides)
    convolution: Any = layers.Conv1D if count == 1 else layers.Conv3D
    pool: Any = layers.GlobalAveragePooling1D if count == 1 else layers.GlobalAveragePooling3D
    model = keras.Sequential([keras.Input((*sides, 2)), convolution(3, 3, activation="relu"), pool(), layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    values = np.random.default_rng(0).normal(size=(6, *sides, 2)).astype("float32")
    labels = np.arange(6) % 2
    follow = kerasxai.callbacks.ExplanationCallback(
        values[:3], "true", ("gradcam", "saliency"), tmp_path, labels=labels[:3], tensorboard=False
    )
    model.fit(values, labels, epochs=1, verbose=0, callbacks=[follow])
    for method in ("gradcam", "saliency"):
        for name in ("epoch_001.png", "timeline.png"):
            with Image.open(tmp_path / "heatmaps" / method / name) as picture:
                assert min(picture.size) > 20
