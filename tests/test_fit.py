"""Fitting images to an input: pixels, masks, boxes and heatmaps go to the same positions, and back."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kerasxai.data.batching import resize_sample
from kerasxai.engine.images.fit import (
    FITS,
    PADDING_COLOR,
    cut,
    fit_boxes,
    fit_image,
    input_region,
    unfit_boxes,
    unfit_map,
)
from kerasxai.tools.errors import KerasxaiError

SIZES = [(60, 100), (100, 60), (37, 37), (9, 400), (33, 47)]
INPUTS = [(32, 32), (24, 32), (40, 25)]


def squares(size: tuple[int, int], box: tuple[float, ...]) -> tuple[Any, Any, Any]:
    """A bright rectangle on black, its mask, and its box, in whole pixels."""
    height, width = size
    x0, y0, x1, y1 = (round(side * end) for side, end in zip((width, height) * 2, box, strict=True))
    image = np.zeros((*size, 3), np.uint8)
    image[y0:y1, x0:x1] = 255
    return (
        image,
        (image[..., 0] > 0).astype(np.uint8),
        np.array([[x0 / width, y0 / height, x1 / width, y1 / height]], np.float32),
    )


@pytest.mark.parametrize("fit", FITS)
def test_boxes_and_masks_follow_the_image_there_and_back(fit: str) -> None:
    for size in SIZES:
        for target in INPUTS:
            image, mask, boxes = squares(size, (0.4, 0.3, 0.6, 0.7))
            sample = {"image": tf.constant(image), "mask": tf.constant(mask), "boxes": tf.constant(boxes)}
            fitted = {key: np.asarray(value) for key, value in resize_sample(sample, target, fit).items()}
            assert fitted["image"].shape == (*target, 3)
            (mapped,) = fitted["boxes"]
            # Pixel centers inside of the mapped box are those of the mask.
            ys, xs = ((np.arange(side) + 0.5) / side for side in target)
            inside = ((ys >= mapped[1]) & (ys < mapped[3]))[:, None] & ((xs >= mapped[0]) & (xs < mapped[2]))[None]
            assert (inside != (fitted["mask"] == 1)).sum() <= 2 * sum(target) * 0.25
            clear = np.abs(fitted["image"][..., 0].astype(int) - 128) > 64
            padded = fitted["mask"] == 255
            # Of small inputs that are mostly padding no pixel may be clear.
            wrong = ((fitted["image"][..., 0] > 128) != (fitted["mask"] == 1)) & clear & ~padded
            assert wrong.sum() <= max(1, 0.03 * (clear & ~padded).sum())
            assert fit == "pad" or not padded.any()
            back = np.asarray(unfit_boxes(fitted["boxes"], tf.constant(size), target, fit))
            if fit != "crop":
                np.testing.assert_allclose(back, boxes, atol=1e-5)
            if not inside.any():
                # The padded image is less than a pixel high.
                assert fit == "pad" and size == (9, 400)
                continue
            # A heatmap that marks the box marks the same box in the image; it is exact to a pixel of the input.
            found = np.argwhere(unfit_map(inside.astype(np.float32), size, fit) > 0.5)
            assert found.size
            low, high = found.min(0) / size, (found.max(0) + 1) / size
            region = np.array(input_region(tf.constant(size), target, fit)[2:], int)
            tolerance = (region / target + 1) / size
            assert (np.abs(low - back[0, [1, 0]]) <= tolerance).all()
            assert (np.abs(high - back[0, [3, 2]]) <= tolerance).all()


def test_regions_keep_the_aspect_ratio_of_the_input() -> None:
    for size in SIZES:
        for target in INPUTS:
            for fit in ("crop", "pad"):
                top, left, rows, columns = map(int, input_region(tf.constant(size), target, fit))
                assert abs(rows * target[1] / target[0] - columns) <= 0.5 * max(1, target[1] / target[0]) + 1e-6
                contains = rows >= size[0] and columns >= size[1]
                assert contains if fit == "pad" else rows <= size[0] and columns <= size[1]
                assert abs(2 * top + rows - size[0]) <= 1
                assert abs(2 * left + columns - size[1]) <= 1


def test_what_is_cropped_is_gone_and_padding_has_the_mean_color() -> None:
    corner = tf.constant([[0.0, 0.0, 0.1, 1.0], [0.1, 0.0, 0.5, 0.5]])
    np.testing.assert_allclose(
        fit_boxes(corner, tf.constant([50, 100]), (32, 32), "crop"), [[0, 0, 0.5, 0.5]], atol=1e-6
    )
    image = tf.zeros((50, 100, 3), tf.uint8)
    padded = np.asarray(fit_image(image, (40, 40), "pad"))
    np.testing.assert_allclose(padded[0, 0], PADDING_COLOR, rtol=1e-5)
    np.testing.assert_allclose(padded[20, 20], 0, atol=1e-3)
    masked = resize_sample({"image": image, "mask": tf.ones((50, 100), tf.uint8)}, 40, "pad")["mask"]
    assert np.unique(np.asarray(masked)[:9]).tolist() == [255]
    assert np.unique(np.asarray(masked)[11:29]).tolist() == [1]
    heatmap = unfit_map(np.ones((32, 32), np.float32), (50, 100), "crop")
    assert heatmap[:, 30:70].min() == 1
    assert heatmap[:, :24].max() == 0


def test_an_unknown_fit_is_refused() -> None:
    with pytest.raises(KerasxaiError, match="fit"):
        fit_image(tf.zeros((4, 4, 3)), (2, 2), "squeeze")


def test_a_region_beyond_the_image_is_padded() -> None:
    image = tf.reshape(tf.range(6), (2, 3, 1))
    region = input_region(tf.constant([2, 3]), (3, 3), "pad")
    found = np.asarray(cut(image, region, (9.0,)))[..., 0]
    np.testing.assert_array_equal(found, [[9, 9, 9], [0, 1, 2], [3, 4, 5]])
