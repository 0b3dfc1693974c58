"""Results of `kerasxai localize`, `explain` and `evaluate` by image, with coordinates relative to the image."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasxai.data.box_files.annotations import has_area
from kerasxai.data.finding import key_of
from kerasxai.data.images import image_size
from kerasxai.engine.images.fit import unfit_boxes, unfit_map
from kerasxai.evaluation.evaluated_runs import Run, evaluations_in, read_runs
from kerasxai.evaluation.tables import name_of
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import path_of, read_json
from kerasxai.tools.printable import printable

GROUND_TRUTH, PREDICTION = "ground_truth", "prediction"


@dataclass(frozen=True)
class Label:
    """A class of an image.

    Attributes:
        name: Its name.
        confidence: Its probability; None if it is not known.
    """

    name: str
    confidence: float | None = None


@dataclass(frozen=True)
class Box:
    """A box of an image.

    Attributes:
        name: The class.
        corners: x0, y0, x1, y1 as fractions of the image.
        confidence: The probability of the class; None if it is not known.
        iou: The best IoU with a true box; None if it is not known.
        region: The pixels of the object in COCO's uncompressed run lengths; None for a box without a mask.
    """

    name: str
    corners: tuple[float, ...]
    confidence: float | None = None
    iou: float | None = None
    region: Mapping[str, Any] | None = None

    def mask(self) -> NDArray[np.bool_] | None:
        """Return the mask within the box, or None if there is none."""
        if self.region is None:
            return None
        height, width = self.region["size"]
        counts = self.region["counts"]
        columns = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height)
        x0, y0, x1, y1 = np.rint(np.multiply(self.corners, (width, height) * 2)).astype(int)
        return columns.T[y0:y1, x0:x1]


@dataclass(frozen=True)
class Heatmap:
    """A heatmap on disk.

    Attributes:
        path: A NumPy file of `(H, W)`, or `(K, H, W)` for several classes.
        index: Which of the classes.
        name: The explained class.
        score: The explained score.
        image: The image.
        fit: How the image was fitted to the model's input.
    """

    path: Path
    index: int
    name: str
    score: float
    image: str
    fit: str

    def is_one_of_several(self) -> bool:
        """Return whether the file has a heatmap for each predicted class of a model with several labels."""
        return np.load(self.path, mmap_mode="r").ndim == 3

    def values(self) -> NDArray[np.float32]:
        """Return the heatmap `(H, W)` of the whole image; of the model's input size if the image was stretched."""
        maps = np.load(self.path)
        found = maps if maps.ndim == 2 else maps[self.index]
        if self.fit == "stretch":
            return found
        width, height = image_size(Path(self.image))
        return unfit_map(found, (height, width), self.fit)


@dataclass(frozen=True)
class Boxes:
    """The boxes of an image, perhaps none."""

    boxes: list[Box] = field(default_factory=list)


Value = Label | list[Label] | Boxes | Heatmap | float
"""The value of a field; models with several labels have a list of them, perhaps empty."""
Fields = dict[str, Value]


def read_image_results(folders: Sequence[Path]) -> dict[str, Fields]:
    """Return the results in folders by the path of the image.

    Fields are `ground_truth`, `ground_truth_boxes`, `prediction`, and for each method `boxes_METHOD`, `iou_METHOD` and
    `heatmap_METHOD`. If folders have different values of a field for one image, that of the later folder is numbered:
    `prediction_2`.

    Args:
        folders: The `--out` of `kerasxai localize`, `explain` or `evaluate`, or folders of several evaluations.

    Raises:
        KerasxaiError: A folder has no such results, or the images of an evaluation are not files.

    Example:
        >>> list(read_image_results([Path("boxes")])["/photos/cat.jpg"])  # doctest: +SKIP
        ['prediction', 'boxes_cam_auto']
    """
    images: dict[str, Fields] = {}
    for folder in folders:
        for found in _read(folder):
            _merge(images, found)
    return images


def _read(folder: Path) -> Iterator[dict[str, Fields]]:
    """Yield the results of one folder, those of each evaluation alone."""
    if (folder / "boxes.json").is_file():
        yield _localized(folder)
    if (folder / "explanations.json").is_file():
        yield _explained(folder)
    evaluations = evaluations_in(folder)
    if evaluations:
        yield from map(_evaluated, read_runs([folder], least=1))
    elif not any((folder / name).is_file() for name in ("boxes.json", "explanations.json")):
        got = "a folder without them" if folder.is_dir() else "no folder"
        raise KerasxaiError(
            f"expected results of `kerasxai localize`, `explain` or `evaluate` in {printable(folder)}, got {got}; give "
            "the --out of one of these commands"
        )


def _merge(images: dict[str, Fields], found: Mapping[str, Fields]) -> None:
    for name in dict.fromkeys(name for fields in found.values() for name in fields):
        values = {path: fields[name] for path, fields in found.items() if name in fields}
        free, number = name, 1
        while not all(_agree(images.get(path, {}).get(free), value) for path, value in values.items()):
            number += 1
            free = f"{name}_{number}"
        for path, value in values.items():
            images.setdefault(path, {}).setdefault(free, value)


def _agree(known: Value | None, value: Value) -> bool:
    """Return whether a value may share a field with one of another folder; probabilities may differ by rounding."""
    if isinstance(known, Label) and isinstance(value, Label):
        return known.name == value.name
    return known is None or known == value


def _field(kind: str, method: str) -> str:
    """Return the name of a field, an identifier.

    Example:
        >>> _field("boxes", "gradient*input + flip")
        'boxes_gradient_input_flip'
    """
    return re.sub(r"\W+", "_", f"{kind}_{method}").strip("_")


