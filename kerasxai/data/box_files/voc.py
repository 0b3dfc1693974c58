"""Boxes from Pascal VOC XML (Everingham et al. 2010), one file for each image."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from kerasxai.data.box_files.annotations import VOC, Annotation, BoxFile, clean_name, has_area, without_area
from kerasxai.data.box_files.csv_rows import is_number
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import cannot
from kerasxai.tools.printable import printable

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(path: Path, files: Iterable[Path]) -> BoxFile:
    """Read Pascal VOC XML.

    In VOC's own files the upper left pixel is (1, 1), and `xmax` and `ymax` are the last pixel of the object: 1 is
    subtracted from `xmin` and `ymin`, as detectron2 does. Where any `xmin` or `ymin` among the files is below 1, the
    tool that wrote them counts from 0, as CVAT and Label Studio do, and all numbers are taken unchanged.

    Args:
        path: The file or the folder of files, for messages.
        files: The XML files.

    Raises:
        KerasxaiError: A file is not of this format, or a box in it is wrong.
    """
    found: list[Annotation] = []
    names: set[str] = set()
    for file in files:
        root = _parsed(file)
        name = _file_name(path, file, root)
        names.add(name)
        found += _objects(file, root, name)
    if found and min(min(one.box[:2]) for one in found) >= 1:
        found = [replace(one, box=(one.box[0] - 1, one.box[1] - 1, *one.box[2:])) for one in found]
    kept = [one for one in found if has_area(one.box)]
    return BoxFile(path, VOC, kept, frozenset(names), notes=without_area(len(found) - len(kept)))


def _parsed(file: Path) -> ElementTree.Element:
    try:
        root = ElementTree.parse(file).getroot()
    except OSError as error:
        raise cannot("read", file, error) from error
    except (ElementTree.ParseError, ValueError) as error:
        raise KerasxaiError(f"cannot read the boxes in {printable(file)}: no valid XML: {error}") from error
    if root.tag != "annotation":
        raise KerasxaiError(
            f"expected Pascal VOC XML with the root annotation in {printable(file)}, got {root.tag!r}; "
            "export as Pascal VOC, COCO or YOLO"
        )
    return root


def _file_name(path: Path, file: Path, root: ElementTree.Element) -> str:
    """Return the image's name with the folder of the XML file, or with the folder that the XML file states."""
    name = clean_name(root.findtext("filename") or "") or file.stem
    below = file.relative_to(path).parent.as_posix() if path.is_dir() else "."
    folder = clean_name(root.findtext("folder") or "") if below == "." else below
    return f"{folder}/{name}" if folder else name


def _objects(file: Path, root: ElementTree.Element, name: str) -> Iterator[Annotation]:
    lengths = [root.findtext(f"size/{side}") or "" for side in ("width", "height")]
    # Some tools write 0 x 0.
    width, height = (int(float(side)) if is_number(side) else 0 for side in lengths)
    for number, item in enumerate(root.iter("object")):
        place = f"{printable(file)}, object {number}"
        corners = [item.findtext(f"bndbox/{corner}") or "" for corner in _CORNERS]
        if not all(map(is_number, corners)):
            got = ", ".join(corners) if any(corners) else "no bndbox"
            raise KerasxaiError(f"{place}: expected bndbox with {', '.join(_CORNERS)}, got {got}; export boxes")
        x0, y0, x1, y1 = map(float, corners)
        if x0 > x1 or y0 > y1:
            raise KerasxaiError(f"{place}: expected xmin <= xmax and ymin <= ymax, got {', '.join(corners)}")
        difficult = (item.findtext("difficult") or "").strip() == "1"
        size = (width, height) if width > 0 and height > 0 else None
        yield Annotation(place, name, (x0, y0, x1, y1), item.findtext("name"), None, size, difficult)
