"""An evaluation in shards: the figures are those of `kerasxai.evaluation.evaluate`, to the bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from kerasxai import viz
from kerasxai.data.preparing import is_dataset
from kerasxai.evaluation.cases import draw_curve
from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.evaluation.evaluate import Evaluator, with_chosen
from kerasxai.evaluation.measured_method import MeasuredMethod
from kerasxai.evaluation.saved_results import folder_of_figures
from kerasxai.evaluation.thresholds import Choice
from kerasxai.metrics.baselines import BASELINES
from kerasxai.metrics.records import RecordsAt
from kerasxai.refinements import RefinementChoice
from kerasxai.refinements.automatic import MOST, choice_without
from kerasxai.streaming.images import REFINEMENT, FolderImages, kept_choice
from kerasxai.streaming.shards import Shard, waiting
from kerasxai.streaming.tables import Row, RowWriter, import_pyarrow, join_tables, read_rows
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import null_for_nan, read_json, write_json

if TYPE_CHECKING:
    import pyarrow

RECORDS = "records.parquet"
_TOTALS, _CHOICE, _FIGURES = "totals.json", "threshold.json", ("evaluation.json", "threshold.png", RECORDS)
_OF_BOXES = ("iou", "box", "boxes", "image_size", "share", "pointing", "energy", "baselines", "chosen")
# What figures are made of, so that the merged records of a million images fit into memory.
_COLUMNS = ("label", "place", "iou", "share", "pointing", "energy", "baselines", "chosen")


def records_schema() -> pyarrow.Schema:
    """Return the columns of the records; see `kerasxai.metrics.LocalizationReport`."""
    pa = import_pyarrow()
    box = pa.list_(pa.float64())
    baselines = pa.struct([(name, pa.float64()) for name in BASELINES])
    at = [("iou", pa.float64()), ("box", box), ("baselines", baselines)]
    whole = [(name, pa.int32()) for name in ("label", "predicted", "place")]
    located = [("boxes", pa.list_(box)), ("image_size", pa.list_(pa.int32()))]
    shares = [(name, pa.float64()) for name in ("share", "pointing", "energy")]
    return pa.schema([("name", pa.string()), *whole, *at, *located, *shares, ("chosen", pa.struct(at))])


def identity_of(config: EvaluateConfig, out: Path) -> str:
    """Return text that is different for other images of a folder; of a named data set its name."""
    name = str(config.name_or_path)
    return name if is_dataset(name) else FolderImages(Path(name).expanduser(), out).identity


class EvaluateTask:
    """Measures the shards of a split, and merges them.

    Args:
        model: A Keras classifier.
        config: The settings.
        out: The folder of the shards.

    Raises:
        KerasxaiError: The model and the data do not fit, or images have several labels.
    """

    def __init__(self, model: keras.Model, config: EvaluateConfig, out: Path) -> None:
        self.config, self.out = config, out
        self._evaluator = Evaluator(model, [config], progress=False)
        (method,) = self._evaluator.methods
        if self._evaluator.info.multi_label or not isinstance(method, MeasuredMethod):
            raise KerasxaiError(
                "expected boxes and one label an image with --shards, got "
                f"{'several labels' if self._evaluator.info.multi_label else 'no boxes'}; omit --shards"
            )
        self._method = method
        self.count = self._evaluator.count(config.split)
        self._is_chosen = False

    def compute(self, shard: Shard) -> None:
        """Measure the images of a shard, and write its records and totals into its folder."""
        self.choose()
        self._method.begin()
        self._evaluator.measure(self.config.split, (shard.start, shard.stop))
        records = with_chosen(self._method.report.records, self._method.chosen.records.records)
        with RowWriter(shard.folder / RECORDS, records_schema()) as table:
            table.add(null_for_nan(records))
        write_json(shard.folder / _TOTALS, self._method.totals())

    def choose(self) -> None:
        """Choose the refinement and the threshold, or read those that were chosen for another shard."""
        if self._is_chosen:
            return
        path = self.out / _CHOICE
        self._choose_refinement()
        if not path.exists():
            # Processes that share the folder wait for no one: each that begins before the file is there measures the
            # tuning split, and all take the first result.
            self._evaluator.choose_thresholds(in_parts=True)
            with waiting(self.out / ".lock-threshold"):
                if not path.exists():
                    write_json(path, _choice_state(self._method.chosen))
        self._method.begin(self._choice(read_json(path)))
        self._is_chosen = True

    def _choose_refinement(self) -> None:
        """Make the choice of `refine="auto"`, or repeat that of the first shard."""
        explainer = self._method.explainer
        if not explainer.chooses_refinement:
            return

        def choose() -> RefinementChoice:
            self._evaluator.choose_refinements()
            return explainer.refinement_choice or choice_without(MOST)

        explainer.refinement_choice = kept_choice(self.out / REFINEMENT, choose)

    def _choice(self, state: Mapping[str, Any]) -> Choice:
        names = list(self._evaluator.info.class_names)
        records = RecordsAt(state["threshold"], state["blind"], self._method.thresholds.protocol, 0.5, names)
        return Choice(state["source"], state["best"], state["blind"], state["tuned"], records)

    def merge(self, shards: Sequence[Shard], settings: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
        """Merge all shards, write `evaluation.json`, `threshold.png` and `records.parquet`, and return the figures.

        Args:
            shards: All shards, computed.
            settings: Everything that the figures depend on.
            about: Entries to keep with the figures.
        """
        self.choose()
        self._method.begin()
        for shard in shards:
            rows = [_record(row) for row in read_rows(shard.folder / RECORDS, _COLUMNS)]
            self._method.merge(read_json(shard.folder / _TOTALS), rows, [_at_chosen(row) for row in rows])
        evaluation = self._method.evaluation(self._evaluator.info.name) | {**about, "settings": dict(settings)}
        with folder_of_figures(self.out, settings, _FIGURES):
            join_tables([shard.folder / RECORDS for shard in shards], self.out / RECORDS)
            viz.save_png(self.out / _FIGURES[1], draw_curve(evaluation))
            write_json(self.out / _FIGURES[0], null_for_nan(evaluation))
        return evaluation


def _choice_state(choice: Choice) -> dict[str, Any]:
    names = ("source", "best", "blind", "tuned")
    return {name: getattr(choice, name) for name in names} | {"threshold": choice.records.threshold}


def _record(row: Row) -> Row:
    """Return a record as it was before it was written: an image without a box has no entries about boxes."""
    return row if row["iou"] is not None else {name: value for name, value in row.items() if name not in _OF_BOXES}


def _at_chosen(record: Row) -> Row:
    return {**record, **record["chosen"]} if "iou" in record else record
