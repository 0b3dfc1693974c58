"""Embeddings for TensorBoard's projector."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import atomic_path, write_text
from kerasxai.viz.pixels import encode_png
from kerasxai.viz.scatter import Pictures, sprite

_LARGEST = 8192
_CONFIGURATION = """embeddings {{
  tensor_name: "{name}"
  tensor_path: "tensors.tsv"
  metadata_path: "metadata.tsv"
{sprite}}}
"""
_SPRITE = """  sprite {{
    image_path: "sprite.png"
    single_image_dim: {size}
    single_image_dim: {size}
  }}
"""


def write_projector(
    folder: str | os.PathLike[str],
    vectors: ArrayLike,
    names: Sequence[str] | None = None,
    labels: Sequence[str | int] | None = None,
    thumbnails: Pictures | None = None,
    thumbnail_size: int = 64,
    tensor_name: str = "embedding",
) -> Path:
    """Writes vectors so that `tensorboard --logdir FOLDER` shows them under PROJECTOR.

    Written are `tensors.tsv`, `metadata.tsv` with name and label, `sprite.png` of the thumbnails, and
    `projector_config.pbtxt`.

    Args:
        folder: The log directory.
        vectors: `(N, D)`.
        names: One a vector; None: numbers.
        labels: One a vector, as names or numbers.
        thumbnails: One picture a vector.
        thumbnail_size: Side in pixels; less where the sheet would be larger than the 8192 pixels that browsers draw.
        tensor_name: What the projector calls them.

    Returns:
        The path of the configuration.

    Raises:
        KerasxaiError: There is not one name, label or thumbnail a vector, or more than the projector can show.

    Example:
        >>> write_projector("logs/projector", np.eye(3), ["a", "b", "c"]).name
        'projector_config.pbtxt'
    """
    matrix = np.asarray(vectors, np.float32)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise KerasxaiError(f"expected vectors (N, D), came shape {matrix.shape}")
    count = len(matrix)
    for what, given in (("name", names), ("label", labels), ("thumbnail", thumbnails)):
        if given is not None and len(given) != count:
            raise KerasxaiError(f"expected one {what} for each of {count} vectors, came {len(given)}")
    folder = Path(folder)
    with atomic_path(folder / "tensors.tsv") as temporary:
        np.savetxt(temporary, matrix, "%.7g", "\t")
    rows = zip(names or map(str, range(count)), labels if labels is not None else [""] * count, strict=True)
    lines = ["name\tlabel", *(f"{_cell(name)}\t{_cell(label)}" for name, label in rows)]
    write_text(folder / "metadata.tsv", "\n".join(lines) + "\n")
    block = ""
    if thumbnails is not None:
        columns = int(np.ceil(np.sqrt(count)))
        size = min(thumbnail_size, _LARGEST // columns)
        if size < 1:
            raise KerasxaiError(f"{count} thumbnails do not fit into one sheet; leave thumbnails out")
        with atomic_path(folder / "sprite.png") as temporary:
            temporary.write_bytes(encode_png(sprite(thumbnails, size)[0], 6))
        block = _SPRITE.format(size=size)
    text = _CONFIGURATION.format(name=_cell(tensor_name).replace('"', "'"), sprite=block)
    return write_text(folder / "projector_config.pbtxt", text)


def _cell(value: object) -> str:
    """Returns a value as one cell of a table whose cells end at tabs and whose rows end at line ends."""
    return " ".join(str(value).split()) or "-"
