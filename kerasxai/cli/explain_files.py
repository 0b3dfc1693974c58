"""The files of `kerasxai explain`: names, overlays, raw maps, records."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerasxai import viz
from kerasxai.cli.record_tables import JSON, Group, numbered
from kerasxai.data.finding import JOURNALS
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.explanation import Explanation
from kerasxai.methods import METHODS
from kerasxai.tools.files import atomic_path, json_text, open_text, read_json, text_of
from kerasxai.viz.overlays import Color
from kerasxai.viz.words import remark

_COLUMNS, _CAPTION_LINES = 6, 3
_LEAST_WIDTH, _LEAST_HEIGHT, _LEAST_LETTERS = 288, 8, 12
"""Pixels of a captioned picture, and of its letters."""


def files_of(stem: str, methods: Sequence[str]) -> list[str]:
    """Return the names of the files that are written for one image.

    Example:
        >>> files_of("cat", ["cam"])
        ['cat_cam.npy', 'cat_cam.png']
    """
    sheet = [f"{stem}.png"] if len(methods) > 1 else []
    return [f"{stem}_{method}{suffix}" for method in methods for suffix in (".npy", ".png")] + sheet


class ExplanationTable:
    """`explanations.json`: a record of each image, in the order of the images.

    Args:
        model: The model as the user gave it.
    """

    journal = JOURNALS[0]
    files = ("explanations.json",)

    def __init__(self, model: str) -> None:
        self.model = model

    def read(self, path: Path) -> Group:
        """Read a table; one of an older version does not contain settings, and its records cannot be used."""
        content = read_json(path)
        group = Group(content.get("settings"), content["command"], refinement=content.get("refinement"))
        for record in content["images"] if group.settings is not None else ():
            group.add(record)
        return group

    def write(
        self, folder: Path, number: int, group: Group, keys: Iterable[str], skipped: list[dict[str, str]]
    ) -> None:
        """Write the table, one record at a time in memory."""
        settings = group.settings or {}
        head = {"command": group.command, "model": settings.get("model", self.model)}
        head |= {"input_range": settings.get("input_range"), "settings": settings}
        if group.refinement is not None:
            head["refinement"] = group.refinement
        if skipped:
            head["skipped"] = skipped
        with atomic_path(folder / numbered(self.files[0], number)) as path, open_text(path, "w") as file:
            file.write(json_text(head, self.files[0], indent=2).removesuffix("\n}") + ',\n  "images": [')
            for count, key in enumerate(keys):
                text = json_text(json.loads(group.records[key]), self.files[0], indent=2)
                file.write(",\n"[count == 0 :] + textwrap.indent(text, "    "))
            file.write("\n  ]\n}\n")


def write_explained(
    out: Path,
    stem: str,
    image: NDArray[np.uint8],
    explanations: list[Explanation],
    rows: list[int],
    model_input: ImageInput,
) -> list[Path]:
    """Write overlay and raw map of each method, and a sheet of several methods; return the pictures.

    Each last picture has a caption and a key of the colors: the sheet, or the overlay of the only method.

    Args:
        out: The folder.
        stem: Of the files.
        image: `(H, W, C)` uint8.
        explanations: Of each method.
        rows: The row of the image in them.
        model_input: Fits images to the model.
    """
    files, cells = [], [image]
    own = [explanation[rows] for explanation in explanations]
    labels = ["image", *(f"{one.method}: {one.caption(0)}" for one in own)]
    for one in own:
        cells += _overlays(image, one, model_input)
        _save_map(out / f"{stem}_{one.method}.npy", one.heatmaps[0])
        files.append(out / f"{stem}_{one.method}.png")
        viz.save_png(files[-1], cells[-1] if len(own) > 1 else _captioned(cells[-1], labels[-1], _legend(own)))
    if len(own) > 1:
        parts = [slice(start, start + _COLUMNS) for start in range(0, len(cells), _COLUMNS)]
        files.append(out / f"{stem}.png")
        sheet = viz.grid(
            [cells[part] for part in parts],
            captions=[labels[part] for part in parts],
            legend=_legend(own),
            caption_lines=_CAPTION_LINES,
        )
        viz.save_png(files[-1], sheet)
    return files


def write_classes(
    out: Path,
    stem: str,
    image: NDArray[np.uint8],
    explanations: list[Explanation],
    rows: list[int],
    model_input: ImageInput,
) -> list[Path]:
    """Write the maps of several classes of an image: `(K, H, W)` and a row of overlays for each method.

    The arguments are those of `write_explained`, with a row for each class.
    """
    files, lines = [], []
    own = [explanation[rows] for explanation in explanations]
    for one in own:
        cells = [image, *_overlays(image, one, model_input)]
        lines.append((cells, ["image", *(f"{one.method}: {one.caption(row)}" for row in range(len(one)))]))
        _save_map(out / f"{stem}_{one.method}.npy", one.heatmaps)
        files.append(out / f"{stem}_{one.method}.png")
        sheet = viz.grid([cells], captions=[lines[-1][1]], legend=_legend([one]), caption_lines=_CAPTION_LINES)
        viz.save_png(files[-1], sheet)
    if len(own) > 1:
        files.append(out / f"{stem}.png")
        sheet = viz.grid(
            [cells for cells, _ in lines],
            captions=[texts for _, texts in lines],
            legend=_legend(own),
            caption_lines=_CAPTION_LINES,
        )
        viz.save_png(files[-1], sheet)
    return files


def _overlays(image: NDArray[np.uint8], explanation: Explanation, model_input: ImageInput) -> list[NDArray[np.uint8]]:
    """Draw the heatmaps of one image, all in the same colors."""
    row, signed = METHODS[explanation.method], explanation.is_signed
    # The raw map is that of the model's input; the overlay shows it on the image.
    shown = [
        heatmap if model_input.fit == "stretch" else model_input.restored(heatmap, image.shape[:2])
        for heatmap in explanation.heatmaps
    ]
    return [viz.draw_heatmap(image, heatmap, row.pixelwise, row.relative, signed) for heatmap in shown]


def _captioned(picture: NDArray[np.uint8], caption: str, legend: list[tuple[str, Color | str]]) -> NDArray[np.uint8]:
    """Put a caption and a legend below a picture, which keeps its size if they have room there."""
    height, width = picture.shape[:2]
    # A narrow and high picture gets a wider cell: magnified to its width it would be higher than any screen.
    factor = max(1.0, _LEAST_WIDTH / max(height, width))
    size = (max(_LEAST_HEIGHT, round(height * factor)), max(_LEAST_WIDTH, round(width * factor)))
    return viz.grid(
        [[picture]],
        captions=[[caption]],
        legend=legend,
        cell_size=size,
        font_size=max(_LEAST_LETTERS, size[1] // 32),
        caption_lines=_CAPTION_LINES,
    )


def _legend(explanations: list[Explanation]) -> list[tuple[str, Color | str]]:
    """Return the color bars of a sheet: maps with evidence against the class have colors of their own."""
    return viz.map_legend(explanation.is_signed for explanation in explanations)


def _save_map(path: Path, heatmap: NDArray[np.float32]) -> None:
    with atomic_path(path) as temporary:
        np.save(temporary, heatmap)


def record_of(
    path: Path,
    predicted: list[tuple[str, float]],
    explanations: list[Explanation],
    rows: list[int],
    explained: list[list[str]],
    files: Iterable[Path],
    fit: str,
) -> JSON:
    """Return the record of one image in `explanations.json`, with an entry for each method and class.

    Args:
        path: Of the image.
        predicted: Names and probabilities of the most probable classes.
        explanations: Of each method.
        rows: The rows of the image in them, one for each class.
        explained: For each method the names of the classes.
        files: The pictures.
        fit: How the image was fitted to the model's input.
    """
    maps = [
        {
            "method": explanation.method,
            "layer": explanation.layer,
            "target": int(explanation.targets[row]),
            "target_name": name,
            "score": float(explanation.scores[row]),
            "remark": remark(explanation.heatmaps[row]),
        }
        for explanation, names in zip(explanations, explained, strict=True)
        for row, name in zip(rows, names, strict=True)
    ]
    return {
        "image": text_of(path),
        "predicted": [{"name": name, "probability": share} for name, share in predicted],
        "explanations": maps,
        "fit": fit,
        "files": [text_of(file.name) for file in files],
    }
