"""`kerasxai explain`: what a model sees in images, and where."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from kerasxai.cli.tables import print_table
from kerasxai.core.commands import command_line, parse_option
from kerasxai.core.errors import KerasxaiError, unknown
from kerasxai.core.files import atomic_path
from kerasxai.methods import METHODS
from kerasxai.refinements import REFINE_HELP

SUMMARY = "Draw where a model looks in images."
EXAMPLES = [
    "kerasxai explain imagenet:EfficientNetLite0 cat.jpg",
    "kerasxai explain imagenet:EfficientNetLite0 cat.jpg --method cam,gradcam --target tabby --out out/",
    "kerasxai explain runs/gap/model.keras photos/*.jpg --method gradcam --layer backbone/block3_1",
]

_COLUMNS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what to explain, how, and where the pictures go."""
    parser.add_argument("model", metavar="MODEL", help="a .keras file, or imagenet:NAME for an untouched backbone")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files")
    parser.add_argument(
        "--method",
        default="gradcam",
        metavar="NAME[,NAME]",
        help="one or more of `kerasxai methods`, or all (default: gradcam)",
    )
    parser.add_argument("--layer", help="for methods that explain at a layer; see `kerasxai layers` (default: chosen)")
    parser.add_argument("--target", metavar="CLASS", help="class index or name (default: the predicted class)")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the method; may be repeated"
    )
    parser.add_argument("--refine", metavar="NAME[,NAME]", help=REFINE_HELP)
    parser.add_argument(
        "--out", type=Path, default=Path("explanations"), help="folder to write to (default: %(default)s)"
    )
    parser.add_argument("--image-size", type=int, help="side in pixels, for models that take any (default: 224)")
    parser.add_argument("--batch-size", type=int, default=16, help="images explained at once (default: %(default)s)")
    parser.add_argument("--top", type=int, default=3, help="how many predicted classes are told (default: %(default)s)")


def run(options: argparse.Namespace) -> None:
    """Explains the images, prints the predictions, and writes overlays, raw maps and `explanations.json`."""
    names = list(METHODS) if options.method == "all" else split_names(options.method)
    for name in names:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    settings = [parse_option(text) for text in options.option]
    # Images are read before TensorFlow is imported, so that a wrong file name is told at once.
    from kerasxai.data import read_image

    originals = [read_image(path) for path in options.images]
    from kerasxai import models
    from kerasxai.core.layers import image_side

    model = models.load(options.model)
    side = image_side(model, options.image_size)
    classes = models.class_names(model)
    target = None if options.target is None else class_index(options.target, classes)
    explainers = [_explainer(model, name, options, dict(settings), len(names) > 1) for name in names]
    rows, records = [], []
    stems = distinct_stems(options.images)
    for start in range(0, len(originals), options.batch_size):
        chunk = slice(start, start + options.batch_size)
        batch = resized(originals[chunk], side)
        predicted = _predictions(np.asarray(model.predict_on_batch(batch)), classes, options.top)
        explanations = [explainer(batch, target) for explainer in explainers]
        for i, (stem, path, image) in enumerate(
            zip(stems[chunk], options.images[chunk], originals[chunk], strict=True)
        ):
            explained = [name_of(explanation.targets[i], classes) for explanation in explanations]
            files = _write(options.out, stem, image, explanations, i, explained)
            told = ", ".join(f"{name} {share:.1%}" for name, share in predicted[i])
            rows.append((path, told, explained[0], files[-1]))
            records.append(_record(path, predicted[i], explanations, i, explained, files))
    with atomic_path(options.out / "explanations.json") as temporary:
        temporary.write_text(
            json.dumps({"command": command_line(), "model": options.model, "images": records}, indent=2)
        )
    print_table(("image", "predicted", "explained", "picture"), rows)
    layers = {explanation.method: explanation.layer for explanation in explanations if explanation.layer}
    if layers:
        print("explained at " + ", ".join(f"{layer} ({method})" for method, layer in layers.items()))


def split_names(text: str) -> list[str]:
    """Returns the names in a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _explainer(model: Any, name: str, options: argparse.Namespace, settings: dict[str, Any], several: bool) -> Any:
    from kerasxai.explainer import Explainer

    # With several methods side by side, a layer or an option goes to those that know it.
    layer = options.layer if METHODS[name].takes_layer or not several else None
    return Explainer(model, name, layer=layer, batch_size=options.batch_size, refine=options.refine, **settings)


def resized(images: list[np.ndarray], side: tuple[int, int]) -> np.ndarray:
    """Resizes images of any sizes to one batch `(N, *side, 3)` float32, as training does."""
    import tensorflow as tf

    return np.stack([tf.image.resize(image, side, antialias=True).numpy() for image in images])


def class_index(text: str, classes: list[str] | None) -> int:
    """Returns the class that a number or a name means."""
    if text.isdigit():
        return int(text)
    if not classes:
        raise KerasxaiError(f"the model carries no class names; give --target as a number, not {text!r}")
    lowered = [name.lower() for name in classes]
    if text.lower() not in lowered:
        raise unknown("class", text, classes)
    return lowered.index(text.lower())


def name_of(target: int, classes: list[str] | None) -> str:
    """Returns a class's name, or "class 3" where the model carries no names."""
    return classes[target] if classes and target < len(classes) else f"class {target}"


def distinct_stems(paths: list[str]) -> list[str]:
    """Returns a file name stem for each image, no two alike."""
    stems: list[str] = []
    for path in paths:
        stem, count = Path(path).stem, 2
        while stem in stems:
            stem, count = f"{Path(path).stem}-{count}", count + 1
        stems.append(stem)
    return stems


def predictions_of(outputs: np.ndarray) -> np.ndarray:
    """Returns probabilities `(N, classes)` of a model's outputs: of logits, and of a single unit for both classes."""
    if outputs.shape[-1] == 1:
        outputs = np.concatenate([1 - outputs, outputs], -1)
    if outputs.min() < 0 or np.abs(outputs.sum(-1) - 1).max() > 1e-2:
        outputs = np.asarray(softmax(outputs, -1))
    return outputs


def _predictions(outputs: np.ndarray, classes: list[str] | None, top: int) -> list[list[tuple[str, float]]]:
    outputs = predictions_of(outputs)
    order = np.argsort(-outputs, -1)[:, :top]
    return [[(name_of(k, classes), float(row[k])) for k in ks] for row, ks in zip(outputs, order, strict=True)]


def _write(
    out: Path, stem: str, image: np.ndarray, explanations: list[Any], index: int, explained: list[str]
) -> list[Path]:
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


def _record(
    path: str, predicted: list[tuple[str, float]], explanations: list[Any], index: int, explained: list[str], files: Any
) -> dict[str, Any]:
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
