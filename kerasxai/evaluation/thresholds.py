"""The threshold of an evaluation: chosen on boxes of another split, by a rule without boxes, or given."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.localization import AUTO_RULE, chosen_threshold, common_threshold, has_evidence
from kerasxai.metrics import LocalizationReport
from kerasxai.metrics.baselines import centered_gaussian
from kerasxai.metrics.batch import BatchMeasure
from kerasxai.metrics.box_protocol import BoxProtocol
from kerasxai.metrics.records import RecordsAt
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import BOX_THRESHOLD

RULE_IMAGES = 64
"""How many images are explained for a rule alone, where no split has boxes to choose with."""


@dataclass(frozen=True)
class Choice:
    """A chosen threshold.

    Attributes:
        source: Where it is from, for tables and files.
        best: The threshold that was best on the tuning split; without one, that of the rule.
        blind: The same of the centered Gaussian.
        tuned: Whether both were chosen on boxes.
        records: Empty records at the chosen threshold.
    """

    source: str
    best: float
    blind: float
    tuned: bool
    records: RecordsAt


class Thresholds:
    """Chooses the threshold of an evaluation, as `EvaluateConfig.threshold` describes.

    Args:
        config: The settings.
        protocol: Of boxes.

    Attributes:
        fixed: The given threshold, or that of the literature, 20 %.
        most: How many heatmaps the rule looks at, the first ones; None for all, where the first are of few classes.

    Raises:
        KerasxaiError: The threshold is another word than `"auto"`.
    """

    def __init__(self, config: EvaluateConfig, protocol: BoxProtocol) -> None:
        if isinstance(config.threshold, str) and config.threshold != "auto":
            raise KerasxaiError(f"threshold must be 'auto' or a number in [0, 1), got {config.threshold!r}")
        self.config, self.protocol = config, protocol
        self.fixed = BOX_THRESHOLD if isinstance(config.threshold, str) else float(config.threshold)
        self.most: int | None = RULE_IMAGES
        self._found: list[float] = []

    @property
    def needs_heatmaps(self) -> bool:
        """Whether a rule must choose, because there is no tuning split."""
        return self.config.threshold == "auto" and self.config.tune_split is None

    def look_at(self, batch: BatchMeasure) -> None:
        """Apply the rule to heatmaps, for the case that there are no boxes."""
        for heatmap, size in zip(batch.maps, batch.sizes, strict=True):
            if (self.most is None or len(self._found) < self.most) and has_evidence(heatmap):
                self._found.append(chosen_threshold(self.protocol.to_unit_map(heatmap, size), AUTO_RULE))

    def choose(self, tuning: LocalizationReport | None, class_names: Sequence[str]) -> Choice:
        """Return the threshold.

        Args:
            tuning: The report of the tuning split, if there is one.
            class_names: Names of the classes.
        """
        tuned = tuning is not None and bool(tuning.boxes.totals["images"][0])
        if tuning is not None and tuned:
            best, blind = (float(metric.result()["best_threshold"]) for metric in (tuning.boxes, tuning.gaussian))
            source = f"boxes of {self.config.tune_split}"
        else:
            best = self._on_grid(float(np.median(self._found)) if self._found else BOX_THRESHOLD)
            blind = self._on_grid(common_threshold([centered_gaussian((224, 224))]))
            split = self.config.split if self.config.tune_split is None else self.config.tune_split
            source = f"{AUTO_RULE} on heatmaps of {split}"
        given = self.config.threshold != "auto"
        records = RecordsAt(self.fixed if given else best, blind, self.protocol, 0.5, list(class_names))
        return Choice("given" if given else source, best, blind, tuned, records)

    def _on_grid(self, threshold: float) -> float:
        """Return the nearest threshold of the protocol's sweep, whose boxes are found anyway."""
        return float(self.protocol.thresholds[np.abs(self.protocol.thresholds - threshold).argmin()])
