"""What the pages of `kerasxai inspect` share."""

import argparse
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kerasxai import data
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.engine.outputs.kinds import class_count, class_index
from kerasxai.features.capture import Capture
from kerasxai.features.embedding import Embeddings, embed
from kerasxai.features.patches import Patches, top_patches
from kerasxai.features.stream import batches
from kerasxai.features.units import select_channels
from kerasxai.tools.errors import KerasxaiError
from kerasxai.viz import Report, save_png, to_picture
from kerasxai.viz.pixels import resize_picture

_CHANNELS = 8
_THUMBNAIL = 64


@dataclass
class Work:
    """What the pages share.

    Attributes:
        options: The command's.
        model: The model.
        taken: What it takes for an image.
        classes: The model's class names, if it has any.
        dataset: The data; None if there is none.
        report: The page.
        out: The folder that is written to.
        figures: What was measured, for `inspection.json`.
    """

    options: argparse.Namespace
    model: Any
    taken: ImageInput
    classes: list[str] | None
    dataset: data.ImageDataset | None
    report: Report
    out: Path
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def side(self) -> tuple[int, int]:
        """Height and width of the model's images."""
        return self.taken.size

    @property
    def info(self) -> data.DatasetInfo:
        """What is known about the data."""
        assert self.dataset is not None
        return self.dataset.info

    @cached_property
    def images(self) -> Any:
        """The data, resized, at most `--count` of them."""
        assert self.dataset is not None
        found = self.dataset.samples(self.options.split, self.side)
        return found.take(self.options.count).map(lambda one: {**one, "image": self.taken.colored(one["image"])})

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
        chosen = None if options.channels is None else [channel_number(text) for text in options.channels.split(",")]
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


def channel_number(text: str) -> int:
    """Returns a channel of `--channels`."""
    if not (text.strip().isascii() and text.strip().isdecimal()):
        raise KerasxaiError(f"--channels are whole numbers with commas between, not {text!r}")
    return int(text)
