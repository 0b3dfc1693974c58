"""`LocalizationCallback`: how well heatmaps find the object, epoch by epoch, as figures in `logs`."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasxai.callbacks.inputs import check_inputs, fields_for
from kerasxai.callbacks.warn_once import Results, WarnOnce, companions, free_prefix, is_due
from kerasxai.data.samples import (
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
from kerasxai.engine.keras_internals import is_reshuffled
from kerasxai.explainer import Explainer
from kerasxai.methods import METHODS
from kerasxai.metrics import GTKnownLoc, MeanIoU, Metric, PointingGame, PxAP, TopKLoc
from kerasxai.metrics.batch import BatchMeasure, Truth
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.options import BOX_THRESHOLD

FIGURES = (
    "gt_known_loc",
    "top1_loc",
    "mean_iou",
    "pointing_game",
    "top5_loc",
    "best_gt_known_loc",
    "best_threshold",
    "pxap",
)
_DEFAULT = FIGURES[:4]
_SWEPT = {"best_gt_known_loc", "best_threshold"}


class LocalizationCallback(keras.callbacks.Callback):
    """Measures after each epoch how well the heatmaps of the true classes find the object.

    The figures go into `logs`, so that `ModelCheckpoint(monitor="val_gt_known_loc", mode="max")` and `EarlyStopping`
    can use them and `History` keeps them: fractions, as `kerasxai.metrics.LocalizationReport` defines them over the
    images with boxes. Callbacks run in the order of their list: this one must stand BEFORE those that use its figures;
    for those that monitor one, that is checked at train begin.

    With `every` above 1, the epochs between repeat the figures of the last measured one, since Keras' callbacks warn
    where a figure is missing. To `EarlyStopping` they are epochs without improvement, so its `patience` must be `every`
    or more, which is checked too. `results` holds what was measured, by epoch.

    Data are read batch by batch. Training is not touched: its weights are bit by bit those without the callback. A
    failure warns once, training goes on, and the figures are left out until measuring succeeds.

    Args:
        data: A `tf.data.Dataset`, `keras.utils.PyDataset` or list of samples as `kerasxai.data.load` gives them
            (`image`, `label`, `boxes` relative to width and height, perhaps `mask`), or of tuples in this order,
            batched or not; or one dict or tuple of whole arrays, boxes padded to `(N, k, 4)` with -1 or a list of
            `(k, 4)`. For a model of several inputs, `image` is the dict, list or tuple that the model takes, or the
            samples have a field for each of its inputs.
        method: A name in `kerasxai.METHODS`.
        every: Measure after every so many epochs; after the first and the last planned epoch in any case.
        prefix: Before each figure's name in `logs`. Two callbacks in one training need different ones; otherwise the
            second warns, and adds its method's name: `val_saliency_gt_known_loc`.
        threshold: Of the heatmaps, a fraction of the maximum in [0, 1).
        iou_threshold: A hit is at least this.
        figures: Of `gt_known_loc`, `top1_loc`, `top5_loc`, `mean_iou`, `pointing_game`; and, slower because all
            thresholds are tried, `best_gt_known_loc` and `best_threshold`; and `pxap` (percent), which needs masks.
        layer: As for `kerasxai.Explainer`.
        image_input: As for `kerasxai.Explainer`, for a model of several inputs.
        batch_size: How many images are explained at once.
        outputs: As for `kerasxai.Explainer`.
        **options: The method's own options.

    Attributes:
        results: Number of epochs done -> figure -> value, for the epochs that were measured. A training that begins
            at the first epoch, or with another model, begins with none.

    Raises:
        KerasxaiError: An argument is wrong, the data have no labels or boxes, or labels of several classes; at train
            begin also for a layer or option that does not exist, for a callback that uses a figure but stands before
            this one.

    Example:
        >>> localization = kerasxai.callbacks.LocalizationCallback(kerasxai.data.load("shapes", split="validation"))
        >>> best = keras.callbacks.ModelCheckpoint(
        ...     "best.keras", monitor="val_gt_known_loc", mode="max", save_best_only=True
        ... )
        >>> history = model.fit(train_data, epochs=5, callbacks=[localization, best])
        >>> history.history["val_gt_known_loc"]
    """

    def __init__(
        self,
        data: Any,
        method: str = "cam",
        every: int = 1,
        prefix: str = "val_",
        threshold: float = BOX_THRESHOLD,
        iou_threshold: float = 0.5,
        figures: Iterable[str] = _DEFAULT,
        *,
        layer: Any = None,
        image_input: Any = None,
        batch_size: int = 32,
        outputs: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        if every < 1 or batch_size < 1:
            raise KerasxaiError(f"every and batch_size must be 1 or more, got every={every}, batch_size={batch_size}")
        self.figures = _checked_figures(figures)
        _check_fields(data, self.figures)
        if is_endless(data):
            raise KerasxaiError("expected data that end, got a dataset without an end; take a part: data.take(100)")
        warn_if_reshuffled(data, "LocalizationCallback")
        self.data, self.method, self.every, self.prefix = data, method, every, prefix
        self._prefix = prefix
        self.threshold, self.iou_threshold = threshold, iou_threshold
        self.batch_size = batch_size
        self.image_input = image_input
        given = {"layer": layer, "image_input": image_input, "outputs": outputs}
        self.options = {name: value for name, value in given.items() if value is not None} | options
        self.results = Results()
        self._metrics()  # Refuses thresholds out of range.
        self._guard = WarnOnce("LocalizationCallback")
        self._explainer: Explainer | None = None
        self._last: dict[str, float] | None = None
        self._inputs: list[str] = []
        self._first = self._begun = True

    @property
    def names(self) -> list[str]:
        """The names of the figures in `logs`."""
        return [self._prefix + figure for figure in self.figures]

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes the explainer, which serves all epochs, and looks at the other callbacks."""
        others = companions(self)
        self._prefix = free_prefix(self, self.figures, others)
        self._check_companions(others)
        element = element_of(self.data)
        self._inputs = fields_for(self.model, element)
        if not self._inputs:
            check_inputs(self.model, fields_by_name(element)["image"], "LocalizationCallback")
        self._guard = WarnOnce("LocalizationCallback")
        self._explainer = Explainer(
            self.model, self.method, **{"batch_size": self.batch_size, "progress": False} | self.options
        )
        self._last, self._first, self._begun = None, True, False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Forgets, before the first epoch, what was measured in another training."""
        if not self._begun:
            self._begun = True
            self.results.begin(self.model, epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measures, and puts the figures into `logs`."""
        if self._first or is_due(epoch + 1, self.every, (self.params or {}).get("epochs")):
            self._first, self._last = False, None
            with self._guard.block(
                f"measure the localization of {self.method}", "training goes on without its figures"
            ):
                self._last = self.results[epoch + 1] = self._measured()
        if logs is not None and self._last is not None:
            logs.update({self._prefix + name: value for name, value in self._last.items()})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Lets go of the traces, which hold on to the model's graph."""
        self._explainer = None

    def _measured(self) -> dict[str, float]:
        assert self._explainer is not None
        metrics = self._metrics()
        for fields in batches(self.data, self.batch_size, self._inputs):
            images = stacked(fields["image"])
            labels = class_indices(np.stack(fields["label"]))
            heatmaps = self._explainer(images, labels).heatmaps
            scores = self._explainer.predict(images).scores
            masks = np.stack(fields["mask"]) if "pxap" in self.figures else None
            truth = Truth(labels, fields["boxes"], masks)
            BatchMeasure.of(heatmaps, scores, truth, heatmaps.shape[1:3]).update(metrics)
        found: dict[str, Any] = {}
        for metric in metrics:
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

    def _check_companions(self, others: list[Any]) -> None:
        """Complains of callbacks that would look for a figure before it is there, or stop before the next one is."""
        here = next(place for place, other in enumerate(others) if other is self)
        for place, other in enumerate(others):
            figure = getattr(other, "monitor", None)
            if figure not in self.names:
                continue
            who = type(other).__name__
            if place < here:
                raise KerasxaiError(
                    f"{who} monitors {figure!r} but stands before LocalizationCallback, which measures it: "
                    "callbacks run in the order of the list; put LocalizationCallback first"
                )
            patience = getattr(other, "patience", None)
            if patience is not None and patience < self.every and isinstance(other, keras.callbacks.EarlyStopping):
                raise KerasxaiError(
                    f"EarlyStopping with patience={patience} stops between two measurements of {figure!r}, which is "
                    f"measured every {self.every} epochs; give it a patience of {self.every} or more"
                )


