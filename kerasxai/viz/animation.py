"""Animations as GIF or WebP."""

import os
from pathlib import Path

from PIL import Image

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import atomic_path
from kerasxai.viz.pixels import to_pictures
from kerasxai.viz.scatter import Pictures


def save_animation(path: str | os.PathLike[str], frames: Pictures, seconds: float = 0.1, rest: float = 1.5) -> Path:
    """Write an animation that loops forever.

    Args:
        path: Ends in `.gif` or `.webp`; WebP keeps all colors and is smaller.
        frames: Pictures of one size, in any form that `to_picture` accepts.
        seconds: Duration of each frame.
        rest: Duration of the last frame.

    Returns:
        The path.

    Raises:
        KerasxaiError: The path has another suffix, there are no frames, or they differ in size.

    Example:
        >>> save_animation("out/ascent.gif", [np.zeros((8, 8, 3)), np.full((8, 8, 3), 255)]).name
        'ascent.gif'
    """
    path = Path(path)
    if path.suffix.lower() not in (".gif", ".webp"):
        raise KerasxaiError(f"expected a path that ends in .gif or .webp, got {path}")
    pictures = to_pictures(frames)
    if not pictures or len({picture.shape for picture in pictures}) > 1:
        raise KerasxaiError(f"expected frames of one size, got {sorted({p.shape for p in pictures}) or 'none'}")
    images = [Image.fromarray(picture) for picture in pictures]
    durations = [round(1000 * seconds)] * (len(images) - 1) + [round(1000 * max(rest, seconds))]
    with atomic_path(path) as temporary:
        images[0].save(temporary, save_all=True, append_images=images[1:], duration=durations, loop=0)
    return path
