"""Opening what an audit is about: the data set, its predictions and the images to explain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai import data, models
from kerasxai.audit.config import AuditConfig
from kerasxai.audit.images import AuditImages, in_rounds, name_of_sample
from kerasxai.engine.images.builtin_preprocessing import input_for_files, warn_of_range
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.engine.outputs.kinds import Predictions
from kerasxai.evaluation.data_check import check_classes, check_splits
from kerasxai.explainer import Explainer
from kerasxai.metrics.inputs import IGNORE
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.progress import Bar

Sample = dict[str, Any]


class Opened(NamedTuple):
    """What an audit is about.

    Attributes:
        images: The images to explain.
        numbers: `(M,)` positions in the split of all predicted images, ascending.
        labels: `(M,)` their classes, or `(M, C)` their labels 1, 0 and -1 if they may have several.
        outputs: `(M, C)` their predictions.
        single_label: Whether each image has one known class, so that there are confusions and shortcuts.
    """

    images: AuditImages
    numbers: NDArray[np.int64]
    labels: NDArray[np.int64]
    outputs: Predictions
    single_label: bool


def open_audit(model: keras.Model, config: AuditConfig) -> Opened:
    """Read and predict the images of an audit, after all checks.

    Raises:
        KerasxaiError: The model and the data do not fit together.
    """
    several = models.is_multi_label(model)
    reading = "auto" if several else "single"
    dataset = data.open(config.data, data_dir=config.data_dir, boxes_csv=config.boxes_csv, labels=reading)
    check_splits(dataset.info, [config.split])
    models.check_image_model(model)
    taken = input_for_files(model, config.image_size, config.input_range, config.fit)
    if not config.ignore_labels:
        check_classes(dataset.info, model, taken, "--ignore-labels audits it on these images without their labels")
    dataset.check_images([config.split])
    labels = np.asarray(dataset.labels(config.split), np.int64)
    order = in_rounds(first_classes(labels), config.seed)
    if len(order) < 4:
        raise KerasxaiError(f"expected four or more images in {config.split}, got {len(order)}")
    explained = order[: config.images]
    numbers = np.sort(order[: max(config.predicted, config.images)])
    samples, outputs = _predicted(model, config, dataset, taken, numbers, set(explained.tolist()))
    warn_of_range(model, taken, config.input_range)
    rows = np.searchsorted(numbers, explained)
    predictions = Predictions(outputs.scores[rows], outputs.probabilities[rows])
    chosen = [samples[i] for i in explained.tolist()]
    images = _images(model, config, dataset, taken, chosen, predictions.classes)
    single = not several and not config.ignore_labels
    images = images.with_predictions(first_classes(labels[explained]), predictions, not single)
    return Opened(images, numbers, labels[numbers], outputs, single)


def first_classes(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one class for each image: its class, or the first of several labels.

    Args:
        labels: `(N,)` classes or `(N, C)` labels 1, 0 and -1.
    """
    return labels if labels.ndim == 1 else (labels == 1).argmax(axis=1)


def read_samples(images: AuditImages, numbers: Iterable[int]) -> dict[int, Sample]:
    """Read images of the audited split by their positions, such as those that are confused."""
    chosen = set(numbers)
    return {
        number: sample
        for number, sample in _numbered(images.dataset, images.split, images.taken, max(chosen, default=-1))
        if number in chosen
    }


def images_digest(images: AuditImages) -> str:
    """Return a digest of pixels, labels and objects."""
    digest = hashlib.sha256()
    for values in (images.pixels, images.labels, images.masks, *(images.boxes or ())):
        if values is not None:
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _numbered(dataset: data.ImageDataset, split: str, taken: ImageInput, last: int) -> Iterator[tuple[int, Sample]]:
    """Yield the samples of a split up to a position, none beyond it is read."""
    samples = dataset.samples(split, taken.size, fit=taken.fit).take(last + 1)
    yield from enumerate(samples.as_numpy_iterator())


def _predicted(
    model: keras.Model,
    config: AuditConfig,
    dataset: data.ImageDataset,
    taken: ImageInput,
    numbers: NDArray[np.int64],
    kept: set[int],
) -> tuple[dict[int, Sample], Predictions]:
    """Predict images, and return the samples to be explained by position, and all predictions."""
    explainer = Explainer(model, "occlusion", outputs=config.outputs, batch_size=config.batch_size, progress=False)
    chosen = set(numbers.tolist())
    samples: dict[int, Sample] = {}
    batch: list[NDArray[np.uint8]] = []
    parts: list[Predictions] = []
    with Bar(len(numbers), "predicting") as bar:

        def predict() -> None:
            if batch:
                parts.append(explainer.predict(taken.taken(np.stack(batch))))
                bar.advance(len(batch))
                batch.clear()

        for number, sample in _numbered(dataset, config.split, taken, int(numbers[-1])):
            if number in chosen:
                batch.append(sample["image"])
            if number in kept:
                samples[number] = sample
            if len(batch) == config.batch_size:
                predict()
        predict()
    scores = np.concatenate([part.scores for part in parts])
    return samples, Predictions(scores, np.concatenate([part.probabilities for part in parts]))


def _images(
    model: keras.Model,
    config: AuditConfig,
    dataset: data.ImageDataset,
    taken: ImageInput,
    samples: list[Sample],
    classes: NDArray[np.int64],
) -> AuditImages:
    """Return the images to explain, without predictions, and with the objects of the explained classes."""
    info = dataset.info
    names = models.class_names(model) if config.ignore_labels else None
    return AuditImages(
        model,
        dataset,
        config.split,
        taken,
        np.stack([sample["image"] for sample in samples]),
        np.zeros(len(samples), np.int64),
        np.zeros((len(samples), 0), np.float32),
        np.zeros((len(samples), 0), np.float32),
        tuple(names or ()) if config.ignore_labels else info.class_names,
        [name_of_sample(sample, number) for number, sample in enumerate(samples)],
        _boxes(samples, classes) if info.has_boxes else None,
        _masks(samples, classes) if info.has_masks or info.has_class_masks else None,
    )


def _boxes(samples: list[Sample], classes: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    """Return the boxes; those of the explained class where boxes have classes."""
    return data.unpad_boxes(
        [
            sample["boxes"][sample["box_labels"] == number] if "box_labels" in sample else sample["boxes"]
            for sample, number in zip(samples, classes, strict=True)
        ]
    )


def _masks(samples: list[Sample], classes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the masks; those of the explained class where masks have classes."""
    if "class_mask" not in samples[0]:
        return np.stack([sample["mask"] for sample in samples])
    numbers = np.stack([sample["class_mask"] for sample in samples])
    own = (numbers == classes[:, None, None] + 1).astype(np.uint8)
    return np.where(numbers == IGNORE, np.uint8(IGNORE), own)
