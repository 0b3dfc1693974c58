"""A folder of images that a tiny network learns: noise with a bright square."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_squares(folder: Path, side: int) -> Path:
    """Write images whose square is red, green or blue; the classes have 12, 6 and 3 images in each split.

    Args:
        folder: The folder of the splits.
        side: Of the images, in pixels.
    """
    generator = np.random.default_rng(0)
    for split in ("train", "validation"):
        for channel, (label, count) in enumerate((("a", 12), ("b", 6), ("c", 3))):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                image = generator.integers(0, 140, (side, side, 3), dtype=np.uint8)
                x, y = generator.integers(0, side - 12, 2)
                image[y : y + 12, x : x + 12, channel] = 230
                Image.fromarray(image).save(folder / split / label / f"{number}.png")
    return folder
