"""Boxes from YOLO text: one file for each image, one line for each object."""

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kerasxai.data.box_files.annotations import YOLO, Annotation, BoxFile, at_line, has_area, without_area
from kerasxai.data.box_files.csv_rows import is_number
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import read_text

LIST_NAMES = ("classes.txt", "labels.txt", "obj.names", "_darknet.labels")
"""Files with the name of one class in each line."""


class Classes(NamedTuple):
    """The names of classes by number, and whether lines have key points after the box."""

    names: Mapping[int, str]
    key_points: bool = False


def read_yolo(path: Path, files: Iterable[Path]) -> BoxFile:
    """Read YOLO text: class, center x and y, width, height, all relative to the image; or class and a polygon.

    A line with a sixth number has the score of a predicted box there. A longer one has a polygon, of which the box is
    taken; where data.yaml states `kpt_shape`, the box and key points. The names of classes are read from a *.yaml or
    from classes.txt in the folder or the one above.

    Args:
        path: The file or the folder of files, for messages.
        files: The text files.

    Raises:
        KerasxaiError: With the line where something is wrong.
    """
    folder = path if path.is_dir() else path.parent
    classes = read_classes(folder)
    found: list[Annotation] = []
    names: set[str] = set()
    numbers: set[int] = set()
    for file in files:
        name = file.relative_to(folder).with_suffix("").as_posix() if file.suffix == ".txt" else file.stem
        names.add(name)
        for line, text in enumerate(read_text(file).splitlines(), 1):
            if text.strip():
                number, box, score = _parsed(at_line(file, line), text.split(), classes.key_points)
                numbers.add(number)
                found.append(Annotation(at_line(file, line), name, box, classes.names.get(number), score))
    kept = [one for one in found if has_area(one.box)]
    notes = without_area(len(found) - len(kept))
    if len(numbers) > 1 and not numbers <= set(classes.names):
        notes = (*notes, "not all classes have a name in data.yaml or classes.txt")
        kept = [Annotation(one.place, one.file_name, one.box, None, one.score) for one in kept]
    return BoxFile(path, YOLO, kept, frozenset(names), relative=True, by_stem=True, notes=notes)


def _parsed(
    place: str, words: Sequence[str], key_points: bool
) -> tuple[int, tuple[float, float, float, float], float | None]:
    """Return class, box and score of a line."""
    count = len(words)
    polygon = count >= 7 and count % 2 == 1 and not key_points
    if not all(map(is_number, words)) or not (count in (5, 6) or polygon or (key_points and count > 6)):
        raise KerasxaiError(
            f"{place}: expected class, center x, center y, width, height, or class and a polygon, got {' '.join(words)}"
        )
    first, *values = map(float, words)
    if first < 0 or first % 1:
        raise KerasxaiError(f"{place}: class must be a whole number, 0 or more, got {words[0]}")
    if polygon:
        xs, ys = values[::2], values[1::2]
        box = (min(xs), min(ys), max(xs), max(ys))
    else:
        x, y, width, height = values[:4]
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        if min(width, height) < 0:
            raise KerasxaiError(f"{place}: width and height must be 0 or more, got {width:g} and {height:g}")
    if min(box) < -0.5 or max(box) > 1.5:
        raise KerasxaiError(f"{place}: numbers must be fractions of the image, got {' '.join(words[1:5])}")
    return int(first), box, values[4] if count == 6 else None


def read_classes(folder: Path) -> Classes:
    """Read the names of classes from data.yaml or another *.yaml, or from classes.txt, in a folder or the one above."""
    for place in (folder, folder.resolve().parent):
        for file in sorted([*place.glob("*.yaml"), *place.glob("*.yml")]):
            text = read_text(file)
            names = yaml_names(text)
            if names:
                return Classes(names, re.search(r"^kpt_shape\s*:", text, re.MULTILINE) is not None)
        for name in LIST_NAMES:
            if (place / name).is_file():
                lines = [line.strip() for line in read_text(place / name).splitlines()]
                return Classes({number: line for number, line in enumerate(lines) if line})
    return Classes({})


def yaml_names(text: str) -> dict[int, str]:
    r"""Return the classes under `names` in a data.yaml: a list in one line or several, or a number for each name.

    This key alone is read, in the forms that YOLO tools write, without a dependency for all of YAML.

    Example:
        >>> yaml_names("nc: 2\nnames: [cat, 'dog']"), yaml_names("names:\n  0: cat\n  1: dog")
        ({0: 'cat', 1: 'dog'}, {0: 'cat', 1: 'dog'})
    """
    lines = [re.sub(r"\s+#.*$", "", line).rstrip() for line in text.splitlines()]
    start = next((number for number, line in enumerate(lines) if re.match(r"names\s*:", line)), None)
    if start is None:
        return {}
    # Until the next key that begins a line.
    rest = [lines[start].partition(":")[2]]
    for line in lines[start + 1 :]:
        if re.match(r"[^\s\-\]}]", line):
            break
        rest.append(line)
    flow = " ".join(rest).strip()
    if flow[:1] in ("[", "{"):
        items = [item.strip() for item in flow[1:].rstrip("]} ").split(",") if item.strip()]
    else:
        items = [line.strip().removeprefix("- ") for line in rest if line.strip()]
    names: dict[int, str] = {}
    for number, item in enumerate(items):
        key = re.match(r"(\d+)\s*:\s*(.*)", item)
        names[int(key[1]) if key else number] = _unquoted(key[2] if key else item)
    return names


def _unquoted(text: str) -> str:
    if text[:1] in ("'", '"') and text[-1:] == text[:1]:
        try:
            return str(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            return text[1:-1]
    return text
