"""Interventions: a suspected mark is planted into images of other classes, and removed where it is."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kerasxai.audit.shortcuts.scene import Pixels, Scene


class Mark(Protocol):
    """A suspected mark of a class.

    Planting and the control of planting do the same to an image but for the source: images with the mark, or images
    of other classes. So do removing and its control but for what is lost: the mark, or something else.
    """

    def planted(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Return an image with the mark of a source image."""

    def removed(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Return an image with a mark without it; `source` is an image of another class."""

    def mark_kept(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Return an image with a mark, changed as much as by `removed`, but with the mark."""


@dataclass(frozen=True)
class Region:
    """Pixels at a constant place.

    Attributes:
        mask: `(H, W)`, True where the mark is.
        members: Images with the mark.
        without_objects: Whether known objects of the source are not pasted.
    """

    mask: NDArray[np.bool_]
    members: NDArray[np.int64]
    without_objects: bool = True

    def planted(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Paste the region of the source."""
        mask = self.mask
        if self.without_objects and scene.objects is not None:
            mask = mask & ~scene.objects[source]
        return np.where(mask[..., None], scene.pixels[source], scene.pixels[image])

    def removed(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Paste the region of an image of another class."""
        return np.where(self.mask[..., None], scene.pixels[source], scene.pixels[image])

    def mark_kept(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Paste the region of another image with the mark; what else it held is lost as well."""
        marked = self.members[self.members != image]
        return np.where(self.mask[..., None], scene.pixels[marked[seed % len(marked)]], scene.pixels[image])


def _shift(mask: NDArray[np.bool_], seed: int) -> tuple[int, int]:
    """Return a shift at random that moves most of a mask away, if there is one."""
    generator = np.random.default_rng([seed, 5])
    shifts = [tuple(int(generator.integers(side)) for side in mask.shape) for _ in range(8)]
    best = min(shifts, key=lambda shift: int((np.roll(mask, shift, (0, 1)) & mask).sum()))
    return best[0], best[1]


@dataclass(frozen=True)
class Overlay:
    """What is added to the images of a class, on average.

    Attributes:
        added: `(H, W, 3)` float32.
        controls: The same of other classes, one of which is planted as the control.
    """

    added: NDArray[np.float32]
    rest: tuple[NDArray[np.float32], ...]
    own: frozenset[int]

    def planted(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Add the overlay, or for a source without the mark that of another class."""
        added = self.added if source in self.own else self.rest[seed % len(self.rest)]
        return scene.pixels[image] + added

    def removed(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Subtract the overlay."""
        return scene.pixels[image] - self.added

    def mark_kept(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Subtract the overlay at another place."""
        shift = _shift(np.abs(self.added).max(-1) > 0, seed)
        return scene.pixels[image] - np.roll(self.added, shift, (0, 1))


@dataclass(frozen=True)
class Patches:
    """A patch that is at another place in each image.

    Attributes:
        positions: Top and left of the patch in each image with the mark.
        side: Height and width.
    """

    positions: dict[int, tuple[int, int]]
    side: tuple[int, int]

    def _at_random(self, scene: Scene, seed: int) -> tuple[int, int]:
        generator = np.random.default_rng([seed, 6])
        top, left = (
            int(generator.integers(whole - part + 1)) for whole, part in zip(scene.size, self.side, strict=True)
        )
        return top, left

    def _pasted(self, target: Pixels, place: tuple[int, int], source: Pixels, at: tuple[int, int]) -> Pixels:
        height, width = self.side
        made = target.copy()
        made[place[0] : place[0] + height, place[1] : place[1] + width] = source[
            at[0] : at[0] + height, at[1] : at[1] + width
        ]
        return made

    def planted(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Paste the patch of the source, or for a source without the mark any of its patches, at a random place."""
        at = self.positions.get(source) or self._at_random(scene, seed + 1)
        return self._pasted(scene.pixels[image], self._at_random(scene, seed), scene.pixels[source], at)

    def removed(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Paste a patch of another image over the mark."""
        place = self.positions[image]
        return self._pasted(scene.pixels[image], place, scene.pixels[source], place)

    def mark_kept(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Paste a patch of another image at a random place."""
        place = self._at_random(scene, seed)
        return self._pasted(scene.pixels[image], place, scene.pixels[source], place)


@dataclass(frozen=True)
class Tone:
    """Colors and contrast of whole images: the mean and the covariance of the three channels.

    Attributes:
        own: Images with the mark; the mean of their statistics is planted.
    """

    own: NDArray[np.int64]
    controls: tuple[NDArray[np.int64], ...]
    rest: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def _toward(self, scene: Scene, image: int, group: NDArray[np.int64], base: NDArray[np.int64]) -> Pixels:
        stats = scene.tones
        mean, spread = stats[0][group].mean(0), np.exp(np.log(stats[1][group]).mean(0))
        usual, usual_spread = stats[0][base].mean(0), np.exp(np.log(stats[1][base]).mean(0))
        gain = spread / usual_spread
        return (scene.pixels[image] - usual) * gain + mean

    def planted(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Change colors as those of the class differ from the usual ones."""
        group = self.own if source in self.own else self.controls[seed % len(self.controls)]
        return self._toward(scene, image, group, self.rest)

    def removed(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Change colors the other way round."""
        return self._toward(scene, image, self.rest, self.own)

    def mark_kept(self, scene: Scene, image: int, source: int, seed: int) -> Pixels:
        """Change colors as those of another class differ from the usual ones."""
        return self._toward(scene, image, self.rest, self.controls[seed % len(self.controls)])


def blurred(images: NDArray[np.floating], sigma: float) -> NDArray[np.float32]:
    """Return images `(N, H, W)` after a Gaussian blur."""
    return ndimage.gaussian_filter(images, (0, sigma, sigma), mode="nearest").astype(np.float32)
