"""Measuring the first images of a split only: figures of few classes are not reported without a word."""

import warnings

import numpy as np
import pytest

from kerasxai import data
from kerasxai.evaluation.data_check import MissingClassesWarning, warn_of_missing_classes


def info_of(num_classes: int) -> data.DatasetInfo:
    names = tuple(f"class {number}" for number in range(num_classes))
    return data.DatasetInfo(name="photos", class_names=names, splits={"test": 208}, has_boxes=True, has_masks=False)


@pytest.mark.parametrize(
    "labels", [np.repeat(np.arange(13), 16)[:60], np.zeros(10, int), np.repeat(np.arange(13), 4)[:48]]
)
def test_first_images_of_a_sorted_split_are_warned_of(labels: np.ndarray) -> None:
    seen = len(np.unique(labels))
    with pytest.warns(MissingClassesWarning, match=f"the first {len(labels)} of 208 images of test have {seen} of 13"):
        warn_of_missing_classes(info_of(13), "test", labels)


@pytest.mark.parametrize("count", [4, 10, 60])
def test_images_in_random_order_are_not(count: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(13), 16))[:count]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_missing_classes(info_of(13), "test", labels)
