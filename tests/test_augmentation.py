"""Hide-and-Seek and CutMix, beside plain loops."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasxai.data import augmented, cutmix, hide_and_seek, mixup
from kerasxai.data.augmentation import IMAGENET_COLOR
from kerasxai.tools.errors import KerasxaiError

RNG = np.random.default_rng(3)
CLASSES = 5
HEIGHT, WIDTH = 50, 70
IMAGES = RNG.uniform(0, 255, (6, HEIGHT, WIDTH, 3)).astype("float32")
LABELS = np.array([0, 4, 2, 1, 3, 0])


def hidden_places(images: np.ndarray) -> np.ndarray:
    return np.isclose(images, np.array(IMAGENET_COLOR, "float32")).all(-1)


def seen(seed: int, **options: Any) -> np.ndarray:
    images, labels = hide_and_seek(tf.constant(IMAGES), tf.constant(LABELS), [seed, 7], num_classes=CLASSES, **options)
    np.testing.assert_array_equal(labels, LABELS)
    return np.asarray(images)


def test_whole_cells_are_hidden_and_the_rest_is_as_it_was() -> None:
    shares = []
    for seed in range(20):
        images = seen(seed, grids=[16])
        hidden = hidden_places(images)
        np.testing.assert_array_equal(images[~hidden], IMAGES[~hidden])
        for top in range(0, HEIGHT, 16):
            for left in range(0, WIDTH, 16):
                cell = hidden[:, top : top + 16, left : left + 16].mean((1, 2))
                assert np.isin(cell, [0.0, 1.0]).all()
                shares.append(cell)
    # 20 seeds x 6 images x 20 cells: the share's deviation is 0.01.
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)
    assert len({tuple(image) for image in np.transpose(shares)}) == 6, "each image hides cells of its own"


def fits(hidden: np.ndarray, side: int) -> bool:
    """Whether every cell of a grid is hidden as a whole or not at all."""
    corners = [(top, left) for top in range(0, HEIGHT, side) for left in range(0, WIDTH, side)]
    return all(len(np.unique(hidden[top : top + side, left : left + side])) == 1 for top, left in corners)


def test_each_image_draws_its_grid() -> None:
    counts = {0: 0, 16: 0, 44: 0}
    for seed in range(40):
        for hidden in hidden_places(seen(seed, grids=tuple(counts))):
            side = 0 if not hidden.any() else 16 if fits(hidden, 16) else 44
            assert not side or fits(hidden, side)
            counts[side] += 1
    # A third of 240 each, with a deviation of 7; one grid of 44 in sixteen hides nothing, and one all.
    assert all(value > 50 for value in counts.values())


def test_the_seed_decides() -> None:
    np.testing.assert_array_equal(seen(1), seen(1))
    assert (seen(1) != seen(2)).any()
    assert hidden_places(seen(1, grids=[10], probability=0.9)).mean() > 0.7


def mixed(seed: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    images, shares = cutmix(tf.constant(IMAGES), tf.constant(LABELS), [seed, 7], num_classes=CLASSES, **options)
    return np.asarray(images), np.asarray(shares)


def test_labels_are_mixed_by_the_exact_area_of_one_box() -> None:
    one_hot = np.eye(CLASSES)[LABELS]
    areas = []
    for seed in range(20):
        images, shares = mixed(seed)
        others = []
        for image in images:
            equal = [(image == other).all(-1) for other in IMAGES]
            others.append(int(np.argmax([e.sum() for e in equal])))
        box = ~np.all([(i == own).all(-1) for i, own in zip(images, IMAGES, strict=True)], axis=0)
        areas.append(box.mean())
        if not box.any():
            np.testing.assert_allclose(shares, one_hot)
            continue
        rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
        assert box.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1), "a single box"
        top, left = rows[0], columns[0]
        partner = [
            int(np.argmax([(image[top, left] == other[top, left]).all() for other in IMAGES])) for image in images
        ]
        assert sorted(partner) == list(range(6)), "a pairing of the batch with itself"
        for image, own, other in zip(images, range(6), partner, strict=True):
            np.testing.assert_array_equal(image, np.where(box[..., None], IMAGES[other], IMAGES[own]))
        share = 1 - box.mean()
        np.testing.assert_allclose(shares, share * one_hot + (1 - share) * one_hot[partner], atol=1e-6)
    assert np.std(areas) > 0.1
    assert max(areas) > 0.3


def test_the_loss_is_that_of_both_labels_by_their_shares() -> None:
    logits = RNG.normal(size=(6, CLASSES)).astype("float32")
    _, shares = mixed(2)
    loss = np.asarray(keras.losses.categorical_crossentropy(shares, logits, from_logits=True))
    share = shares.max(-1)
    share = np.where(shares[np.arange(6), LABELS] == share, share, 1 - share)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    partner = np.argmax(shares - share[:, None] * np.eye(CLASSES)[LABELS], -1)
    expected = -share * logs[np.arange(6), LABELS] - (1 - share) * logs[np.arange(6), partner]
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    assert 0.05 < share[0] < 0.95


def test_probability_mixes_some_batches_and_soft_labels_are_taken() -> None:
    untouched = sum((mixed(seed, probability=0.3)[0] == IMAGES).all() for seed in range(60))
    assert 28 <= untouched <= 56
    soft = np.eye(CLASSES, dtype="float32")[LABELS] * 0.9 + 0.02
    _, shares = cutmix(tf.constant(IMAGES), tf.constant(soft), [1, 1], num_classes=CLASSES)
    np.testing.assert_allclose(np.asarray(shares).sum(-1), 1, atol=1e-5)


def test_passes_differ_and_repeat_as_a_whole() -> None:
    pairs = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)

    def change(images: Any, labels: Any, seed: Any) -> Any:
        return cutmix(images, labels, seed, num_classes=CLASSES)

    def passes() -> list[np.ndarray]:
        keras.utils.set_random_seed(0)
        return [np.asarray(shares) for _, shares in augmented(pairs, change, 5).repeat(2)]

    first, second = passes(), passes()
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (first[0] != first[2]).any()
    assert [len(shares) for shares in first] == [4, 2, 4, 2]


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (hide_and_seek, {"probability": 1.5}),
        (hide_and_seek, {"grids": []}),
        (hide_and_seek, {"grids": [-4]}),
        (hide_and_seek, {"color": [0, 0]}),
        (cutmix, {"beta": 0}),
        (cutmix, {"probability": 0.0}),
    ],
)
def test_options_are_checked(change: Any, options: dict[str, Any]) -> None:
    with pytest.raises(KerasxaiError):
        change(tf.constant(IMAGES), tf.constant(LABELS), [0, 0], num_classes=CLASSES, **options)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_blends_images_and_labels_alike(alpha: float) -> None:
    """Image k is 1 at position k, so that a blend shows the shares of its images."""
    marked = np.concatenate([np.eye(6, dtype="float32").reshape(6, 1, 6, 1)] * 3, -1)
    shares = []
    for seed in range(40):
        blended, labels = mixup(tf.constant(marked), tf.constant(np.arange(6)), [seed, 3], num_classes=6, alpha=alpha)
        # Labels are marked as the images are.
        np.testing.assert_allclose(np.asarray(blended)[:, 0, :, 0], labels, atol=1e-6)
        np.testing.assert_allclose(np.sum(labels, -1), 1, atol=1e-5)
        shares.append(float(np.diag(labels).min()))
        again, _ = mixup(tf.constant(marked), tf.constant(np.arange(6)), [seed, 3], num_classes=6, alpha=alpha)
        np.testing.assert_array_equal(blended, again)
    middle = np.mean([0.1 < share < 0.9 for share in shares])
    # Beta(0.2, 0.2) is near 0 or 1 most of the time, Beta(1, 1) is uniform.
    assert middle > 0.5 if alpha == 1 else 0.05 < middle < 0.6


def test_mixup_keeps_unknown_labels_and_checks_alpha() -> None:
    labels = tf.constant([[1.0, -1.0], [0.0, 1.0]])
    for seed in range(20):
        _, found = mixup(tf.zeros((2, 4, 4, 3)), labels, [seed, 3], num_classes=2, alpha=1.0)
        if found[0, 0] < 1:
            assert np.asarray(found)[:, 1].tolist() == [-1, -1]
            break
    else:
        pytest.fail("no batch was mixed")
    with pytest.raises(KerasxaiError, match="alpha must be"):
        mixup(tf.zeros((2, 4, 4, 3)), labels, [1, 3], num_classes=2, alpha=0)
