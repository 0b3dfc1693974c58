"""Maps that no model made, which every method has to beat."""

import numpy as np
import pytest

from kerasxai.metrics.baselines import REFERENCES, edge_map, reference_maps
from kerasxai.tools.errors import KerasxaiError


def test_references_are_as_their_names_say() -> None:
    images = np.random.default_rng(0).random((2, 9, 12, 3))
    objects = np.zeros((2, 9, 12), bool)
    objects[:, 2:4, 5:7] = True
    maps = reference_maps(images, objects)
    assert tuple(maps) == REFERENCES
    assert all(one.shape == (2, 9, 12) and one.dtype == np.float32 for one in maps.values())
    assert maps["constant"].min() == maps["constant"].max()
    assert np.unravel_index(maps["centered_gaussian"][0].argmax(), (9, 12))[0] == 4
    np.testing.assert_array_equal(maps["object"] == 1, objects)
    np.testing.assert_array_equal(maps["random"][0], maps["random"][1])
    assert (reference_maps(images, seed=1)["random"] != maps["random"]).any()


def test_edges_are_between_colors() -> None:
    image = np.zeros((8, 8, 3))
    image[:, 4:, 2] = 200
    edges = edge_map(image)
    assert edges[:, 3:5].min() > 0 and not edges[:, :2].any() and not edges[:, 6:].any()


def test_other_shapes_are_refused() -> None:
    with pytest.raises(KerasxaiError, match="expected images"):
        reference_maps(np.zeros((8, 8, 3)))
    with pytest.raises(KerasxaiError, match="expected objects of shape"):
        reference_maps(np.zeros((1, 8, 8, 3)), np.zeros((1, 4, 4)))
