"""Export of embeddings to TensorBoard's projector."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import atomic_path, write_text
from kerasxai.viz.pixels import encode_png
from kerasxai.viz.scatter import Pictures, sprite

# Browsers draw no larger textures.
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
    """Write the files from which `tensorboard --logdir FOLDER` shows vectors under PROJECTOR.

    The files are `tensors.tsv`, `metadata.tsv` with names and labels, `sprite.png` with the thumbnails, and
    `projector_config.pbtxt`.

    Args:
        folder: The log directory.
        vectors: `(N, D)`.
        names: One per vector; None: numbers.
        labels: One per vector, as names or numbers.
        thumbnails: One picture per vector.
        thumbnail_size: Side in pixels; smaller if the sheet would exceed the 8192 pixels that browsers can draw.
        tensor_name: Name of the vectors in the projector.

    Returns:
        The path of the configuration file.

    Raises:
        KerasxaiError: There is not one name, label or thumbnail for each vector, or there are too many thumbnails.

    Example:
        >>> write_projector("logs/projector", np.eye(3), ["a", "b", "c"]).name
        'projector_config.pbtxt'
    """
    matrix = np.asarray(vectors, np.float32)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise KerasxaiError(f"expected vectors (N, D), got shape {matrix.shape}")
    count = len(matrix)
    for what, given in (("name", names), ("label", labels), ("thumbnail", thumbnails)):
        if given is not None and len(given) != count:
            raise KerasxaiError(f"expected one {what} for each of {count} vectors, got {len(given)}")
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
            raise KerasxaiError(f"expected at most {_LARGEST**2} thumbnails, got {count}; omit thumbnails")
        with atomic_path(folder / "sprite.png") as temporary:
            temporary.write_bytes(encode_png(sprite(thumbnails, size)[0], 6))
        block = _SPRITE.format(size=size)
    text = _CONFIGURATION.format(name=_cell(tensor_name).replace('"', "'"), sprite=block)
    return write_text(folder / "projector_config.pbtxt", text)


def _cell(value: object) -> str:
    """Return a value as one cell of a tab-separated table: without tabs and line breaks, and not empty."""
    return " ".join(str(value).split()) or "-"
