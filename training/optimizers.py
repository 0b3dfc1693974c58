"""Optimizers of training: AdamW or SGD, learning rate schedules, and a higher rate for new layers."""

from collections.abc import Callable

import keras

from kerasxai.models.optimizers import SharedAdamW, SharedSGD
from kerasxai.training.config import TrainConfig

WEIGHT_DECAY = 1e-4
STEP_SHARE = 0.3
"""The share of a phase after which `"steps"` takes a tenth of the rate: 15 of 50 epochs on CUB, 3 of 10 on ImageNet."""

_OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adamw": lambda rate, shares: SharedAdamW(rate, weight_decay=WEIGHT_DECAY, shares=shares),
    "sgd": lambda rate, shares: SharedSGD(rate, momentum=0.9, nesterov=True, decay=WEIGHT_DECAY, shares=shares),
}
_SCHEDULES: dict[str, Callable[[float, int], float | keras.optimizers.schedules.LearningRateSchedule]] = {
    "cosine": lambda rate, steps: keras.optimizers.schedules.CosineDecay(rate, steps),
    "steps": lambda rate, steps: keras.optimizers.schedules.ExponentialDecay(
        rate, max(1, round(STEP_SHARE * steps)), 0.1, staircase=True
    ),
    "constant": lambda rate, steps: rate,
}


def optimizer_of(config: TrainConfig, model: keras.Model, rate: float, steps: int) -> keras.optimizers.Optimizer:
    """Return the optimizer of one phase.

    Args:
        config: The optimizer, the schedule, and the rate of the head.
        model: The model, with the layers of the phase trainable.
        rate: The peak rate of the backbone.
        steps: The number of steps of the phase.

    Example:
        >>> model.compile(optimizer_of(TrainConfig("shapes", optimizer="sgd", head_rate=10), model, 1e-3, 500))
    """
    below = {id(variable) for variable in model.get_layer("backbone").variables}
    shares = [1.0 if id(variable) in below else config.head_rate for variable in model.trainable_variables]
    schedule = _SCHEDULES[config.schedule](rate, steps)
    # Without different rates the optimizer of Keras is enough.
    if config.optimizer == "adamw" and config.head_rate == 1:
        return keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY)
    return _OPTIMIZERS[config.optimizer](schedule, shares)
