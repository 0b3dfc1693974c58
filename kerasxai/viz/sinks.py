"""Where pictures go: PNG files and TensorBoard."""

import itertools
import os
import re
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import atomic_path
from kerasxai.viz.pixels import Picture, encode_png, to_picture, to_pictures


def save_png(path: str | os.PathLike[str], picture: ArrayLike, compression: int = 1) -> Path:
    """Writes a picture as PNG, whole or not at all.

    Args:
        path: The file; missing folders are made.
        picture: `(H, W, 3)` uint8, or anything `to_picture` takes.
        compression: 0 to 9, see `encode_png`.

    Returns:
        The path.

    Raises:
        KerasxaiError: The path does not end in ".png", the picture is none, or the disk does not take it.

    Example:
        >>> save_png("out/cat.png", np.zeros((8, 8, 3), np.uint8)).name
        'cat.png'
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise KerasxaiError(f"expected a path that ends in .png, got {path}")
    data = encode_png(picture, compression)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return path


class PNGSink:
    """Writes pictures as `folder/tag/step_0001.png`; a tag's slashes make folders.

    Args:
        folder: Made when the first picture comes.
        compression: 0 to 9, see `encode_png`.

    Example:
        >>> with PNGSink("heatmaps") as sink:
        ...     _ = sink.image("gradcam/cat", np.zeros((8, 8, 3), np.uint8), step=1)
    """

    def __init__(self, folder: str | os.PathLike[str], compression: int = 1) -> None:
        self.folder = Path(folder)
        self.compression = compression

    def image(self, tag: str, pictures: ArrayLike, step: int) -> list[Path]:
        """Writes one picture, or one file each of a batch, and returns the paths.

        Args:
            tag: What is shown. Characters that file names cannot have everywhere become "_".
            pictures: `(H, W, 3)` or `(N, H, W, 3)`.
            step: The epoch or step.
        """
        parts = [re.sub(r"[^\w.,+=()-]+", "_", part).strip(".") or "_" for part in tag.split("/") if part]
        folder = self.folder.joinpath(*parts)
        batch = _batch(pictures)
        numbers = [""] if len(batch) == 1 else [f"_{number:02d}" for number in range(len(batch))]
        return [
            save_png(folder / f"step_{step:04d}{number}.png", picture, self.compression)
            for picture, number in zip(batch, numbers, strict=True)
        ]

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Does nothing: a number is no picture. Present so that all sinks take the same calls."""

    def close(self) -> None:
        """Does nothing: every file is already whole."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TensorBoardSink:
    """Writes pictures and numbers for TensorBoard.

    The pictures are PNG bytes of Pillow's at compression level 1, which takes a fraction of the time of the encoder in
    `tf.summary.image`; TensorBoard shows them under "images" all the same. Give the sink a folder of its own, such as
    `logs/explanations`: TensorBoard reads one growing file a folder, and `keras.callbacks.TensorBoard` has
    `logs/train` and `logs/validation`.

    Args:
        log_dir: Made if missing.
        required: Whether it is an error that TensorBoard is not installed; if not, the sink drops everything, and
            `enabled` is False.

    Raises:
        KerasxaiError: TensorBoard is not installed, or the folder cannot be written to.

    Example:
        >>> with TensorBoardSink("logs/explanations") as sink:
        ...     sink.image("gradcam/cat", np.zeros((8, 8, 3), np.uint8), step=1)
        ...     sink.scalar("gt_known_loc", 0.7, step=1)
    """

    def __init__(self, log_dir: str | os.PathLike[str], required: bool = True) -> None:
        self.log_dir = Path(log_dir)
        self._writer: Any = None
        try:
            import tensorboard.compat.proto.event_pb2  # noqa: F401
        except ImportError as error:
            if required:
                raise KerasxaiError(
                    "TensorBoard is not installed; install it with: pip install 'kerasxai[tensorboard]'"
                ) from error
            return
        try:
            self.log_dir.mkdir(parents=True, exist_ok=True)
            self._writer = _EventFile(self.log_dir)
        except OSError as error:
            raise KerasxaiError(f"cannot write {self.log_dir}: {error.strerror or error}") from error

    @property
    def enabled(self) -> bool:
        """Whether anything is written."""
        return self._writer is not None

    def image(self, tag: str, pictures: ArrayLike, step: int, description: str = "") -> None:
        """Writes one picture or a batch under one tag.

        Args:
            tag: What is shown; up to the first slash it is the group.
            pictures: `(H, W, 3)` or `(N, H, W, 3)`.
            step: The epoch or step.
            description: Markdown that TensorBoard shows beside the tag.
        """
        if not self.enabled:
            return
        batch = _batch(pictures)
        height, width = batch[0].shape[:2]
        self.encoded(tag, [encode_png(picture) for picture in batch], (height, width), step, description)

    def encoded(
        self, tag: str, pictures: Sequence[bytes], size: tuple[int, int], step: int, description: str = ""
    ) -> None:
        """Writes pictures that are PNG bytes already, each of `size` = (height, width); otherwise as `image`."""
        if not self.enabled:
            return
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.image.metadata import create_summary_metadata

        # The images plugin's own layout: width, height, then one encoded picture each.
        strings = [str(size[1]).encode(), str(size[0]).encode(), *pictures]
        tensor = TensorProto(
            dtype=DT_STRING,
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=len(strings))]),
            string_val=strings,
        )
        self._add(tag, step, tensor=tensor, metadata=create_summary_metadata(tag, description))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Writes one number under `tag` at `step`."""
        if not self.enabled:
            return
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboard.compat.proto.types_pb2 import DT_FLOAT
        from tensorboard.plugins.scalar.metadata import create_summary_metadata

        tensor = TensorProto(dtype=DT_FLOAT, tensor_shape=TensorShapeProto(), float_val=[float(value)])
        self._add(tag, step, tensor=tensor, metadata=create_summary_metadata(tag, ""))

    def flush(self) -> None:
        """Waits until all that was given is on the disk."""
        if self.enabled:
            self._writer.flush()

    def close(self) -> None:
        """Flushes, and ends the file; later calls write nothing."""
        if self.enabled:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add(self, tag: str, step: int, **value: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(tag=tag, **value)])
        self._writer.add(Event(wall_time=time.time(), step=step, summary=summary))


class _EventFile:
    """One growing file of events.

    TensorBoard's own writer takes its checksums in Python, a quarter of a second for a picture of a megabyte.
    """

    _count = itertools.count()

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf
        from tensorboard.compat.proto.event_pb2 import Event

        now = time.time()
        name = f"{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{next(self._count)}.kerasxai"
        self._records = tf.io.TFRecordWriter(str(folder / f"events.out.tfevents.{name}"))
        self.add(Event(wall_time=now, file_version="brain.Event:2"))
        self.flush()

    def add(self, event: Any) -> None:
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        self._records.flush()

    def close(self) -> None:
        self._records.close()


def _batch(pictures: ArrayLike) -> list[Picture]:
    array = np.asarray(pictures)
    batch = to_pictures(array) if array.ndim == 4 else [to_picture(array)]
    if not batch:
        raise KerasxaiError("expected at least one picture, got an empty batch")
    return batch
