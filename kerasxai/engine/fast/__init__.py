"""Optimizations that change the time of an explanation and not its maps.

All other code imports them from here. With the environment variable `KERASXAI_FAST=0`, or inside `disabled()`, they are
off, and maps are the same up to rounding:

- batching: batches that fit into memory, several at a time; off: the requested batch size, one batch at a time
- batchnorm_folding: batch normalizations folded into convolutions; off: computed by their layers
- constant_weights: long loops on a graph whose weights are constants; off: weights are read in every pass
- crop_recompute: occlusion recomputes the part of an early map that a patch affects; off: all of it
"""

from kerasxai.engine.fast.batching import fitting, largest_map, max_concurrent
from kerasxai.engine.fast.batchnorm_folding import folded
from kerasxai.engine.fast.constant_weights import WORTHWHILE, ConstantWeights
from kerasxai.engine.fast.crop_recompute import best_crop, crop_of
from kerasxai.engine.fast.switch import disabled, enabled

__all__ = [
    "WORTHWHILE",
    "ConstantWeights",
    "best_crop",
    "crop_of",
    "disabled",
    "enabled",
    "fitting",
    "folded",
    "largest_map",
    "max_concurrent",
]
