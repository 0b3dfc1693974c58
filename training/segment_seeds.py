"""Seeds and pseudo-masks of a split, made image by image, and measured where there are true masks."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.explainer import Explainer
from kerasxai.metrics import Metric, SegmentationIoU
from kerasxai.metrics.baselines import centered_gaussian
from kerasxai.metrics.inputs import BACKGROUND, IGNORE
from kerasxai.refinements.chain import parsed
from kerasxai.segmentation import Confidence, SeedIoU, joint_labels, label_map, pseudo_mask, save_label_map
from kerasxai.segmentation.cut_settings import parsed_cut
from kerasxai.tools.files import read_json, write_json
from kerasxai.tools.progress import Bar
from kerasxai.training.segment_config import SegmentConfig
from kerasxai.training.segment_data import positive_classes

_BATCH = 8
"""Images whose seeds are made and recorded together."""
JSON = dict[str, Any]


class Seeds(NamedTuple):
    """The seeds of one image.

    Attributes:
        classes: `(K,)` its classes.
        maps: `(K, H, W)` class maps as the method makes them.
        refined: `(K, H, W)` after refinement.
        labels: `(H, W)` the label of every pixel from which the pseudo-mask is made.
        mask: `(H, W)` the pseudo-mask.
    """

    classes: NDArray[np.int64]
    maps: NDArray[np.float32]
    refined: NDArray[np.float32]
    labels: NDArray[np.uint8]
    mask: NDArray[np.uint8]


class SeedMaker:
    """Makes seeds of images from their image labels.

    Args:
        classifier: The classifier.
        config: The method, the refinements and the thresholds.
    """

    def __init__(self, classifier: keras.Model, config: SegmentConfig) -> None:
        def explainer(refine: str | None) -> Explainer:
            return Explainer(classifier, config.method, refine=refine, progress=False, **dict(config.method_options))

        self._plain = explainer(None)
        steps = parsed(config.refine)
        # Refinements of heatmaps alone need no second pass of the model.
        self._steps = steps if all(step.row.needs in ("heatmap", "image") for step in steps) else None
        self._refined = explainer(config.refine) if self._steps is None else None
        self._cut = parsed_cut(config.cut)
        self._confidence = Confidence(config.foreground, config.background, config.refined)

    @property
    def chooses_refinement(self) -> bool:
        """Whether the refinement `"auto"` is chosen on images."""
        return self._refined is not None and self._refined.chooses_refinement

    def choose_refinement(self, images: NDArray[np.uint8]) -> None:
        """Make the choice of the refinement `"auto"` on images `(B, H, W, 3)`."""
        if self._refined is not None:
            self._refined.choose_refinement(images.astype(np.float32))

    def __call__(self, images: NDArray[np.uint8], classes: list[NDArray[np.int64]]) -> list[Seeds]:
        """Return the seeds of a batch.

        Args:
            images: `(B, H, W, 3)`.
            classes: The classes of each image.
        """
        counts = [len(one) for one in classes]
        # All classes of all images in one call: one trace, and full batches.
        rows, targets = np.repeat(np.arange(len(images)), counts), np.concatenate(classes)
        maps = refined = np.zeros((0, *images.shape[1:3]), np.float32)
        if len(rows):
            repeated = images[rows].astype(np.float32)
            maps = self._plain(repeated, targets).heatmaps
            refined = self._refine(maps, repeated, targets)
        ends = np.cumsum(counts)[:-1]
        return [
            self._seeds(*row)
            for row in zip(images, classes, np.split(maps, ends), np.split(refined, ends), strict=True)
        ]

    def _seeds(
        self,
        image: NDArray[np.uint8],
        classes: NDArray[np.int64],
        maps: NDArray[np.float32],
        refined: NDArray[np.float32],
    ) -> Seeds:
        level = self._confidence.refined
        if self._cut is None:
            labels = label_map(refined, classes, threshold=level, size=(image.shape[0], image.shape[1]))
        else:
            labels = joint_labels(maps, refined, classes, image, threshold=level, cut=self._cut)
        return Seeds(classes, maps, refined, labels, pseudo_mask(maps, refined, classes, self._confidence, labels))

    def _refine(
        self, maps: NDArray[np.float32], images: NDArray[np.float32], targets: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        if self._refined is not None:
            return self._refined(images, targets).heatmaps
        for step in self._steps or ():
            arguments = (maps, images) if step.row.needs == "image" else (maps,)
            maps = step.row.function(*arguments, **step.options)
        return maps


@dataclass
class Tally:
    """What is measured of the seeds of a split.

    Attributes:
        num_classes: Number of classes.
        done: The number of images.
        labeled: The number of pixels with a label in the pseudo-masks, and of all pixels.
        metrics: By the name of the step; empty without true masks.
        positions: Of the images in the split; None: the first ones.
    """

    num_classes: int
    done: int = 0
    labeled: list[int] = field(default_factory=lambda: [0, 0])
    metrics: dict[str, Metric] = field(default_factory=dict)
    positions: list[int] | None = None

    def measure(self, seeds: Seeds, true: NDArray[np.uint8]) -> None:
        """Measure the seeds of an image with its true mask; an image without one has 255 everywhere."""
        if (true == IGNORE).all():
            return
        if not self.metrics:
            sweeps = {name: SeedIoU(self.num_classes) for name in ("seeds", "refined", "centered_gaussian")}
            fixed = ("pseudo_masks_filled", "pseudo_masks", "pseudo_masks_labeled", "all_background")
            self.metrics = {**sweeps, **{name: SegmentationIoU(self.num_classes) for name in fixed}}
        gaussian = np.broadcast_to(centered_gaussian(true.shape), seeds.maps.shape)
        for name, maps in (("seeds", seeds.maps), ("refined", seeds.refined), ("centered_gaussian", gaussian)):
            self.metrics[name].update(maps, seeds.classes, true)  # type: ignore[attr-defined]
        certain = seeds.mask != IGNORE
        # As IRN measures them, with uncertain pixels as background, and on the pixels that have a label.
        known = np.where(certain, seeds.mask, BACKGROUND)
        fixed_pairs = {
            "pseudo_masks_filled": (seeds.labels, true),
            "pseudo_masks": (known, true),
            "pseudo_masks_labeled": (known, np.where(certain, true, IGNORE)),
            "all_background": (np.zeros_like(known), true),
        }
        for name, (one, mask) in fixed_pairs.items():
            # A tally that an older version began has no filled pseudo-masks.
            if name in self.metrics:
                self.metrics[name].update([one], [mask])  # type: ignore[attr-defined]

    def count(self, seeds: Seeds) -> None:
        """Count an image."""
        self.done += 1
        self.labeled = [self.labeled[0] + int((seeds.mask != IGNORE).sum()), self.labeled[1] + seeds.mask.size]

    def state(self) -> JSON:
        """Return everything, ready for JSON."""
        states = {name: metric.state() for name, metric in self.metrics.items()}
        return vars(self) | {"metrics": states}

    @classmethod
    def read(cls, path: Path, num_classes: int, positions: list[int] | None) -> "Tally":
        """Read a tally of these images that was written before, or begin one.

        A tally of other images, of another number of test images or of the first ones of an older version, is dropped:
        figures of both together would be of neither.
        """
        kept = read_json(path) if path.exists() else {}
        if not kept or kept.get("positions") != positions:
            return cls(num_classes, positions=positions)
        kinds: dict[str, type[Metric]] = {kind.__name__: kind for kind in (SeedIoU, SegmentationIoU)}
        kept["metrics"] = {name: kinds[one["metric"]].from_state(one) for name, one in kept["metrics"].items()}
        return cls(**kept)


def make_seeds(
    maker: SeedMaker, samples: Iterable[dict[str, Any]], count: int, record: Path, masks: Path | None, tally: Tally
) -> Tally:
    """Make and measure the seeds of images that are not done yet.

    Args:
        maker: Makes seeds from images and image labels; true masks are compared with them afterwards.
        samples: With `image`, `labels` and perhaps `class_mask`.
        count: The number of samples.
        record: The JSON file with the figures so far, from which a stopped command continues.
        masks: The folder that pseudo-masks are written to; None: they are not written.
        tally: Of the images so far, as `Tally.read` returns it for the record.
    """
    if tally.done >= count:
        return tally
    with Bar(count, f"seeds of {record.stem} images") as bar:
        bar.skip(tally.done)
        for number, batch in _batches(samples, tally.done, count):
            images = np.stack([sample["image"] for sample in batch])
            found = maker(images, [positive_classes(sample["labels"]) for sample in batch])
            for offset, (sample, seeds) in enumerate(zip(batch, found, strict=True)):
                tally.count(seeds)
                if masks is not None:
                    save_label_map(mask_file(masks, sample, number + offset), seeds.mask)
                if "class_mask" in sample:
                    tally.measure(seeds, sample["class_mask"])
            # After the files: a command that is killed in between makes them again, and finds them equal.
            write_json(record, tally.state())
            bar.reach(tally.done)
    return tally


def _batches(samples: Iterable[JSON], start: int, end: int) -> Iterator[tuple[int, list[JSON]]]:
    """Yield the samples from a start to an end in batches, each with the number of its first sample."""
    left = itertools.islice(iter(samples), start, end)
    for number in range(start, end, _BATCH):
        if batch := list(itertools.islice(left, _BATCH)):
            yield number, batch


def mask_file(folder: Path, sample: Any, number: int) -> Path:
    """Return the path of the label map of a sample: the name of the image with ".png", or its number."""
    name = sample.get("name", b"")
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)
    parts = [part for part in PurePosixPath(text).parts if part not in ("/", "..")]
    return folder.joinpath(*parts).with_suffix(".png") if parts else folder / f"{number:06d}.png"
