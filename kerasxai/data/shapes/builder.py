"""The `shapes` data set as a TFDS builder: it draws its images instead of downloading them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from kerasxai.data.shapes.draw import CLASSES, FIRST_SEED, draw_sample

SIZE = 160
COUNTS = {"train": 2000, "validation": 400, "test": 400}
PARTS = ("background", "head", "body", "tail")


Generated = tuple[str, dict[str, Any]]
"""Name and features of an example."""


class Shapes(tfds.core.GeneratorBasedBuilder):
    """Objects of eight classes on photographs, with exact part masks and boxes.

    Only the head determines the class: its pattern and its form belong to one class. The larger and fainter body has a
    texture that two classes share, the tail has no information. So a heatmap of what the classifier needs covers the
    head only, and how much of the body a heatmap covers can be measured.

    Example:
        >>> builder = Shapes(data_dir="data")
        >>> builder.download_and_prepare()
        >>> len(builder.as_dataset(split="test"))
        400
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012  (TFDS reads a plain dict)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(SIZE, SIZE, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=CLASSES),
            "bbox": tfds.features.BBoxFeature(),
            "part_mask": tfds.features.Image(shape=(SIZE, SIZE, 1), encoding_format="png"),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__.split("Example:")[0].strip() if self.__doc__ else "",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            citation="The photographs behind the objects are those of scikit-image (see its data/README.txt).",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Generated]]:
        return {split: self._generate_examples(split) for split in COUNTS}

    def _generate_examples(self, split: str) -> Iterator[Generated]:
        for index in range(COUNTS[split]):
            label = index % len(CLASSES)
            scene = draw_sample((FIRST_SEED[split] + index,), split, label, SIZE)
            x0, y0, x1, y1 = (float(edge) for edge in scene.boxes[0])
            name = f"{split}-{index:04d}.png"
            yield (
                name,
                {
                    "image": scene.image,
                    "label": label,
                    "bbox": tfds.features.BBox(ymin=y0, xmin=x0, ymax=y1, xmax=x1),
                    "part_mask": np.expand_dims(scene.part_masks[0], axis=-1),
                    "file_name": name,
                },
            )
