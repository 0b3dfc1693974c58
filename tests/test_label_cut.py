"""The cut of all labels of an image: the cheapest one, outlines along colors, its settings and its mistakes."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from kerasxai.refinements.cuts import Superpixels
from kerasxai.segmentation import LabelCut, cut_labels, joint_labels, pseudo_mask
from kerasxai.segmentation.cut_settings import parsed_cut
from kerasxai.segmentation.label_cut import energy, expanded
from kerasxai.tools.errors import KerasxaiError

SIDE = 48


def scene() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return an image of a red and a blue square, touching each other, and its label map."""
    generator = np.random.default_rng(0)
    image = generator.integers(90, 130, (SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.zeros((SIDE, SIDE), np.int64)
    labels[10:30, 4:24], labels[14:38, 24:44] = 1, 2
    for label, color in ((1, (220, 40, 30)), (2, (30, 60, 210))):
        noise = generator.integers(-12, 13, ((labels == label).sum(), 3))
        image[labels == label] = np.array(color) + noise
    return image, labels


def vague(labels: NDArray[np.int64], shift: int) -> NDArray[np.float64]:
    """Return probabilities of a network that knows where labels are but for some pixels."""
    moved = np.roll(labels, shift, (0, 1))
    return np.moveaxis(0.1 + 0.7 * np.eye(3)[moved], -1, 0)


def test_outlines_follow_colors_where_probabilities_do_not() -> None:
    image, labels = scene()
    probabilities = vague(labels, 3)
    before, after = (probabilities.argmax(0) == labels).mean(), (cut_labels(probabilities, image) == labels).mean()
    assert before < 0.9 < 0.98 < after
    # The range of the image does not matter, and the same call gives the same labels.
    scaled = cut_labels(probabilities, image / 255.0)
    np.testing.assert_array_equal(cut_labels(probabilities, image), cut_labels(probabilities, image))
    assert (scaled == labels).mean() > 0.98


def test_probabilities_decide_where_they_are_trusted() -> None:
    image, labels = scene()
    probabilities = vague(labels, 3)
    trusted = cut_labels(probabilities, image, LabelCut(trust=1000.0, smooth=0.01))
    # Superpixels follow colors, whatever their labels.
    assert (trusted == probabilities.argmax(0)).mean() > 0.92 > (trusted == labels).mean()


def test_the_labels_of_a_start_give_the_first_colors() -> None:
    image, labels = scene()
    flat = np.full((3, SIDE, SIDE), 1 / 3)
    assert (cut_labels(flat, image, start=np.roll(labels, 2, (0, 1))) == labels).mean() > 0.97
    # Without a start all superpixels have the first label.
    assert not cut_labels(flat, image).any()


def test_a_label_of_few_superpixels_is_given_up() -> None:
    image, _ = scene()
    probabilities = np.zeros((2, SIDE, SIDE))
    probabilities[0] = 1
    probabilities[:, :3, :3] = [[[0]], [[1]]]
    assert not cut_labels(probabilities, image).any()


def random_parts(generator: np.random.Generator, count: int) -> Superpixels:
    pairs = np.array([pair for pair in itertools.combinations(range(count), 2) if generator.random() < 0.5])
    weights = generator.uniform(0, 1, len(pairs))
    return Superpixels(np.arange(count)[None], np.zeros((count, 3)), pairs, weights)


def test_two_labels_are_divided_as_cheaply_as_possible() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        parts, costs = random_parts(generator, 7), generator.uniform(0, 1, (7, 2))
        found = expanded(np.zeros(7, np.int64), costs, [0, 1], parts)
        cheapest = min(energy(np.array(one), costs, parts) for one in itertools.product(range(2), repeat=7))
        # Costs are rounded to thousandths.
        assert energy(found, costs, parts) < cheapest + 0.01


def test_no_expansion_of_a_label_is_cheaper() -> None:
    generator = np.random.default_rng(2)
    for _ in range(10):
        parts, costs = random_parts(generator, 7), generator.uniform(0, 1, (7, 3))
        found = expanded(costs.argmax(1), costs, [0, 1, 2], parts)
        lowest = energy(found, costs, parts)
        for label, taken in itertools.product(range(3), itertools.product((False, True), repeat=7)):
            assert energy(np.where(taken, label, found), costs, parts) > lowest - 0.01
        # The bound of alpha-expansion for costs that are 0 or one weight: twice the optimum.
        assert lowest < 2 * min(energy(np.array(one), costs, parts) for one in itertools.product(range(3), repeat=7))


def test_all_classes_are_cut_at_once() -> None:
    image, labels = scene()
    # Both maps reach into the other square, and their refined versions claim it whole.
    maps = np.stack([np.where(labels == 1, 1.0, 0.2), np.where(labels == 2, 1.0, 0.2)])
    maps[0][labels == 2], maps[1][labels == 1] = 0.5, 0.5
    refined = maps.copy()
    refined[0][:, 24:28][labels[:, 24:28] == 2] = 2.0
    found = joint_labels(maps, refined, [6, 3], image, threshold=0.3)
    expected = np.array([0, 7, 4])[labels]
    assert (found == expected).mean() > 0.98
    # What a class map has to support is a setting: where none does, nothing but colors is left.
    vague_maps = np.stack([np.where(labels == 1, 1.0, 0.6), np.where(labels == 2, 1.0, 0.6)])
    cuts = [LabelCut(trust=20, low=low, high=high) for low, high in ((0.7, 0.9), (0.1, 0.5))]
    strict, lax = ((joint_labels(vague_maps, refined, [6, 3], image, cut=cut) == expected).mean() for cut in cuts)
    assert strict > 0.95 > lax
    mask = pseudo_mask(maps, refined, [6, 3], labels=found)
    assert (mask[mask != 255] == expected[mask != 255]).mean() > 0.98
    assert not joint_labels(np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), [], image).any()


def test_settings_are_parsed() -> None:
    assert parsed_cut("") is None
    assert parsed_cut("labelcut") == LabelCut()
    assert parsed_cut("labelcut:trust=3:segments=50", LabelCut(smooth=7)) == LabelCut(7, 3, segments=50)
    with pytest.raises(KerasxaiError, match="expected labelcut, perhaps with options"):
        parsed_cut("walker")
    with pytest.raises(KerasxaiError, match="expected labelcut:OPTION=VALUE"):
        parsed_cut("labelcut:trust")
    with pytest.raises(KerasxaiError, match="trust"):
        parsed_cut("labelcut:trus=1")
    with pytest.raises(KerasxaiError, match=r"low must be below high, 0.9, got 0.95"):
        parsed_cut("labelcut:low=0.95")
    with pytest.raises(KerasxaiError, match="trust must be above 0"):
        LabelCut(trust=0)


def test_shapes_are_checked() -> None:
    image, labels = scene()
    with pytest.raises(KerasxaiError, match="of the same size"):
        cut_labels(np.ones((2, 4, 4)), image)
    with pytest.raises(KerasxaiError, match="must be finite"):
        cut_labels(np.full((2, SIDE, SIDE), np.nan), image)
    with pytest.raises(KerasxaiError, match="start must be a label map"):
        cut_labels(np.ones((2, SIDE, SIDE)), image, start=labels)
    with pytest.raises(KerasxaiError, match="labels must have the size of maps"):
        pseudo_mask(np.ones((1, 4, 4)), np.ones((1, 4, 4)), [0], labels=labels)
