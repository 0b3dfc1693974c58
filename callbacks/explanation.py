"""`ExplanationCallback`: the same images, explained from epoch to epoch."""

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.callbacks.drawing import draw_sheet, draw_timeline, pictures_of
from kerasxai.callbacks.inputs import check_inputs, explained, identity_of, inputs_of
from kerasxai.callbacks.map_files import Images, MapFiles, Maps
from kerasxai.callbacks.warn_once import WarnOnce, check_once, companions, is_due, same_folder
from kerasxai.data.samples import are_nested, class_indices, first_images, is_one_batch_of_inputs, warn_if_reshuffled
from kerasxai.explainer import Explainer, Explanation
from kerasxai.methods import METHODS
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import atomic_path
from kerasxai.tools.model_settings import OUTPUTS
from kerasxai.tools.options import choice
from kerasxai.viz import TensorBoardSink, encode_png, flat_map
from kerasxai.viz.pixels import check_finite

_WRITE = "write its files"


class ExplanationCallback(keras.callbacks.Callback):
    """Draws where the model looks, after each epoch and on the same images, while it trains.

    Epochs are counted by what is done: `epoch_003.png` shows the model after the third epoch, which Keras prints as
    `Epoch 3/...`, and `epoch_000.png` the model before training. Written are

    * `log_dir/heatmaps/METHOD/epoch_003.png`: a sheet of all images;
    * `log_dir/heatmaps/METHOD/timeline.png`: at train end, one row an image, one column an epoch;
    * `log_dir/heatmaps/maps/...`: the maps and images themselves, from which `draw_timeline` makes the timeline again;
    * `log_dir/explanations/events...`: the sheets as TensorBoard images, tag METHOD, where TensorBoard is installed.

    A training that goes on with `initial_epoch=3` and the same images and `log_dir` goes on with the timeline, also in
    another process; pictures of epochs after the third are made anew. Training is not touched: its weights are bit by
    bit those without the callback. What cannot be explained or written warns once and training goes on; a method that
    fails is left out until the next training.

    Args:
        images: `(N, H, W, C)` as the model takes them, series `(N, T, C)` or volumes `(N, D, H, W, C)`; or, for a model
            of several inputs, the dict, list or tuple of arrays that it takes; or a `tf.data.Dataset`,
            `keras.utils.PyDataset` or list of samples as `kerasxai.data.load` gives them, or of `(image, label)`,
            batched or not, of which the first `count` are taken, once and now.
        targets: The classes explained: None or `"predicted"` for what the model predicts at that epoch, `"true"` for
            the labels, one int, or `(N,)` ints.
        methods: Names in `kerasxai.METHODS`, or a mapping from names to the options of each.
        log_dir: Where to write; two callbacks in one training need different folders.
        labels: `(N,)` true classes or `(N, classes)` one-hot; None for those that come with `images`, if any.
        every: Draw after every so many epochs; before training and after the last planned epoch in any case.
        class_names: For the captions.
        count: How many images are taken from a dataset or list; arrays are taken whole.
        pictures: What is drawn below the maps, `(N, H, W, 3)` in [0, 255], or a function that makes it of the images;
            None for the images themselves, floats stretched to [0, 255] where they lie in [0, 1] or go beyond.
        layer: As for `kerasxai.Explainer`, for those methods that explain at a layer.
        image_input: As for `kerasxai.Explainer`, for a model of several inputs; of a list of inputs an index.
        png: Whether to write the sheets as files.
        tensorboard: Whether to write for TensorBoard, which must be installed then; None where it is installed.
        batch_size: How many images are explained at once.
        outputs: As for `kerasxai.Explainer`.

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
        images: Any,
        targets: str | int | ArrayLike | None = None,
        methods: str | Iterable[str] | Mapping[str, Mapping[str, Any]] = ("gradcam",),
        log_dir: str | os.PathLike[str] = "logs",
        *,
        labels: ArrayLike | None = None,
        every: int = 1,
        class_names: Sequence[str] | None = None,
        count: int = 16,
        pictures: ArrayLike | Callable[[NDArray], ArrayLike] | None = None,
        layer: Any = None,
        image_input: Any = None,
        png: bool = True,
        tensorboard: bool | None = None,
        batch_size: int = 32,
        outputs: str | None = None,
    ) -> None:
        super().__init__()
        if every < 1 or count < 1:
            raise KerasxaiError(f"every and count must be 1 or more, got every={every}, count={count}")
        if tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise KerasxaiError("TensorBoard is not installed; install it with: pip install 'kerasxai[tensorboard]'")
        self.methods = _checked_methods(methods)
        self.log_dir = Path(log_dir)
        self.every, self.layer, self.batch_size = every, layer, batch_size
        self.outputs = None if outputs is None else choice("outputs", outputs, OUTPUTS)
        self.png, self.tensorboard = png, tensorboard
        warn_if_reshuffled(images, "ExplanationCallback")
        self.images, known, self._fields = _taken(images, count, read_labels=labels is None)
        self.image_input = image_input
        shown = explained(self.images, image_input)
        known = known if labels is None else _checked_labels(labels, len(shown))
        self.targets = _checked_targets(targets, known, len(shown))
        self._followed = Images(
            _checked_pictures(pictures, shown),
            np.full(len(shown), -1) if known is None else known,
            np.array([str(name) for name in ([] if class_names is None else class_names)], np.str_),
            identity_of(self.images),
        )
        self._given = self.images
        self._files = MapFiles(self.log_dir)
        self._guard = WarnOnce("ExplanationCallback")
        self._explainers: dict[str, Explainer] = {}
        self._sink: TensorBoardSink | None = None
        self._begun = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes the explainers, which serve all epochs, and opens the folder."""
        self._check_companions(companions(self))
        self._given = inputs_of(self.model, self.images, self._fields)
        check_inputs(self.model, self._given, "ExplanationCallback")
        self._guard = WarnOnce("ExplanationCallback")
        self._begun = False
        self._close_sink()
        self._explainers = {name: self._explainer(name) for name in self.methods}
        with self._guard.block(_WRITE):
            self._warn_of_other_images()
            self._files.save_images(self._followed)
        if self.tensorboard is not False:
            with self._guard.block(_WRITE):
                self._sink = TensorBoardSink(self.log_dir / "explanations", required=False)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Draws, before the first epoch, the model as it is; an epoch that a former training drew stays."""
        if self._begun:
            return
        self._begun = True
        for name in list(self._explainers):
            there: dict[int, bool] = {}
            with self._guard.block(_WRITE):
                self._files.forget_after(name, epoch)
                there = self._files.epochs(name, self._followed.identity)
            if epoch == 0 or epoch not in there:
                self._draw(name, epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Explains the images and writes the pictures."""
        if is_due(epoch + 1, self.every, (self.params or {}).get("epochs")):
            for name in list(self._explainers):
                self._draw(name, epoch + 1)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Writes the timelines."""
        for name in self._explainers:
            with self._guard.block(_WRITE):
                draw_timeline(self.log_dir, name)
        self._close_sink()
        # The traces hold on to the model's graph; a model that is trained on may be another one.
        self._explainers = {}

    def _explainer(self, name: str) -> Explainer:
        options = dict(self.methods[name])
        if self.layer is not None and METHODS[name].takes_layer:
            options.setdefault("layer", self.layer)
        if are_nested(self._given):
            options.setdefault("image_input", self.image_input if are_nested(self.images) else "image")
        settings = {"batch_size": self.batch_size, "progress": False, "outputs": self.outputs}
        return Explainer(self.model, name, **settings | options)

    def _close_sink(self) -> None:
        with self._guard.block(_WRITE):
            if self._sink is not None:
                self._sink.close()
        self._sink = None

    def _check_companions(self, others: list[Any]) -> None:
        """Refuses another callback whose files would be written over by these."""
        check_once(self, others)
        for other in others[: next(place for place, one in enumerate(others) if one is self)]:
            if isinstance(other, ExplanationCallback) and same_folder(self.log_dir, other.log_dir):
                same = set(self.methods) & set(other.methods)
                if same or other._followed.identity != self._followed.identity:
                    what = f"the same files of {sorted(same)[0]}" if same else "maps of different images"
                    raise KerasxaiError(
                        f"two ExplanationCallbacks write {what} into {self.log_dir}; give one another log_dir="
                    )

    def _draw(self, name: str, epoch: int) -> None:
        explanation: Explanation | None = None
        with self._guard.block(f"explain with {name}", f"training goes on without {name}"):
            found = self._explainers[name](self._given, self.targets)
            check_finite(found.heatmaps, "heatmaps")
            explanation = found
        if explanation is None:
            del self._explainers[name]
            return
        heatmaps = np.stack([flat_map(one) for one in explanation.heatmaps])
        maps = Maps(heatmaps, explanation.targets, explanation.scores)
        with self._guard.block(_WRITE):
            self._files.save(name, epoch, maps, self._followed.identity)
            if self.png or (self._sink is not None and self._sink.enabled):
                self._write_sheet(name, epoch, maps, explanation.layer)

    def _write_sheet(self, name: str, epoch: int, maps: Maps, layer: str | None) -> None:
        when = "before training" if epoch == 0 else f"after epoch {epoch}"
        sheet = draw_sheet(self._followed, maps, f"{name} {when}", "" if layer is None else f"at {layer}")
        data = encode_png(sheet)
        if self.png:
            with atomic_path(self._files.sheet(name, epoch)) as temporary:
                temporary.write_bytes(data)
        if self._sink is not None:
            self._sink.encoded(name, [data], (sheet.shape[0], sheet.shape[1]), epoch)
            self._sink.flush()

    def _warn_of_other_images(self) -> None:
        """Says so where the folder holds maps of other images, which cannot stand in one timeline with these."""
        try:
            before = self._files.load_images().identity
        except KerasxaiError:
            return
        if before != self._followed.identity:
            warnings.warn(f"{self._files.folder} holds maps of other images; the timeline begins anew", stacklevel=2)


def _checked_methods(methods: Any) -> dict[str, dict[str, Any]]:
    names = [methods] if isinstance(methods, str) else list(methods)
    if not names:
        raise KerasxaiError("expected at least one method, got none")
    for name in names:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    return {name: dict(methods[name]) if isinstance(methods, Mapping) else {} for name in names}


def _taken(images: Any, count: int, read_labels: bool) -> tuple[Any, NDArray[np.int64] | None, dict[str, Any]]:
    """Returns the images that are followed, and their labels and further fields, see `first_images`."""
    rank = np.ndim(images) if hasattr(images, "__array__") else None
    if rank in (3, 5):
        return np.asarray(images), None, {}
    return first_images(images, None if rank == 4 or is_one_batch_of_inputs(images) else count, read_labels)


def _checked_labels(labels: ArrayLike, count: int) -> NDArray[np.int64]:
    found = class_indices(labels)
    if len(found) != count:
        raise KerasxaiError(f"expected one label for each of {count} images, got {len(found)}")
    return found


def _checked_targets(targets: Any, labels: NDArray[np.int64] | None, count: int) -> NDArray[np.int64] | None:
    if targets is None or (isinstance(targets, str) and targets == "predicted"):
        return None
    if isinstance(targets, str):
        if targets != "true":
            raise unknown("targets", targets, ["predicted", "true"])
        if labels is None:
            raise KerasxaiError('targets="true" needs to know the true classes; give labels=')
        return labels
    return _checked_labels(np.full(count, targets) if np.ndim(targets) == 0 else targets, count)


def _checked_pictures(pictures: Any, images: NDArray) -> NDArray[np.uint8]:
    if pictures is None:
        return pictures_of(images)
    shown = np.asarray(pictures(images) if callable(pictures) else pictures)
    if shown.ndim != 4 or len(shown) != len(images):
        raise KerasxaiError(f"expected pictures ({len(images)}, height, width, 3), got {shown.shape}")
    return pictures_of(shown)