def _image_of(record: Mapping[str, Any]) -> str:
    # An image that was given several times has a number behind its path.
    return path_of(record["source"]["key"].partition("\0")[0])


def _localized(folder: Path) -> dict[str, Fields]:
    content = read_json(folder / "boxes.json")
    settings = content["info"].get("settings")
    if settings is None:
        raise _older(folder)
    names = {category["id"]: category["name"] for category in content["categories"]}
    name = _field("boxes", name_of(settings))
    results: dict[str, Fields] = {}
    found: dict[int, tuple[tuple[int, int], Boxes]] = {}
    for image in content["images"]:
        own, boxes = image["kerasxai"], Boxes()
        found[image["id"]] = (image["width"], image["height"]), boxes
        fields: Fields = {name: boxes}
        results[_image_of(own)] = fields
        # With --target, the class is not the predicted one.
        if settings["target"] is None and isinstance(own["name"], list):
            fields[PREDICTION] = [Label(*pair) for pair in zip(own["name"], own["score"], strict=True)]
        elif settings["target"] is None:
            fields[PREDICTION] = Label(own["name"], own["score"])
    for one in content["annotations"]:
        x, y, width, height = one["bbox"]
        size, boxes = found[one["image_id"]]
        corners = np.divide((x, y, x + width, y + height), size * 2).tolist()
        box = Box(names[one["category_id"]], tuple(corners), one["score"], region=one["segmentation"])
        boxes.boxes.append(box)
    return results


def _explained(folder: Path) -> dict[str, Fields]:
    content = read_json(folder / "explanations.json")
    settings = content.get("settings")
    if settings is None or not all("fit" in record for record in content["images"]):
        raise _older(folder)
    return {_image_of(record): _explained_image(folder, settings, record) for record in content["images"]}


def _explained_image(folder: Path, settings: Mapping[str, Any], record: Mapping[str, Any]) -> Fields:
    path, shares = _image_of(record), {one["name"]: one["probability"] for one in record["predicted"]}
    heatmaps: dict[str, list[Heatmap]] = {}
    for one in record["explanations"]:
        its = heatmaps.setdefault(one["method"], [])
        file = folder / path_of(f"{record['source']['stem']}_{one['method']}.npy")
        its.append(Heatmap(file, len(its), one["target_name"], one["score"], path, record["fit"]))
    fields: Fields = {PREDICTION: Label(*next(iter(shares.items())))}
    for method, its in heatmaps.items():
        name = _field("heatmap", name_of({"method": method, "refine": settings["refine"]}))
        fields |= {name if one.index == 0 else f"{name}_class_{one.index + 1}": one for one in its}
        if its[0].is_one_of_several():
            fields[PREDICTION] = [Label(one.name, shares.get(one.name)) for one in its]
    return fields


def _older(folder: Path) -> KerasxaiError:
    return KerasxaiError(
        f"expected results of this version in {printable(folder)}, got those of an older one; run the command again "
        "with another --out"
    )


def _evaluated(run: Run) -> dict[str, Fields]:
    data = Path(run.evaluation["settings"]["name_or_path"])
    if not data.is_dir():
        raise KerasxaiError(
            f"expected an evaluation of a folder of images in {printable(run.folder)}, got one of {printable(data)}; "
            "run the command where `kerasxai evaluate` was run, or evaluate images in a folder"
        )
    groups = run.evaluation["by_class"].items()
    names = {int(number): group["name"] for number, group in groups if number.isdigit()}
    results: dict[str, Fields] = {}
    for record in run.records.values():
        path = key_of(data / path_of(record["name"]))
        fields = results.setdefault(path, {})
        # Of data with several labels, records are of one class of an image.
        label = record["class"] if "class" in record else names[record["label"]]
        if "class" in record:
            before = fields.get(GROUND_TRUTH)
            fields[GROUND_TRUTH] = [*(before if isinstance(before, list) else ()), Label(label)]
        else:
            fields[GROUND_TRUTH] = Label(label)
            fields[PREDICTION] = Label(names.get(record["predicted"], f"class {record['predicted']}"))
        if "iou" in record:
            _add_boxes(fields, run.evaluation, record, label, path)
    return results


def _add_boxes(fields: Fields, evaluation: Mapping[str, Any], record: Mapping[str, Any], label: str, path: str) -> None:
    """Add the true boxes of a record, and the one of the heatmap at the chosen threshold."""
    chosen, method = record["chosen"], name_of(evaluation)
    true, found = (fields.setdefault(name, Boxes()) for name in (f"{GROUND_TRUTH}_boxes", _field("boxes", method)))
    assert isinstance(true, Boxes) and isinstance(found, Boxes)
    place = path, tuple(record["image_size"]), str(evaluation["fit"])
    true.boxes.extend(Box(label, corners) for corners in _relative(record["boxes"], *place))
    given = [] if chosen["box"] is None else [chosen["box"]]
    # Protocols that always have a box call an empty one a pixel.
    drawn = (one for one in _relative(given, *place) if has_area(one))
    found.boxes.extend(Box(label, corners, record.get("probability"), chosen["iou"]) for corners in drawn)
    if "class" not in record:
        fields[_field("iou", method)] = chosen["iou"]


def _relative(boxes: Sequence[Sequence[float]], path: str, size: tuple[int, int], fit: str) -> list[tuple[float, ...]]:
    """Return boxes in pixels of the model's input as fractions of the image."""
    relative = np.divide(boxes, size[::-1] * 2) if boxes else np.zeros((0, 4))
    if fit != "stretch" and boxes:
        width, height = image_size(Path(path))
        relative = np.clip(unfit_boxes(relative.astype(np.float32), (height, width), size, fit), 0, 1)
    return [tuple(box) for box in relative.tolist()]
