"""Measuring and drawing what captioners and answerers look at, on the test images."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasxai import viz
from kerasxai.evaluation.saved_results import keep_former
from kerasxai.evaluation.tables import print_rows
from kerasxai.explainer import Explainer
from kerasxai.methods import METHODS
from kerasxai.tools.commands import command_line
from kerasxai.tools.files import read_json
from kerasxai.training.run_folder import RunFolder
from kerasxai.training.words.attention_reader import EVIDENCE, batches
from kerasxai.training.words.pointing_accuracy import COLUMNS, Case, by_group, rows
from kerasxai.training.words.scene_config import SceneConfig

_NOTE = "the highest evidence of each map has the brightest color; maps are not comparable in strength"

Explained = Callable[[Any], tuple[list[Case], list[list[Any]], dict[str, int]]]


def explainer_of(model: keras.Model, method: str, score: Any) -> Explainer:
    """Returns an explainer of a captioner or answerer, at the map that it reads."""
    layer = EVIDENCE if METHODS[method].takes_layer else None
    return Explainer(model, method, layer=layer, score=score, image_input="image", progress=False)


def measure(
    config: SceneConfig,
    out: str | Path,
    method: str,
    explained: Explained,
    named: str,
    limit: int | None,
    gallery: int,
    verbose: Any,
) -> dict[str, Any]:
    """Explains the test images, counts where the maxima lie, and writes and prints what came out.

    Args:
        config: What was trained.
        out: The run's folder.
        method: The explainer's name.
        explained: A function from a batch to its cases, for each image pairs of a text and its heatmap, and counts.
        named: What the groups of cases are, the key of the result that holds them.
        limit: Measure so many test images only.
        gallery: How many images are drawn.
        verbose: 0 prints nothing.

    Returns:
        What is written to `evaluation_METHOD.json`.
    """
    cases: list[Case] = []
    totals: Counter[str] = Counter()
    shown: list[tuple[np.ndarray, str, list[Any]]] = []
    images = 0
    for batch in batches("test", config, limit, "explaining test", masks=True):
        of_batch, drawn, counts = explained(batch)
        cases += of_batch
        totals.update(counts)
        images += len(batch["image"])
        for image, text, maps in zip(batch["image"], batch["caption"], drawn, strict=True):
            if len(shown) < gallery:
                shown.append((image, text.decode(), maps))
    folder = RunFolder(Path(out))
    result: dict[str, Any] = {
        "command": command_line(),
        "method": method,
        "layer": EVIDENCE if METHODS[method].takes_layer else None,
        "images": images,
        **totals,
        named: by_group(cases),
    }
    if verbose:
        print(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in totals.items()))
        print_rows(COLUMNS, rows(result[named]))
    figures, pictures = folder.path / f"evaluation_{method}.json", folder.path / f"gallery_{method}.png"
    if figures.exists() and read_json(figures).get("images") != images:
        keep_former([figures, pictures])
    folder.write_json(figures.name, result)
    if shown:
        viz.save_png(pictures, sheet(shown, method))
    if verbose:
        print(f"model, figures and pictures: {out}")
    return result


def sheet(shown: list[tuple[np.ndarray, str, list[Any]]], method: str) -> np.ndarray:
    """Draws one row an image: the image, then each word or question with its heatmap."""
    cells = [[image, *(viz.overlay(image, heatmap) for _, heatmap in maps)] for image, _, maps in shown]
    captions = [[text, *(word for word, _ in maps)] for _, text, maps in shown]
    return viz.grid(
        cells, captions=captions, note=f"{method}: {_NOTE}", legend=[("evidence", viz.EVIDENCE_COLORMAP)],
        cell_size=128, caption_lines=4,
    )  # fmt: skip
