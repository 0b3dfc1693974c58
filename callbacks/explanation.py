"""`ExplanationCallback`: the same images, explained from epoch to epoch."""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.callbacks.callback_list import check_once, earlier_callbacks, same_folder, training_callbacks
from kerasxai.callbacks.drawing import draw_sheet, draw_timeline, pictures_of
from kerasxai.callbacks.inputs import Data, check_inputs, explained_input, identity_of, inputs_of
from kerasxai.callbacks.log_sinks import LogSinks
from kerasxai.callbacks.map_files import Images, MapFiles, Maps
from kerasxai.callbacks.schedule import epoch_title, is_due
from kerasxai.callbacks.warn_once import WarnOnce
from kerasxai.data.samples import are_nested, class_indices, first_images, is_one_batch_of_inputs, warn_if_reshuffled
from kerasxai.engine.inputs import InputName, Inputs
from kerasxai.engine.outputs.kinds import class_count
from kerasxai.explainer import Explainer
from kerasxai.explanation import Explanation
from kerasxai.methods import METHODS
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import atomic_path
from kerasxai.tools.log_services import has_tensorboard, warn_without_tensorboard
from kerasxai.tools.model_settings import OUTPUTS
from kerasxai.tools.options import choice
from kerasxai.viz import TensorBoardSink, encode_png, flat_map
from kerasxai.viz.log_sinks import LogSink
from kerasxai.viz.pixels import check_finite

_WRITE = "write its files"


