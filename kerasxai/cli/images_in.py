"""The images that a command reads: which files, in which order, at which size."""

from pathlib import Path

import numpy as np

from kerasxai.core.errors import KerasxaiError


def image_files(given: list[str]) -> list[Path]:
    """Returns the files that were named and those in the folders that were named, which must be there.

    Raises:
        KerasxaiError: A path does not exist, or a folder holds no images.
    """
    from kerasxai.data.images import SUFFIXES

    files: list[Path] = []
    for path in map(Path, given):
        inside = (
            sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        )
        if not inside:
            raise KerasxaiError(f"the folder {path} holds no images ({', '.join(sorted(SUFFIXES))})")
        files += inside
    for file in files:
        if not file.is_file():
            raise KerasxaiError(f"there is no image {file}")
    return files


def resized(images: list[np.ndarray], side: tuple[int, int]) -> np.ndarray:
    """Resizes images of any sizes to one batch `(N, *side, 3)` float32, as training does."""
    import tensorflow as tf

    return np.stack([tf.image.resize(image, side, antialias=True).numpy() for image in images])
