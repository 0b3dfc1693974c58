"""Optimizers for fine-tuning: a factor of the learning rate and a pull toward the start for each variable."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops


class _Shares:
    """Mixin of an optimizer with settings for each variable; to precede the optimizer's class.

    Args:
        shares: Factor of the learning rate of each trainable variable, in their order; None for 1 everywhere.
        pulls: Strength of the pull of each variable toward its value before training (L2-SP of Li 2018,
            arXiv:1802.01483, decoupled from the gradient as in AdamW): `v -= rate * pull * (v - start)`; None for 0.
    """

    def __init__(
        self, *args: Any, shares: Sequence[float] | None = None, pulls: Sequence[float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.shares = None if shares is None else [float(share) for share in shares]
        self.pulls = None if pulls is None else [float(pull) for pull in pulls]
        self._starts: list[keras.Variable | None] = []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the variables of the optimizer, among them copies of the weights before training."""
        super().build(variables)  # type: ignore[misc]
        if self.pulls is None or self._starts:
            return
        for variable, pull in zip(variables, self.pulls, strict=True):
            self._starts.append(self._copy_of(variable) if pull else None)

    def _copy_of(self, variable: keras.Variable) -> keras.Variable:
        """Return a variable of the optimizer with the present value of another.

        `fit` builds the optimizer in a symbolic scope, where an assignment has no effect; Keras calls the initializer
        after it.
        """

        def present(shape: Sequence[int], dtype: str | None = None) -> tf.Tensor:
            return ops.cast(ops.convert_to_tensor(variable), dtype or variable.dtype)

        return self.add_variable_from_reference(variable, name="start", initializer=present)  # type: ignore[attr-defined]

    def share(self, variable: keras.Variable) -> float:
        """Return the factor of a variable."""
        return 1.0 if self.shares is None else self.shares[self._get_variable_index(variable)]  # type: ignore[attr-defined]

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """Update one variable."""
        rate = learning_rate * self.share(variable)
        super().update_step(gradient, variable, rate)  # type: ignore[misc]
        if self.pulls is not None:
            index = self._get_variable_index(variable)  # type: ignore[attr-defined]
            start = self._starts[index]
            if start is not None:
                pull = ops.cast(rate, variable.dtype) * self.pulls[index]
                variable.assign_sub(pull * ops.subtract(variable, start))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "shares": self.shares, "pulls": self.pulls}  # type: ignore[misc]


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
