"""The plan of a training run: what the first phase does, and the settings that follow from it."""

from dataclasses import dataclass, fields, replace

from kerasxai import models
from kerasxai.tools.epoch_names import FINAL_SIZE
from kerasxai.tools.errors import KerasxaiError
from kerasxai.training.config import TrainConfig
from kerasxai.training.losses import DEFAULT_LOSS
from kerasxai.training.multi_label import check_labels, is_multi
from kerasxai.training.new_model import features_of, head_options
from kerasxai.training.recipe_parts import has_soft_labels
from kerasxai.training.recipes import recipe_of, taken_by
from kerasxai.training.weak_labels import is_weak

PHASES = ("head", "finetune", "average", "pseudo", FINAL_SIZE)
"""The fourth exists only if labels are missing, the last one if the finished model takes images of another size."""
_NEVER = 1_000_000
WARMUP_SHARE = 0.125
"""Share of the steps after a probe in which the learning rate rises."""


@dataclass(frozen=True)
class Defaults:
    """Defaults of settings that depend on the first phase; each is as in `TrainConfig`."""

    epochs: int
    batch_size: int
    finetune_rate: float
    finetune_share: float
    label_smoothing: float
    averages: int
    finetunings: int
    start_decay: float
    monitor: str
    patience: int


AFTER_PROBE = Defaults(
    epochs=8,
    batch_size=16,
    finetune_rate=1e-3,
    # The blocks of the last stride: below it features are general, and their gradients cost the most.
    finetune_share=0.35,
    label_smoothing=0.1,
    averages=1,
    finetunings=1,
    start_decay=0.01,
    # The probe is fitted without label smoothing, its strength chosen by validation loss: only losses at the best
    # temperature can be compared with its own.
    monitor="val_calibrated_loss",
    # A high rate first throws the head off; the best epochs are at the end of the schedule.
    patience=_NEVER,
)
AFTER_EPOCHS = Defaults(
    epochs=5,
    batch_size=32,
    finetune_rate=3e-4,
    finetune_share=0.5,
    label_smoothing=0.0,
    averages=0,
    finetunings=1,
    start_decay=0.0,
    monitor="val_loss",
    patience=5,
)
# Where several labels are trained on an early map, one pattern is often shared by classes, so that its features have to
# change: on `shapes_two`, validation mean average precision was 0.75 after two epochs at 3e-4, and 0.94 at this rate.
EARLY_LABELS = replace(AFTER_EPOCHS, finetune_rate=3e-3, batch_size=16)


@dataclass(frozen=True)
class Plan(Defaults):
    """The phases of a run, and the values of the settings that depend on them.

    Attributes:
        probe: Whether the first phase is a logistic regression on frozen features, instead of epochs.
        head_epochs: Rows of the first phase in the history: its epochs, or 1 for the probe.
        has_pseudo: Whether there is a third phase, as long as the second.
        has_final_size: Whether the finished model may take images of another size.
    """

    probe: bool
    head_epochs: int
    has_pseudo: bool
    has_final_size: bool

    def epochs_of(self, phase: str) -> tuple[int, int]:
        """Return the first epoch of a phase and the one after its last, counted over all phases."""
        lengths = {
            "head": self.head_epochs,
            "finetune": self.epochs * self.finetunings,
            "average": self.averages,
            "pseudo": self.epochs * self.has_pseudo,
            FINAL_SIZE: int(self.has_final_size),
        }
        first = sum(lengths[name] for name in PHASES[: PHASES.index(phase)])
        return first, first + lengths[phase]


def plan_of(config: TrainConfig, feature_stride: int) -> Plan:
    """Return the plan of a run.

    Args:
        config: The settings.
        feature_stride: The stride that the data set recommends.

    Raises:
        KerasxaiError: The settings require a probe where none is possible, or do not fit the labels.
    """
    check_labels(config)
    obstacle = _obstacle(config, feature_stride)
    if config.head_phase == "probe" and obstacle is not None:
        raise KerasxaiError(f"head_phase must be 'epochs' or 'auto' with {obstacle}, got 'probe'")
    probe = obstacle is None and config.head_phase != "epochs"
    defaults = AFTER_PROBE if probe else AFTER_EPOCHS
    if is_multi(config):
        if not probe and features_of(config, feature_stride) is not None:
            defaults = EARLY_LABELS
        # There is no temperature of sigmoids that changes no prediction.
        defaults = replace(defaults, label_smoothing=0.0, monitor="val_loss")
    head_epochs = 0 if config.weights == "none" else config.head_epochs
    values = {
        item.name: getattr(defaults if getattr(config, item.name) is None else config, item.name)
        for item in fields(Defaults)
    }
    if not (values["epochs"] and head_epochs):
        # Without a phase on each side there are no two models.
        values["averages"] = 0
    _check_finetunings(values["finetunings"], values["averages"], probe, config.patience)
    return Plan(
        probe=probe,
        head_epochs=min(head_epochs, 1) if probe else head_epochs,
        has_pseudo=config.label_fraction < 1,
        has_final_size=config.final_image_size not in (None, config.image_size),
        **values,
    )


def _check_finetunings(finetunings: int, averages: int, probe: bool, patience: int | None) -> None:
    """Refuse several fine-tunings that would not start from a probe, or would not be averaged."""
    if finetunings == 1:
        return
    if not (probe and averages):
        lacking = "a probe" if not probe else "averages"
        raise KerasxaiError(f"finetunings must be 1 without {lacking}, got {finetunings}")
    if patience is not None:
        raise KerasxaiError(f"patience must be omitted with {finetunings} fine-tunings, which all end, got {patience}")


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
    """Return whether labels of one class an image are rows of shares, one for each class, instead of class numbers."""
    return not is_multi(config) and (has_soft_labels(config) or plan.label_smoothing > 0)
