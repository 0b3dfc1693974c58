"""`LocalizationCallback`: how well heatmaps find the object, epoch by epoch, as figures in `logs`."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.callbacks.callback_list import check_order, free_prefix, training_callbacks
from kerasxai.callbacks.inputs import Data, check_inputs, fields_for
from kerasxai.callbacks.label_measures import LabelMeasures
from kerasxai.callbacks.measuring import MeasuringCallback
from kerasxai.data.samples import (
    NAMES,
    OF_SEVERAL_LABELS,
    batches,
    class_indices,
    element_of,
    fields_by_name,
    fields_of,
    is_endless,
    rank_of,
    samples,
    stacked,
    warn_if_reshuffled,
)
from kerasxai.engine.inputs import InputName
from kerasxai.engine.keras_internals import is_reshuffled
from kerasxai.explainer import Explainer
from kerasxai.methods import METHODS
from kerasxai.metrics import GTKnownLoc, MeanIoU, Metric, PointingGame, PxAP, TopKLoc
from kerasxai.metrics.batch import BatchMeasure, Truth
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.options import BOX_THRESHOLD
from kerasxai.viz.log_sinks import LogSink

FIGURES = (
    "gt_known_loc",
    "best_gt_known_loc",
    "top1_loc",
    "mean_iou",
    "pointing_game",
    "top5_loc",
    "best_threshold",
    "pxap",
    "mean_average_precision",
    "seed_mean_iou",
)
_OF_LABELS = {"mean_average_precision", "seed_mean_iou"}
DEFAULT_FIGURES = FIGURES[:5]
SEED_FIGURES = (*DEFAULT_FIGURES, "seed_mean_iou")
"""The default figures of images with several labels and class masks."""
_SWEPT = {"best_gt_known_loc", "best_threshold"}


class LocalizationCallback(MeasuringCallback):
    """Measures after each epoch how well the heatmaps of the true classes localize the object.

    The figures go into `logs`, so that `ModelCheckpoint(monitor="val_gt_known_loc", mode="max")` and `EarlyStopping`
    can use them and `History` keeps them: fractions, as `kerasxai.metrics.LocalizationReport` defines them over the
    images with boxes. Callbacks run in the order of their list: this one must be BEFORE those that use its figures;
    for those that monitor one, this is checked at train begin.

    With `every` above 1, the epochs between repeat the last figures, because Keras' callbacks warn if a figure is
    missing. For `EarlyStopping` they are epochs without improvement, so its `patience` must be `every` or more, which
    is checked too. `results` contains the figures by measured epoch.

    Data are read batch by batch. The training does not change: its weights are bit by bit those without the callback.
    A failure warns once, training continues, and the figures are left out until measuring succeeds.

    Args:
        data: A `tf.data.Dataset`, `keras.utils.PyDataset` or list of samples as `kerasxai.data.load` gives them
            (`image`, `label`, `boxes` relative to width and height, perhaps `mask`; with several labels an image
            `labels`, `boxes`, `box_labels`, `box_difficult`, perhaps `class_mask`), or of tuples in this order, batched
            or not; or one dict or tuple of whole arrays, boxes padded to `(N, k, 4)` with -1 or a list of
            `(k, 4)`. For a model of several inputs, `image` is the dict, list or tuple that the model takes, or the
            samples have a field for each of its inputs.
        method: A name in `kerasxai.METHODS`.
        every: Number of epochs between measurements; the first and the last planned epoch are measured anyway.
        prefix: Prefix of the figures in `logs`. Two callbacks in one training need different ones; otherwise the
            second warns, and adds the name of its method: `val_saliency_gt_known_loc`.
        threshold: Fraction of the maximum of a heatmap, in [0, 1), for all figures but the best.
        iou_threshold: Minimum IoU of a hit.
        figures: Any of `gt_known_loc`, `top1_loc`, `top5_loc`, `mean_iou`, `pointing_game`; `best_gt_known_loc`, at the
            threshold that is best for the measured images in this epoch, and that `best_threshold`, because heads
            differ in the threshold that fits their maps; and `pxap` (percent), which needs masks. The default is all
            but `top5_loc`, `best_threshold` and `pxap`. Without the best figures only one threshold is measured. With
            several labels an image each present class of each image has a heatmap and is ranked among the absent ones;
            `mean_average_precision` of the labels, and `seed_mean_iou` of label maps at the background threshold that
            is best in this epoch, can be measured then.
        layer: As for `kerasxai.Explainer`.
        image_input: As for `kerasxai.Explainer`, for a model of several inputs.
        batch_size: Number of images explained at once.
        outputs: As for `kerasxai.Explainer`.
        sinks: Where the figures are written too: `"tensorboard"`, `"mlflow"`, `"wandb"`, or sinks of
            `kerasxai.viz.open_sink`, which stay open.
        **options: Options of the method.

    Attributes:
        results: Number of epochs done -> figure -> value, for the measured epochs. A training that begins at the
            first epoch, or with another model, removes earlier results.

    Raises:
        KerasxaiError: An argument is wrong, the data have no labels or boxes, or labels of several classes; at train
            begin also for a layer or option that does not exist, for a callback that monitors a figure but is before
            this one.

    Example:
        >>> localization = kerasxai.callbacks.LocalizationCallback(kerasxai.data.load("shapes", split="validation"))
        >>> best = keras.callbacks.ModelCheckpoint(
        ...     "best.keras", monitor="val_gt_known_loc", mode="max", save_best_only=True
        ... )
        >>> history = model.fit(train_data, epochs=5, callbacks=[localization, best])
        >>> history.history["val_gt_known_loc"]
    """

    who = "LocalizationCallback"

    def __init__(
        self,
        data: Data,
        method: str = "cam",
        every: int = 1,
        prefix: str = "val_",
        threshold: float = BOX_THRESHOLD,
        iou_threshold: float = 0.5,
        figures: Iterable[str] = DEFAULT_FIGURES,
        *,
        layer: str | keras.Layer | None = None,
        image_input: InputName = None,
        batch_size: int = 32,
        outputs: str | None = None,
        sinks: Iterable[str | LogSink] = (),
        **options: Any,
    ) -> None:
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        if every < 1 or batch_size < 1:
            raise KerasxaiError(f"every and batch_size must be 1 or more, got every={every}, batch_size={batch_size}")
        super().__init__(_checked_figures(figures), every, prefix, f"measure the localization of {method}", sinks)
        self._has_several_labels = _check_fields(data, self.figures)
        if is_endless(data):
            raise KerasxaiError("expected data that end, got a dataset without an end; take a part: data.take(100)")
        warn_if_reshuffled(data, "LocalizationCallback")
        self.data, self.method, self.prefix = data, method, prefix
        self.threshold, self.iou_threshold = threshold, iou_threshold
        self.batch_size = batch_size
        self.image_input = image_input
        given = {"layer": layer, "image_input": image_input, "outputs": outputs}
        self.options: dict[str, Any] = {name: value for name, value in given.items() if value is not None} | options
        # Made to refuse thresholds out of range now, not after the first epoch.
        self._metrics()
        self._explainer: Explainer | None = None
        self._inputs: list[str] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Make the explainer, whose traces are valid for all epochs, and check the other callbacks."""
        callbacks = training_callbacks(self)
        self._prefix = free_prefix(self, self.figures, callbacks)
        self._check_callbacks(callbacks)
        element = element_of(self.data)
        self._inputs = fields_for(self.model, element)
        if not self._inputs:
            check_inputs(self.model, fields_by_name(element)["image"], "LocalizationCallback")
        self._begin()
        self._explainer = Explainer(
            self.model, self.method, **{"batch_size": self.batch_size, "progress": False} | self.options
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Drop the traces, which keep the graph of the model in memory."""
        super().on_train_end(logs)
        self._explainer = None

    def _measured(self) -> dict[str, float]:
        assert self._explainer is not None
        metrics = self._metrics()
        label_measures = LabelMeasures(self.figures) if self._has_several_labels else None
        names = (*NAMES, *OF_SEVERAL_LABELS) if self._has_several_labels else NAMES
        for fields in batches(self.data, self.batch_size, self._inputs, names):
            images = stacked(fields["image"])
            if label_measures is not None:
                label_measures.add(self._explainer, images, fields, metrics)
                continue
            labels = class_indices(np.stack(fields["label"]))
            explanation = self._explainer(images, labels)
            heatmaps = explanation.heatmaps
            scores = (explanation.outputs or self._explainer.predict(images)).scores
            masks = np.stack(fields["mask"]) if "pxap" in self.figures else None
            truth = Truth(labels, fields["boxes"], masks)
            # Checked once for all metrics, which then share the boxes of the heatmaps.
            BatchMeasure.of(heatmaps, scores, truth, heatmaps.shape[1:3]).update(metrics)
        found: dict[str, Any] = {} if label_measures is None else dict(label_measures.result())
        for metric in metrics:
            # The first metric has priority: several report, for example, `best_threshold`.
            found = dict(metric.result()) | found
        return {figure: float(found[figure]) for figure in self.figures}

    def _metrics(self) -> list[Metric]:
        """Return the metrics, empty; those of boxes sweep over all thresholds only if a figure needs it."""
        thresholds = None if _SWEPT & set(self.figures) else [self.threshold]
        metrics: list[Metric] = [
            GTKnownLoc(self.threshold, self.iou_threshold, thresholds=thresholds),
            TopKLoc((1, 5), self.threshold, self.iou_threshold, thresholds=thresholds),
            MeanIoU(self.threshold),
        ]
        if "pointing_game" in self.figures:
            metrics.append(PointingGame())
        if "pxap" in self.figures:
            metrics.append(PxAP())
        return metrics

    def _check_callbacks(self, callbacks: list[keras.callbacks.Callback]) -> None:
        """Refuse callbacks that need a figure before it is measured, or that stop before the next measurement."""
        check_order(self, self.names, callbacks)
        for other in callbacks:
            figure, patience = getattr(other, "monitor", None), getattr(other, "patience", None)
            if not isinstance(other, keras.callbacks.EarlyStopping) or figure not in self.names:
                continue
            if patience is not None and patience < self.every:
                raise KerasxaiError(
                    f"patience of EarlyStopping must be {self.every} or more, because {figure!r} is measured every "
                    f"{self.every} epochs, got {patience}"
                )


def _checked_figures(figures: Iterable[str]) -> tuple[str, ...]:
    chosen = (figures,) if isinstance(figures, str) else tuple(figures)
    for figure in chosen:
        if figure not in FIGURES:
            raise unknown("figure", figure, FIGURES)
    if not chosen:
        raise KerasxaiError(f"expected at least one figure of {', '.join(FIGURES)}, got none")
    return chosen


def _check_fields(data: Data, figures: tuple[str, ...]) -> bool:
    """Refuse data without the fields that the figures need, before training begins.

    Returns:
        Whether the data have several labels an image.
    """
    fields = fields_of(data)
    several = "labels" in fields and "label" not in fields
    if several:
        masks = ["class_mask"] if {"pxap", "seed_mean_iou"} & set(figures) else []
        needed = ["image", "labels", "boxes", "box_labels", "box_difficult", *masks]
    else:
        needed = ["image", "label", "boxes", *(["mask"] if "pxap" in figures else [])]
    missing = [name for name in needed if name not in fields]
    if missing:
        raise KerasxaiError(
            f"expected data with {', '.join(needed)}, got {', '.join(fields) or 'nothing'}; "
            f"the data have no {' and no '.join(missing)}"
        )
    shape = getattr(fields["boxes"], "shape", None)
    rank = rank_of(fields["boxes"])
    if shape is not None and rank >= 0 and (rank < 2 or shape[-1] not in (4, None)) and 0 not in shape:
        raise KerasxaiError(
            f"expected boxes of x0, y0, x1, y1 relative to the image, got shape {tuple(shape)}; the third entry of a "
            "tuple holds boxes, not sample weights"
        )
    for name in _OF_LABELS & set(figures) if not several else ():
        raise KerasxaiError(f"expected data with labels of several classes for {name}, got one label an image")
    if not several:
        _check_labels(data, fields["label"])
    return several


def _check_labels(data: Data, label: NDArray | tf.TensorSpec) -> None:
    """Refuse labels of several classes before training, as far as the first batch contains them."""
    if isinstance(data, tf.data.Dataset):
        # Only rows of labels can have several classes. Reading a dataset that reshuffles would change its order.
        if rank_of(label) < 1 or label.shape[-1] in (1, None) or is_reshuffled(data):
            return
        first: object = data.take(1)
    else:
        element = element_of(data)
        first = [tuple(element) if isinstance(element, list) else element]
    for sample in samples(first, ("image", "label")):
        class_indices(np.asarray(sample["label"])[None])
