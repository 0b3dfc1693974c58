"""The files of `kerasxai explain`: names, overlays, raw maps, records."""

from pathlib import Path
from typing import Any

import numpy as np

from kerasxai.core.files import atomic_path
from kerasxai.methods import METHODS

_COLUMNS = 6


def distinct_stems(paths: list[str]) -> list[str]:
    """Returns a file name stem for each image, no two alike."""
    stems: list[str] = []
    for path in paths:
        stem, count = Path(path).stem, 2
        while stem in stems:
            stem, count = f"{Path(path).stem}-{count}", count + 1
        stems.append(stem)
    return stems


def write_explained(
    out: Path, stem: str, image: np.ndarray, explanations: list[Any], index: int, explained: list[str]
) -> list[Path]:
    """Writes overlay and raw map of each method, and a sheet where there are several; returns the pictures."""
    from kerasxai import viz

    files, cells = [], [image]
    for explanation in explanations:
        heatmap = explanation.heatmaps[index]
        row = METHODS[explanation.method]
        cells.append(viz.draw_heatmap(image, heatmap, row.pixelwise, row.relative))
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
    path: str, predicted: list[tuple[str, float]], explanations: list[Any], index: int, explained: list[str], files: Any
) -> dict[str, Any]:
    """Returns what `explanations.json` holds of one image."""
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
        "image": path,
        "predicted": [{"name": name, "probability": share} for name, share in predicted],
        "explanations": maps,
        "files": [file.name for file in files],
    }
