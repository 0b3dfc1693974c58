"""The training of a segmenter on label maps: resumable epochs, figures and a contact sheet for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai import models, viz
from kerasxai.callbacks.warn_once import WarnOnce
from kerasxai.engine.keras_internals import build_training_state
from kerasxai.metrics import SegmentationIoU
from kerasxai.metrics.inputs import IGNORE
from kerasxai.models.optimizers import SharedAdamW
from kerasxai.segmentation import build_segmenter, colored
from kerasxai.training.optimizers import WEIGHT_DECAY
from kerasxai.training.run_folder import KeepEpochs, RunFolder
from kerasxai.training.segment_config import SegmentConfig
from kerasxai.training.segment_data import augmented_pairs, fixed_pairs
from kerasxai.training.segment_predictions import Predictor

PHASE = "segmenter"
_NEVER = 1_000_000


class SheetRow(NamedTuple):
    """An image of the contact sheets with what is known before training.

    Attributes:
        image: `(H, W, 3)`.
        columns: Label maps `(H, W)` by their heading.
    """

    image: NDArray[np.uint8]
    columns: dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Lesson:
    """What a segmenter is trained on.

    Attributes:
        training: Pairs of image and label map.
        validation: Pairs to choose the best epoch by.
        count: The number of training pairs.
        measured: Samples with `image` and `class_mask`, measured after each epoch; None: no true masks.
        sheet: The drawn images.
        refine: The refinements of the drawn predictions, as in `Measuring`.
    """

    training: tf.data.Dataset
    validation: tf.data.Dataset
    count: int
    measured: tf.data.Dataset | None
    sheet: Sequence[SheetRow]
    refine: str = ""


def new_segmenter(
    backbone: str | keras.Model, num_classes: int, size: tuple[int, int], config: SegmentConfig
) -> keras.Model:
    """Build the segmenter of a run; the upper part of its backbone is trainable."""
    # Seeds weights that no argument seeds, such as those of a random backbone.
    keras.utils.set_random_seed(config.seed)
    weights = None if config.weights == "none" or not isinstance(backbone, str) else config.weights
    model = build_segmenter(
        backbone, num_classes, weights=weights, input_size=size, width=config.width, seed=config.seed
    )
    layers = model.get_layer("backbone").layers
    lowest = round(len(layers) * (1 - config.backbone_share))
    if config.weights != "none":
        # As in `train`: the statistics of ImageNet are better than those of few images.
        for number, layer in enumerate(layers):
            layer.trainable = number >= lowest and not isinstance(layer, keras.layers.BatchNormalization)
    return model


def fit_segmenter(model: keras.Model, lesson: Lesson, out: Path, config: SegmentConfig, verbose: int | str) -> Path:
    """Train the epochs that are not completed; a stopped training ends with the same weights as without the stop.

    Args:
        model: The new segmenter.
        lesson: The data.
        out: Folder of the training.
        config: The settings.
        verbose: As for `keras.Model.fit`.

    Returns:
        The path of the finished model.
    """
    folder = RunFolder(out)
    if folder.model.exists():
        return folder.model
    done, steps = len(folder.rows), -(-lesson.count // config.batch_size)
    if done:
        model = models.load(folder.checkpoint(folder.rows[-1]["epoch"]), compile=True)
    else:
        _compile(model, config, steps * config.epochs)
    if done < config.epochs:
        pairs = augmented_pairs(lesson.training, lesson.count, config)
        build_training_state(model, pairs)
        model.fit(
            # The batches of completed epochs are skipped, so that the others are those of a training without a stop.
            pairs.skip(steps * done),
            steps_per_epoch=steps,
            initial_epoch=done,
            epochs=config.epochs,
            validation_data=fixed_pairs(lesson.validation, config.batch_size),
            shuffle=False,
            callbacks=[SegmentationWatch(lesson, out, config.batch_size), KeepEpochs(folder, PHASE, _NEVER)],
            verbose=verbose,
        )
    names = [name for name in ("loss", "val_loss", "val_mean_iou") if any(name in row for row in folder.rows)]
    history = {name: [row.get(name, float("nan")) for row in folder.rows] for name in names}
    epochs, kept = [int(row["epoch"]) + 1 for row in folder.rows], int(folder.best_row["epoch"]) + 1
    viz.save_png(out / "history.png", viz.plot_history(history, epochs, marks={"kept": kept}))
    folder.write_json("metrics.json", folder.summary())
    folder.finish()
    return folder.model


def _compile(model: keras.Model, config: SegmentConfig, steps: int) -> None:
    below = {id(variable) for variable in model.get_layer("backbone").variables}
    shares = [config.backbone_rate if id(variable) in below else 1.0 for variable in model.trainable_variables]
    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    model.compile(
        SharedAdamW(schedule, weight_decay=WEIGHT_DECAY, shares=shares),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORE),
        # On a CPU, XLA makes depthwise convolutions several times slower.
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
    )


class SegmentationWatch(keras.callbacks.Callback):
    """Measures true masks after each epoch, as `val_mean_iou`, and draws a contact sheet.

    Neither influences the training: the best epoch is that with the lowest loss on the label maps to validate on.

    Args:
        lesson: The measured samples and the drawn images.
        out: Folder of the sheets.
        batch_size: Images at once.
    """

    def __init__(self, lesson: Lesson, out: Path, batch_size: int) -> None:
        super().__init__()
        self.lesson, self.out, self.batch_size = lesson, out, batch_size
        self._guard = WarnOnce(type(self).__name__)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measure and draw."""
        with self._guard.block("measure the segmenter"):
            if self.lesson.measured is not None and logs is not None:
                # Without refinements, which take longer than the network.
                plain, metric = Predictor(self.model), SegmentationIoU(self.model.output_shape[-1] - 1)
                for batch in self.lesson.measured.batch(self.batch_size).as_numpy_iterator():
                    metric.update(plain(batch["image"])[0], batch["class_mask"])
                logs["val_mean_iou"] = float(metric.result())
        with self._guard.block("draw a contact sheet"):
            if self.lesson.sheet:
                predictor = Predictor.of(self.model, self.lesson.refine)
                sheet = draw_sheet(predictor, self.lesson.sheet, f"epoch {epoch + 1}")
                viz.save_png(self.out / "sheets" / f"epoch_{epoch + 1:04d}.png", sheet)


def draw_sheet(predictor: Predictor, rows: Sequence[SheetRow], title: str) -> NDArray[np.uint8]:
    """Draw images with their label maps and the predicted ones."""
    found = predictor(np.stack([row.image for row in rows]))
    headings = ["image", *dict.fromkeys(name for row in rows for name in row.columns), "prediction", "refined"]
    cells = [
        [row.image, *map(colored, row.columns.values()), *map(colored, predictions)]
        for row, *predictions in zip(rows, *found, strict=True)
    ]
    return viz.grid(cells, column_labels=headings[: len(cells[0])], title=title)
