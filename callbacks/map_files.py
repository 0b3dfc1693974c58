"""The files of heatmaps of the same images, epoch by epoch."""

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
    """The images that are explained each epoch.

    Attributes:
        pictures: `(N, H, W, 3)` uint8, for drawing.
        labels: `(N,)` int64 true classes, -1 if unknown.
        class_names: `(classes,)` names, or empty.
        identity: A digest of the images, to recognize them.
    """

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: NDArray[np.str_]
    identity: str

    def name_of(self, label: int) -> str:
        """Return the name of a class, or its number."""
        return str(self.class_names[label]) if 0 <= label < len(self.class_names) else f"class {label}"


@dataclass(frozen=True)
class Maps:
    """Heatmaps of all images after one epoch.

    Attributes:
        heatmaps: `(N, H, W)` float32, as the method defines them.
        targets: `(N,)` int64, the explained classes.
        scores: `(N,)` float32, the explained scores.
    """

    heatmaps: NDArray[np.float32]
    targets: NDArray[np.int64]
    scores: NDArray[np.float32]

    @property
    def signed(self) -> bool:
        """Whether any map contains evidence against its class."""
        return strengths(self.heatmaps)[1]


class MapFiles:
    """Reads and writes a folder of heatmaps.

    `heatmaps/maps/images.npz` holds the images, `heatmaps/maps/METHOD/epoch_003.npz` the maps after the third epoch
    (as float16 shares of each map's largest magnitude, and that magnitude), `heatmaps/METHOD/epoch_003.png` the sheet
    and `heatmaps/METHOD/timeline.png` the timeline. Characters of a method's name that are not portable in file
    names become "_".

    Args:
        log_dir: The folder that contains `heatmaps`.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        self.folder = Path(log_dir) / "heatmaps"

    def sheet(self, method: str, epoch: int) -> Path:
        """Return the path of the sheet of an epoch."""
        return self.folder / _file_name(method) / f"epoch_{epoch:03d}.png"

    def timeline(self, method: str) -> Path:
        """Return the path of the timeline."""
        return self.folder / _file_name(method) / "timeline.png"

    def maps(self, method: str, epoch: int) -> Path:
        """Return the path of the maps of an epoch."""
        return self.folder / "maps" / _file_name(method) / f"epoch_{epoch:03d}.npz"

    def save_images(self, images: Images) -> None:
        """Write the images."""
        with atomic_path(self.folder / "maps" / "images.npz") as temporary:
            np.savez_compressed(temporary, **vars(images))

    def load_images(self) -> Images:
        """Read the images.

        Raises:
            KerasxaiError: There are none.
        """
        path = self.folder / "maps" / "images.npz"
        try:
            with np.load(path) as stored:
                arrays = {name: stored[name] for name in ("pictures", "labels", "class_names")}
                return Images(**arrays, identity=str(stored["identity"]))
        except _UNREADABLE as error:
            raise KerasxaiError(f"cannot read the images of an ExplanationCallback in {path}: {error}") from error

    def save(self, method: str, epoch: int, maps: Maps, identity: str) -> None:
        """Write the maps of an epoch; `identity` is that of their images."""
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
        """Read the maps of an epoch."""
        with np.load(self.maps(method, epoch)) as stored:
            heatmaps = stored["shares"].astype(np.float32) * stored["largest"][:, None, None]
            return Maps(heatmaps, stored["targets"], stored["scores"])

    def epochs(self, method: str, identity: str) -> dict[int, bool]:
        """Return the epochs with maps of these images, ascending, and whether the maps are signed."""
        # The folder may have maps of an earlier training on other images, or a file that was cut off.
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
        """Remove the files of later epochs, which a training that continues from `epoch` writes again."""
        sheets, maps = self.sheet(method, 0).parent, self.maps(method, 0).parent
        for path in [*sheets.glob("epoch_*.png"), *maps.glob("epoch_*.npz")]:
            number = path.stem.removeprefix("epoch_")
            if number.isdigit() and int(number) > epoch:
                path.unlink()


def _file_name(method: str) -> str:
    return re.sub(r"[^\w.,+=()-]+", "_", method)
