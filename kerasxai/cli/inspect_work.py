"""What `kerasxai inspect` does: opens model and data, and goes from page to page."""

import argparse
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kerasxai import data, models
from kerasxai.cli.images_in import none_readable, tell_skipped
from kerasxai.cli.inspect import PARTS, WITHOUT_DATA
from kerasxai.cli.settings import settings_of
from kerasxai.cli.staging import staged
from kerasxai.engine.images.builtin_preprocessing import warn_of_range
from kerasxai.engine.images.image_input import ImageInput, image_input
from kerasxai.engine.outputs.finite import check_weights
from kerasxai.engine.outputs.kinds import class_count, class_index
from kerasxai.features.capture import Capture
from kerasxai.features.embedding import Embeddings, embed
from kerasxai.features.neighbors import NeighborIndex
from kerasxai.features.patches import Patches, top_patches
from kerasxai.features.preprocessed import preprocessing_inputs
from kerasxai.features.stream import batches
from kerasxai.features.units import select_channels
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import text_of
from kerasxai.tools.input_range import name_of_range, preprocessing
from kerasxai.tools.text_tables import print_table
from kerasxai.viz import Report, save_png, to_picture
from kerasxai.viz.pixels import resize_picture

_CHANNELS = 8
_THUMBNAIL = 64
_NAMES = (
    "report.html", *(f"{part}.png" for part in PARTS), "projection.html", "projector", "embeddings.npy*", "index.npz",
    "ious_*.npy", "class_*.png", "class_*.webp",
)  # fmt: skip
"""All that the pages may write."""


@dataclass
class Work:
    """What the pages share.

    Attributes:
        options: The command's.
        model: The model.
        taken: What it takes for an image.
        classes: The model's class names, if it has any.
        report: The page.
        out: The folder that is written to.
        figures: What was measured, for `inspection.json`.
    """

    options: argparse.Namespace
    model: Any
    taken: ImageInput
    classes: list[str] | None
    report: Report
    out: Path
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def side(self) -> tuple[int, int]:
        """Height and width of the model's images."""
        return self.taken.size

    @cached_property
    def info(self) -> data.DatasetInfo:
        """What the data are."""
        return data.info(self.options.data, data_dir=self.options.data_dir)

    @cached_property
    def images(self) -> Any:
        """The data, resized, at most `--count` of them."""
        options = self.options
        found = data.load(options.data, options.split, self.side, data_dir=options.data_dir, skip_unreadable=True)
        return found.take(options.count).map(lambda one: {**one, "image": self.taken.colored(one["image"])})

    @cached_property
    def layer(self) -> str:
        """The layer's path."""
        capture = Capture(self.model, self.options.layer)
        capture(np.zeros((1, *self.side, self.taken.channels), np.float32))
        assert capture.path is not None
        return capture.path

    @cached_property
    def patches(self) -> Patches:
        """The strongest patches: of the channels asked for, or of those whose strongest images stand out most."""
        options = self.options
        chosen = None if options.channels is None else [_whole(text) for text in options.channels.split(",")]
        settings: dict[str, Any] = {"k": options.patches, "batch_size": options.batch_size}
        if chosen is None:
            chosen = select_channels(
                self.model, self.images, self.layer, _CHANNELS, top=options.patches, batch_size=options.batch_size
            ).tolist()
        return top_patches(self.model, self.images, self.layer, channels=chosen, **settings)

    @cached_property
    def embeddings(self) -> Embeddings:
        """The layer's vector of each image, also on the disk."""
        path = self.out / "embeddings.npy"
        return embed(self.model, self.images, self.layer, path=path, batch_size=self.options.batch_size)

    @cached_property
    def thumbnails(self) -> np.ndarray:
        """A small picture of each image, `(N, h, w, 3)` uint8."""
        size = (_THUMBNAIL, _THUMBNAIL)
        loader = batches(self.images, self.options.batch_size)
        return np.stack([resize_picture(to_picture(image), size) for batch in loader for image in batch["image"]])

    @cached_property
    def targets(self) -> list[int]:
        """The classes that pictures are made of."""
        return [class_index(text, self.classes, class_count(self.model)) for text in self.options.target.split(",")]

    def save(self, name: str, picture: Any) -> Path:
        """Writes a picture to the folder."""
        return save_png(self.out / name, picture)


