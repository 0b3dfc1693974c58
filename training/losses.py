"""LOSSES: the losses of training. Reading the table imports no TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kerasxai.tools.errors import KerasxaiError, unknown

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Loss:
    """One row of LOSSES.

    Attributes:
        name: The name of the loss.
        numbers: The class in `keras.losses` for labels that are class numbers.
        rows: The class in `keras.losses` for labels that are rows of shares, one for each class; None if there is none.
        summary: One line for tables.
        paper: The source.
    """

    name: str
    numbers: str
    rows: str | None
    summary: str
    paper: str = ""


LOSSES: dict[str, Loss] = {
    row.name: row
    for row in (
        Loss(
            "categorical_crossentropy",
            "SparseCategoricalCrossentropy",
            "CategoricalCrossentropy",
            "cross-entropy",
        ),
        Loss(
            "categorical_generalized_cross_entropy",
            "CategoricalGeneralizedCrossEntropy",
            None,
            "between cross-entropy and mean absolute error: bears wrong labels; option q in (0, 1), by default 0.5",
            "Zhang and Sabuncu 2018, arXiv:1805.07836",
        ),
    )
}
MULTI_LABEL_LOSSES: dict[str, Loss] = {
    row.name: row
    for row in (
        Loss(
            "binary_crossentropy",
            "MaskedBinaryCrossentropy",
            None,
            "several labels: binary cross-entropy of the known labels",
        ),
        Loss(
            "binary_focal_crossentropy",
            "MaskedBinaryFocalCrossentropy",
            None,
            "several labels: easy labels count less; options gamma, by default 2, and alpha",
            "Lin 2017, arXiv:1708.02002",
        ),
        Loss(
            "asymmetric",
            "AsymmetricLoss",
            None,
            "several labels: easy absent classes count less; options gamma_positive, gamma_negative and shift",
            "Ridnik 2021, arXiv:2009.14119",
        ),
    )
}
"""Losses for several labels an image; `numbers` is a class in `kerasxai.models`."""
DEFAULT_LOSS = "categorical_crossentropy"


def keras_loss(name: str, options: Mapping[str, Any], soft_labels: bool = False) -> "keras.losses.Loss":
    """Return the Keras loss of a row.

    Args:
        name: A name in LOSSES.
        options: Of the Keras class.
        soft_labels: Whether labels are rows of shares, as with recipes that mix images.

    Raises:
        KerasxaiError: There is no such loss or option, or the loss does not accept rows of shares.

    Example:
        >>> keras_loss("categorical_generalized_cross_entropy", {"q": 0.7}).q
        0.7
    """
    import keras

    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    row = LOSSES[name]
    found = row.rows if soft_labels else row.numbers
    if found is None:
        raise KerasxaiError(
            f"expected a loss for mixed labels or label smoothing, got {name!r}, which accepts class numbers only; "
            "choose another loss, or no such recipe and label_smoothing=0"
        )
    try:
        return getattr(keras.losses, found)(**options)
    except (TypeError, ValueError) as error:
        raise KerasxaiError(f"cannot make the loss {name} with {dict(options)}: {error}") from error
