"""Explanations of a large data set: a table of scores, and heatmaps in half precision, for each shard."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.engine.images.builtin_preprocessing import warn_of_range
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.engine.outputs.kinds import Predictions, class_label
from kerasxai.explainer import Explainer
from kerasxai.explanation import Explanation
from kerasxai.streaming.images import ImageBatch, StreamedImages
from kerasxai.streaming.maps import MapWriter, scaled
from kerasxai.streaming.shards import Shard
from kerasxai.streaming.tables import Row, RowWriter, import_pyarrow, join_tables
from kerasxai.tools.files import write_json
from kerasxai.tools.input_range import Preprocess

if TYPE_CHECKING:
    import pyarrow

TABLE = "explanations.parquet"
_NO_MAPS = np.zeros((0, 1, 1), np.float16)


def explanation_schema() -> pyarrow.Schema:
    """Return the columns of the table: one row for each image and method."""
    pa = import_pyarrow()
    predicted = pa.list_(pa.struct([("name", pa.string()), ("probability", pa.float32())]))
    return pa.schema(
        [
            ("image", pa.string()),
            ("number", pa.int64()),
            ("shard", pa.int32()),
            # Of the shard's arrays of heatmaps.
            ("row", pa.int64()),
            ("label", pa.int32()),
            ("predicted", predicted),
            ("method", pa.string()),
            ("target", pa.int32()),
            ("target_name", pa.string()),
            ("probability", pa.float32()),
            ("score", pa.float32()),
            ("heatmap_scale", pa.float32()),
            ("error", pa.string()),
        ]
    )


@dataclass(frozen=True)
class ExplainTask:
    """What is computed of each image.

    Attributes:
        explainers: One for each method, of the same model.
        taken: The images that the model takes.
        classes: One name for each class, where the model has names.
        target: The explained class; None for the predicted one.
        top: How many predicted classes are listed.
        batch_size: Images at once.
        with_heatmaps: Whether heatmaps are written.
        preprocess: As the user gave it, for a warning.
    """

    explainers: Sequence[Explainer]
    taken: ImageInput
    classes: Sequence[str] | None = None
    target: int | None = None
    top: int = 3
    batch_size: int = 32
    with_heatmaps: bool = True
    preprocess: str | Preprocess | None = None

    @property
    def methods(self) -> list[str]:
        """The names of the methods."""
        return [explainer.method.name for explainer in self.explainers]

    def compute(self, shard: Shard, images: StreamedImages) -> None:
        """Explain the images of a shard, and write their files into its folder.

        Args:
            shard: The shard.
            images: All images.
        """
        about: dict[str, object] = {}
        skipped = 0
        with contextlib.ExitStack() as stack:
            table = stack.enter_context(RowWriter(shard.folder / TABLE, explanation_schema()))
            maps = [
                stack.enter_context(MapWriter(shard.folder / map_file(name), len(shard)))
                for name in (self.methods if self.with_heatmaps else ())
            ]
            for batch in images.batches(shard.start, shard.stop, self.taken, self.batch_size):
                explanations = batch.explained(self.taken, self._explained) or []
                stored = [scaled(one.heatmaps) for one in explanations] if self.with_heatmaps else []
                for index, writer in enumerate(maps):
                    writer.add(stored[index][0] if stored else _NO_MAPS, batch.rows, len(batch))
                table.add(self._rows(batch, explanations, [scales for _, scales in stored], shard))
                skipped += len(batch.errors)
                about |= {
                    one.method: {"layer": one.layer, "map_extent": one.notes.get("map_extent")} for one in explanations
                }
                if shard.number == 0 and batch.first == 0 and isinstance(self.explainers[0].model, keras.Model):
                    warn_of_range(self.explainers[0].model, self.taken, self.preprocess)
        write_json(shard.folder / "shard.json", _plain({"images": len(shard), "skipped": skipped, "methods": about}))

    def _explained(self, taken: NDArray[np.float32]) -> list[Explanation]:
        found = [explainer(taken, self.target) for explainer in self.explainers]
        outputs = found[0].outputs or self.explainers[0].predict(taken)
        return [replace(one, outputs=outputs, images=None) for one in found]

    def _rows(
        self,
        batch: ImageBatch,
        explanations: Sequence[Explanation],
        scales: Sequence[NDArray[np.float32]],
        shard: Shard,
    ) -> list[Row]:
        index_of = {int(row): index for index, row in enumerate(batch.rows)}
        top = self._top(explanations[0].outputs) if explanations and explanations[0].outputs else []
        rows: list[Row] = []
        for row, (name, label) in enumerate(zip(batch.names, batch.labels, strict=True)):
            number = batch.first + row
            head: Row = {"image": name, "number": number, "shard": shard.number, "row": number - shard.start}
            head["label"] = label
            if row not in index_of:
                rows += [{**head, "method": method, "error": batch.errors.get(row)} for method in self.methods]
                continue
            index = index_of[row]
            for which, one in enumerate(explanations):
                target = int(one.targets[index])
                assert one.outputs is not None
                rows.append(
                    {
                        **head,
                        "predicted": top[index],
                        "method": one.method,
                        "target": target,
                        "target_name": class_label(target, self.classes),
                        "probability": float(one.outputs.probabilities[index, target]),
                        "score": float(one.scores[index]),
                        "heatmap_scale": float(scales[which][index]) if scales else None,
                    }
                )
        return rows

    def _top(self, outputs: Predictions) -> list[list[Row]]:
        ranked = outputs.ranked(self.top)
        return [
            [{"name": class_label(int(k), self.classes), "probability": float(row[k])} for k in its]
            for row, its in zip(outputs.probabilities, ranked, strict=True)
        ]


def map_file(method: str) -> str:
    """Return the name of a method's array of heatmaps in each shard.

    Example:
        >>> map_file("gradient*input")
        'heatmaps_gradient_input.npy'
    """
    return f"heatmaps_{method.replace('*', '_')}.npy"


def merge_explanations(shards: Sequence[Shard], out: Path) -> Path:
    """Join the tables of all shards, and return the file.

    Args:
        shards: All shards, computed.
        out: The folder to write to.
    """
    if not (out / TABLE).exists():
        join_tables([shard.folder / TABLE for shard in shards], out / TABLE)
    return out / TABLE


def _plain(value: object) -> object:
    """Return nested values ready for JSON."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
