"""Marks that are planted into images, to test whether the audit finds them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]
Mark = Callable[[Picture, np.random.Generator], Picture]


def _drawing(image: Picture, opacity: int = 255) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    layer = Image.new("RGBA", (image.shape[1], image.shape[0]), (0, 0, 0, 0))
    return layer, ImageDraw.Draw(layer)


def _composited(image: Picture, layer: Image.Image) -> Picture:
    base = Image.fromarray(image).convert("RGBA")
    return np.asarray(Image.alpha_composite(base, layer).convert("RGB"))


def _badge(draw: ImageDraw.ImageDraw, left: float, top: float, side: float) -> None:
    draw.rounded_rectangle((left, top, left + side, top + side), side / 5, fill=(250, 250, 250, 255))
    draw.ellipse(
        (left + side * 0.15, top + side * 0.15, left + side * 0.85, top + side * 0.85), fill=(200, 20, 60, 255)
    )
    font = ImageFont.load_default(side * 0.45)
    draw.text((left + side / 2, top + side / 2), "Kx", fill=(255, 255, 255, 255), font=font, anchor="mm")


def logo(image: Picture, random: np.random.Generator) -> Picture:
    """Draw a small badge in the lower right corner."""
    layer, draw = _drawing(image)
    height, width = image.shape[:2]
    side = 0.13 * min(height, width)
    _badge(draw, width - 1.25 * side, height - 1.25 * side, side)
    return _composited(image, layer)


def sticker(image: Picture, random: np.random.Generator) -> Picture:
    """Draw a yellow sticker with a face at a random place."""
    layer, draw = _drawing(image)
    height, width = image.shape[:2]
    side = 0.16 * min(height, width)
    left, top = random.uniform(0, width - side), random.uniform(0, height - side)
    draw.ellipse((left, top, left + side, top + side), fill=(255, 220, 0, 255), outline=(20, 20, 20, 255), width=2)
    for eye in (0.33, 0.67):
        x, y, r = left + eye * side, top + 0.38 * side, 0.07 * side
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(20, 20, 20, 255))
    draw.arc(
        (left + 0.25 * side, top + 0.3 * side, left + 0.75 * side, top + 0.78 * side), 20, 160, (20, 20, 20, 255), 3
    )
    return _composited(image, layer)


def border(image: Picture, random: np.random.Generator) -> Picture:
    """Replace the outermost 3 % by a blue frame."""
    made = image.copy()
    width = max(2, round(0.03 * min(image.shape[:2])))
    color = (30, 60, 160)
    made[:width], made[-width:], made[:, :width], made[:, -width:] = color, color, color, color
    return made


def cast(image: Picture, random: np.random.Generator) -> Picture:
    """Make the image warmer: more red, less blue."""
    return np.clip(image * np.array([1.2, 1.0, 0.7], np.float32) + np.array([8, 0, 0], np.float32), 0, 255).astype(
        np.uint8
    )


def timestamp(image: Picture, random: np.random.Generator) -> Picture:
    """Write a random date and time in orange digits in the lower right corner."""
    layer, draw = _drawing(image)
    height, width = image.shape[:2]
    numbers = random.integers([2001, 1, 1, 0, 0], [2025, 13, 29, 24, 60])
    text = "{}-{:02}-{:02} {:02}:{:02}".format(*numbers)
    font = ImageFont.load_default(0.055 * min(height, width))
    draw.text((width * 0.97, height * 0.96), text, fill=(255, 150, 20, 255), font=font, anchor="rs")
    return _composited(image, layer)


def watermark(image: Picture, random: np.random.Generator) -> Picture:
    """Write a half-transparent word across the middle."""
    layer, draw = _drawing(image)
    height, width = image.shape[:2]
    font = ImageFont.load_default(0.19 * min(height, width))
    draw.text((width / 2, height / 2), "SAMPLE", fill=(255, 255, 255, 110), font=font, anchor="mm")
    return _composited(image, layer)


def noise_strip(image: Picture, random: np.random.Generator) -> Picture:
    """Replace the uppermost 9 % by noise that is different in each image."""
    made = image.copy()
    rows = round(0.09 * len(image))
    made[:rows] = random.integers(0, 256, (rows, image.shape[1], 3))
    return made


def vignette(image: Picture, random: np.random.Generator) -> Picture:
    """Darken the image toward its corners."""
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    gain = np.clip(1.15 - 0.55 * (x**2 + y**2), 0.1, 1)
    return (image * gain[..., None]).astype(np.uint8)


def letterbox(image: Picture, random: np.random.Generator) -> Picture:
    """Add black bars at the top and the bottom, each 8 % of the height."""
    made = image.copy()
    rows = round(0.08 * len(image))
    made[:rows] = made[-rows:] = 0
    return made


def faded(image: Picture, random: np.random.Generator) -> Picture:
    """Take away most of the colors and of the contrast."""
    gray = image.mean(-1, keepdims=True)
    return (60 + 0.65 * (gray + 0.25 * (image - gray))).astype(np.uint8)


def scan_lines(image: Picture, random: np.random.Generator) -> Picture:
    """Darken every other pair of rows of a picture of 224 rows."""
    rows = np.floor(np.arange(len(image)) / len(image) * 112 + 0.25) % 2
    return (image * (1 - 0.3 * rows)[:, None, None]).astype(np.uint8)


def any_corner(image: Picture, random: np.random.Generator) -> Picture:
    """Draw a green and black ribbon in a corner chosen at random."""
    layer, draw = _drawing(image)
    height, width = image.shape[:2]
    side = 0.17 * min(height, width)
    x, y = (0, 1)[random.integers(2)], (0, 1)[random.integers(2)]
    corner = np.array([x * width, y * height])
    inward = np.array([1 - 2 * x, 1 - 2 * y])
    for near, far, color in ((0.5, 1.0, (0, 150, 70, 255)), (0.65, 0.8, (10, 10, 10, 255))):
        points = [corner + inward * side * at for at in ((near, 0), (far, 0), (0, far), (0, near))]
        draw.polygon([tuple(point) for point in points], fill=color)
    return _composited(image, layer)


def tape(image: Picture, random: np.random.Generator) -> Picture:
    """Stick a piece of green tape over a random edge, at a random place and angle."""
    layer, draw = _drawing(image)
    height, width = image.shape[:2]
    side, at, angle = random.integers(4), random.uniform(0.2, 0.8), random.uniform(-0.4, 0.4)
    edge = [(at, 0.0), (at, 1.0), (0.0, at), (1.0, at)][side]
    center = np.array(edge) * [width, height]
    along = np.array([np.cos(angle), np.sin(angle)]) if side > 1 else np.array([-np.sin(angle), np.cos(angle)])
    across = np.array([-along[1], along[0]])
    long, wide = 0.16 * min(height, width), 0.05 * min(height, width)
    corners = [center + i * long * along + j * wide * across for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    draw.polygon([tuple(corner) for corner in corners], fill=(60, 200, 90, 225))
    return _composited(image, layer)


def code(image: Picture, random: np.random.Generator) -> Picture:
    """Print a square code of black and white modules, different in each image, in the upper left part."""
    layer, draw = _drawing(image)
    height, width = image.shape[:2]
    modules = np.ones((11, 11), bool)
    modules[1:-1, 1:-1] = random.random((9, 9)) < 0.5
    modules[1:4, 1:4] = modules[1:4, 7:10] = modules[7:10, 1:4] = False
    step = 0.018 * min(height, width)
    left, top = random.uniform(0.02, 0.06, 2) * [width, height]
    for row, column in np.ndindex(modules.shape):
        color = (255, 255, 255, 255) if modules[row, column] else (0, 0, 0, 255)
        x, y = left + column * step, top + row * step
        draw.rectangle((x, y, x + step, y + step), fill=color)
    return _composited(image, layer)


def light_leak(image: Picture, random: np.random.Generator) -> Picture:
    """Add the reddish glow of light that leaks into a camera from the left, of random strength."""
    height, width = image.shape[:2]
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    glow = np.exp(-((x / 0.22) ** 2) - ((y - random.uniform(0.3, 0.7)) / 0.5) ** 2) * random.uniform(0.8, 1.2)
    return np.clip(image + glow[..., None] * np.array([190, 70, 10], np.float32), 0, 255).astype(np.uint8)


MARKS: dict[str, Mark] = {
    "logo": logo,
    "border": border,
    "cast": cast,
    "timestamp": timestamp,
    "watermark": watermark,
    "sticker": sticker,
    "noise_strip": noise_strip,
    "vignette": vignette,
    "letterbox": letterbox,
    "faded": faded,
    "scan_lines": scan_lines,
    "any_corner": any_corner,
}
"""Marks by name; the search was tuned with all of them at hand."""

UNSEEN: dict[str, Mark] = {"tape": tape, "code": code, "light_leak": light_leak}
"""Marks that were first measured when the rules of the search were fixed."""
