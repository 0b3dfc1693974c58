"""`kerasxai explain`: what a model sees in images, and where."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from kerasxai.cli.explain_files import distinct_stems, record_of, write_explained
from kerasxai.cli.images_in import resized
from kerasxai.cli.predictions import class_index, name_of, top_predictions
from kerasxai.cli.tables import print_table
from kerasxai.core.commands import command_line, parse_option
from kerasxai.core.errors import unknown
from kerasxai.core.files import atomic_path
from kerasxai.methods import METHODS
from kerasxai.refinements import REFINE_HELP

SUMMARY = "Draw where a model looks in images."
EXAMPLES = [
    "kerasxai explain imagenet:EfficientNetLite0 cat.jpg",
    "kerasxai explain imagenet:EfficientNetLite0 cat.jpg --method cam,gradcam --target tabby --out out/",
    "kerasxai explain runs/gap/model.keras photos/*.jpg --method gradcam --layer backbone/block3_1",
]


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
        predicted = top_predictions(np.asarray(model.predict_on_batch(batch)), classes, options.top)
        explanations = [explainer(batch, target) for explainer in explainers]
        for i, (stem, path, image) in enumerate(
            zip(stems[chunk], options.images[chunk], originals[chunk], strict=True)
        ):
            explained = [name_of(explanation.targets[i], classes) for explanation in explanations]
            files = write_explained(options.out, stem, image, explanations, i, explained)
            told = ", ".join(f"{name} {share:.1%}" for name, share in predicted[i])
            rows.append((path, told, explained[0], files[-1]))
            records.append(record_of(path, predicted[i], explanations, i, explained, files))
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
