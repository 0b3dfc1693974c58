"""Optimizers of training: AdamW or SGD, schedules, a higher rate for new layers, decay toward pretrained weights."""

from collections.abc import Callable

import keras

from kerasxai.models.optimizers import SharedAdamW, SharedSGD
from kerasxai.training.config import TrainConfig

WEIGHT_DECAY = 1e-4
STEP_SHARE = 0.3
"""The share of a phase after which `"steps"` takes a tenth of the rate: 15 of 50 epochs on CUB, 3 of 10 on ImageNet."""

_OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adamw": lambda rate, **each: SharedAdamW(rate, weight_decay=WEIGHT_DECAY, **each),
    "sgd": lambda rate, **each: SharedSGD(rate, momentum=0.9, nesterov=True, decay=WEIGHT_DECAY, **each),
}
_SCHEDULES: dict[str, Callable[[float, int, int], float | keras.optimizers.schedules.LearningRateSchedule]] = {
    "cosine": lambda rate, steps, warmup: (
        keras.optimizers.schedules.CosineDecay(0.0, steps - warmup, warmup_target=rate, warmup_steps=warmup)
        if warmup
        else keras.optimizers.schedules.CosineDecay(rate, steps)
    ),
    "steps": lambda rate, steps, warmup: keras.optimizers.schedules.ExponentialDecay(
        rate, max(1, round(STEP_SHARE * steps)), 0.1, staircase=True
    ),
    "constant": lambda rate, steps, warmup: rate,
}


def optimizer_of(
    config: TrainConfig, model: keras.Model, rate: float, steps: int, start_decay: float = 0.0, warmup: int = 0
) -> keras.optimizers.Optimizer:
    """Return the optimizer of one phase.

    Args:
        config: The optimizer, the schedule, and the rate of the head.
        model: The model, with the layers of the phase trainable.
        rate: The peak rate of the backbone.
        steps: The number of steps of the phase.
        warmup: Steps in which the rate of the cosine rises from 0. Adam's first steps are as large as the rate however
            small the gradients are, which would undo a head that fits already.
        start_decay: Share of the way back to its present weights that the backbone goes in each step at the peak rate.

    Example:
        >>> model.compile(optimizer_of(TrainConfig("shapes", optimizer="sgd", head_rate=10), model, 1e-3, 500))
    """
    below = {id(variable) for variable in model.get_layer("backbone").variables}
    pretrained = [id(variable) in below for variable in model.trainable_variables]
    shares = [1.0 if inside else config.head_rate for inside in pretrained]
    # The pull is multiplied by the rate, so that it falls with it.
    pulls = [start_decay / rate if inside else 0.0 for inside in pretrained] if start_decay else None
    schedule = _SCHEDULES[config.schedule](rate, steps, warmup)
    # Without settings for each variable the optimizer of Keras is enough.
    if config.optimizer == "adamw" and config.head_rate == 1 and pulls is None:
        return keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY)
    return _OPTIMIZERS[config.optimizer](schedule, shares=shares, pulls=pulls)
