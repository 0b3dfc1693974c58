"""Optimizers with a factor of the learning rate for each variable: new layers can learn faster than pretrained ones."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops


class _Shares:
    """Mixin of an optimizer with a factor of the learning rate for each variable; to precede the optimizer's class.

    Args:
        shares: One factor for each trainable variable, in their order; None for 1 everywhere.
    """

    def __init__(self, *args: Any, shares: Sequence[float] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shares = None if shares is None else [float(share) for share in shares]

    def share(self, variable: keras.Variable) -> float:
        """Return the factor of a variable."""
        return 1.0 if self.shares is None else self.shares[self._get_variable_index(variable)]  # type: ignore[attr-defined]

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """Update one variable."""
        super().update_step(gradient, variable, learning_rate * self.share(variable))  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "shares": self.shares}  # type: ignore[misc]


@keras.saving.register_keras_serializable("kerasxai")
class SharedAdamW(_Shares, keras.optimizers.AdamW):
    """AdamW with a factor of the learning rate for each variable; weight decay is the same for all."""


@keras.saving.register_keras_serializable("kerasxai")
class SharedSGD(_Shares, keras.optimizers.SGD):
    """SGD as in PyTorch (weight decay is part of the gradient), with a factor of the learning rate for each variable.

    Args:
        decay: Times the weights, is added to their gradient.
    """

    def __init__(self, *args: Any, decay: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.decay = decay

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """Update one variable."""
        gradient = ops.add(ops.cast(gradient, variable.dtype), ops.multiply(variable, self.decay))
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "decay": self.decay}
