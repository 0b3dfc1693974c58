"""Boxes from COCO JSON (Lin et al. 2014, arXiv:1405.0312), as labeling tools and `kerasxai localize` write them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kerasxai.data.box_files.annotations import (
    COCO,
    Annotation,
    BoxFile,
    clean_name,
    counted,
    has_area,
    is_finite,
    without_area,
)
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.printable import printable

JSON = Mapping[str, object]


def is_coco(content: object) -> bool:
    """Return whether a JSON file has the lists of COCO's instance annotations."""
    return isinstance(content, Mapping) and all(isinstance(content.get(key), list) for key in ("images", "annotations"))


def read_coco(path: Path, contents: Mapping[Path, object]) -> BoxFile:
    """Read COCO's instance annotations; groups of objects (`iscrowd`) are left out.

    Args:
        path: The file or the folder of files, for messages.
        contents: The parsed JSON of each file.

    Raises:
        KerasxaiError: A file is not of this format, or an entry of it is wrong.
    """
    annotations: list[Annotation] = []
    names: set[str] = set()
    crowds = empty = 0
    for file, content in contents.items():
        lists = _lists(file, content)
        images = _images(file, lists["images"])
        names |= {name for name, _ in images.values()}
        categories = {entry.get("id"): str(entry.get("name")) for entry in lists["categories"]}
        for number, entry in enumerate(lists["annotations"]):
            if entry.get("iscrowd"):
                crowds += 1
                continue
            annotation = _annotation(f"{printable(file)}, annotation {number}", entry, images, categories)
            if has_area(annotation.box):
                annotations.append(annotation)
            else:
                empty += 1
    if annotations and max(max(one.box) for one in annotations) <= 1:
        raise KerasxaiError(f"bbox must be in pixels, got fractions in {printable(path)}; export in pixels")
    left_out = (f"{counted(crowds, 'group')} of objects (iscrowd) left out",) if crowds else ()
    return BoxFile(path, COCO, annotations, frozenset(names), notes=(*left_out, *without_area(empty)))


def _lists(path: Path, content: object) -> dict[str, list[JSON]]:
    if not isinstance(content, Mapping) or not is_coco(content):
        got = (
            f"the keys {', '.join(map(str, content))}"
            if isinstance(content, Mapping)
            else f"a {type(content).__name__}"
        )
        raise KerasxaiError(
            f"expected COCO JSON with images and annotations in {printable(path)}, got {got}; "
            "export instances as COCO, which have file names"
        )
    lists: dict[str, list[JSON]] = {}
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) or []
        if not isinstance(entries, Sequence) or not all(isinstance(entry, Mapping) for entry in entries):
            raise KerasxaiError(f"expected a list of objects under {key} in {printable(path)}, got another value")
        lists[key] = list(entries)
    return lists


def _images(path: Path, entries: Iterable[JSON]) -> dict[object, tuple[str, tuple[int, int] | None]]:
    """Return file name and size of each image, by its id."""
    images: dict[object, tuple[str, tuple[int, int] | None]] = {}
    for number, entry in enumerate(entries):
        name, key = entry.get("file_name"), entry.get("id")
        if not isinstance(name, str) or not name.strip() or not isinstance(key, int | str):
            raise KerasxaiError(
                f"{printable(path)}, image {number}: expected an id and a file_name, got {key!r} and {name!r}"
            )
        if key in images:
            raise KerasxaiError(f"{printable(path)}, image {number}: id must be unique, got {key!r} a second time")
        width, height = entry.get("width"), entry.get("height")
        size = (width, height) if isinstance(width, int) and isinstance(height, int) and width and height else None
        images[key] = (clean_name(name), size)
    return images


def _annotation(
    place: str,
    entry: JSON,
    images: Mapping[object, tuple[str, tuple[int, int] | None]],
    categories: Mapping[object, str],
) -> Annotation:
    key = entry.get("image_id")
    if not isinstance(key, int | str) or key not in images:
        raise KerasxaiError(f"{place}: image_id must be the id of an image in the file, got {key!r}")
    name, size = images[key]
    bbox = entry.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_finite, bbox)) or min(bbox[2:]) < 0:
        raise KerasxaiError(f"{place}: bbox must be x, y, width, height in pixels, got {bbox!r}")
    x, y, width, height = map(float, bbox)
    category = entry.get("category_id")
    if categories and category not in categories:
        raise KerasxaiError(f"{place}: category_id must be the id of a category in the file, got {category!r}")
    score = entry.get("score")
    return Annotation(
        place,
        name,
        (x, y, x + width, y + height),
        categories.get(category),
        float(score) if isinstance(score, int | float) else None,
        size,
    )