def _checked_figures(figures: Iterable[str]) -> tuple[str, ...]:
    chosen = (figures,) if isinstance(figures, str) else tuple(figures)
    for figure in chosen:
        if figure not in FIGURES:
            raise unknown("figure", figure, FIGURES)
    if not chosen:
        raise KerasxaiError(f"expected at least one figure of {', '.join(FIGURES)}, got none")
    return chosen


def _check_fields(data: Any, figures: tuple[str, ...]) -> None:
    there = fields_of(data)
    needed = ["image", "label", "boxes", *(["mask"] if "pxap" in figures else [])]
    missing = [name for name in needed if name not in there]
    if missing:
        raise KerasxaiError(
            f"expected data with {', '.join(needed)}, got {', '.join(there) or 'nothing'}; "
            f"the data have no {' and no '.join(missing)}"
        )
    shape = getattr(there["boxes"], "shape", None)
    rank = rank_of(there["boxes"])
    if shape is not None and rank >= 0 and (rank < 2 or shape[-1] not in (4, None)) and 0 not in shape:
        raise KerasxaiError(
            f"expected boxes of x0, y0, x1, y1 relative to the image, got shape {tuple(shape)}; the third entry of a "
            "tuple holds boxes, not sample weights"
        )
    _check_labels(data, there["label"])


def _check_labels(data: Any, label: Any) -> None:
    """Refuses labels of several classes before training, as far as the first batch shows them."""
    if isinstance(data, tf.data.Dataset):
        # Only rows of labels can have several classes, and a dataset is not read where that would change its order.
        if rank_of(label) < 1 or label.shape[-1] in (1, None) or is_reshuffled(data):
            return
        first: Any = data.take(1)
    else:
        element = element_of(data)
        first = [tuple(element) if isinstance(element, list) else element]
    for sample in samples(first, ("image", "label")):
        class_indices(np.asarray(sample["label"])[None])
