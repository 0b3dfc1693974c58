"""Drawing of one scene: a background, clutter, and objects made of a head, a body and a tail.

The head determines the class: its pattern and its form belong to one class only. The body's texture is shared by two
classes and is fainter, the tail has no information. Size, position, pose and colors are independent of the class.
"""

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from kerasxai.data.shapes import backgrounds
from kerasxai.data.shapes.forms import ellipse, outline, ribbon
from kerasxai.data.shapes.patterns import PATTERNS, TEXTURES, Pattern

CLASSES = (
    "striped star",
    "spotted arrow",
    "checkered cross",
    "ringed circle",
    "zigzag triangle",
    "gridded square",
    "rayed flower",
    "halved heart",
)
BODY_OF = ("wavy", "wavy", "scaly", "scaly", "mottled", "mottled", "woven", "woven")
HEAD, BODY, TAIL = 1, 2, 3
FIRST_SEED = {"train": 0, "validation": 1_000_000, "test": 2_000_000}
"""The seed of the first image of each split; the next images have the next seeds."""
SIZES = (0.25, 0.8)
# At 0.35 networks named the class by the body first: 70 % of the maxima of class activation maps lay there, so that
# nothing was left to find outside the head.
BODY_CONTRAST = 0.16
_OVERSAMPLING = 4


