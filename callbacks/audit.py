"""`AuditCallback`: how faithful heatmaps are, and whether they are on the object, epoch by epoch."""

import itertools
import os
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.callbacks.callback_list import check_order, free_prefix, training_callbacks
from kerasxai.callbacks.inputs import Data, check_inputs
from kerasxai.callbacks.measuring import MeasuringCallback
from kerasxai.data.samples import samples, stacked, warn_if_reshuffled
from kerasxai.engine.inputs import InputName
from kerasxai.explainer import Explainer
from kerasxai.methods import METHODS
from kerasxai.metrics import EnergyPointingGame
from kerasxai.metrics.faithfulness import Deletion, Insertion, Scorer
from kerasxai.metrics.faithfulness.scorer import ModelSettings
from kerasxai.metrics.inputs import painted
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.log_services import warn_without_tensorboard
from kerasxai.tools.options import whole
from kerasxai.viz import TensorBoardSink
from kerasxai.viz.log_sinks import LogSink

FIGURES = ("deletion", "insertion")
ON_OBJECT = "evidence_on_object"


class AuditCallback(MeasuringCallback):
    """Measures after each epoch, on the same few images, how faithful heatmaps are and whether they are on the object.

    The figures go into `logs`, so that `History`, `ModelCheckpoint` and `keras.callbacks.TensorBoard` have them, if
    these are after this callback in the list: `val_deletion` and `val_insertion`, areas under the probability of the
    predicted class while the most relevant pixels are removed or brought back, and with boxes or masks
    `val_evidence_on_object`, the share of the positive evidence inside of them. A share that falls while the accuracy
    rises is a sign of a shortcut; `kerasxai audit` looks for it.

    The images are read once. The training does not change: its weights are bit by bit those without the callback. A
    failure warns once, training continues, and the figures are left out until measuring succeeds. With `every` above 1,
    the epochs between repeat the last figures. Costs about `2 steps + 3` forward passes per image and measured epoch.

    Args:
        data: As for `LocalizationCallback`; labels are not needed, boxes or masks only for the evidence on the object.
        method: A name in `kerasxai.METHODS`.
        steps: Steps of deletion and of insertion.
        count: How many images are taken.
        every: Number of epochs between measurements; the first and the last planned epoch are measured anyway.
        prefix: Prefix of the figures in `logs`. Two callbacks in one training need different ones; otherwise the
            second warns, and adds the name of its method.
        log_dir: A folder for the figures as scalars of TensorBoard, if that is installed, else with a warning; None
            writes none.
        image_input: As for `kerasxai.Explainer`, for a model of several inputs.
        sinks: Where the figures are written too: `"tensorboard"`, `"mlflow"`, `"wandb"`, or sinks of
            `kerasxai.viz.open_sink`, which stay open.
        **options: `layer`, `outputs`, `batch_size` as for `kerasxai.Explainer`, and options of the method.

    Attributes:
        results: Number of epochs done -> figure -> value, for the measured epochs.

    Raises:
        KerasxaiError: An argument is wrong, or the data have no images; at train begin also for a layer or option that
            does not exist, and for a callback that uses a figure but is before this one.

    Example:
        >>> audit = kerasxai.callbacks.AuditCallback(kerasxai.data.load("shapes", split="validation"), count=16)
        >>> history = model.fit(train_data, epochs=5, callbacks=[audit, keras.callbacks.TensorBoard("logs")])
        >>> history.history["val_evidence_on_object"]
    """

    who = "AuditCallback"

    def __init__(
        self,
        data: Data,
        method: str = "gradcam",
        steps: int = 8,
        count: int = 16,
        every: int = 1,
        prefix: str = "val_",
        *,
        log_dir: str | os.PathLike[str] | None = None,
        image_input: InputName = None,
        sinks: Iterable[str | LogSink] = (),
        **options: Any,
    ) -> None:
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        self.method, self.prefix = method, prefix
        self.steps, every = whole("steps", steps, 1), whole("every", every, 1)
        warn_if_reshuffled(data, "AuditCallback")
        names = ("image", "boxes", "mask")
        found = list(itertools.islice(samples(data, names), whole("count", count, 1)))
        if not found or "image" not in found[0]:
            raise KerasxaiError("expected at least one image, got data without images")
        self.images = stacked([sample["image"] for sample in found])
        self._masks = _masks(found)
        figures = (*FIGURES, *([] if self._masks is None else [ON_OBJECT]))
        super().__init__(figures, every, prefix, f"audit {method}", sinks)
        self.log_dir, self.image_input = log_dir, image_input
        self.options = {"batch_size": 32, "progress": False} | options
        self._explainer: Explainer | None = None
        self._scorer: Scorer | None = None
        self._sink: TensorBoardSink | None = None
        if log_dir is not None:
            warn_without_tensorboard("AuditCallback", "figures to the logs of Keras", "scalars")

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Make the explainer, whose traces are valid for all epochs, and check the other callbacks."""
        callbacks = training_callbacks(self)
        self._prefix = free_prefix(self, self.figures, callbacks)
        check_order(self, self.names, callbacks)
        _check_tensorboard(self, callbacks)
        check_inputs(self.model, self.images, "AuditCallback")
        self._begin()
        self._explainer = Explainer(self.model, self.method, image_input=self.image_input, **self.options)
        settings: ModelSettings = {"image_input": self.image_input, "progress": False}
        settings |= {name: self.options[name] for name in ("batch_size", "outputs") if name in self.options}  # type: ignore[typeddict-item]
        self._scorer = Scorer(self.model, settings)
        if self.log_dir is not None:
            with self._guard.block("write for TensorBoard"):
                self._sink = TensorBoardSink(self.log_dir, required=False)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Drop the traces, which keep the graph of the model in memory."""
        super().on_train_end(logs)
        self._explainer = self._scorer = None
        with self._guard.block("write for TensorBoard"):
            if self._sink is not None:
                self._sink.close()
        self._sink = None

    def _measured(self) -> dict[str, float]:
        assert self._explainer is not None and self._scorer is not None
        explanation = self._explainer(self.images)
        given = self.images, explanation.targets, explanation.heatmaps
        found = {
            "deletion": float(Deletion(self._scorer, self.steps)(*given).mean()),
            "insertion": float(Insertion(self._scorer, self.steps)(*given).mean()),
        }
        if self._masks is not None:
            metric = EnergyPointingGame()
            metric.update(explanation.heatmaps, masks=self._masks)
            found[ON_OBJECT] = float(metric.result())
        return found

    def _write(self, epoch: int) -> None:
        if self._sink is None or self._last is None:
            return
        with self._guard.block("write for TensorBoard"):
            for name, value in self._last.items():
                self._sink.scalar(self._prefix + name, value, epoch + 1)
            self._sink.flush()


def _masks(found: list[dict[str, Any]]) -> NDArray[np.uint8] | None:
    """Return the objects of samples, `(N, H, W)`, of masks or else boxes; None without either."""
    if all("mask" in sample for sample in found):
        return np.stack([np.asarray(sample["mask"], np.uint8) for sample in found])
    if not all("boxes" in sample for sample in found):
        return None
    masks = []
    for sample in found:
        image = max(tf.nest.flatten(sample["image"]), key=np.ndim)
        height, width = image.shape[:2]
        masks.append(painted(np.asarray(sample["boxes"], np.float64) * [width, height, width, height], (height, width)))
    return np.stack(masks)


def _check_tensorboard(callback: AuditCallback, callbacks: list[keras.callbacks.Callback]) -> None:
    """Refuse a TensorBoard callback that would not see the figures."""
    before = callbacks[: next(number for number, one in enumerate(callbacks) if one is callback)]
    if any(isinstance(one, keras.callbacks.TensorBoard) for one in before):
        raise KerasxaiError(
            "expected AuditCallback before TensorBoard, which writes the figures in `logs`, got it after: callbacks "
            "run in the order of the list; put AuditCallback first"
        )
