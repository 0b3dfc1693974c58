"""The labels of a run with weak supervision, written into its folder for inspection."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai import data
from kerasxai.tools.files import read_csv, write_csv
from kerasxai.tools.printable import percent
from kerasxai.training.config import TrainConfig
from kerasxai.training.labels import Labels, corrupt, describe, keep_share, pseudo_labels
from kerasxai.training.run_folder import RunFolder

_COLUMNS = ("true", "given", "pseudo")


def is_weak(config: TrainConfig) -> bool:
    """Return whether a run trains with other labels than those of the data."""
    return config.label_fraction < 1 or config.label_noise > 0


class RunLabels:
    """The labels of one run: `labels.csv` in its folder, one line an image in the order of the training split.

    Its columns are `index`, `true` (labels of the data, not used for training), `given` (labels of the first two
    phases, -1 for no label) and, when they exist, `pseudo` (labels of the last phase).

    Args:
        config: Settings of the run.
        folder: Folder of the run.
        dataset: The data, opened.
    """

    def __init__(self, config: TrainConfig, folder: RunFolder, dataset: data.ImageDataset) -> None:
        self.config = config
        self.path = folder.path / "labels.csv"
        self.columns: dict[str, Labels] = {}
        if self.path.exists():
            lines = read_csv(self.path)
            self.columns = {
                name: np.array([line[name] for line in lines], np.int64) for name in _COLUMNS if name in lines[0]
            }
        else:
            true = np.asarray(dataset.labels("train"), np.int64)  # Several labels an image are refused before.
            given = keep_share(true, config.label_fraction, config.seed)
            given = corrupt(given, config.label_noise, dataset.info.num_classes, config.seed)
            self.columns = {"true": true, "given": given}

    def of_phase(self, phase: str, predict: Callable[[], NDArray]) -> Labels:
        """Return the labels `(N,)` of a phase, -1 for images that it does not use.

        Args:
            phase: One of the phases of training; the last one, "pseudo", also uses pseudo-labels.
            predict: Returns the probabilities `(N, C)` of all training images; called once, to make pseudo-labels.
        """
        if not self.path.exists():
            self._write()
        if phase != "pseudo":
            return self.columns["given"]
        # Written at once, so that a killed run continues with the same pseudo-labels.
        if "pseudo" not in self.columns:
            self.columns["pseudo"] = pseudo_labels(self.columns["given"], predict(), self.config.confidence)
            self._write()
        return self.columns["pseudo"]

    def counts(self) -> dict[str, Any]:
        """Return the number of labels of each kind, and how many are correct."""
        return describe(self.columns["true"], self.columns["given"], self.columns.get("pseudo"))

    def summary(self) -> str:
        """Return the counts as a sentence."""
        it = self.counts()
        text = f"labels: {it['labeled']} of {it['images']} training images have one"
        if self.config.label_noise:
            text += f", {it['wrong']} of them a wrong one"
        if "pseudo" in it:
            text += f"; {it['pseudo']} of the others were given a class at confidence {self.config.confidence:g}"
            if it["pseudo"]:
                text += f", {it['pseudo_right']} ({percent(it['pseudo_right'] / it['pseudo'], 1)}) of them rightly"
        return text

    def _write(self) -> None:
        rows = zip(range(len(self.columns["true"])), *self.columns.values(), strict=True)
        write_csv(self.path, ["index", *self.columns], rows)
