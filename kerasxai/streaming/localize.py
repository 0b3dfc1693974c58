"""Boxes of a large data set: a table of boxes and one of images, for each shard."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from kerasxai.engine.images.builtin_preprocessing import warn_of_range
from kerasxai.engine.outputs.kinds import class_label
from kerasxai.localization import chosen_threshold, heatmap_to_boxes
from kerasxai.streaming.class_maps import ClassMap, ClassMapper
from kerasxai.streaming.images import ImageBatch, StreamedImages
from kerasxai.streaming.shards import Shard
from kerasxai.streaming.tables import Row, RowWriter, import_pyarrow, join_tables
from kerasxai.tools.files import write_json
from kerasxai.tools.input_range import Preprocess

if TYPE_CHECKING:
    import pyarrow

BOXES, IMAGES = "boxes.parquet", "images.parquet"
_CORNERS = ("x0", "y0", "x1", "y1")


def box_schema() -> pyarrow.Schema:
    """Return the columns of the table of boxes: one row for each box."""
    pa = import_pyarrow()
    image = [("image", pa.string()), ("number", pa.int64()), ("label", pa.int32())]
    target = [("target", pa.int32()), ("target_name", pa.string()), ("score", pa.float32())]
    return pa.schema([*image, *target, *((name, pa.int32()) for name in _CORNERS), ("threshold", pa.float64())])


def image_schema() -> pyarrow.Schema:
    """Return the columns of the table of images: one row for each image, also without a box."""
    pa = import_pyarrow()
    image = [("image", pa.string()), ("number", pa.int64()), ("shard", pa.int32()), ("label", pa.int32())]
    whole = [(name, pa.int32()) for name in ("height", "width", "boxes")]
    return pa.schema([*image, *whole, ("error", pa.string())])


@dataclass(frozen=True)
class LocalizeTask:
    """What is computed of each image.

    Attributes:
        mapper: Makes the heatmaps.
        classes: One name for each class, where the model has names.
        threshold: As for `kerasxai.localization.heatmap_to_mask`.
        all_boxes: Whether each connected region has a box, not only the largest.
        batch_size: Images at once.
        preprocess: As the user gave it, for a warning.
    """

    mapper: ClassMapper
    classes: Sequence[str] | None
    threshold: float | str
    all_boxes: bool = False
    batch_size: int = 16
    preprocess: str | Preprocess | None = None

    def compute(self, shard: Shard, images: StreamedImages) -> None:
        """Localize in the images of a shard, and write their files into its folder.

        Args:
            shard: The shard.
            images: All images.
        """
        taken, model = self.mapper.model_input, self.mapper.explainer.model
        skipped = found = 0
        with contextlib.ExitStack() as stack:
            boxes = stack.enter_context(RowWriter(shard.folder / BOXES, box_schema()))
            table = stack.enter_context(RowWriter(shard.folder / IMAGES, image_schema()))
            for batch in images.batches(shard.start, shard.stop, taken, self.batch_size):
                rows = self._rows(batch)
                boxes.add(row for its in rows.values() for row in its)
                table.add(_image_rows(batch, rows, shard))
                skipped += len(batch.errors)
                found += sum(map(bool, rows.values()))
                if shard.number == 0 and batch.first == 0 and isinstance(model, keras.Model):
                    warn_of_range(model, taken, self.preprocess)
        write_json(shard.folder / "shard.json", {"images": len(shard), "skipped": skipped, "with_box": found})

    def _rows(self, batch: ImageBatch) -> dict[int, list[Row]]:
        """Return the boxes of each image that could be used, by its position in the batch."""
        maps = batch.explained(self.mapper.model_input, lambda images: self.mapper.maps(images, batch.sizes))
        positions = batch.rows.tolist()
        return {
            row: [{**_head(batch, row), **box} for one in its for box in self._boxes(one)]
            for row, its in zip(positions, maps or (), strict=True)
        }

    def _boxes(self, found: ClassMap) -> list[Row]:
        threshold = chosen_threshold(found.heatmap, self.threshold)
        boxes = heatmap_to_boxes(found.heatmap, threshold, largest=not self.all_boxes)
        name = class_label(found.target, self.classes)
        about = {"target": found.target, "target_name": name, "score": found.probability, "threshold": threshold}
        return [{**about, **dict(zip(_CORNERS, box, strict=True))} for box in boxes.tolist()]


def _head(batch: ImageBatch, row: int) -> Row:
    return {"image": batch.names[row], "number": batch.first + row, "label": batch.labels[row]}


def _image_rows(batch: ImageBatch, boxes: dict[int, list[Row]], shard: Shard) -> list[Row]:
    size_of = dict(zip(batch.rows.tolist(), batch.sizes.tolist(), strict=True))
    rows: list[Row] = []
    for row in range(len(batch)):
        height, width = size_of.get(row, (None, None))
        size = {"height": height, "width": width, "boxes": len(boxes[row]) if row in boxes else None}
        rows.append({**_head(batch, row), "shard": shard.number, **size, "error": batch.errors.get(row)})
    return rows


def merge_boxes(shards: Sequence[Shard], out: Path) -> Path:
    """Join the tables of all shards, and return the file of boxes.

    Args:
        shards: All shards, computed.
        out: The folder to write to.
    """
    for name in (IMAGES, BOXES):
        if not (out / name).exists():
            join_tables([shard.folder / name for shard in shards], out / name)
    return out / BOXES
