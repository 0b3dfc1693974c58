"""The files of heatmaps that are followed through a training."""

import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import atomic_path
from kerasxai.viz.overlays import strengths

_UNREADABLE = (OSError, KeyError, ValueError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Images:
    """The images that are followed.

    Attributes:
        pictures: `(N, H, W, 3)` uint8, as they are drawn.
        labels: `(N,)` int64 true classes, -1 where they are not known.
        class_names: `(classes,)` names, or empty.
        identity: A digest of the images, to know them again.
    """

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: NDArray[np.str_]
    identity: str

    def name_of(self, label: int) -> str:
        """Returns the name of a class, or its number."""
        return str(self.class_names[label]) if 0 <= label < len(self.class_names) else f"class {label}"


@dataclass(frozen=True)
class Maps:
    """Heatmaps of all images after one epoch.

    Attributes:
        heatmaps: `(N, H, W)` float32, as the method defines them.
        targets: `(N,)` int64, the classes explained.
        scores: `(N,)` float32, the scores explained.
    """

    heatmaps: NDArray[np.float32]
    targets: NDArray[np.int64]
    scores: NDArray[np.float32]

    @property
    def signed(self) -> bool:
        """Whether any map holds evidence against."""
        return strengths(self.heatmaps)[1]


class MapFiles:
    """Reads and writes a folder of heatmaps.

    `heatmaps/maps/images.npz` holds the images, `heatmaps/maps/METHOD/epoch_003.npz` the maps after the third epoch
    (as float16 shares of each map's largest magnitude, and that magnitude), `heatmaps/METHOD/epoch_003.png` the sheet
    and `heatmaps/METHOD/timeline.png` the timeline. Characters of a method's name that file names cannot have
    everywhere become "_".

    Args:
        log_dir: The folder that holds `heatmaps`.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        self.folder = Path(log_dir) / "heatmaps"

    def sheet(self, method: str, epoch: int) -> Path:
        """Returns where the sheet of an epoch lies."""
        return self.folder / _file_name(method) / f"epoch_{epoch:03d}.png"

    def timeline(self, method: str) -> Path:
        """Returns where the timeline lies."""
        return self.folder / _file_name(method) / "timeline.png"

    def maps(self, method: str, epoch: int) -> Path:
        """Returns where the maps of an epoch lie."""
        return self.folder / "maps" / _file_name(method) / f"epoch_{epoch:03d}.npz"

    def save_images(self, images: Images) -> None:
        """Writes the images."""
        with atomic_path(self.folder / "maps" / "images.npz") as temporary:
            np.savez_compressed(temporary, **vars(images))

    def load_images(self) -> Images:
        """Reads the images.

        Raises:
            KerasxaiError: There are none.
        """
        path = self.folder / "maps" / "images.npz"
        try:
            with np.load(path) as stored:
                arrays = {name: stored[name] for name in ("pictures", "labels", "class_names")}
                return Images(**arrays, identity=str(stored["identity"]))
        except _UNREADABLE as error:
            raise KerasxaiError(f"expected the images of an ExplanationCallback in {path}: {error}") from error

    def save(self, method: str, epoch: int, maps: Maps, identity: str) -> None:
        """Writes the maps of an epoch; `identity` is that of their images."""
        largest = np.where(np.isfinite(maps.heatmaps), np.abs(maps.heatmaps), 0).max(axis=(1, 2))
        shares = maps.heatmaps / np.where(largest > 0, largest, 1)[:, None, None]
        with atomic_path(self.maps(method, epoch)) as temporary:
            # Not compressed: that would take five times as long and save less than half.
            np.savez(
                temporary,
                shares=shares.astype(np.float16),
                largest=largest,
                targets=maps.targets,
                scores=maps.scores,
                signed=maps.signed,
                identity=identity,
            )

    def load(self, method: str, epoch: int) -> Maps:
        """Reads the maps of an epoch."""
        with np.load(self.maps(method, epoch)) as stored:
            heatmaps = stored["shares"].astype(np.float32) * stored["largest"][:, None, None]
            return Maps(heatmaps, stored["targets"], stored["scores"])

    def epochs(self, method: str, identity: str) -> dict[int, bool]:
        """Returns the epochs whose maps of these images are there, rising, and whether the maps are signed."""
        found = {}
        for path in self.maps(method, 0).parent.glob("epoch_*.npz"):
            try:
                with np.load(path) as stored:
                    if str(stored["identity"]) == identity:
                        found[int(path.stem.removeprefix("epoch_"))] = bool(stored["signed"])
            except _UNREADABLE:
                continue
        return dict(sorted(found.items()))

    def forget_after(self, method: str, epoch: int) -> None:
        """Removes what lies there of later epochs: a training that goes on from `epoch` makes it anew."""
        sheets, maps = self.sheet(method, 0).parent, self.maps(method, 0).parent
        for path in [*sheets.glob("epoch_*.png"), *maps.glob("epoch_*.npz")]:
            number = path.stem.removeprefix("epoch_")
            if number.isdigit() and int(number) > epoch:
                path.unlink()


def _file_name(method: str) -> str:
    return re.sub(r"[^\w.,+=()-]+", "_", method)
