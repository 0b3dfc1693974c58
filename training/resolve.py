"""Settings that depend on the data: sizes of the images, stride of the map, augmentation, number of fine-tunings."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kerasxai import data, models
from kerasxai.engine.images.image_input import Size
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import read_json, write_json
from kerasxai.training.augment import chosen_augmentation
from kerasxai.training.config import TrainConfig
from kerasxai.training.input_size import InputSize, choose_size, measure_images
from kerasxai.training.multi_label import is_multi
from kerasxai.training.new_model import feature_stride
from kerasxai.training.own_backbone import is_model_file
from kerasxai.training.plan import plan_of

_LOG = logging.getLogger(__name__)

CHOICES = "choices.json"
_CHOSEN = ("image_size", "final_image_size", "output_stride", "augment", "labels", "finetunings")
FEW_IMAGES = 1000
"""Up to so many training images there are several fine-tunings, whose time matters less than their gain."""
FINETUNINGS = 3
_CROPPING = ("light", "strong")


@dataclass(frozen=True)
class Resolved:
    """The settings of a run with everything that depends on the data.

    Attributes:
        config: The settings; `image_size`, `final_image_size`, `augment`, `labels` and `finetunings` have values.
        reasons: Why, by setting.
    """

    config: TrainConfig
    reasons: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Write what was chosen, so that a continued run chooses the same."""
        chosen: dict[str, Any] = {name: getattr(self.config, name) for name in _CHOSEN}
        write_json(folder / CHOICES, {**chosen, "reasons": dict(self.reasons)})

    def log(self) -> None:
        """Log what was chosen, and why."""
        config, stride = self.config, self.config.output_stride
        _LOG.info("images of %s pixels (height x width): %s", shown_size(config.image_size), self.reasons["image_size"])
        if config.final_image_size != config.image_size:
            shown, why = shown_size(config.final_image_size), self.reasons["final_image_size"]
            _LOG.info("images of %s pixels after training: %s", shown, why)
        if "output_stride" in self.reasons:
            _LOG.info("output stride %s: %s", stride, self.reasons["output_stride"])
        _LOG.info("augmentation %s: %s", config.augment, self.reasons["augment"])
        if "finetunings" in self.reasons:
            _LOG.info("%s fine-tunings: %s", config.finetunings, self.reasons["finetunings"])


def shown_size(size: Size | None) -> str:
    """Return a size as "240 x 320"."""
    assert size is not None, "the settings are resolved"
    return f"{size} x {size}" if isinstance(size, int) else f"{size[0]} x {size[1]}"


def reading_of(config: TrainConfig, folder: Path) -> str:
    """Return how the labels are read, as `kerasxai.data.open` takes it: in the folder of a run as it was begun."""
    path = folder / "config.json"
    # Older versions knew one label an image only.
    return config.labels if not path.exists() or "labels" in read_json(path) else "single"


def resolve_settings(
    config: TrainConfig,
    dataset: data.ImageDataset,
    folder: Path | None = None,
    own_size: Size | None = None,
    has_epochs: bool = False,
) -> Resolved:
    """Choose what is not given by the data, or read what the run in a folder has chosen.

    Args:
        config: The settings.
        dataset: The data.
        folder: Folder of the run, which may be continued.
        own_size: Side, or height and width, that a model file as backbone takes; None for any.
        has_epochs: Whether the run in the folder has completed epochs.

    Raises:
        KerasxaiError: Settings contradict each other.
    """
    if folder is not None and (folder / CHOICES).exists():
        content = read_json(folder / CHOICES)
        # Older versions knew one label an image, one size and one fine-tuning, unless several were given.
        older = {"labels": "single", "final_image_size": content["image_size"], "finetunings": config.finetunings or 1}
        chosen = {name: {**older, **content}[name] for name in _CHOSEN}
        pairs = {name: tuple(value) for name, value in chosen.items() if isinstance(value, list)}
        return Resolved(replace(config, **{**chosen, **pairs}), content["reasons"])
    # Older versions wrote no choices.
    size = _usual_size(config, dataset.info) if has_epochs else _size(config, dataset, own_size)
    augment, why = chosen_augmentation(config, dataset.info)
    reasons = {"image_size": size.reason, "augment": why}
    labels = "multi" if dataset.info.multi_label else "single"
    stride = config.output_stride
    if size.output_stride is not None:
        stride, reasons["output_stride"] = size.output_stride, size.reason
    found = replace(config, image_size=size.image_size, output_stride=stride, augment=augment, labels=labels)
    _check_resize(found)
    if has_epochs:
        found = replace(found, final_image_size=size.image_size, finetunings=config.finetunings or 1)
        return Resolved(found, reasons)
    return _with_ends(Resolved(found, reasons), dataset.info, size.larger)


