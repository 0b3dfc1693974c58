"""`kerasxai explain`: what a model sees in images, and where."""

import argparse
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kerasxai.cli.explain_files import ExplanationTable, files_of, record_of, write_explained
from kerasxai.cli.images_in import (
    ImageIn,
    finite_images,
    image_files,
    none_readable,
    read_batches,
    tell_skipped,
    with_channels,
)
from kerasxai.cli.ledger import Ledger
from kerasxai.cli.predictions import add_outputs, class_index, name_of, top_predictions
from kerasxai.cli.settings import settings_of
from kerasxai.methods import METHODS
from kerasxai.refinements import REFINE_HELP
from kerasxai.tools.arguments import add_method_options, add_model, listed, positive_int, section
from kerasxai.tools.errors import unknown
from kerasxai.tools.folders import locked
from kerasxai.tools.image_options import add_image_options
from kerasxai.tools.input_range import preprocessing
from kerasxai.tools.text_tables import print_table

SUMMARY = "Draw where a model looks in images."
EXAMPLES = [
    "kerasxai explain imagenet:EfficientNetLite0 cat.jpg",
    "kerasxai explain imagenet:EfficientNetLite0 cat.jpg --method cam,gradcam --target tabby --out out/",
    "kerasxai explain runs/gap/model.keras photos/ --method gradcam --layer backbone/block3_1",
]

_ROWS = 500
"""Of one printed table: the widths of a longer one would take long to find."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what to explain, how, and where the pictures go."""
    add_model(parser)
    section(parser, "data").add_argument("images", metavar="IMAGE", nargs="+", help="image files, or folders of them")
    section(parser, "method").add_argument(
        "--method",
        type=listed,
        default=["gradcam"],
        metavar="NAME[,NAME]",
        help="one or more of `kerasxai methods`, or all (default: gradcam)",
    )
    section(parser, "method").add_argument(
        "--layer", help="for methods that explain at a layer; see `kerasxai layers` (default: chosen)"
    )
    section(parser, "method").add_argument(
        "--target", metavar="CLASS", help="class index or name (default: the predicted class)"
    )
    add_method_options(parser)
    section(parser, "method").add_argument("--refine", metavar="NAME[,NAME]", help=REFINE_HELP)
    section(parser, "output").add_argument(
        "--out", type=Path, default=Path("explanations"), help="folder to write to (default: %(default)s)"
    )
    add_outputs(parser)
    add_image_options(parser, bits=True)
    section(parser, "method").add_argument(
        "--batch-size", type=positive_int, default=16, help="images explained at once (default: %(default)s)"
    )
    section(parser, "output").add_argument(
        "--top", type=positive_int, default=3, help="how many predicted classes are told (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Explains the images, prints the predictions, and writes overlays, raw maps and `explanations.json`.

    Returns:
        0, or 1 if some images were skipped.
    """
    names = list(METHODS) if options.method == ["all"] else options.method
    for name in names:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    preprocessing(options.input_range)  # Refuses a mistake before the images are read.
    with locked(options.out):
        paths = image_files(options.images, options.out)
        ledger = Ledger(options.out, ExplanationTable(options.model), settings_of("explain", options, method=names))
        stems = ledger.plan(paths, lambda stem: files_of(stem, names))
        done = [ledger.done(number, path) is not None for number, path in enumerate(paths)]
        if any(done):
            rest = "nothing is left to do" if all(done) else "going on with the others"
            print(f"{sum(done)} of {len(paths)} images were explained by an earlier call; {rest}")
        # The first images are read before TensorFlow is imported, so that unreadable files are told at once.
        todo = (number for number, finished in enumerate(done) if not finished)
        batches = read_batches(paths, todo, options.batch_size, ledger.skip, options.bits)
        first = next(batches, None)
        if first is None and len(ledger.skipped) == len(paths):
            raise none_readable(ledger.skipped, len(paths))
        with ledger:
            if first is not None:
                _explain(options, names, dict(options.option), itertools.chain([first], batches), stems, ledger)
        if len(ledger.skipped) == len(paths):
            raise none_readable(ledger.skipped, len(paths))
        _print(ledger, paths, options.out)
        return tell_skipped(ledger.skipped, len(paths))


def _explain(
    options: argparse.Namespace,
    names: list[str],
    settings: dict[str, Any],
    batches: Iterable[list[ImageIn]],
    stems: list[str],
    ledger: Ledger,
) -> None:
    from kerasxai import models
    from kerasxai.engine.images.builtin_preprocessing import warn_of_range
    from kerasxai.engine.images.image_input import image_input
    from kerasxai.engine.outputs.kinds import class_count

    model = models.load_classifier(options.model, options.custom_objects)
    taken = image_input(model, options.image_size, options.input_range)
    classes = models.class_names(model)
    target = None if options.target is None else class_index(options.target, classes, class_count(model))
    explainers = [_explainer(model, name, options, settings, len(names) > 1) for name in names]

    def explain(images: list[ImageIn]) -> tuple[list[list[tuple[str, float]]], list[Any]]:
        batch = taken.batch([image.pixels for image in images])
        predicted = top_predictions(explainers[0].predict(batch), classes, options.top)
        return predicted, [explainer(batch, target) for explainer in explainers]

    for turn, given in enumerate(with_channels(batches, taken.channels, options.bits)):
        images, found = finite_images(given, explain, ledger)
        predicted, explanations = found or ([], [])
        if turn == 0:
            warn_of_range(model, taken, options.input_range)
        for i, image in enumerate(images):
            explained = [name_of(explanation.targets[i], classes) for explanation in explanations]
            ledger.begin(image.number)
            files = write_explained(options.out, stems[image.number], image.pixels, explanations, i, explained)
            record = record_of(image.path, predicted[i], explanations, i, explained, files)
            ledger.add(image.number, image.stamp, record)
        ledger.save()


def _print(ledger: Ledger, paths: list[Path], out: Path) -> None:
    layers: dict[str, str] = {}
    rows = []
    for number in range(len(paths)):
        record = ledger.record(number)
        if record is None:
            continue
        told = ", ".join(f"{one['name']} {one['probability']:.1%}" for one in record["predicted"])
        explanations = record["explanations"]
        rows.append((record["image"], told, explanations[0]["target_name"], out / record["files"][-1]))
        layers |= {one["method"]: one["layer"] for one in explanations if one["layer"]}
    for start in range(0, len(rows), _ROWS):
        print_table(("image", "predicted", "explained", "picture"), rows[start : start + _ROWS])
    if layers:
        print("explained at " + ", ".join(f"{layer} ({method})" for method, layer in layers.items()))


def _explainer(model: Any, name: str, options: argparse.Namespace, settings: dict[str, Any], several: bool) -> Any:
    from kerasxai.explainer import Explainer

    # With several methods side by side, a layer or an option goes to those that know it.
    layer = options.layer if METHODS[name].takes_layer or not several else None
    known = {"batch_size": options.batch_size, "refine": options.refine, "outputs": options.outputs}
    return Explainer(model, name, layer=layer, **known, **settings)
