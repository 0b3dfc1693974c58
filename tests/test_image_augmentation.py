"""Random resized crops and color jitter: what they cut, and that a seed and the number of the pass decide."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasxai.data import AUGMENTATIONS, ImageAugmentation, PairSettings, training_pairs
from kerasxai.tools.errors import KerasxaiError

HEIGHT, WIDTH = 60, 90
# Red and green are the coordinates of each pixel, so that a crop shows where it was cut.
RAMP = np.stack(
    [
        np.broadcast_to(np.linspace(0, 255, WIDTH), (HEIGHT, WIDTH)),
        np.broadcast_to(np.linspace(0, 255, HEIGHT)[:, None], (HEIGHT, WIDTH)),
        np.zeros((HEIGHT, WIDTH)),
    ],
    -1,
).astype(np.uint8)


def spans(augmentation: ImageAugmentation, fit: str = "stretch") -> np.ndarray:
    """For 60 seeds the extent of the crop along x and y, as shares of the image, and the side on which x begins."""
    call = tf.function(lambda seed: augmentation(RAMP, seed, (30, 40), fit))
    views = np.array([call(tf.constant([seed, 5], tf.int64)) for seed in range(60)])
    assert views.shape[1:] == (30, 40, 3)
    return views[..., :2]


def test_crops_have_the_area_the_aspect_and_the_positions_that_were_asked_for() -> None:
    views = spans(ImageAugmentation(min_area=0.25)) / 255
    wide = np.abs(views[:, 15, -1, 0] - views[:, 15, 0, 0]) * 40 / 39
    high = (views[:, -1, 20, 1] - views[:, 0, 20, 1]) * 30 / 29
    area, ratio = wide * high, wide / high
    assert 0.22 < area.min() < 0.45
    assert 0.7 < area.max() < 1.02
    assert ratio.min() > 0.7
    assert ratio.max() < 1.42
    assert ratio.std() > 0.1
    mirrored = views[:, 15, -1, 0] < views[:, 15, 0, 0]
    assert 0.3 < mirrored.mean() < 0.7
    middles = views[:, 15, 20]
    assert middles.std(0).min() > 0.08


def test_the_crop_of_a_fitted_image_keeps_its_proportions() -> None:
    views = spans(ImageAugmentation(min_area=0.25, flip=False), "crop") / 255
    # 60 x 80 of 60 x 90 pixels are used, and the crops lie anywhere in the 90.
    scale = (views[:, 15, -1, 0] - views[:, 15, 0, 0]) * WIDTH / ((views[:, -1, 20, 1] - views[:, 0, 20, 1]) * HEIGHT)
    assert np.exp(np.log(scale).mean()) == pytest.approx(4 / 3 * (29 / 30) / (39 / 40), rel=0.08)
    assert views[:, 15, 0, 0].min() < 0.05
    assert views[:, 15, -1, 0].max() > 0.95


def test_without_a_crop_the_image_is_only_resized_and_colors_change_within_their_limits() -> None:
    plain = tf.image.resize(RAMP, (30, 40), antialias=True)
    same = ImageAugmentation(flip=False)(RAMP, [1, 2], (30, 40))
    np.testing.assert_allclose(same, plain)
    gray = np.full((8, 8, 3), 100, np.uint8)
    bright = [float(ImageAugmentation(brightness=0.4)(gray, [n, 1], (8, 8))[0, 0, 0]) for n in range(30)]
    assert 59 < min(bright) < 75
    assert 125 < max(bright) < 141
    colored = ImageAugmentation(contrast=0.5, saturation=0.5, hue=0.1)(RAMP, [3, 1], (30, 40))
    assert np.abs(colored - np.asarray(plain)).max() > 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("ramps")
    for label in ("a", "b"):
        (root / "train" / label).mkdir(parents=True)
        (root / "validation" / label).mkdir(parents=True)
        for number, width in enumerate((90, 60, 300)):
            Image.fromarray(RAMP).resize((width, 60)).save(root / "train" / label / f"{number}.png")
        Image.fromarray(RAMP).save(root / "validation" / label / "0.png")
    return str(root)


def test_a_pass_depends_on_the_seed_and_its_number_alone(folder: str) -> None:
    settings: dict[str, Any] = {"cache": True, "augment": "strong", "seed": 3}

    def passes(count: int, **changes: Any) -> np.ndarray:
        pairs = training_pairs(folder, "train", (24, 32), 6, **(settings | changes)).repeat(count)
        return np.array([images for images, _ in pairs])

    two = passes(2)
    assert two.shape == (2, 6, 24, 32, 3)
    np.testing.assert_array_equal(two, passes(2))
    assert np.abs(two[0] - two[1]).mean() > 1, "passes differ"
    assert (two[0] != passes(1, seed=4)[0]).any()
    skipped = training_pairs(folder, "train", (24, 32), 6, **settings).repeat(2).skip(1)
    np.testing.assert_array_equal(next(iter(skipped))[0], two[1])


def test_stored_images_are_shrunk_to_the_pixels_that_were_allowed(folder: str) -> None:
    fine, coarse = (
        next(
            iter(
                training_pairs(
                    folder, "train", 16, 6, shuffle=False, augment=ImageAugmentation(flip=False), stored_pixels=pixels
                )
            )
        )[0]
        for pixels in (None, 16)
    )
    assert fine.shape == coarse.shape
    assert np.asarray(coarse)[0].std() < np.asarray(fine)[0].std()


def test_combinations_that_contradict_each_other_are_refused() -> None:
    assert PairSettings(augment="flip").mirrors
    for options in ({"augment": "strange"}, {"augment": "light", "flip": True}, {"augment": "light", "resize": 256}):
        with pytest.raises(KerasxaiError):
            PairSettings(**options)
    with pytest.raises(KerasxaiError, match="fit"):
        PairSettings(fit="squeeze")
    with pytest.raises(KerasxaiError, match="image_size"):
        PairSettings(image_size=(20, 0))
    for wrong in ({"min_area": 0}, {"hue": 0.7}, {"brightness": 1.0}):
        with pytest.raises(KerasxaiError):
            replace(AUGMENTATIONS["strong"] or ImageAugmentation(), **wrong)
