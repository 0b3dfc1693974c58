"""Measure and draw where captioners and answerers look, on the test images."""

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai import viz
from kerasxai.engine.scores import Score
from kerasxai.evaluation.saved_results import keep_former
from kerasxai.explainer import Explainer
from kerasxai.methods import METHODS
from kerasxai.tools.commands import command_line
from kerasxai.tools.files import read_json
from kerasxai.training.run_folder import RunFolder
from kerasxai.training.words.attention_reader import EVIDENCE
from kerasxai.training.words.pointing_accuracy import Case, by_group
from kerasxai.training.words.reader_training import Batch, scene_batches
from kerasxai.training.words.scene_config import SceneConfig, WordMeasurement
from kerasxai.viz.words import are_signed

_LOG = logging.getLogger(__name__)

_NOTE = "the highest evidence of each map has the brightest color; maps are not comparable in strength"


class ExplainedBatch(NamedTuple):
    """The explanations of a batch.

    Attributes:
        cases: The measured heatmaps.
        drawn: For each image its words or questions with their heatmaps.
        counts: Numbers of predictions by name, to be summed over batches.
    """

    cases: list[Case]
    drawn: list[list[tuple[str, NDArray]]]
    counts: dict[str, int]


def explainer_of(model: keras.Model, method: str, score: Score) -> Explainer:
    """Return an explainer of a captioner or answerer, at the map from which it reads."""
    layer = EVIDENCE if METHODS[method].takes_layer else None
    return Explainer(model, method, layer=layer, score=score, image_input="image", progress=False)


def measure(
    config: SceneConfig,
    out: str | Path,
    explain_batch: Callable[[Batch], ExplainedBatch],
    groups: str,
    measurement: WordMeasurement,
) -> dict[str, Any]:
    """Explain the test images, count the positions of the maxima, and write the figures.

    Args:
        config: Settings of the training.
        out: Folder of the run.
        explain_batch: Explains a batch.
        groups: The key of the result for the groups of cases, such as "words".
        measurement: The explainer, and the number of measured and drawn images.

    Returns:
        The content of `evaluation_METHOD.json`.
    """
    method = measurement.method
    cases: list[Case] = []
    totals: Counter[str] = Counter()
    gallery: list[tuple[NDArray, str, list[tuple[str, NDArray]]]] = []
    images = 0
    for batch in scene_batches("test", config, measurement.limit, "explaining test", masks=True):
        explained = explain_batch(batch)
        cases += explained.cases
        totals.update(explained.counts)
        images += len(batch["image"])
        for image, text, maps in zip(batch["image"], batch["caption"], explained.drawn, strict=True):
            if len(gallery) < measurement.gallery:
                gallery.append((image, text.decode(), maps))
    folder = RunFolder(Path(out))
    result: dict[str, Any] = {
        "command": command_line(),
        "method": method,
        "layer": EVIDENCE if METHODS[method].takes_layer else None,
        "images": images,
        **totals,
        groups: by_group(cases),
    }
    _LOG.info(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in totals.items()))
    figures, pictures = folder.path / f"evaluation_{method}.json", folder.path / f"gallery_{method}.png"
    # Figures of another number of images are kept under another name.
    if figures.exists() and read_json(figures).get("images") != images:
        keep_former([figures, pictures])
    folder.write_json(figures.name, result)
    if gallery:
        viz.save_png(pictures, sheet(gallery, method))
    return result


def sheet(gallery: list[tuple[NDArray, str, list[tuple[str, NDArray]]]], method: str) -> NDArray[np.uint8]:
    """Draw one row an image: the image, then each word or question with its heatmap."""
    signed = are_signed(heatmap for _, _, maps in gallery for _, heatmap in maps)
    cells = [
        [image, *(viz.overlay(image, heatmap, signed=signed) for _, heatmap in maps)] for image, _, maps in gallery
    ]
    captions = [[text, *(word for word, _ in maps)] for _, text, maps in gallery]
    return viz.grid(
        cells, captions=captions, note=f"{method}: {_NOTE}", legend=viz.map_legend(signed),
        cell_size=128, caption_lines=4,
    )  # fmt: skip
