"""How weights are changed in training: AdamW or SGD, how the rate falls, and new layers that learn faster."""

from collections.abc import Callable
from typing import Any

import keras

from kerasxai.models.optimizers import SharedAdamW, SharedSGD
from kerasxai.training.config import TrainConfig

WEIGHT_DECAY = 1e-4
STEP_SHARE = 0.3
"""After each such share of a phase `"steps"` takes a tenth of the rate: 15 of 50 epochs on CUB, 3 of 10 on ImageNet."""

_OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adamw": lambda rate, shares: SharedAdamW(rate, weight_decay=WEIGHT_DECAY, shares=shares),
    "sgd": lambda rate, shares: SharedSGD(rate, momentum=0.9, nesterov=True, decay=WEIGHT_DECAY, shares=shares),
}
_SCHEDULES: dict[str, Callable[[float, int], Any]] = {
    "cosine": lambda rate, steps: keras.optimizers.schedules.CosineDecay(rate, steps),
    "steps": lambda rate, steps: keras.optimizers.schedules.ExponentialDecay(
        rate, max(1, round(STEP_SHARE * steps)), 0.1, staircase=True
    ),
    "constant": lambda rate, steps: rate,
}


def optimizer_of(config: TrainConfig, model: keras.Model, rate: float, steps: int) -> keras.optimizers.Optimizer:
    """Returns the optimizer of one phase.

    Args:
        config: Says which, how the rate falls, and how much faster what stands above the backbone learns.
        model: Whose variables are trained, with those frozen that shall be.
        rate: The peak rate of the backbone.
        steps: How long the phase is.

    Example:
        >>> model.compile(optimizer_of(TrainConfig("shapes", optimizer="sgd", head_rate=10), model, 1e-3, 500))
    """
    below = {id(variable) for variable in model.get_layer("backbone").variables}
    shares = [1.0 if id(variable) in below else config.head_rate for variable in model.trainable_variables]
    schedule = _SCHEDULES[config.schedule](rate, steps)
    if config.optimizer == "adamw" and config.head_rate == 1:
        return keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY)
    return _OPTIMIZERS[config.optimizer](schedule, shares)
