"""Results of commands as a dataset of FiftyOne (https://docs.voxel51.com)."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from kerasxai.report.image_results import Box, Boxes, Fields, Heatmap, Label, Value, read_image_results
from kerasxai.tools.error_reasons import reason
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.extras import import_extra
from kerasxai.tools.files import StrPath


def to_fiftyone(folders: StrPath | Sequence[StrPath], name: str, overwrite: bool = False) -> int:
    """Write the results of commands into a persistent dataset of FiftyOne, which `fiftyone.load_dataset` opens.

    Images are those of the results, in place. The fields are `ground_truth`, `ground_truth_boxes`, `prediction`, and
    `boxes_METHOD` with masks, `iou_METHOD` and `heatmap_METHOD` for each method.

    Args:
        folders: The `--out` of `kerasxai localize`, `explain` or `evaluate`; several are joined by image.
        name: Of the dataset.
        overwrite: Whether a dataset of this name is replaced.

    Returns:
        The number of images.

    Raises:
        KerasxaiError: A folder has no results, FiftyOne is not installed or has no database, or the name is taken.

    Example:
        >>> kerasxai.to_fiftyone(["boxes", "explanations"], "cats")  # doctest: +SKIP
        120
    """
    given = [folders] if isinstance(folders, str | os.PathLike) else folders
    results = read_image_results([Path(folder) for folder in given])
    fiftyone = _fiftyone()
    if fiftyone.dataset_exists(name) and not overwrite:
        raise KerasxaiError(f"name must be that of no dataset, got {name!r}; choose another, or overwrite it")
    dataset = fiftyone.Dataset(name, overwrite=overwrite)
    try:
        dataset.add_samples(_samples(fiftyone, results), num_samples=len(results), progress=sys.stdout.isatty())
        # So that the IoU of boxes and the classes of heatmaps can be filtered by.
        dataset.add_dynamic_sample_fields()
    except BaseException:
        dataset.delete()
        raise
    dataset.persistent = True
    return len(results)


def _fiftyone() -> ModuleType:
    fiftyone = import_extra("fiftyone", "fiftyone", "write a FiftyOne dataset")
    try:
        fiftyone.list_datasets()  # Connects to the database, or starts one.
    except Exception as error:
        raise KerasxaiError(
            f"cannot open the database of FiftyOne: {reason(error)}; FIFTYONE_DATABASE_URI names that of a server"
        ) from error
    return fiftyone


def _samples(fiftyone: ModuleType, results: dict[str, Fields]) -> Iterator[object]:
    for path, fields in results.items():
        yield fiftyone.Sample(path, **{name: _label(fiftyone, value) for name, value in fields.items()})


def _label(fiftyone: ModuleType, value: Value) -> object:
    match value:
        case Label(name, confidence):
            return fiftyone.Classification(label=name, confidence=confidence)
        case Boxes(boxes):
            return fiftyone.Detections(detections=[_detection(fiftyone, box) for box in boxes])
        case Heatmap():
            heatmap = value.values()
            highest = float(np.abs(heatmap).max()) or 1.0
            span = [-highest if heatmap.min() < 0 else 0.0, highest]
            return fiftyone.Heatmap(map=heatmap, range=span, target=value.name, score=value.score)
        case list():
            return fiftyone.Classifications(classifications=[_label(fiftyone, one) for one in value])
    return value


def _detection(fiftyone: ModuleType, box: Box) -> object:
    x0, y0, x1, y1 = box.corners
    more = {} if box.iou is None else {"iou": box.iou}
    place = [x0, y0, x1 - x0, y1 - y0]
    return fiftyone.Detection(label=box.name, bounding_box=place, confidence=box.confidence, mask=box.mask(), **more)
