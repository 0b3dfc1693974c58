"""How many images go through a model at once, so that its maps stay in memory that is at hand."""

import math
from typing import Any

import tensorflow as tf

from kerasxai.engine.keras_internals import uses_onednn

# MobileNetV2 at 224, whose largest map has 4.9 MB, on a CPU: a batch of 32 took up to twice as long an image as one of
# 4, because glibc hands maps of more than 32 MB back to the system after each operation. With oneDNN TensorFlow has an
# allocator of its own; there 8 to 32 images took the same, and 4 a tenth more.
_ROOM = 20 * 2**20
_ROOM_WITH_ONEDNN = 80 * 2**20


def fitting(most: int, largest: int) -> int:
    """Returns how many images to take at once, 1 or more.

    Args:
        most: How many at most; with a GPU or TPU always as many.
        largest: How many bytes the largest map of one image has, 0 where that is not known.
    """
    if not largest or _has_accelerator():
        return most
    return max(1, min(most, _room() // largest))


def max_concurrent() -> int:
    """Returns how many batches to compute at the same time, where nothing but time depends on it.

    On a CPU with two cores RISE took 0.75 to 0.80 of the time that it takes one after the other (MobileNetV2). An
    accelerator computes one after the other anyway.
    """
    return 1 if _has_accelerator() else 2


def _has_accelerator() -> bool:
    return any(device.device_type != "CPU" for device in tf.config.list_logical_devices())


def _room() -> int:
    """Returns how many bytes the largest maps of a batch may take on a CPU."""
    return _ROOM_WITH_ONEDNN if uses_onednn() else _ROOM


def largest_map(concrete: Any) -> int:
    """Returns how many bytes the largest tensor of a traced question has for each image; open shapes do not count."""
    outputs = (x for op in concrete.graph.get_operations() for x in op.outputs if x.shape.rank and x.dtype.size)
    return max((_bytes_each(x) for x in outputs if x.shape[0] is None), default=0)


def _bytes_each(tensor: Any) -> int:
    rest = tensor.shape[1:]
    return math.prod(rest) * tensor.dtype.size if rest.is_fully_defined() else 0
