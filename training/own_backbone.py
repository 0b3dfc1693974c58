"""A model file as backbone: loading it, its input range, and its accuracy before it gets a new head."""

import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai import data, models
from kerasxai.engine.images.builtin_preprocessing import InputRangeWarning, range_doubt
from kerasxai.engine.images.image_input import ImageInput, Size, image_input
from kerasxai.models.hub import PREFIX, hub_backbone
from kerasxai.models.trunk import last_map, trunk_of
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import read_json, write_json
from kerasxai.tools.input_range import RANGES, preprocessing
from kerasxai.training.config import TrainConfig

_LOG = logging.getLogger(__name__)

RECORD = "backbone.json"
_GUESS_IMAGES = 256
_BATCH = 32


@dataclass(frozen=True)
class OwnBackbone:
    """A user's classifier whose head is replaced.

    Attributes:
        file: The path as given.
        classifier: The whole model.
        trunk: Its part up to the last feature map, from pixels in [0, 255] on.
        layer: The layer of that map.
        input_range: The range that the classifier takes, a name in `RANGES`.
        val_accuracy: Its accuracy on the validation images; None if its classes are not those of the data.
    """

    file: str
    classifier: keras.Model
    trunk: keras.Model
    layer: str
    input_range: str
    val_accuracy: float | None

    def write(self, folder: Path) -> None:
        """Write what is known about the file into the folder of the run."""
        write_json(
            folder / RECORD,
            {name: getattr(self, name) for name in ("file", "layer", "input_range")}
            | {"val_accuracy_before": self.val_accuracy},
        )


def is_model_file(backbone: str) -> bool:
    """Return whether the backbone of a config is a model file, and not a name in BACKBONES."""
    return backbone not in models.BACKBONES


def fixed_size(classifier: keras.Model) -> Size | None:
    """Return height and width that a model takes, or the side of a square; None for any."""
    if not getattr(classifier, "inputs", None):
        return None
    height, width = classifier.inputs[0].shape[1:3]
    if height is None or width is None:
        return None
    return int(height) if height == width else (int(height), int(width))


def load_own(config: TrainConfig) -> keras.Model:
    """Load the classifier of a model file.

    Raises:
        KerasxaiError: It cannot be loaded, takes no RGB images, or settings do not apply to it.
    """
    if config.weights != "imagenet":
        raise KerasxaiError(
            f"weights must be 'imagenet', the default, with a model file as backbone, got {config.weights!r}; the file "
            "has its own weights"
        )
    if config.input_range is not None and config.input_range not in RANGES:
        raise unknown("input range", config.input_range, RANGES)
    if config.backbone.startswith(PREFIX):
        return hub_backbone(config.backbone.removeprefix(PREFIX))
    return models.load_classifier(config.backbone)


def own_backbone(classifier: keras.Model, config: TrainConfig, dataset: data.ImageDataset) -> OwnBackbone:
    """Prepare a classifier for a new head, and measure it on the validation images.

    Args:
        classifier: The model of the file.
        config: The settings, resolved.
        dataset: The data.

    Raises:
        KerasxaiError: The model has no graph, or no feature map.
    """
    taken = image_input(classifier, config.image_size, None, config.fit)
    # The accuracy is that of one label an image.
    has_classes = len(classifier.output_shape) == 2
    fits = has_classes and not dataset.info.multi_label and _classes_fit(classifier, dataset)
    found = config.input_range or _guessed_range(classifier, taken, config, dataset, fits)
    # A mistake in the structure of the model is reported before it is measured.
    trunk = trunk_of(classifier, found)
    accuracy = _accuracy(classifier, found, _validation(config, dataset, None)) if fits else None
    if accuracy is None and has_classes:
        why = "images have several labels" if dataset.info.multi_label else "its classes are not those of the data"
        _LOG.info("the accuracy of %s is not measured: %s", config.backbone, why)
    elif accuracy is not None:
        _LOG.info("accuracy of %s on the validation images: %.3f", config.backbone, accuracy)
    layer = last_map(trunk).name
    _LOG.info("the head replaces everything above layer %s of %s", layer, config.backbone)
    return OwnBackbone(config.backbone, classifier, trunk, layer, found, accuracy)


def _classes_fit(classifier: keras.Model, dataset: data.ImageDataset) -> bool:
    """Return whether the outputs of a classifier are the classes of the data, in their order as far as is known."""
    count = classifier.output_shape[-1]
    names = models.class_names(classifier)
    if names is not None:
        return tuple(names) == tuple(dataset.class_names)
    return count == len(dataset.class_names) or (count == 1 and len(dataset.class_names) == 2)


Batches = Iterable[tuple[NDArray[np.float32], NDArray[np.int64]]]


def _validation(config: TrainConfig, dataset: data.ImageDataset, most: int | None) -> Batches:
    assert config.image_size is not None
    settings = data.PairSettings(config.image_size, _BATCH, seed=config.seed, fit=config.fit)
    return dataset.training_pairs("validation", settings, count=most).as_numpy_iterator()


def _accuracy(classifier: keras.Model, input_range: str, batches: Batches) -> float:
    function, right, count = preprocessing(input_range), 0, 0
    for images, labels in batches:
        outputs = np.asarray(classifier.predict_on_batch(np.asarray(function(images), np.float32)))
        # A single unit, a sigmoid, separates two classes.
        predicted = outputs.argmax(-1) if outputs.shape[-1] > 1 else (outputs[:, 0] > 0.5).astype(int)
        right += int((predicted == labels).sum())
        count += len(labels)
    return right / max(count, 1)


def _guessed_range(
    classifier: keras.Model, taken: ImageInput, config: TrainConfig, dataset: data.ImageDataset, fits: bool
) -> str:
    """Return the input range of a file, with a warning where the file does not show it."""
    doubt = range_doubt(classifier, taken)
    if doubt is None:
        return "0,255"
    if not fits:
        warnings.warn(doubt, InputRangeWarning, stacklevel=2)
        return "0,255"
    batches = list(_validation(config, dataset, _GUESS_IMAGES))
    accuracies = {name: _accuracy(classifier, name, batches) for name in RANGES}
    best = max(accuracies, key=lambda name: accuracies[name])
    listed = ", ".join(f"{accuracies[name]:.2f} with {name}" for name in accuracies)
    warnings.warn(
        f"the model file {config.backbone} does not show its input range; it is taken to be {best}, with which it is "
        f"most accurate on validation images ({listed}); give --input-range if that is wrong",
        InputRangeWarning,
        stacklevel=2,
    )
    return best


def accuracies(folder: Path, best: dict[str, Any]) -> dict[str, Any]:
    """Return what `metrics.json` contains about a model file as backbone; empty for a named backbone.

    Args:
        folder: Folder of the run.
        best: The figures of the best epoch.
    """
    path = folder / RECORD
    if not path.exists():
        return {}
    record = read_json(path) | {"val_accuracy_after": best.get("val_accuracy")}
    before, after = record["val_accuracy_before"], record["val_accuracy_after"]
    if before is not None and after is not None:
        _LOG.info("accuracy on the validation images: %.3f with the head of the file, %.3f now", before, after)
    return {"backbone": record}
