"""The start of a training run: what the data decide, and the new model."""

import logging
from dataclasses import dataclass
from pathlib import Path

import keras

from kerasxai import data, viz
from kerasxai.engine.images.image_input import Size
from kerasxai.training.augment import augmentation_sheet
from kerasxai.training.config import TrainConfig
from kerasxai.training.new_model import new_model, resized_model
from kerasxai.training.own_backbone import OwnBackbone, fixed_size, is_model_file, load_own, own_backbone
from kerasxai.training.resolve import Resolved, resolve_settings
from kerasxai.training.run_folder import RunFolder

_LOG = logging.getLogger(__name__)

SHEET = "augmentation.png"


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Attributes:
        resolved: The settings with what the data decide.
        model: The new model; None if the run continues after an epoch.
        own: The model file, if it is the backbone of a new run.
    """

    resolved: Resolved
    model: keras.Model | None
    own: OwnBackbone | None

    def write(self, folder: Path, dataset: data.ImageDataset, with_sheet: bool) -> None:
        """Write what was chosen and a sheet of augmented images into the folder of a new run, and log it."""
        if self.model is None:
            return
        self.resolved.write(folder)
        self.resolved.log()
        if self.own is not None:
            self.own.write(folder)
        if with_sheet:
            viz.save_png(folder / SHEET, augmentation_sheet(self.resolved.config, dataset))


def start_of(config: TrainConfig, dataset: data.ImageDataset, folder: RunFolder) -> Start:
    """Choose the settings that depend on the data, and build the new model of a run without epochs.

    Args:
        config: The settings as given.
        dataset: The data.
        folder: Folder of the run.

    Raises:
        KerasxaiError: Settings contradict each other or do not fit the data or the model.
    """
    # A run that continues has its model in its folder: a model file may have been moved.
    if folder.rows:
        return Start(resolve_settings(config, dataset, folder.path, has_epochs=True), None, None)
    classifier = load_own(config) if is_model_file(config.backbone) else None
    size = None if classifier is None else fixed_size(classifier)
    resolved = resolve_settings(config, dataset, folder.path, size)
    own = None if classifier is None else own_backbone(classifier, resolved.config, dataset)
    model = new_model(resolved.config, dataset.info, own)
    if config.final_image_size is not None:
        # A size that is too small is refused before the training.
        resized_model(resolved.config, dataset.info)
    return Start(resolved, model, own)


def start_size(config: TrainConfig, dataset: data.ImageDataset) -> Size:
    """Return the side of the images of a new run, or height and width: the final size if it is given."""
    size = fixed_size(load_own(config)) if is_model_file(config.backbone) else None
    found = config.final_image_size or resolve_settings(config, dataset, own_size=size).config.image_size
    assert found is not None, "the settings are resolved"
    return found
