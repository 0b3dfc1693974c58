"""`EmbeddingCallback`: how the classes separate in a layer, epoch by epoch."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.linalg import orthogonal_procrustes
from sklearn.metrics import silhouette_score

from kerasxai.callbacks.callback_list import (
    check_figures,
    check_order,
    earlier_callbacks,
    same_folder,
    training_callbacks,
)
from kerasxai.callbacks.drawing import pictures_of
from kerasxai.callbacks.inputs import Data, check_inputs, explained_input, inputs_of, rows_of
from kerasxai.callbacks.schedule import Results, epoch_title, is_due
from kerasxai.callbacks.warn_once import WarnOnce
from kerasxai.data.samples import fields_of, first_images, warn_if_reshuffled
from kerasxai.engine.inputs import InputName, Inputs
from kerasxai.engine.layers import find_layer
from kerasxai.features.capture import Capture
from kerasxai.features.embedding import POOLS, pooled
from kerasxai.features.neighbors import NeighborIndex
from kerasxai.features.projection import PROJECTIONS, project
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.log_services import warn_without_tensorboard
from kerasxai.viz import TensorBoardSink, plot_scatter, save_png
from kerasxai.viz.pixels import check_finite

FIGURES = ("silhouette", "knn_accuracy")
_PICTURE = "draw the embedding"


class EmbeddingCallback(keras.callbacks.Callback):
    """Embeds the same images after each epoch, measures the separation of the classes, and draws a scatter plot.

    The figures in `logs`, for `History`, `EarlyStopping` and others, which must be after this callback in the list:

    * `silhouette` in [-1, 1]: how much closer an image is to its class than to the next, by cosine (Rousseeuw 1987);
    * `knn_accuracy` in [0, 1]: the leave-one-out accuracy of a majority vote of the `neighbors` nearest images; of
      equally frequent classes, the one with the nearest image wins.

    Epochs are counted when they are completed: `log_dir/embedding/epoch_003.png` shows the model after the third epoch
    and `epoch_000.png` before training. Each projection is rotated onto the previous one, so that what moves between
    two pictures is the embedding. With `every` above 1 the epochs between repeat the last figures, because Keras'
    callbacks warn if a figure is missing. The training does not change: its weights are bit by bit those without the
    callback. A failure warns once and training continues, without the figures until measuring succeeds.

    Args:
        data: Images with labels, as a `tf.data.Dataset`, `keras.utils.PyDataset` or list of samples as
            `kerasxai.data.load` gives them or of `(image, label)`, batched or not, or `(images, labels)` as arrays; of
            at least two classes. For a model of several inputs, an image is the dict, list or tuple that the model
            takes. The first `count` are taken, once, when the callback is made.
        layer: A path, name or layer; None for the last feature map, averaged over its positions.
        log_dir: Output folder; None draws nothing. Two callbacks in one training need different folders.
        every: Number of epochs between measurements; the first and the last planned epoch are measured anyway.
        count: Maximum number of images; the cost of the silhouette grows with its square.
        neighbors: Number of neighbors for the accuracy.
        projection: `"pca"`, `"tsne"` or `"umap"`.
        pool: As for `kerasxai.features.embed`.
        prefix: Prefix of the figures in `logs`; two callbacks in one training need different ones.
        class_names: Names for the legend.
        thumbnails: Whether to draw images at some of the points.
        tensorboard: Whether the pictures also go to `log_dir/embedding/events...`; None if it is installed,
            with a warning if it is not.
        image_input: The input to draw, for a model of several inputs: its name in a dict, or its index.
        batch_size: Number of images embedded at once.

    Attributes:
        results: Number of epochs done -> figure -> value, for the measured epochs, 0 before training. A
            training that begins at the first epoch, or with another model, removes earlier results.

    Raises:
        KerasxaiError: An argument is wrong, or the data have no labels or only one class; at train begin also for a
            layer that the model does not have, and for another callback that writes the same figures or files.

    Example:
        >>> embedding = kerasxai.callbacks.EmbeddingCallback(kerasxai.data.load("shapes", split="validation"))
        >>> history = model.fit(train_data, epochs=5, callbacks=[embedding])
        >>> history.history["val_knn_accuracy"]
    """

    def __init__(
        self,
        data: Data,
        layer: str | keras.Layer | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        *,
        every: int = 1,
        count: int = 1000,
        neighbors: int = 5,
        projection: str = "pca",
        pool: str = "mean",
        prefix: str = "val_",
        class_names: Sequence[str] | None = None,
        thumbnails: bool = True,
        tensorboard: bool | None = None,
        image_input: InputName = None,
        batch_size: int = 32,
    ) -> None:
        super().__init__()
        for name, value in (("every", every), ("count", count), ("neighbors", neighbors), ("batch_size", batch_size)):
            if value < 1:
                raise KerasxaiError(f"{name} must be 1 or more, got {value}")
        for kind, chosen, known in (("projection", projection, PROJECTIONS), ("pool", pool, POOLS)):
            if chosen not in known:
                raise unknown(kind, chosen, known)
        warn_if_reshuffled(data, "EmbeddingCallback")
        self.images, self.labels, self._fields = _first_images(data, count)
        self._inputs = self.images
        if neighbors >= len(self.labels):
            raise KerasxaiError(
                f"neighbors must be less than the number of images, {len(self.labels)}, got {neighbors}"
            )
        self._explained = explained_input(self.images, image_input)
        self.layer, self.every, self.neighbors, self.pool = layer, every, neighbors, pool
        self.log_dir = None if log_dir is None else Path(log_dir)
        self.projection, self.prefix, self.batch_size = projection, prefix, batch_size
        self.class_names, self.thumbnails, self.tensorboard = class_names, thumbnails, tensorboard
        self.results = Results()
        self._guard = WarnOnce("EmbeddingCallback")
        self._capture: Capture | None = None
        self._sink: TensorBoardSink | None = None
        self._points: np.ndarray | None = None
        self._last: dict[str, float] | None = None
        self._first = self._begun = True
        if tensorboard is None and self.log_dir is not None:
            warn_without_tensorboard("EmbeddingCallback", f"PNG files to {self.log_dir}", "pictures")

    @property
    def names(self) -> list[str]:
        """The names of the figures in `logs`."""
        return [self.prefix + figure for figure in FIGURES]

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the layer, and trace the model once for all epochs."""
        if self.layer is not None:
            find_layer(self.model, self.layer)
        self._inputs = inputs_of(self.model, self.images, self._fields)
        check_inputs(self.model, self._inputs, "EmbeddingCallback")
        self._check_callbacks(training_callbacks(self))
        self._guard = WarnOnce("EmbeddingCallback")
        self._close_sink()
        self._capture = Capture(self.model, self.layer, lambda output: pooled(output, self.pool))
        self._points = self._last = None
        self._first, self._begun = True, False
        if self.log_dir is not None and self.tensorboard is not False:
            with self._guard.block(_PICTURE):
                self._sink = TensorBoardSink(self.log_dir / "embedding", required=bool(self.tensorboard))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remove what another training measured and drew, and measure the untrained model, before the first epoch."""
        if self._begun:
            return
        self._begun = True
        # Only now is `initial_epoch` known, which Keras does not give to `on_train_begin`.
        self.results.begin(self.model, epoch)
        with self._guard.block(_PICTURE):
            self._forget_after(epoch)
        if epoch == 0:
            self._measure(0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure, draw, and add the figures to `logs`."""
        if self._first or is_due(epoch + 1, self.every, (self.params or {}).get("epochs")):
            self._first = False
            self._last = self._measure(epoch + 1)
        if logs is not None and self._last is not None:
            logs.update({self.prefix + name: value for name, value in self._last.items()})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Drop the trace, which keeps the graph of the model in memory."""
        self._capture = None
        self._close_sink()

    def _close_sink(self) -> None:
        with self._guard.block(_PICTURE):
            if self._sink is not None:
                self._sink.close()
        self._sink = None

    def _forget_after(self, epoch: int) -> None:
        """Remove the pictures of later epochs, which a training that continues from `epoch` draws again."""
        for path in [] if self.log_dir is None else (self.log_dir / "embedding").glob("epoch_*.png"):
            number = path.stem.removeprefix("epoch_")
            if number.isdigit() and int(number) > epoch:
                path.unlink()

    def _check_callbacks(self, callbacks: list[keras.callbacks.Callback]) -> None:
        """Refuse callbacks that monitor a figure before it is measured, or write the same figures or files."""
        check_figures(self, self.names, callbacks)
        check_order(self, self.names, callbacks)
        for other in earlier_callbacks(self, callbacks):
            if isinstance(other, EmbeddingCallback) and same_folder(self.log_dir, other.log_dir):
                raise KerasxaiError(
                    f"expected EmbeddingCallbacks with different folders, got {self.log_dir} for two; "
                    "give one another log_dir="
                )

    def _measure(self, done: int) -> dict[str, float] | None:
        vectors: np.ndarray | None = None
        figures: dict[str, float] | None = None
        with self._guard.block("measure the embedding", "training continues without its figures"):
            vectors = self._vectors()
            figures = self.results[done] = self._figures(vectors)
        if vectors is not None and figures is not None and self.log_dir is not None:
            with self._guard.block(_PICTURE):
                self._draw(done, vectors, figures)
        return figures

    def _vectors(self) -> np.ndarray:
        """Return the embedding of each image, `(N, D)`."""
        assert self._capture is not None
        starts = range(0, len(self.labels), self.batch_size)
        slices = (slice(start, start + self.batch_size) for start in starts)
        vectors = np.concatenate([self._capture(rows_of(self._inputs, rows)).numpy() for rows in slices])
        check_finite(vectors, "an embedding")
        return vectors

    def _figures(self, vectors: np.ndarray) -> dict[str, float]:
        index = NeighborIndex(vectors, labels=self.labels)
        found = index.neighbors_of(k=self.neighbors).labels
        assert found is not None
        votes = (found[:, :, None] == found[:, None, :]).sum(2)
        # Neighbors are sorted by distance, so that the first maximum is the class with the nearest image.
        majority = np.take_along_axis(found, votes.argmax(1)[:, None], 1)[:, 0]
        return {
            "silhouette": float(silhouette_score(vectors, self.labels, metric="cosine")),
            "knn_accuracy": float((majority == self.labels).mean()),
        }

    def _draw(self, done: int, vectors: np.ndarray, figures: dict[str, float]) -> None:
        assert self.log_dir is not None
        found = project(vectors, self.projection)
        points = found.points
        # Axes of a projection are arbitrary: rotate onto the previous picture, so that pictures can be compared.
        if self._points is not None:
            rotation, _ = orthogonal_procrustes(points - points.mean(0), self._points - self._points.mean(0))
            points = points @ rotation.astype(points.dtype)
        self._points = points
        values = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items())
        note = f"{values}; {found.method}, trustworthiness {found.trustworthiness:.3f}"
        pictures = pictures_of(self._explained) if self.thumbnails else None
        title = f"Embedding {epoch_title(done)}"
        picture = plot_scatter(points, self.labels, self.class_names, pictures, title, note)
        save_png(self.log_dir / "embedding" / f"epoch_{done:03d}.png", picture)
        if self._sink is not None:
            self._sink.image("embedding", picture, done)
            self._sink.flush()


def _first_images(data: Data, count: int) -> tuple[Inputs, np.ndarray, dict[str, Any]]:
    """Return images, labels and further fields of the first samples, see `first_images`."""
    fields = fields_of(data)
    if "label" not in fields:
        raise KerasxaiError(f"expected data with labels, got {', '.join(fields)}")
    images, labels, rest = first_images(data, count)
    assert labels is not None
    # The silhouette is undefined for one class and for classes of one image only.
    if len(np.unique(labels)) < 2 or len(np.unique(labels)) == len(labels):
        raise KerasxaiError(f"expected at least two classes, one of them with two images, got labels {labels[:8]}")
    return images, labels, rest
