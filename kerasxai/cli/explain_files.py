"""The files of `kerasxai explain`: names, overlays, raw maps, records."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerasxai import viz
from kerasxai.cli.ledger import JSON, Group, numbered
from kerasxai.data.finding import JOURNALS
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.explanation import Explanation
from kerasxai.methods import METHODS
from kerasxai.tools.files import atomic_path, json_text, open_text, read_json, text_of

_COLUMNS = 6


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
        group = Group(content.get("settings"), content["command"])
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
    index: int,
    explained: list[str],
    model_input: ImageInput,
) -> list[Path]:
    """Write overlay and raw map of each method, and a sheet of several methods; return the pictures."""
    files, cells = [], [image]
    for explanation in explanations:
        heatmap = explanation.heatmaps[index]
        row = METHODS[explanation.method]
        # The raw map is that of the model's input; the overlay shows it on the image.
        shown = heatmap if model_input.fit == "stretch" else model_input.restored(heatmap, image.shape[:2])
        cells.append(viz.draw_heatmap(image, shown, row.pixelwise, row.relative))
        with atomic_path(out / f"{stem}_{explanation.method}.npy") as temporary:
            np.save(temporary, heatmap)
        files.append(out / f"{stem}_{explanation.method}.png")
        viz.save_png(files[-1], cells[-1])
    if len(explanations) > 1:
        labels = ["image", *(f"{e.method}: {name}" for e, name in zip(explanations, explained, strict=True))]
        rows = [slice(start, start + _COLUMNS) for start in range(0, len(cells), _COLUMNS)]
        files.append(out / f"{stem}.png")
        viz.save_png(files[-1], viz.grid([cells[row] for row in rows], captions=[labels[row] for row in rows]))
    return files


def record_of(
    path: Path,
    predicted: list[tuple[str, float]],
    explanations: list[Explanation],
    index: int,
    explained: list[str],
    files: Iterable[Path],
) -> JSON:
    """Return the record of one image in `explanations.json`."""
    maps = [
        {
            "method": explanation.method,
            "layer": explanation.layer,
            "target": int(explanation.targets[index]),
            "target_name": name,
            "score": float(explanation.scores[index]),
        }
        for explanation, name in zip(explanations, explained, strict=True)
    ]
    return {
        "image": text_of(path),
        "predicted": [{"name": name, "probability": share} for name, share in predicted],
        "explanations": maps,
        "files": [text_of(file.name) for file in files],
    }
