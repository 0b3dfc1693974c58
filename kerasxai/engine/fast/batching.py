"""Batch sizes whose feature maps stay in memory that the allocator reuses, and batches computed at a time."""

import math

import tensorflow as tf

from kerasxai.engine.fast.switch import enabled
from kerasxai.engine.keras_internals import uses_onednn

# MobileNetV2 at 224, whose largest map has 4.9 MB, on a CPU: a batch of 32 took up to twice as long an image as one of
# 4, because glibc returns maps of more than 32 MB to the system after each operation. With oneDNN TensorFlow has an
# allocator of its own; there 8 to 32 images took the same, and 4 a tenth more.
_MEMORY = 20 * 2**20
_MEMORY_WITH_ONEDNN = 80 * 2**20


def fitting(requested: int, largest: int, factor: int = 1) -> int:
    """Returns how many images to send through the model at once, 1 or more.

    Args:
        requested: The batch size that the user set; never exceeded but by `factor`.
        largest: The bytes of the largest map of one image, 0 if unknown.
        factor: How many times more images a pass takes than `requested`, because it skips most layers.
    """
    if not enabled():
        return requested
    most = requested * factor
    # An accelerator has memory of its own, and is faster the larger the batch.
    if not largest or _has_accelerator():
        return most
    return max(1, min(most, _memory() // largest))


def max_concurrent() -> int:
    """Returns how many batches to compute at the same time.

    On a CPU with two cores RISE took 0.75 to 0.80 of the time that it takes one after the other (MobileNetV2). An
    accelerator computes one after the other anyway.
    """
    return 1 if _has_accelerator() or not enabled() else 2


def _has_accelerator() -> bool:
    return any(device.device_type != "CPU" for device in tf.config.list_logical_devices())


def _memory() -> int:
    """Returns how many bytes the largest maps of a batch may take on a CPU."""
    return _MEMORY_WITH_ONEDNN if uses_onednn() else _MEMORY


def largest_map(concrete: tf.types.experimental.ConcreteFunction) -> int:
    """Returns the bytes of the largest tensor of a traced query for one image; open shapes do not count."""
    outputs = (x for op in concrete.graph.get_operations() for x in op.outputs if x.shape.rank and x.dtype.size)
    # Weights have a known first dimension, what belongs to images an open one.
    return max((_bytes_of_one(x) for x in outputs if x.shape[0] is None), default=0)


def _bytes_of_one(tensor: tf.Tensor) -> int:
    rest = tensor.shape[1:]
    return math.prod(rest) * tensor.dtype.size if rest.is_fully_defined() else 0