def inspect(options: argparse.Namespace) -> int:
    """Makes the pages one after the other, and writes the report when all are there; returns the exit status."""
    wanted = _wanted(options)
    preprocessing(options.input_range)  # Refuses a mistake before the model is loaded.
    settings = settings_of("inspect", options, query=options.query)
    with staged(options.out, "inspection.json", _NAMES, settings) as stage:
        skipped, images = _read_queries(options)
        count = len(options.query) + len(skipped)
        if options.data:
            problems = data.unreadable_images(options.data, options.split, data_dir=options.data_dir)
            skipped += [{"image": text_of(path), "reason": f"{path}: {why}"} for path, why in problems.items()]
            count += data.info(options.data, data_dir=options.data_dir).splits.get(options.split, len(problems))
        content, rows = _inspect(options, wanted, images, stage.folder)
        stage.publish(content | ({"skipped": skipped} if skipped else {}))
    print_table(("part", "found"), rows)
    print(f"report: {options.out / 'report.html'}")
    return tell_skipped(skipped, count)


def _read_queries(options: argparse.Namespace) -> tuple[list[dict[str, str]], list[np.ndarray]]:
    """Returns the queries that cannot be read, which are taken off the options, and the images of the others."""
    if options.index is not None:
        NeighborIndex.load(options.index)
    skipped: list[dict[str, str]] = []
    images, readable = [], []
    for path in options.query:
        try:
            images.append(data.read_image(path, bits=options.bits))
            readable.append(path)
        except KerasxaiError as error:
            skipped.append({"image": text_of(path), "reason": str(error)})
    if skipped and not images:
        raise none_readable(skipped, len(skipped))
    options.query = readable
    return skipped, images


def _inspect(
    options: argparse.Namespace, wanted: list[str], queries: list[np.ndarray], folder: Path
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    # Imported here, since the pages need the class above.
    from kerasxai.cli.inspect_pages import PAGES

    model = models.load_classifier(options.model, options.custom_objects, classes=False)
    check_weights(model)
    taken = image_input(model, options.image_size, options.input_range)
    report = Report(f"What {Path(options.model).name} has learned", "Of the model itself, not of single decisions.")
    work = Work(options, model, taken, models.class_names(model), report, folder)
    if options.show is None and "dissection" in wanted and not work.info.has_masks:
        wanted.remove("dissection")
    work.figures["input_range"] = name_of_range(options.input_range)
    rows = []
    with preprocessing_inputs(model, taken):
        figures: list[tuple[str, Any]] = [("layer", work.layer), ("input range", work.figures["input_range"])]
        report.add_figures(figures + ([("data", f"{options.data}, {options.split}")] if options.data else []))
        for part in wanted:
            summary = PAGES[part](work, queries) if part == "neighbors" else PAGES[part](work)
            rows.append((part, summary))
    warn_of_range(model, taken, options.input_range)
    report.write(work.out / "report.html")
    return {"model": str(options.model), "layer": work.layer, "command": report.command, **work.figures}, rows


def _wanted(options: argparse.Namespace) -> list[str]:
    """Returns the parts that are shown, checked before anything slow begins."""
    if options.channels is not None:
        [_whole(text) for text in options.channels.split(",")]
    if options.index is not None and not options.query:
        raise KerasxaiError("--index needs images to find neighbors of: give --query")
    if options.show is None:
        wanted = [part for part in PARTS if part in WITHOUT_DATA or options.data]
        if options.index is not None and not options.data:
            wanted.append("neighbors")
        return [part for part in wanted if part != "classes" or options.target]
    wanted = [part.strip() for part in options.show.split(",") if part.strip()]
    for part in wanted:
        if part not in PARTS:
            raise unknown("part", part, PARTS)
        if part not in WITHOUT_DATA and not options.data and not (part == "neighbors" and options.index):
            raise KerasxaiError(f"{part} needs images: give --data")
    if "classes" in wanted and not options.target:
        raise KerasxaiError("classes needs to know which: give --target")
    if not wanted:
        raise KerasxaiError(f"--show is empty; parts are {', '.join(PARTS)}")
    return wanted


def _whole(text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdecimal()):
        raise KerasxaiError(f"--channels are whole numbers with commas between, not {text!r}")
    return int(text)
