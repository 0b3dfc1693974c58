"""Optimizers with a share of the rate for each variable, so that new layers learn faster than pretrained ones."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


class _Shares:
    """What an optimizer needs to have a share of the rate for each variable; to be put before its class.

    Args:
        shares: One number a trainable variable, in their order; None: 1 for all.
    """

    def __init__(self, *args: Any, shares: Sequence[float] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shares = None if shares is None else [float(share) for share in shares]

    def share(self, variable: Any) -> float:
        """Returns a variable's share."""
        return 1.0 if self.shares is None else self.shares[self._get_variable_index(variable)]  # type: ignore[attr-defined]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable."""
        super().update_step(gradient, variable, learning_rate * self.share(variable))  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that this optimizer was made with."""
        return {**super().get_config(), "shares": self.shares}  # type: ignore[misc]


@keras.saving.register_keras_serializable("kerasxai")
class SharedAdamW(_Shares, keras.optimizers.AdamW):
    """AdamW with a share of the rate for each variable; the decay is the same for all."""


@keras.saving.register_keras_serializable("kerasxai")
class SharedSGD(_Shares, keras.optimizers.SGD):
    """SGD as PyTorch has it: the decay is part of the gradient, with a share of the rate for each variable.

    Args:
        decay: Is multiplied with the weights and added to their gradient.
    """

    def __init__(self, *args: Any, decay: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.decay = decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable."""
        gradient = ops.add(ops.cast(gradient, variable.dtype), ops.multiply(variable, self.decay))
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that this optimizer was made with."""
        return {**super().get_config(), "decay": self.decay}
