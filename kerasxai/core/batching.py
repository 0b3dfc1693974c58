"""How many images go through a model at once, so that its maps stay in memory that is at hand."""

import math
from typing import Any

import tensorflow as tf

# On a CPU a batch of 32 took up to twice as long an image as one of 4 (MobileNetV2 at 224, whose largest map has 4.9
# MB): maps of more than 32 MB are handed back to the system after each operation (glibc), and the caches are no larger.
_ROOM = 20 * 2**20


def fitting(most: int, largest: int) -> int:
    """Returns how many images to take at once, 1 or more.

    Args:
        most: How many at most; with a GPU or TPU always as many.
        largest: How many bytes the largest map of one image has, 0 where that is not known.
    """
    if not largest or any(device.device_type != "CPU" for device in tf.config.list_logical_devices()):
        return most
    return max(1, min(most, _ROOM // largest))


def largest_map(concrete: Any) -> int:
    """Returns how many bytes the largest tensor of a traced question has for each image; open shapes do not count."""
    outputs = (x for op in concrete.graph.get_operations() for x in op.outputs if x.shape.rank and x.dtype.size)
    return max((_bytes_each(x) for x in outputs if x.shape[0] is None), default=0)


def _bytes_each(tensor: Any) -> int:
    rest = tensor.shape[1:]
    return math.prod(rest) * tensor.dtype.size if rest.is_fully_defined() else 0
