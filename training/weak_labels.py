"""The labels of a run under weak supervision; they lie in its folder, so that it can be seen what it was told."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kerasxai import data
from kerasxai.tools.files import read_csv, write_csv
from kerasxai.training.config import TrainConfig
from kerasxai.training.labels import Labels, corrupt, describe, keep_share, pseudo_labels
from kerasxai.training.run_folder import RunFolder

_COLUMNS = ("true", "given", "pseudo")


def is_weak(config: TrainConfig) -> bool:
    """Tells whether a run sees other labels than the data has."""
    return config.label_fraction < 1 or config.label_noise > 0


class RunLabels:
    """The labels of one run: `labels.csv` in its folder, one line an image in the order of the training split.

    Its columns are `index`, `true` (what the data says; no training reads it), `given` (what the first two phases read:
    -1 for no label) and, once they are made, `pseudo` (what the last phase reads).

    Args:
        config: Of the run.
        folder: Of the run.
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
            true = dataset.labels("train")
            given = keep_share(true, config.label_fraction, config.seed)
            given = corrupt(given, config.label_noise, dataset.info.num_classes, config.seed)
            self.columns = {"true": true, "given": given}

    def of_phase(self, phase: str, predict: Callable[[], Any]) -> Labels:
        """Returns the labels `(N,)` that a phase reads, -1 for images that it does not see.

        Args:
            phase: The last one, "pseudo", reads pseudo-labels too.
            predict: Returns the probabilities `(N, C)` of all training images; called where pseudo-labels are still to
                be made, which are then kept: a run that is killed goes on with the same.
        """
        if not self.path.exists():
            self._write()
        if phase != "pseudo":
            return self.columns["given"]
        if "pseudo" not in self.columns:
            self.columns["pseudo"] = pseudo_labels(self.columns["given"], predict(), self.config.confidence)
            self._write()
        return self.columns["pseudo"]

    def counts(self) -> dict[str, Any]:
        """Returns how many labels there are of each kind, and how many are right."""
        return describe(self.columns["true"], self.columns["given"], self.columns.get("pseudo"))

    def told(self) -> str:
        """Returns the counts as a sentence."""
        it = self.counts()
        text = f"labels: {it['labeled']} of {it['images']} training images have one"
        if self.config.label_noise:
            text += f", {it['wrong']} of them a wrong one"
        if "pseudo" in it:
            text += f"; {it['pseudo']} of the others were given a class at confidence {self.config.confidence:g}"
            if it["pseudo"]:
                text += f", {it['pseudo_right']} ({it['pseudo_right'] / it['pseudo']:.1%}) of them rightly"
        return text

    def _write(self) -> None:
        rows = zip(range(len(self.columns["true"])), *self.columns.values(), strict=True)
        write_csv(self.path, ["index", *self.columns], rows)
