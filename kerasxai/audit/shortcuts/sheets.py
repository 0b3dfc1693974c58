"""Pictures of tested marks: where they are, and what planting and removing them do."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kerasxai import viz
from kerasxai.audit.shortcuts.interventions import Patches
from kerasxai.audit.shortcuts.scene import Pixels, Scene
from kerasxai.audit.shortcuts.verdict import TriedSuspect, sentence
from kerasxai.tools.printable import printable

Picture = NDArray[np.uint8]

_COLUMNS = 6
_OUTLINE = (255, 0, 255)


class Sheet(NamedTuple):
    """A picture of the page.

    Attributes:
        picture: `(h, w, 3)` uint8.
        caption: The text below it.
    """

    picture: Picture
    caption: str


def sheet_of(scene: Scene, tested: TriedSuspect, seed: int) -> Sheet:
    """Draw images with the mark, the same without it, and images of other classes before and after.

    Args:
        scene: The images.
        tested: The suspect and its trial.
        seed: Of the places of planted patches.
    """
    suspect, mark, number = tested.suspect, tested.suspect.mark, tested.suspect.class_number
    members = suspect.members[:_COLUMNS]
    hosts = tested.trial.hosts[: len(members)]
    rest = scene.of_rest(number)
    donors = rest[np.linspace(0, len(rest) - 1, len(members)).astype(int)]
    removed = [
        mark.removed(scene, int(image), int(donor), seed + place)
        for place, (image, donor) in enumerate(zip(members, donors, strict=True))
    ]
    planted = [
        mark.planted(scene, int(host), int(source), seed + place)
        for place, (host, source) in enumerate(zip(hosts, np.resize(suspect.members, len(hosts)), strict=True))
    ]
    originals: list[Pixels] = [scene.pixels[i] for i in hosts]
    rows: list[list[Pixels]] = [[_outlined(scene, tested, int(i)) for i in members], removed, originals, planted]
    captions = [
        _captions(scene.log_odds[members, number]),
        _captions(scene.log_odds_of(removed)[:, number]),
        _captions(scene.log_odds[hosts, number]),
        _captions(scene.log_odds_of(planted)[:, number]),
    ]
    name = printable(scene.class_names[number])
    labels = ["with the mark", "mark removed", "other classes", "mark planted"]
    pictures = [[_picture(cell) for cell in row] for row in rows]
    title = f"{name}: {suspect.kind}" + ("" if tested.confirmed else ", not confirmed")
    note = f"below each image: the probability of {name}"
    drawn = viz.grid(pictures, labels, captions=captions, title=title, note=note, cell_size=128)
    return Sheet(drawn, sentence(scene, tested))


def _captions(log_odds: NDArray[np.float64]) -> list[str]:
    return [f"{1 / (1 + np.exp(-value)):.3f}" for value in log_odds]


def _picture(pixels: Pixels) -> Picture:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _outlined(scene: Scene, tested: TriedSuspect, image: int) -> Picture:
    """Return an image with an outline around the suspected place."""
    made, mark = scene.pixels[image].copy(), tested.suspect.mark
    place = tested.suspect.place
    if isinstance(mark, Patches):
        place = np.zeros(scene.size, bool)
        top, left = mark.positions[image]
        place[top : top + mark.side[0], left : left + mark.side[1]] = True
    if place is not None and not place.all():
        made[ndimage.binary_dilation(place, iterations=2) & ~place] = _OUTLINE
    return made
