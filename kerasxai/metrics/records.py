"""Records of single images, and the figures of any group of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasxai.metrics.baselines import BASELINES, fixed_boxes, gaussian_boxes
from kerasxai.metrics.batch import BatchMeasure
from kerasxai.metrics.box_protocol import BoxProtocol

TOP_K = (1, 5)
# By the largest true box's share of the image: as large as a square of a third, or of two thirds, of the side.
SIZES = {"small": (0.0, 1 / 9), "medium": (1 / 9, 4 / 9), "large": (4 / 9, np.inf)}


class ImageRecords:
    """Records of images at one threshold, see `LocalizationReport`.

    Args:
        iou_threshold: A hit is at least this.
        class_names: Names of the classes, for `by_class`.

    Attributes:
        records: A dict for each image.
    """

    def __init__(self, iou_threshold: float = 0.5, class_names: Sequence[str] | None = None) -> None:
        self.iou_threshold = iou_threshold
        self.class_names = class_names
        self.records: list[dict[str, Any]] = []

    def best(self, count: int = 8) -> list[dict[str, Any]]:
        """Return the records of highest IoU, the highest first."""
        return sorted((record for record in self.records if "iou" in record), key=lambda record: -record["iou"])[:count]

    def worst(self, count: int = 8) -> list[dict[str, Any]]:
        """Return the records of lowest IoU, the lowest first."""
        return sorted((record for record in self.records if "iou" in record), key=lambda record: record["iou"])[:count]

    def summary(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the figures of some records; those of boxes only if there are boxes."""
        entries: dict[str, Any] = {"images": len(records)}
        for k in TOP_K:
            entries[f"top{k}_accuracy"] = float(np.mean([record["place"] < k for record in records]))
        located = [record for record in records if "iou" in record]
        entries["images_with_boxes"] = len(located)
        if not located:
            return entries
        entries |= self.hit_rates(located, [record["iou"] for record in located])
        entries["pointing_game"] = float(np.mean([record["pointing"] for record in located]))
        entries["energy_pointing_game"] = float(np.mean([record["energy"] for record in located]))
        return entries

    def hit_rates(self, records: list[dict[str, Any]], ious: list[float]) -> dict[str, float]:
        """Return GT-known Loc, Top-k Loc and mean IoU."""
        hit = np.array(ious) >= self.iou_threshold
        rank = np.array([record["place"] for record in records])
        top = {f"top{k}_loc": float((hit & (rank < k)).mean()) for k in TOP_K}
        return {"gt_known_loc": float(hit.mean()), **top, "mean_iou": float(np.mean(ious))}

    def baseline(self, name: str) -> dict[str, Any]:
        """Return the figures of one baseline."""
        located = [record for record in self.records if "iou" in record]
        return self.hit_rates(located, [record["baselines"][name] for record in located])

    def by_class(self) -> dict[str, dict[str, Any]]:
        """Return the figures by label; the keys are class numbers, because two classes may share a name."""
        names = self.class_names or []
        groups: dict[int, list[dict[str, Any]]] = {}
        for record in self.records:
            groups.setdefault(record["label"], []).append(record)
        return {
            str(label): {"name": names[label] if label < len(names) else str(label), **self.summary(records)}
            for label, records in sorted(groups.items())
        }

    def by_size(self) -> dict[str, dict[str, Any]]:
        """Return the figures of small (share of the image below 1/9), medium (below 4/9) and large objects."""
        return {
            name: self.summary([r for r in self.records if low <= r.get("share", -1) < high])
            for name, (low, high) in SIZES.items()
            if any(low <= r.get("share", -1) < high for r in self.records)
        }


class RecordsAt(ImageRecords):
    """The records of a report at another threshold, with the centered Gaussian at a threshold of its own.

    Everything that does not depend on the threshold is taken from the report's records.

    Args:
        threshold: Of the heatmaps, one of the protocol's thresholds, so that no box is searched again.
        blind_threshold: Of the centered Gaussian.
        protocol: The report's protocol.
        iou_threshold: As for `ImageRecords`.
        class_names: As for `ImageRecords`.
    """

    def __init__(
        self,
        threshold: float,
        blind_threshold: float,
        protocol: BoxProtocol,
        iou_threshold: float = 0.5,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(iou_threshold, class_names)
        self.threshold, self.blind_threshold, self.protocol = threshold, blind_threshold, protocol

    def count(self, batch: BatchMeasure, known: Sequence[dict[str, Any]]) -> None:
        """Add the records of a batch.

        Args:
            batch: The batch.
            known: Its records in the report.
        """
        protocol = self.protocol
        found = batch.largest_boxes(protocol, np.array([self.threshold]))
        for record, size, truth, boxes in zip(known, batch.sizes, batch.boxes, found, strict=True):
            if not len(truth):
                self.records.append(record)
                continue
            gaussian = gaussian_boxes(size, (self.blind_threshold,), protocol)
            iou, *blind = protocol.iou(np.vstack([boxes, fixed_boxes(size, protocol), gaussian]), truth).max(1).tolist()
            box = boxes[0].tolist() if boxes.any() or protocol.always_has_box else None
            self.records.append(
                record | {"iou": iou, "box": box, "baselines": dict(zip(BASELINES, blind, strict=True))}
            )

    def summary(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the figures of some records, and those of the baselines on the same images."""
        entries = super().summary(records)
        located = [record for record in records if "iou" in record]
        if located:
            entries["baselines"] = {
                name: self.hit_rates(located, [record["baselines"][name] for record in located]) for name in BASELINES
            }
        return entries

    def result(self) -> dict[str, Any]:
        """Return `threshold`, all figures, and those `by_class` and `by_size`, each with its `baselines`."""
        result = {"threshold": self.threshold, **self.summary(self.records)}
        result["baselines"]["centered_gaussian"]["threshold"] = self.blind_threshold
        return result | {"by_class": self.by_class(), "by_size": self.by_size()}