def _with_ends(resolved: Resolved, info: data.DatasetInfo, larger: int | None) -> Resolved:
    """Choose how a run ends: the size of the images of the finished model, and the number of fine-tunings.

    Args:
        resolved: The other settings.
        info: What is known about the data.
        larger: The size to try after a training with random crops; None for no other one.
    """
    config, reasons = resolved.config, dict(resolved.reasons)
    plan = plan_of(config, feature_stride(config, info))
    # Averages exist only with fine-tuning from something.
    is_tuned = plan.probe and plan.averages > 0 and not is_multi(config)
    final, count = config.final_image_size, info.splits["train"]
    if final is not None:
        if is_model_file(config.backbone):
            raise KerasxaiError(f"final_image_size must be omitted with a model file as backbone, got {final}")
        if shown_size(final) == shown_size(config.image_size):
            # 64 and 64 x 64: no phase is needed.
            final = config.image_size
        reasons["final_image_size"] = "as given"
    elif larger is not None and is_tuned and config.augment in _CROPPING and not is_model_file(config.backbone):
        final = larger
        reasons["final_image_size"] = (
            "random crops enlarge objects in training; kept unless validation is worse by more than a standard error"
        )
    finetunings = config.finetunings
    if finetunings is None:
        several = is_tuned and config.patience is None and count <= FEW_IMAGES
        finetunings = FINETUNINGS if several else 1
        if several:
            reasons["finetunings"] = f"{count} training images"
    found = replace(config, final_image_size=final or config.image_size, finetunings=finetunings)
    return Resolved(found, reasons)


def _usual_size(config: TrainConfig, info: data.DatasetInfo) -> InputSize:
    """Return the size with which versions without a choice trained."""
    side = config.image_size or info.image_size or models.BACKBONES[config.backbone].input_size
    return InputSize(side, None, "as begun by an older version")


def _size(config: TrainConfig, dataset: data.ImageDataset, own_size: Size | None) -> InputSize:
    info = dataset.info
    if own_size is not None:
        if config.image_size not in (None, own_size):
            raise KerasxaiError(f"image_size must be that of the model file, {own_size}, got {config.image_size}")
        return InputSize(own_size, None, "the size that the model file takes")
    if config.image_size is not None:
        return InputSize(config.image_size, None, "as given")
    if info.image_size is not None:
        return InputSize(info.image_size, None, f"recommended for {info.name}")
    row = models.BACKBONES.get(config.backbone)
    side = 224 if row is None else row.input_size
    if config.weights == "none":
        return InputSize(side, None, "the size of the backbone, for random weights")
    if config.resize is not None:
        return InputSize(side, None, "the size of the backbone, because resize is given")
    found = choose_size(side, measure_images(dataset))
    # The stride is left alone where the map is chosen, and where a backbone cannot change it.
    fixed = config.features is not None or config.output_stride is not None or info.feature_stride < 32
    if fixed or row is None or row.family == "NASNet":
        return replace(found, output_stride=None)
    return found


def _check_resize(config: TrainConfig) -> None:
    size = config.image_size
    if config.resize is None or size is None:
        return
    if not isinstance(size, int):
        raise KerasxaiError(f"image_size must be one side with resize, got {size[0]} x {size[1]}")
    if config.resize < size:
        raise KerasxaiError(f"resize must be {size} or more, the size of the random crops, got {config.resize}")