class ExplanationCallback(keras.callbacks.Callback):
    """Explains the same images after each epoch of a training, and draws the heatmaps.

    Epochs are counted when they are completed: `epoch_003.png` shows the model after the third epoch, which Keras
    prints as `Epoch 3/...`, and `epoch_000.png` the model before training. The files are

    * `log_dir/heatmaps/METHOD/epoch_003.png`: a sheet of all images;
    * `log_dir/heatmaps/METHOD/timeline.png`: at train end, one row an image, one column an epoch;
    * `log_dir/heatmaps/maps/...`: the maps and images, from which `draw_timeline` can draw the timeline again;
    * `log_dir/explanations/events...`: the sheets as TensorBoard images, tag METHOD, if TensorBoard is installed.

    A training that continues with `initial_epoch=3` and the same images and `log_dir` continues the timeline, also in
    another process; pictures of epochs after the third are drawn again. The training does not change: its weights are
    bit by bit those without the callback. A failure to explain or to write warns once and training continues; a method
    that fails is left out until the next training.

    Args:
        images: `(N, H, W, C)` as the model takes them, series `(N, T, C)` or volumes `(N, D, H, W, C)`; or, for a model
            of several inputs, the dict, list or tuple of arrays that it takes; or a `tf.data.Dataset`,
            `keras.utils.PyDataset` or list of samples as `kerasxai.data.load` gives them, or of `(image, label)`,
            batched or not, of which the first `count` are taken, once, when the callback is made.
        targets: The explained classes: None or `"predicted"` for the predictions of that epoch, `"true"` for
            the labels, one int, or `(N,)` ints.
        methods: Names in `kerasxai.METHODS`, or a mapping from names to the options of each.
        log_dir: Output folder; two callbacks in one training need different folders.
        labels: `(N,)` true classes or `(N, classes)` one-hot; None for the labels in `images`, if any.
        every: Number of epochs between drawings; before training and after the last planned epoch they are drawn
            anyway.
        class_names: Names for the captions.
        count: Number of images from a dataset or list; arrays are used completely.
        pictures: Pictures below the maps, `(N, H, W, 3)` in [0, 255], or a function from images to pictures; None for
            the images, floats stretched to [0, 255] if they are in [0, 1] or exceed the range.
        layer: As for `kerasxai.Explainer`, for layer-based methods.
        image_input: As for `kerasxai.Explainer`, for a model of several inputs; for a list of inputs an index.
        png: Whether to write the sheets as files.
        tensorboard: Whether to write for TensorBoard, which must then be installed; None if it is installed, with a
            warning if it is not.
        batch_size: Number of images explained at once.
        outputs: As for `kerasxai.Explainer`.
        sinks: Where the sheets are written too: `"mlflow"`, `"wandb"`, or sinks of `kerasxai.viz.open_sink`, which stay
            open.

    Raises:
        KerasxaiError: An argument is wrong; at train begin also for a layer or option that does not exist, and for
            another callback that writes the same files.

    Example:
        >>> callback = kerasxai.callbacks.ExplanationCallback(
        ...     validation_images[:8], "true", labels=validation_labels[:8], log_dir="runs/first"
        ... )
        >>> model.fit(train_images, train_labels, epochs=5, callbacks=[callback])
    """

    def __init__(
        self,
        images: Data,
        targets: str | int | ArrayLike | None = None,
        methods: str | Iterable[str] | Mapping[str, Mapping[str, Any]] = ("gradcam",),
        log_dir: str | os.PathLike[str] = "logs",
        *,
        labels: ArrayLike | None = None,
        every: int = 1,
        class_names: Sequence[str] | None = None,
        count: int = 16,
        pictures: ArrayLike | Callable[[NDArray], ArrayLike] | None = None,
        layer: str | keras.Layer | None = None,
        image_input: InputName = None,
        png: bool = True,
        tensorboard: bool | None = None,
        batch_size: int = 32,
        outputs: str | None = None,
        sinks: Iterable[str | LogSink] = (),
    ) -> None:
        super().__init__()
        if every < 1 or count < 1:
            raise KerasxaiError(f"every and count must be 1 or more, got every={every}, count={count}")
        if tensorboard and not has_tensorboard():
            raise KerasxaiError(
                "cannot write for TensorBoard: it is not installed; run pip install 'kerasxai[tensorboard]'"
            )
        self.methods = _checked_methods(methods)
        self.log_dir = Path(log_dir)
        self.every, self.layer, self.batch_size = every, layer, batch_size
        self.outputs = None if outputs is None else choice("value of outputs", outputs, OUTPUTS)
        self.png, self.tensorboard = png, tensorboard
        self._sinks = LogSinks("ExplanationCallback", sinks, self.log_dir / "explanations")
        warn_if_reshuffled(images, "ExplanationCallback")
        self.images, known, self._fields = _first_images(images, count, read_labels=labels is None)
        self.image_input = image_input
        array = explained_input(self.images, image_input)
        known = known if labels is None else _checked_labels(labels, len(array))
        self.targets = _checked_targets(targets, known, len(array))
        self._drawn = Images(
            _checked_pictures(pictures, array),
            np.full(len(array), -1) if known is None else known,
            np.array([str(name) for name in ([] if class_names is None else class_names)], np.str_),
            identity_of(self.images),
        )
        self._inputs = self.images
        self._files = MapFiles(self.log_dir)
        self._guard = WarnOnce("ExplanationCallback")
        self._explainers: dict[str, Explainer] = {}
        self._sink: TensorBoardSink | None = None
        self._begun = False
        if tensorboard is None:
            written = "PNG files and maps" if png else "maps"
            warn_without_tensorboard("ExplanationCallback", f"{written} to {self.log_dir}", "heatmaps")

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Make the explainers, whose traces are valid for all epochs, and open the folder."""
        self._check_callbacks(training_callbacks(self))
        self._inputs = inputs_of(self.model, self.images, self._fields)
        check_inputs(self.model, self._inputs, "ExplanationCallback")
        self._warn_of_names()
        self._guard = WarnOnce("ExplanationCallback")
        self._begun = False
        self._close_sink()
        self._explainers = {name: self._explainer(name) for name in self.methods}
        with self._guard.block(_WRITE):
            self._warn_of_other_images()
            self._files.save_images(self._drawn)
        self._sinks.begin()
        if self.tensorboard is not False:
            with self._guard.block(_WRITE):
                self._sink = TensorBoardSink(self.log_dir / "explanations", required=False)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Draw the untrained model before the first epoch, unless an earlier training drew this state."""
        if self._begun:
            return
        self._begun = True
        # A copy, because a method that fails is removed.
        for name in list(self._explainers):
            drawn: dict[int, bool] = {}
            with self._guard.block(_WRITE):
                self._files.forget_after(name, epoch)
                drawn = self._files.epochs(name, self._drawn.identity)
            if epoch == 0 or epoch not in drawn:
                self._draw(name, epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Explain the images and write the pictures."""
        if is_due(epoch + 1, self.every, (self.params or {}).get("epochs")):
            for name in list(self._explainers):
                self._draw(name, epoch + 1)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the timelines."""
        for name in self._explainers:
            with self._guard.block(_WRITE):
                draw_timeline(self.log_dir, name)
        self._sinks.close()
        self._close_sink()
        # The traces keep the graph of the model in memory, and the next training may be of another model.
        self._explainers = {}

    def _explainer(self, name: str) -> Explainer:
        # What the user gave for one method has priority over the callback's own arguments.
        options = dict(self.methods[name])
        if self.layer is not None and METHODS[name].takes_layer:
            options.setdefault("layer", self.layer)
        if are_nested(self._inputs):
            options.setdefault("image_input", self.image_input if are_nested(self.images) else "image")
        settings = {"batch_size": self.batch_size, "progress": False, "outputs": self.outputs}
        return Explainer(self.model, name, **settings | options)

    def _close_sink(self) -> None:
        with self._guard.block(_WRITE):
            if self._sink is not None:
                self._sink.close()
        self._sink = None

    def _check_callbacks(self, callbacks: list[keras.callbacks.Callback]) -> None:
        """Refuse another callback that writes the same files."""
        check_once(self, callbacks)
        for other in earlier_callbacks(self, callbacks):
            if isinstance(other, ExplanationCallback) and same_folder(self.log_dir, other.log_dir):
                same = set(self.methods) & set(other.methods)
                if same or other._drawn.identity != self._drawn.identity:
                    files = f"the same files of {sorted(same)[0]}" if same else "maps of different images"
                    raise KerasxaiError(
                        f"expected ExplanationCallbacks with different files, got two that write {files} into "
                        f"{self.log_dir}; give one another log_dir="
                    )

    def _draw(self, name: str, epoch: int) -> None:
        explanation: Explanation | None = None
        with self._guard.block(f"explain with {name}", f"training continues without {name}"):
            found = self._explainers[name](self._inputs, self.targets)
            # A model that diverged has NaN in its maps, which would be drawn as if nothing were explained.
            check_finite(found.heatmaps, "heatmaps")
            explanation = found
        if explanation is None:
            del self._explainers[name]
            return
        heatmaps = np.stack([flat_map(one) for one in explanation.heatmaps])
        maps = Maps(heatmaps, explanation.targets, explanation.scores)
        with self._guard.block(_WRITE):
            self._files.save(name, epoch, maps, self._drawn.identity)
            if self.png or self._sinks.names or (self._sink is not None and self._sink.enabled):
                self._write_sheet(name, epoch, maps, explanation.layer)

    def _write_sheet(self, name: str, epoch: int, maps: Maps, layer: str | None) -> None:
        sheet = draw_sheet(self._drawn, maps, f"{name} {epoch_title(epoch)}", "" if layer is None else f"at {layer}")
        data = encode_png(sheet)
        if self.png:
            with atomic_path(self._files.sheet(name, epoch)) as temporary:
                temporary.write_bytes(data)
        if self._sink is not None:
            self._sink.encoded(name, [data], (sheet.shape[0], sheet.shape[1]), epoch)
            self._sink.flush()
        self._sinks.picture(name, data, epoch)

    def _warn_of_names(self) -> None:
        """Warn of class names that cannot be those of the model."""
        given, count = len(self._drawn.class_names), class_count(self.model)
        if given and count is not None and given != count:
            warnings.warn(
                f"expected {count} class_names, one for each class of the model, got {given}; captions may be wrong",
                stacklevel=2,
            )

    def _warn_of_other_images(self) -> None:
        """Warn if the folder contains maps of other images, which cannot be in one timeline with these."""
        try:
            before = self._files.load_images().identity
        except KerasxaiError:
            return
        if before != self._drawn.identity:
            warnings.warn(f"{self._files.folder} has maps of other images; a new timeline begins", stacklevel=2)


def _checked_methods(
    methods: str | Iterable[str] | Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    names = [methods] if isinstance(methods, str) else list(methods)
    if not names:
        raise KerasxaiError("expected at least one method, got none")
    for name in names:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    return {name: dict(methods[name]) if isinstance(methods, Mapping) else {} for name in names}


def _first_images(
    images: Data, count: int, read_labels: bool
) -> tuple[Inputs, NDArray[np.int64] | None, dict[str, Any]]:
    """Return the images to explain, their labels and their further fields, see `first_images`."""
    # An array of series or of volumes; an array of rank 4 may be a batch of images, and goes through the reader.
    rank = np.ndim(images) if hasattr(images, "__array__") else None
    if rank in (3, 5):
        return np.asarray(images), None, {}
    return first_images(images, None if rank == 4 or is_one_batch_of_inputs(images) else count, read_labels)


def _checked_labels(labels: ArrayLike, count: int) -> NDArray[np.int64]:
    found = class_indices(labels)
    if len(found) != count:
        raise KerasxaiError(f"expected one label for each of {count} images, got {len(found)}")
    return found


def _checked_targets(
    targets: str | int | ArrayLike | None, labels: NDArray[np.int64] | None, count: int
) -> NDArray[np.int64] | None:
    if targets is None or (isinstance(targets, str) and targets == "predicted"):
        return None
    if isinstance(targets, str):
        if targets != "true":
            raise unknown("value of targets", targets, ["predicted", "true"])
        if labels is None:
            raise KerasxaiError("expected labels for targets='true', got none; give labels=")
        return labels
    return _checked_labels(np.full(count, targets) if np.ndim(targets) == 0 else targets, count)


def _checked_pictures(
    pictures: ArrayLike | Callable[[NDArray], ArrayLike] | None, images: NDArray
) -> NDArray[np.uint8]:
    if pictures is None:
        return pictures_of(images)
    array = np.asarray(pictures(images) if callable(pictures) else pictures)
    if array.ndim != 4 or len(array) != len(images):
        raise KerasxaiError(f"expected pictures ({len(images)}, height, width, 3), got {array.shape}")
    return pictures_of(array)
