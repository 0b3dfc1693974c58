"""A model and its data, opened by `kerasxai inspect`, and what several of its pages show."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai import data
from kerasxai.cli.inspect_config import InspectConfig
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
class Inspection:
    """A model, its data, and what is found out about them; what several pages show is computed once.

    Attributes:
        config: Settings of the command.
        model: The model.
        model_input: Converts images to what the model takes.
        classes: The model's class names, if it has any.
        dataset: The data, or None.
        queries: The images to find neighbors of.
        report: The HTML page.
        out: The folder that is written to.
        figures: What was measured, for `inspection.json`.
    """

    config: InspectConfig
    model: keras.Model
    model_input: ImageInput
    classes: list[str] | None
    dataset: data.ImageDataset | None
    queries: list[NDArray[np.uint8]]
    report: Report
    out: Path
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the model's images."""
        return self.model_input.size

    @property
    def info(self) -> data.DatasetInfo:
        """What is known about the data."""
        return self._data.info

    @property
    def _data(self) -> data.ImageDataset:
        # `parts_of` refuses parts that need data where there are none.
        assert self.dataset is not None
        return self.dataset

    @cached_property
    def images(self) -> tf.data.Dataset:
        """The data, resized, at most `--count` of them."""
        count, fit = self.config.count, self.model_input.fit
        samples = self._data.samples(self.config.split, self.size, fit=fit, part=count)
        return samples.map(lambda one: {**one, "image": self.model_input.colored(one["image"])})

    @cached_property
    def layer(self) -> str:
        """The layer's path."""
        capture = Capture(self.model, self.config.layer)
        # The last feature map is known after one call.
        capture(np.zeros((1, *self.size, self.model_input.channels), np.float32))
        assert capture.path is not None
        return capture.path

    @cached_property
    def patches(self) -> Patches:
        """The strongest patches of the channels given, or of those whose strongest images stand out most."""
        config = self.config
        channels = None if config.channels is None else channel_numbers(config.channels)
        if channels is None:
            channels = select_channels(
                self.model, self.images, self.layer, _CHANNELS, top=config.patches, batch_size=config.batch_size
            ).tolist()
        return top_patches(
            self.model, self.images, self.layer, channels=channels, k=config.patches, batch_size=config.batch_size
        )

    @cached_property
    def embeddings(self) -> Embeddings:
        """The layer's vector of each image, also on the disk."""
        path = self.out / "embeddings.npy"
        return embed(self.model, self.images, self.layer, path=path, batch_size=self.config.batch_size)

    @cached_property
    def thumbnails(self) -> NDArray[np.uint8]:
        """A small picture of each image, `(N, h, w, 3)` uint8."""
        size = (_THUMBNAIL, _THUMBNAIL)
        loader = batches(self.images, self.config.batch_size)
        return np.stack([resize_picture(to_picture(image), size) for batch in loader for image in batch["image"]])

    @cached_property
    def targets(self) -> list[int]:
        """The classes that pictures are made of."""
        names = (self.config.target or "").split(",")
        return [class_index(name, self.classes, class_count(self.model)) for name in names]

    def save(self, name: str, picture: NDArray[np.uint8]) -> Path:
        """Write a picture to the folder."""
        return save_png(self.out / name, picture)


def channel_numbers(text: str) -> list[int]:
    """Return the channels of `--channels`.

    Raises:
        KerasxaiError: One is not a whole number.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not (word.isascii() and word.isdecimal()):
            raise KerasxaiError(f"--channels must be whole numbers with commas between, got {word!r}")
    return [int(word) for word in words]
