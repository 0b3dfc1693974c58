"""The `shapes_two` data set as a TFDS builder: two objects an image, a caption, questions and answers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from kerasxai.data.shapes.builder import Generated
from kerasxai.data.shapes.draw import FIRST_SEED
from kerasxai.data.shapes.forms import FORMS
from kerasxai.data.shapes.language import KINDS, caption, questions
from kerasxai.data.shapes.pairs import PATTERN_NAMES, RELATIONS, draw_pair

SIZE = 160
COUNTS = {"train": 4000, "validation": 400, "test": 500}
_THREADS = 4
_AHEAD = 64


class ShapesTwo(tfds.core.GeneratorBasedBuilder):
    """Two objects on a photograph, a caption, and questions with answers, with an exact mask for each object.

    Eight forms and eight patterns are drawn independently, as are sizes, positions and colors. For the words of a
    caption and for each question the data contain the object that they describe, so that heatmaps for words can be
    measured.

    Example:
        >>> builder = ShapesTwo(data_dir="data")
        >>> builder.download_and_prepare()
        >>> next(iter(builder.as_dataset(split="test")))["caption"]
        <tf.Tensor: shape=(), dtype=string, numpy=b'a rayed star above a zigzag heart'>
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012  (TFDS reads a plain dict)

    def _info(self) -> tfds.core.DatasetInfo:
        objects = {
            "label": tfds.features.ClassLabel(names=FORMS),
            "pattern": tfds.features.ClassLabel(names=PATTERN_NAMES),
            "bbox": tfds.features.BBoxFeature(),
            "mask": tfds.features.Image(shape=(SIZE, SIZE, 1), encoding_format="png"),
        }
        questions = {
            "kind": tfds.features.ClassLabel(names=KINDS),
            "text": tfds.features.Text(),
            "answer": tfds.features.Text(),
            "about": np.int64,
            "named": np.int64,
        }
        features = {
            "image": tfds.features.Image(shape=(SIZE, SIZE, 3), encoding_format="png"),
            "objects": tfds.features.Sequence(objects),
            "relation": tfds.features.Text(),
            "caption": tfds.features.Text(),
            "caption_objects": tfds.features.Sequence(np.int64),
            "questions": tfds.features.Sequence(questions),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__.split("Example:")[0].strip() if self.__doc__ else "",
            features=tfds.features.FeaturesDict(features),
            citation="The photographs behind the objects are those of scikit-image (see its data/README.txt).",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Generated]]:
        return {split: self._generate_examples(split) for split in COUNTS}

    def _generate_examples(self, split: str) -> Iterator[Generated]:
        # NumPy lets other threads run while it works on images; few at a time, so that few are held in memory.
        with ThreadPoolExecutor(_THREADS) as threads:
            for start in range(0, COUNTS[split], _AHEAD):
                indices = range(start, min(start + _AHEAD, COUNTS[split]))
                drawn = threads.map(lambda index: example((FIRST_SEED[split] + index,), split), indices)
                for index, one in zip(indices, drawn, strict=True):
                    name = f"{split}-{index:04d}.png"
                    yield name, one | {"file_name": name}


def example(seed: tuple[int, ...], split: str, size: int = SIZE) -> dict[str, Any]:
    """Draw one example, without its file name."""
    pair = draw_pair(seed, split, size)
    layout, scene = pair.layout, pair.scene
    text, described = caption(layout.forms, layout.patterns, layout.relation)
    about = questions(np.random.default_rng([*seed, 3]), layout.forms, layout.patterns, layout.relation)
    boxes = [[float(edge) for edge in box] for box in scene.boxes]
    return {
        "image": scene.image,
        "objects": [
            {
                "label": int(layout.forms[k]),
                "pattern": int(layout.patterns[k]),
                "bbox": tfds.features.BBox(ymin=boxes[k][1], xmin=boxes[k][0], ymax=boxes[k][3], xmax=boxes[k][2]),
                "mask": (scene.part_masks[k] > 0).astype(np.uint8)[..., None],
            }
            for k in range(2)
        ],
        "relation": RELATIONS[layout.relation],
        "caption": text,
        "caption_objects": described,
        "questions": [
            {"kind": one.kind, "text": one.text, "answer": one.answer, "about": one.about, "named": one.named}
            for one in about
        ],
    }
