"""The plan of a training run: what the first phase does, and the settings that follow from it."""

from dataclasses import dataclass

from kerasxai import models
from kerasxai.tools.errors import KerasxaiError
from kerasxai.training.config import TrainConfig
from kerasxai.training.losses import DEFAULT_LOSS
from kerasxai.training.new_model import features_of, head_options
from kerasxai.training.recipe_parts import has_soft_labels
from kerasxai.training.recipes import recipe_of, taken_by
from kerasxai.training.weak_labels import is_weak

PHASES = ("head", "finetune", "average", "pseudo")
"""The last one exists only if labels are missing."""


@dataclass(frozen=True)
class Tuning:
    """Defaults of the second phase.

    Attributes:
        epochs: As for `TrainConfig`.
        label_smoothing: As for `TrainConfig`.
        averages: As for `TrainConfig`.
        start_decay: As for `TrainConfig`.
        monitor: As for `TrainConfig`.
    """

    epochs: int
    label_smoothing: float
    averages: int
    start_decay: float
    monitor: str


AFTER_PROBE = Tuning(epochs=10, label_smoothing=0.1, averages=3, start_decay=0.01, monitor="val_calibrated_loss")
"""Held near the pretrained features, which the head fits already.

The probe is fitted without label smoothing, and its strength is chosen by validation loss: only losses at the best
temperature can be compared with its own.
"""
AFTER_EPOCHS = Tuning(epochs=5, label_smoothing=0.0, averages=0, start_decay=0.0, monitor="val_loss")


@dataclass(frozen=True)
class Plan:
    """The phases of a run.

    Attributes:
        probe: Whether the first phase is a logistic regression on frozen features, instead of epochs.
        head_epochs: Rows of the first phase in the history: its epochs, or 1 for the probe.
        epochs: Epochs of the second phase, and of the third.
        has_pseudo: Whether there is a third phase.
        label_smoothing: Share of each label that is spread over all classes.
        averages: Weighted averages of the model before and after the second phase that are tried.
        start_decay: Decay of the backbone toward its weights before the second phase.
        monitor: The figure that chooses the best epoch.
    """

    probe: bool
    head_epochs: int
    epochs: int
    has_pseudo: bool
    label_smoothing: float
    averages: int
    start_decay: float
    monitor: str

    def epochs_of(self, phase: str) -> tuple[int, int]:
        """Return the first epoch of a phase and the one after its last, counted over all phases."""
        lengths = {
            "head": self.head_epochs,
            "finetune": self.epochs,
            "average": self.averages,
            "pseudo": self.epochs * self.has_pseudo,
        }
        first = sum(lengths[name] for name in PHASES[: PHASES.index(phase)])
        return first, first + lengths[phase]


def plan_of(config: TrainConfig, feature_stride: int) -> Plan:
    """Return the plan of a run.

    Args:
        config: The settings.
        feature_stride: The stride that the data set recommends.

    Raises:
        KerasxaiError: The settings require a probe where none is possible.
    """
    obstacle = _obstacle(config, feature_stride)
    if config.head_phase == "probe" and obstacle is not None:
        raise KerasxaiError(f"head_phase must be 'epochs' or 'auto' with {obstacle}, got 'probe'")
    probe = obstacle is None and config.head_phase != "epochs"
    defaults = AFTER_PROBE if probe else AFTER_EPOCHS
    head_epochs = 0 if config.weights == "none" else config.head_epochs
    epochs = defaults.epochs if config.epochs is None else config.epochs
    averages = defaults.averages if config.averages is None else config.averages
    return Plan(
        probe=probe,
        head_epochs=min(head_epochs, 1) if probe else head_epochs,
        epochs=epochs,
        has_pseudo=config.label_fraction < 1,
        label_smoothing=defaults.label_smoothing if config.label_smoothing is None else config.label_smoothing,
        # Without a phase on each side there are no two models.
        averages=averages if epochs and head_epochs else 0,
        start_decay=defaults.start_decay if config.start_decay is None else config.start_decay,
        monitor=defaults.monitor if config.monitor is None else config.monitor,
    )


def _obstacle(config: TrainConfig, feature_stride: int) -> str | None:
    """Return the setting that requires epochs of the head instead of a probe, or None.

    A probe needs pretrained features that represent the classes, clean labels, and cross-entropy.
    """
    if config.weights == "none":
        return "random weights"
    if config.head_epochs == 0:
        return "head_epochs of 0"
    if is_weak(config):
        return "missing or wrong labels"
    if config.loss != DEFAULT_LOSS or config.loss_options:
        return "another loss than cross-entropy"
    if config.recipe is not None and recipe_of(config.recipe).own is not None:
        # Its augmentation or its layers act in training steps only.
        return f"recipe {config.recipe!r}"
    early = features_of(config, feature_stride) is not None
    if early and _has_convolutions(config):
        # Pooled features of an early map do not represent classes: the convolutions of the head have to learn them.
        return "convolutions in the head on an early map"
    return None


def _has_convolutions(config: TrainConfig) -> bool:
    if "depth" not in taken_by(models.HEADS[config.head].builder):
        return True
    return head_options(config, early=True)["depth"] != 0


def rows_of_shares(config: TrainConfig, plan: Plan) -> bool:
    """Return whether labels are rows of shares, one for each class, instead of class numbers."""
    return has_soft_labels(config) or plan.label_smoothing > 0
