"""A backbone of three convolutions, under the name Tiny in BACKBONES, for tests of what surrounds a training."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import pytest

from kerasxai.models.tables import BACKBONES, Backbone

L = keras.layers


def tiny_backbone(include_top: bool, weights: Any, input_tensor: Any, input_shape: Any) -> keras.Model:
    """Build it as the functions of `keras.applications` do; maps `relu0`, `relu1`, `relu2` of strides 2, 4 and 8.

    Its weights are the same in every call, as weights from a file would be.
    """
    x = input_tensor
    for number in range(3):
        kernel = keras.initializers.GlorotUniform(number)
        x = L.Conv2D(8, 3, 2, "same", use_bias=False, kernel_initializer=kernel, name=f"conv{number}")(x)
        x = L.ReLU(name=f"relu{number}")(L.BatchNormalization(name=f"bn{number}")(x))
    return keras.Model(keras.utils.get_source_inputs(input_tensor)[0], x, name="tiny")


@contextlib.contextmanager
def in_backbones(side: int) -> Iterator[None]:
    """Let `TrainConfig` and the command line find it for the length of a block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "Tiny", Backbone("Tiny", f"{__name__}:tiny_backbone", "tf", side, None, "tests"))
        yield


def tiny_row_of(side: int) -> object:
    """Return a fixture under which all tests of a module find it; assign it to a name of the module."""

    @pytest.fixture(scope="module", autouse=True)
    def tiny_row() -> Iterator[None]:
        with in_backbones(side):
            yield

    return tiny_row
