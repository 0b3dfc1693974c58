"""Writers of pictures: PNG files and TensorBoard."""

import itertools
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import atomic_path
from kerasxai.viz.pixels import Picture, encode_png, to_picture, to_pictures

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto


def save_png(path: str | os.PathLike[str], picture: ArrayLike, compression: int = 1) -> Path:
    """Write a picture as PNG, atomically.

    Args:
        path: The file; missing folders are created.
        picture: `(H, W, 3)` uint8, or anything that `to_picture` accepts.
        compression: 0 to 9, see `encode_png`.

    Returns:
        The path.

    Raises:
        KerasxaiError: The path does not end in ".png", the array is not a picture, or the file cannot be written.

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


class TensorBoardSink:
    """A writer of pictures and numbers for TensorBoard.

    Pictures are encoded by Pillow at compression level 1, which takes a fraction of the time of `tf.summary.image`;
    TensorBoard shows them under "images" as usual. Use a separate folder, such as `logs/explanations`: TensorBoard
    reads one growing file per folder, and `keras.callbacks.TensorBoard` writes to `logs/train` and `logs/validation`.

    Args:
        log_dir: Created if missing.
        required: Whether to raise an error if TensorBoard is not installed; otherwise nothing is written, and
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
        self._writer: _EventFile | None = None
        try:
            import tensorboard.compat.proto.event_pb2  # noqa: F401
        except ImportError as error:
            if required:
                raise KerasxaiError(
                    "cannot write for TensorBoard: TensorBoard is not installed; install it with: "
                    "pip install 'kerasxai[tensorboard]'"
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
        """Write one picture or a batch of pictures.

        Args:
            tag: The name; the part before the first slash is the group.
            pictures: `(H, W, 3)` or `(N, H, W, 3)`.
            step: The epoch or step.
            description: Markdown that TensorBoard shows next to the tag.
        """
        if not self.enabled:
            return
        batch = _batch(pictures)
        height, width = batch[0].shape[:2]
        self.encoded(tag, [encode_png(picture) for picture in batch], (height, width), step, description)

    def encoded(
        self, tag: str, pictures: Sequence[bytes], size: tuple[int, int], step: int, description: str = ""
    ) -> None:
        """Write pictures that are already encoded as PNG, each of `size` = (height, width); see `image`."""
        if not self.enabled:
            return
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.image.metadata import create_summary_metadata

        # The layout of the images plugin: width, height, then the encoded pictures.
        strings = [str(size[1]).encode(), str(size[0]).encode(), *pictures]
        tensor = TensorProto(
            dtype=DT_STRING,
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=len(strings))]),
            string_val=strings,
        )
        self._add(tag, step, tensor=tensor, metadata=create_summary_metadata(tag, description))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write one number under `tag` at `step`."""
        if not self.enabled:
            return
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboard.compat.proto.types_pb2 import DT_FLOAT
        from tensorboard.plugins.scalar.metadata import create_summary_metadata

        tensor = TensorProto(dtype=DT_FLOAT, tensor_shape=TensorShapeProto(), float_val=[float(value)])
        self._add(tag, step, tensor=tensor, metadata=create_summary_metadata(tag, ""))

    def hparams(self, values: Mapping[str, bool | int | float | str]) -> None:
        """Write the settings of a training, which TensorBoard compares under HPARAMS."""
        if self._writer is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.plugins.hparams.api import hparams_pb

        self._writer.add(Event(wall_time=time.time(), summary=hparams_pb(dict(values))))
        self._writer.flush()

    def flush(self) -> None:
        """Write buffered events to the disk."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Flush and close the file; later calls write nothing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add(self, tag: str, step: int, tensor: "TensorProto", metadata: "SummaryMetadata") -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        assert self._writer is not None
        summary = Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])
        self._writer.add(Event(wall_time=time.time(), step=step, summary=summary))


class _EventFile:
    """A growing file of events.

    TensorBoard's own writer computes checksums in Python, a quarter of a second for a picture of one megabyte.
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

    def add(self, event: "Event") -> None:
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
