"""The data card of a report: classes, counts, sizes and examples."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerasxai import data
from kerasxai.report.gallery import truth_of
from kerasxai.report.packing import packed_picture
from kerasxai.report.sections import Section, Table
from kerasxai.report.variants import Source
from kerasxai.tools.printable import printable

_EXAMPLES = 12
_EXAMPLE_SIDE = 112


@dataclass(frozen=True)
class DataCard:
    """The section of a data set, and its examples: pictures with their class."""

    section: Section
    examples: Sequence[tuple[str, str]]


def data_card(source: Source, seed: int) -> DataCard:
    """Return the card of a data set; the sizes are those of a few images, which alone are read.

    Raises:
        KerasxaiError: The data cannot be opened.
    """
    dataset = data.open(source.data, data_dir=source.data_dir, boxes_csv=source.boxes_csv, labels=source.labels)
    info = dataset.info
    section = Section(f"Data: {printable(source.data)}")
    kinds = [name for name, has in (("boxes", info.has_boxes), ("masks", info.has_masks)) if has]
    summary = info.summary or printable(info.name)
    counted = "" if "classes" in summary else f"; {info.num_classes} classes"
    section.notes.append(
        f"{summary[:1].upper()}{summary[1:]}{counted}. Annotations, from which no gradient comes: "
        f"{' and '.join(kinds) or 'none'}."
    )
    counts = {split: _counts(dataset.labels(split), info.num_classes) for split in _ordered(info.splits)}
    rows = [[split, str(info.splits[split]), str(its.min()), str(its.max())] for split, its in counts.items()]
    section.tables.append(Table(["split", "images", "of the rarest class", "of the most common class"], rows, "Splits"))
    by_class = [[name, *(str(its[number]) for its in counts.values())] for number, name in enumerate(info.class_names)]
    section.details.append(Table(["class", *counts], by_class, "Images of each class"))
    split = "train" if "train" in info.splits else next(iter(info.splits))
    samples = dataset.examples(split, None, _EXAMPLES, seed=seed)
    if samples:
        sizes = np.array([sample["image"].shape[:2] for sample in samples])
        low, middle, high = (np.quantile(sizes, share, axis=0).astype(int) for share in (0, 0.5, 1))
        section.notes.append(
            f"Of {len(sizes)} images of {split}: heights {low[0]} to {high[0]}, median {middle[0]}; widths {low[1]} to "
            f"{high[1]}, median {middle[1]}."
        )
    names = info.class_names
    examples = [
        (", ".join(names[label] for label in truth_of(sample)), packed_picture(sample["image"], _EXAMPLE_SIDE))
        for sample in samples
    ]
    return DataCard(section, examples)


def _counts(labels: NDArray[np.int64] | NDArray[np.float32], classes: int) -> NDArray[np.int64]:
    return (labels == 1).sum(axis=0) if labels.ndim == 2 else np.bincount(labels.astype(np.int64), minlength=classes)


def _ordered(splits: Iterable[str]) -> list[str]:
    usual = ("train", "validation", "test")
    return sorted(splits, key=lambda split: (usual.index(split) if split in usual else len(usual), split))