@dataclass(frozen=True)
class Part:
    """One painted outline.

    Attributes:
        outline: `(n, 2)` points `(x, y)` in pixels of the image.
        origin: `(2,)` origin of the part's coordinates, in pixels.
        axes: `(2, 2)` rows: the part's x and y unit as vectors in pixels.
        pattern: The pattern that is painted, or None for a plain part.
        dark: `(3,)` color where the pattern is 0.
        light: `(3,)` color where the pattern is 1.
        shift: `(2,)` added to the part's coordinates for the pattern.
        rim: Share of the outline (around `origin`) that is painted plainly `dark`, outside of the pattern.
    """

    outline: np.ndarray
    origin: np.ndarray
    axes: np.ndarray
    pattern: Pattern | None
    dark: np.ndarray
    light: np.ndarray
    shift: np.ndarray
    rim: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A drawn image and the positions of its objects.

    Attributes:
        image: `(size, size, 3)` uint8.
        part_masks: For each object `(size, size)` uint8: 0 elsewhere, 1 its head, 2 its body, 3 its tail.
        boxes: `(objects, 4)` float32 relative `(x0, y0, x1, y1)`, tight around the visible part of each object.
        labels: The class of each object.
    """

    image: np.ndarray
    part_masks: list[np.ndarray]
    boxes: np.ndarray
    labels: list[int]


def color(random: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    """Return a random RGB color of any hue, `(3,)` float32."""
    hsv = random.random(), random.uniform(*saturation), random.uniform(*value)
    return np.array(colorsys.hsv_to_rgb(*hsv), dtype=np.float32)


def _turned(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def sample_object(random: np.random.Generator, label: int, share: float, size: int) -> list[Part]:
    """Draw the pose and the colors of an object of a class.

    Args:
        random: The source of randomness.
        label: Index into `CLASSES`.
        share: The longer side of the object's box as a share of the image's side.
        size: Side of the image in pixels.

    Returns:
        Tail, body and head, in the order in which they are painted; the box of their outlines begins at (0, 0).
    """
    pattern, form = CLASSES[label].split()
    small = (SIZES[1] - share) / (SIZES[1] - SIZES[0])
    # Small objects have a relatively larger head, which otherwise would be less than two feature cells.
    diameter = 0.62 + 0.23 * small + random.uniform(-0.06, 0.06)
    width = random.uniform(0.68, 0.94) + 0.06 * small
    neck = random.uniform(-0.4, 0.4)
    head_at = (0.5 + 0.3 * diameter) * np.array([np.cos(neck), np.sin(neck) * width])
    head_turn = _turned(neck + random.uniform(-0.6, 0.6)) * diameter
    tail = ribbon(
        np.array([-0.42, 0.0]),
        heading=np.pi + random.uniform(-0.6, 0.6),
        length=random.uniform(0.25, 0.55) - 0.1 * small,
        width=random.uniform(0.16, 0.24),
        bend=random.uniform(-1.6, 1.6),
    )
    outlines = [tail, ellipse(1.0, width), outline(form) @ head_turn + head_at]
    frame = _turned(random.uniform(0.0, 2.0 * np.pi))
    if random.random() < 0.5:
        frame = frame * np.array([1.0, -1.0])
    turned = [points @ frame for points in outlines]
    corners = np.concatenate(turned)
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = share * size / (high - low).max()
    placed = [(points - low) * scale for points in turned]
    origins = [(point @ frame - low) * scale for point in (np.zeros(2), np.zeros(2), head_at)]
    frames = [frame * scale, frame * scale, head_turn @ frame * scale]
    dark, light = color(random, (0.4, 1.0), (0.05, 0.3)), color(random, (0.05, 0.6), (0.85, 1.0))
    if random.random() < 0.5:
        dark, light = light, dark
    skin = color(random, (0.2, 0.75), (0.45, 0.85))
    plain = color(random, (0.0, 0.5), (0.3, 0.8))
    half = random.choice([-0.5, 0.5]) * BODY_CONTRAST
    shift = random.uniform(-9.0, 9.0, size=2)
    zero = np.zeros(2)
    return [
        Part(placed[0], origins[0], frames[0], None, plain, plain, zero),
        Part(placed[1], origins[1], frames[1], TEXTURES[BODY_OF[label]], skin - half, skin + half, shift),
        Part(placed[2], origins[2], frames[2], PATTERNS[pattern], dark, light, zero, rim=0.12),
    ]


Region = tuple[slice, slice]
"""Rows and columns of an image."""


def coverage(points: np.ndarray, size: int) -> tuple[np.ndarray, Region]:
    """Return how much of each pixel lies in a polygon.

    Args:
        points: `(n, 2)` points `(x, y)` in pixels of the image.
        size: Side of the image in pixels; the outside is cut off.

    Returns:
        `(h, w)` float32 in [0, 1], and its rows and columns in the image.
    """
    left, top = np.clip(np.floor(points.min(axis=0)).astype(int), 0, size)
    right, bottom = np.clip(np.ceil(points.max(axis=0)).astype(int), (left, top), size)
    width, height = right - left, bottom - top
    fine = Image.new("L", (int(width) * _OVERSAMPLING, int(height) * _OVERSAMPLING))
    if width and height:
        ImageDraw.Draw(fine).polygon(((points - (left, top)) * _OVERSAMPLING - 0.5).ravel().tolist(), fill=1)
    blocks = np.asarray(fine).reshape(height, _OVERSAMPLING, width, _OVERSAMPLING)
    share = blocks.sum(axis=(1, 3), dtype=np.float32) / np.float32(_OVERSAMPLING**2)
    return share, (slice(int(top), int(bottom)), slice(int(left), int(right)))


def paint(canvas: np.ndarray, part: Part, offset: np.ndarray) -> np.ndarray:
    """Paint a part onto `canvas` (in place) and return its coverage, `(size, size)` float32 in [0, 1]."""
    size = len(canvas)
    points, origin = part.outline + offset, part.origin + offset
    alpha, window = coverage(points, size)
    colors = part.dark
    if part.pattern is not None:
        rows, columns = np.mgrid[window]
        own = (np.stack([columns, rows], axis=-1) + 0.5 - origin) @ np.linalg.inv(part.axes)
        pixel = 1.0 / np.sqrt(abs(np.linalg.det(part.axes)))
        shade = part.pattern(own[..., 0] + part.shift[0], own[..., 1] + part.shift[1], pixel)
        if part.rim:
            inner = np.zeros((size, size), dtype=np.float32)
            share, place = coverage((points - origin) * (1.0 - part.rim) + origin, size)
            inner[place] = share
            shade = shade * inner[window]
        colors = part.dark + shade[..., None] * (part.light - part.dark)
        # Light falls from one side, so that an object does not look like a paper cutout.
        colors = colors * (1.0 - 0.25 * np.hypot(own[..., 0], own[..., 1] - 0.2).clip(0.0, 1.0))[..., None]
    canvas[window] += alpha[..., None] * (np.clip(colors, 0.0, 1.0) - canvas[window])
    covered = np.zeros((size, size), dtype=np.float32)
    covered[window] = alpha
    return covered


def clutter(random: np.random.Generator, canvas: np.ndarray, count: int) -> None:
    """Paint plain and grainy blobs (in place), which any class may have around it."""
    size = len(canvas)
    for _ in range(count):
        length = size * random.uniform(0.06, 0.22)
        points = ellipse(length, length * random.uniform(0.35, 1.0), count=int(random.choice([3, 4, 5, 32])))
        points = points @ _turned(random.uniform(0.0, 2.0 * np.pi)) + random.uniform(0.0, size, size=2)
        alpha, window = coverage(points, size)
        colors = color(random, (0.1, 0.9), (0.1, 0.95))
        if random.random() < 0.4:
            grain = 0.15 * random.standard_normal((*alpha.shape, 1), dtype=np.float32)
            colors = np.clip(colors + grain, 0.0, 1.0)
        canvas[window] += np.float32(random.uniform(0.6, 1.0)) * alpha[..., None] * (colors - canvas[window])


def draw_scene(
    random: np.random.Generator, split: str, objects: list[tuple[int, list[Part], np.ndarray]], size: int
) -> Scene:
    """Draw objects onto a background of a split, the first one lowest.

    Args:
        random: The source of randomness of the background, the clutter and the noise.
        split: The split whose parts of the photographs the background is cut from.
        objects: For each the label, the parts of `sample_object` or its last ones (the head alone), and the `(2,)`
            offset `(x, y)` of its box.
        size: Side of the image in pixels.
    """
    canvas = backgrounds.crop(random, split, size)
    clutter(random, canvas, int(random.integers(1, 5)))
    visible: list[np.ndarray] = []
    for _, parts, offset in objects:
        for part in parts:
            alpha = paint(canvas, part, offset)
            visible = [share * (1.0 - alpha) for share in visible] + [alpha]
    canvas += np.float32(0.02) * random.standard_normal(canvas.shape, dtype=np.float32)
    shares = np.stack(visible)
    top = np.where(shares.sum(axis=0) >= 0.5, shares.argmax(axis=0), -1)
    part_masks, place = [], 0
    for _, parts, _ in objects:
        mask = np.zeros((size, size), dtype=np.uint8)
        for part_value in (TAIL, BODY, HEAD)[-len(parts) :]:
            mask[top == place] = part_value
            place += 1
        part_masks.append(mask)
    boxes = np.stack([tight_box(mask) for mask in part_masks])
    image = np.round(np.clip(canvas, 0.0, 1.0) * 255.0).astype(np.uint8)
    return Scene(image, part_masks, boxes, [label for label, _, _ in objects])


def tight_box(mask: np.ndarray) -> np.ndarray:
    """Return the relative `(x0, y0, x1, y1)` of the smallest box around what is not 0, `(4,)` float32."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    height, width = mask.shape
    box = [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height]
    return np.array(box, dtype=np.float32)


def draw_sample(seed: tuple[int, ...], split: str, label: int, size: int) -> Scene:
    """Draw an image with one object of a class: any size from 25 to 80 % of the side, anywhere.

    Args:
        seed: The image is a function of it, of the split and of the label.
        split: "train", "validation" or "test", whose backgrounds are used.
        label: Index into `CLASSES`.
        size: Side of the image in pixels.

    Example:
        >>> draw_sample((0,), "train", 3, 160).image.shape
        (160, 160, 3)
    """
    random = np.random.default_rng([*seed, backgrounds.SPLITS.index(split)])
    parts = sample_object(random, label, random.uniform(*SIZES), size)
    extent = np.concatenate([part.outline for part in parts]).max(axis=0)
    offset = random.uniform(0.0, size - extent)
    return draw_scene(random, split, [(label, parts, offset)], size)
