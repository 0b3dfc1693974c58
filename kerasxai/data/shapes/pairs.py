"""Drawing of two heads side by side or one above the other.

Form, pattern, size, pose, colors and relation are drawn independently of each other; only the two forms differ, and the
two patterns, so that "the star" and "what is striped" name one object.
"""

from dataclasses import dataclass

import numpy as np

from kerasxai.data.shapes import backgrounds
from kerasxai.data.shapes.draw import Part, Scene, color, draw_scene
from kerasxai.data.shapes.forms import FORMS, outline
from kerasxai.data.shapes.patterns import PATTERNS

RELATIONS = ("left of", "right of", "above", "below")
PATTERN_NAMES = tuple(PATTERNS)
SIZES = (0.22, 0.42)
"""The longer side of an object's box as a share of the image's side."""
_GAP = 0.03
# How much farther apart two objects are in the direction of their relation than across it.
_CLEAR = 1.5
_TRIES = 64


@dataclass(frozen=True)
class Layout:
    """The objects of an image and their positions, before anything is painted.

    Attributes:
        forms: `(2,)` indices into `FORMS`.
        patterns: `(2,)` indices into `PATTERN_NAMES`.
        relation: Index into `RELATIONS`: the relation of the first object to the second.
        shares: `(2,)` the longer sides of the boxes as shares of the image's side.
        parts: For each object the one part that is painted; its box begins at (0, 0).
        offsets: `(2, 2)` pixels `(x, y)` of the boxes' first corners.
    """

    forms: np.ndarray
    patterns: np.ndarray
    relation: int
    shares: np.ndarray
    parts: tuple[Part, Part]
    offsets: np.ndarray


@dataclass(frozen=True)
class Pair:
    """A drawn layout."""

    layout: Layout
    scene: Scene


def sample_head(random: np.random.Generator, pattern: int, form: int, share: float, size: int) -> Part:
    """Draw the pose and the colors of a head without a body.

    Args:
        random: The source of randomness.
        pattern: Index into `PATTERN_NAMES`.
        form: Index into `FORMS`.
        share: The longer side of the box as a share of the image's side.
        size: Side of the image in pixels.

    Returns:
        The part; the box of its outline begins at (0, 0).
    """
    angle = random.uniform(0.0, 2.0 * np.pi)
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if random.random() < 0.5:
        axes = axes * np.array([1.0, -1.0])
    points = outline(FORMS[form]) @ axes
    low, high = points.min(axis=0), points.max(axis=0)
    scale = share * size / (high - low).max()
    dark, light = color(random, (0.4, 1.0), (0.05, 0.3)), color(random, (0.05, 0.6), (0.85, 1.0))
    if random.random() < 0.5:
        dark, light = light, dark
    shade = PATTERNS[PATTERN_NAMES[pattern]]
    return Part((points - low) * scale, -low * scale, axes * scale, shade, dark, light, np.zeros(2), rim=0.12)


def sample_layout(random: np.random.Generator, size: int) -> Layout:
    """Draw two objects and their positions.

    Args:
        random: The source of randomness.
        size: Side of the image in pixels.
    """
    forms = random.choice(len(FORMS), size=2, replace=False)
    patterns = random.choice(len(PATTERN_NAMES), size=2, replace=False)
    relation = int(random.integers(len(RELATIONS)))
    shares = random.uniform(*SIZES, size=2)
    first, second = (sample_head(random, patterns[k], forms[k], shares[k], size) for k in range(2))
    extents = np.stack([part.outline.max(axis=0) for part in (first, second)])
    return Layout(forms, patterns, relation, shares, (first, second), _positions(random, extents, relation, size))


def _positions(random: np.random.Generator, extents: np.ndarray, relation: int, size: int) -> np.ndarray:
    """Return the offsets of two boxes, each anywhere, among those that are clearly in the relation."""
    axis, back = relation // 2, relation % 2
    while True:
        offsets = random.uniform(0.0, size - extents, size=(_TRIES, 2, 2))
        near, far = (offsets[:, back], offsets[:, 1 - back])
        apart = far[:, axis] - near[:, axis] - extents[back, axis] > _GAP * size
        between = np.abs((far + extents[1 - back] / 2.0) - (near + extents[back] / 2.0))
        clear = between[:, axis] > _CLEAR * between[:, 1 - axis]
        found = np.nonzero(apart & clear)[0]
        if len(found):
            return offsets[found[0]]


def draw_pair(seed: tuple[int, ...], split: str, size: int) -> Pair:
    """Draw an image with two objects.

    Args:
        seed: The image is a function of it and of the split.
        split: "train", "validation" or "test", whose backgrounds are used.
        size: Side of the image in pixels.

    Example:
        >>> draw_pair((0,), "train", 160).scene.image.shape
        (160, 160, 3)
    """
    # The 2 sets the sequence apart from that of `draw_sample`.
    random = np.random.default_rng([*seed, backgrounds.SPLITS.index(split), 2])
    layout = sample_layout(random, size)
    objects = [(int(layout.forms[k]), [layout.parts[k]], layout.offsets[k]) for k in range(2)]
    return Pair(layout, draw_scene(random, split, objects, size))
