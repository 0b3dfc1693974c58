"""One report on a classifier: accuracy and localization, by class and by size, with baselines that see no image."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.metrics.base import Metric
from kerasxai.metrics.baselines import BASELINES, centered_gaussian, fixed_boxes, gaussian_boxes
from kerasxai.metrics.batch import BatchMeasure, PixelBoxesError, Truth, named_masks, to_pixels
from kerasxai.metrics.inputs import Heatmaps, ImageSize, checked_boxes, checked_count, painted
from kerasxai.metrics.kerasxai_protocol import bilinear_map
from kerasxai.metrics.localization import GTKnownLoc, MeanIoU, TopKLoc, index_of
from kerasxai.metrics.masks import MaskCoverage, PxAP
from kerasxai.metrics.pointing import energy, hits
from kerasxai.metrics.protocols import WSOL, protocol_of
from kerasxai.metrics.records import TOP_K, ImageRecords
from kerasxai.tools.deprecation import warn_deprecated
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import BOX_THRESHOLD


class ImageOptions(TypedDict, total=False):
    """Keywords of `LocalizationReport.update` about the images."""

    names: Sequence[str] | None
    image_size: ImageSize
    relative: bool


def _image_options(
    names: Sequence[str] | None = None, image_size: ImageSize = None, relative: bool = True
) -> tuple[Sequence[str] | None, ImageSize, bool]:
    """Return `ImageOptions` with their defaults; Python refuses unknown and repeated ones."""
    return names, image_size, relative


class LocalizationReport(ImageRecords):
    """All metrics of `kerasxai evaluate` in one pass, with a record of every image.

    The heatmaps are of the true classes; Top-k Loc is then the true class among the k highest scores AND its box right
    (see `TopKLoc`). The report includes three baselines that never see the image: `whole_image`, `centered_box`
    (half of each side) and `centered_gaussian` (sigma a quarter of each side, swept like a heatmap).

    Shares are fractions, `pxap` is in percent. To report at a threshold chosen on validation images, take
    `result()["best_threshold"]` of the validation report and make the test report with it.

    Args:
        threshold: Of the heatmaps, in [0, 1).
        iou_threshold: A hit is at least this.
        protocol: `"kerasxai"` or `"wsolevaluation"`, as in `kerasxai.metrics.GTKnownLoc`. The pointing games take the
            bilinear map under both.
        class_names: Names of the classes, for `by_class` and the records.

    Attributes:
        records: For each image a dict, ready for JSON: `name`, `label`, `predicted`, `place` of the true class among
            the scores (0 the highest), and where there are boxes `iou`, `box` (None where the heatmap gives none),
            `boxes`, `share`, `pointing`, `energy`, `baselines`.

    Example:
        >>> report = LocalizationReport()
        >>> report.update(np.eye(4)[None], scores=[[0.9, 0.1]], labels=[0], boxes=[[[0, 0, 1, 1]]])
        >>> report.result()["gt_known_loc"], report.result()["baselines"]["centered_box"]["gt_known_loc"]
        (1.0, 0.0)
    """

    def __init__(
        self,
        threshold: float = BOX_THRESHOLD,
        iou_threshold: float = 0.5,
        protocol: str = "kerasxai",
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(float(iou_threshold), class_names)
        self.options: dict[str, Any] = {
            "threshold": float(threshold),
            "iou_threshold": float(iou_threshold),
            "protocol": protocol,
            "class_names": None if class_names is None else [str(name) for name in class_names],
        }
        self.protocol = protocol_of(protocol)
        self.class_names = self.options["class_names"]
        self.boxes = GTKnownLoc(threshold, iou_threshold, protocol)
        self.top = TopKLoc(TOP_K, threshold, iou_threshold, protocol)
        self.gaussian = GTKnownLoc(threshold, iou_threshold, protocol)
        self.masks = MeanIoU(threshold, "masks", protocol)
        self.pxap, self.gaussian_pxap = PxAP(protocol), PxAP(protocol)
        # Stretched maps under both protocols: ACoL merges stretched maps, and coverage is compared between heads.
        self.coverage, self.gaussian_coverage = (
            MaskCoverage(protocol=WSOL.name),
            MaskCoverage(protocol=WSOL.name),
        )

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics of the report, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Metric)}

    def update(
        self,
        heatmaps: Heatmaps,
        scores: ArrayLike,
        labels: ArrayLike,
        boxes: Sequence[ArrayLike],
        masks: ArrayLike | None = None,
        parts: Mapping[str, ArrayLike] | None = None,
        *deprecated: Any,
        **images: Unpack[ImageOptions],
    ) -> None:
        """Count a batch.

        Args:
            heatmaps: `(B, h, w)` or a list of `(h, w)`, of the true classes, not normalized.
            scores: `(B, classes)` logits or probabilities.
            labels: `(B,)` true classes.
            boxes: For each image `(k, 4)` x0, y0, x1, y1; an image without a box counts for accuracy alone.
            masks: `(B, H, W)` with 1 object, 0 background, 255 ignore.
            parts: Such masks of parts of the object, by name.
            *deprecated: `names`, `image_size` and `relative` by position, as in version 0.1.0.
            **images: `names` `(B,)` for the records (default: running numbers); `image_size`, one side or (height,
                width) (default: the heatmap's own size, 224 for `"wsolevaluation"`); `relative`, whether boxes are
                fractions of width and height, as in the data sets (default), or pixels.

        Raises:
            KerasxaiError: Shapes or numbers do not fit; nothing is counted then.
        """
        if deprecated:
            warn_deprecated("names, image_size and relative of LocalizationReport.update by position", "keywords")
        names, image_size, relative = _image_options(*deprecated, **images)
        truth = Truth(labels, boxes, masks, parts or {}, relative)
        try:
            batch = self.batch(heatmaps, scores, truth, image_size)
        except PixelBoxesError as error:
            raise PixelBoxesError(error.boxes, "relative=False") from None
        self.count(batch, names)

    def batch(self, heatmaps: Heatmaps, scores: ArrayLike, truth: Truth, image_size: ImageSize = None) -> BatchMeasure:
        """Check a batch under the report's protocol; arguments as in `BatchMeasure.of`."""
        return BatchMeasure.of(heatmaps, scores, truth, image_size, self.protocol)

    def count(self, batch: BatchMeasure, names: Sequence[str] | None = None) -> None:
        """Count a batch that was checked before.

        Args:
            batch: Of `batch`.
            names: `(B,)` names of the images for the records; their running number otherwise.
        """
        named = [str(len(self.records) + index) for index in range(len(batch.maps))] if names is None else names
        checked_count("names", named, len(batch.maps))
        self._count_boxes(batch)
        self._count_masks(batch)
        for index, entries in enumerate(self._located(batch)):
            record = {
                "name": str(named[index]),
                "label": int(batch.labels[index]),
                "predicted": int(batch.predicted[index]),
                "place": int(batch.ranks[index]),
            }
            self.records.append(record | entries)

    def _count_boxes(self, batch: BatchMeasure) -> None:
        """Count the measures of boxes, and the centered Gaussian as if it were the heatmap of each image."""
        batch.update([self.boxes, self.top])
        grid = tuple(self.gaussian.grid.tolist())
        for truth, size in zip(batch.boxes, batch.sizes, strict=True):
            if len(truth):
                boxes = gaussian_boxes(size, grid, self.protocol)
                self.gaussian.count(self.protocol.iou(boxes, truth).max(axis=1)[None])

    def _count_masks(self, batch: BatchMeasure) -> None:
        """Count the measures of masks, also of the centered Gaussian."""
        batch.update([self.masks, self.pxap, self.coverage])
        if batch.masks:
            height, width = next(iter(batch.masks.values())).shape[1:]
            gaussian = replace(batch, maps=[centered_gaussian((height, width))] * len(batch.maps))
            gaussian.update([self.gaussian_coverage, self.gaussian_pxap])

    def _located(self, batch: BatchMeasure) -> list[dict[str, Any]]:
        """Return the localization entries of each record; an empty dict for an image without a box."""
        grid, protocol = self.boxes.grid, self.protocol
        column = index_of(grid, self.options["threshold"])
        found = batch.largest_boxes(protocol, grid[[column]])
        entries: list[dict[str, Any]] = []
        for heatmap, size, truth, boxes in zip(batch.maps, batch.sizes, batch.boxes, found, strict=True):
            if not len(truth):
                entries.append({})
                continue
            gaussian = gaussian_boxes(size, tuple(grid.tolist()), protocol)[column]
            candidates = np.vstack([boxes, fixed_boxes(size, protocol), gaussian])
            iou, *baselines = protocol.iou(candidates, truth).max(axis=1).tolist()
            # The pointing games take the bilinear map under both protocols, as in the papers that define them.
            heights, object_mask = bilinear_map(heatmap, size), painted(truth, size)
            areas = (truth[:, 2:] - truth[:, :2]).prod(axis=1)
            entries.append(
                {
                    "iou": iou,
                    "box": boxes[0].tolist() if boxes.any() or protocol.always_has_box else None,
                    "boxes": truth.tolist(),
                    "image_size": list(size),
                    "share": float(areas.max() / (size[0] * size[1])),
                    "pointing": hits(heights, object_mask, tolerance=15),
                    "energy": energy(heights, object_mask),
                    "baselines": dict(zip(BASELINES, baselines, strict=True)),
                }
            )
        return entries

    def to_pixels(self, boxes: ArrayLike, size: tuple[int, int], relative: bool) -> NDArray[np.float64]:
        """Deprecated: return one image's true boxes in pixels, checked; `update` does so."""
        warn_deprecated("LocalizationReport.to_pixels", "LocalizationReport.update")
        return checked_boxes(to_pixels(boxes, size) if relative else boxes, size, self.protocol)

    def located(
        self, heatmap: NDArray[np.float64], boxes: NDArray[np.float64], size: tuple[int, int], place: int
    ) -> dict[str, Any]:
        """Deprecated: count one image with boxes in pixels, and return the entries of its record; use `update`."""
        warn_deprecated("LocalizationReport.located", "LocalizationReport.update")
        unknown = np.zeros(1, np.int64)
        batch = BatchMeasure([heatmap], [size], unknown, unknown, np.array([place]), [boxes], {})
        self._count_boxes(batch)
        return self._located(batch)[0]

    def count_masks(
        self, maps: list[NDArray[np.float64]], masks: ArrayLike | None, parts: Mapping[str, ArrayLike] | None
    ) -> None:
        """Deprecated: count the measures of masks alone; use `update`."""
        warn_deprecated("LocalizationReport.count_masks", "LocalizationReport.update")
        unknown = np.zeros(len(maps), np.int64)
        self._count_masks(
            BatchMeasure(maps, [], unknown, unknown, unknown, [], named_masks(masks, parts or {}, len(maps)))
        )

    def merge(self, other: "LocalizationReport") -> Self:
        """Add the counts of another report with the same options, and return this one.

        Raises:
            KerasxaiError: The options differ.
        """
        if not isinstance(other, LocalizationReport) or other.options != self.options:
            raise KerasxaiError(
                f"other must be a LocalizationReport with {self.options}, got {getattr(other, 'options', other)!r}"
            )
        for mine, its in zip(self.metrics().values(), other.metrics().values(), strict=True):
            mine.merge(its)
        self.records = self.records + [dict(record) for record in other.records]
        return self

    def state(self) -> dict[str, Any]:
        """Return everything as plain numbers, lists and strings, ready for JSON."""
        return {
            "report": type(self).__name__,
            "options": dict(self.options),
            "records": [dict(record) for record in self.records],
            "metrics": {name: metric.state() for name, metric in self.metrics().items()},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Make a report from its `state()`.

        Raises:
            KerasxaiError: It is the state of something else.
        """
        if not isinstance(state, dict) or state.get("report") != cls.__name__:
            raise KerasxaiError(f"state must be one of {cls.__name__}, got {type(state).__name__}")
        report = cls(**state["options"])
        report.records = [dict(record) for record in state["records"]]
        for name, metric in report.metrics().items():
            setattr(report, name, type(metric).from_state(state["metrics"][name]))
        return report

    def at(self, threshold: float) -> dict[str, float]:
        """Return GT-known Loc and Top-k Loc at another threshold of the sweep."""
        column, images = index_of(self.boxes.grid, threshold), self.boxes.counted()
        top = {
            f"top{k}_loc": float(row[column] / images) for k, row in zip(TOP_K, self.top.totals["hits"], strict=True)
        }
        return {"gt_known_loc": self.boxes.at(threshold), **top}

    def result(self) -> dict[str, Any]:
        """Return all figures, ready for JSON.

        Returns:
            `images`, `images_with_boxes`; `top1_accuracy`, `top5_accuracy` over all images;
            `balanced_accuracy`, the mean of the classes' top-1 accuracies; `gt_known_loc`, `top1_loc`,
            `top5_loc`, `mean_iou`, `pointing_game`, `energy_pointing_game` at `threshold`; `best_threshold`,
            `best_gt_known_loc` on the same images; `curve` (`thresholds`, `gt_known_loc`); `by_class` by label, and
            `by_size`, each with the same entries; `masks` (`pxap`, `mean_iou`, `coverage` by part) if there were
            masks; `baselines`.

        Raises:
            KerasxaiError: No image has a box.
        """
        swept, blind = self.boxes.result(), self.gaussian.result()
        coverage, blind_coverage = self.covered()
        baselines = {name: self.baseline(name) for name in BASELINES}
        by_class = self.by_class()
        baselines["centered_gaussian"] |= {name: blind[name] for name in ("best_threshold", "best_gt_known_loc")}
        result = self.summary(self.records) | {
            "balanced_accuracy": float(np.mean([it["top1_accuracy"] for it in by_class.values()])),
            **{name: swept[name] for name in ("threshold", "best_threshold", "best_gt_known_loc")},
            "iou_threshold": self.options["iou_threshold"],
            "protocol": self.options["protocol"],
            "curve": {"thresholds": swept["thresholds"], "gt_known_loc": swept["curve"]},
            "by_class": by_class,
            "by_size": self.by_size(),
            "baselines": baselines,
        }
        if coverage:
            result["masks"] = coverage
            baselines["centered_gaussian"]["masks"] = blind_coverage
        return result

    def covered(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the mask measures of the method and of the centered Gaussian, empty if no mask has an object."""
        pair: list[dict[str, Any]] = [{}, {}]
        for entries, coverage, pxap in zip(
            pair, (self.coverage, self.gaussian_coverage), (self.pxap, self.gaussian_pxap), strict=True
        ):
            if any(total[2].any() for total in coverage.totals.values()):
                entries["coverage"] = dict(coverage.result())
            if pxap.totals["positives"].any():
                entries["pxap"] = float(pxap.result())
        if self.masks.totals["images"][0]:
            pair[0]["mean_iou"] = float(self.masks.result())
        return pair[0], pair[1]
