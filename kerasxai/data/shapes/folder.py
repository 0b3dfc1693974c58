"""A small part of `shapes` as a folder of images, as users have their own photographs."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from kerasxai.data.shapes.draw import CLASSES, FIRST_SEED, draw_sample
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import StrPath, atomic_path, read_csv, write_csv
from kerasxai.tools.options import whole
from kerasxai.tools.printable import printable

_SIDE = 160
_COLUMNS = ("filename", "x_min", "y_min", "x_max", "y_max")
_COUNTS = {"train": 240, "validation": 64, "test": 64}


def write_shapes(folder: StrPath, counts: Mapping[str, int] | None = None) -> tuple[Path, Path]:
    """Write the first images of the data set `shapes` as a folder of images, with a file of boxes.

    The folder is laid out as `split/class/image.png`, for `--data`; the boxes are a CSV file next to it, for `--boxes`.
    A folder that an earlier call with the same counts has written is kept.

    Args:
        folder: The folder of images; the boxes are written to `<folder>_boxes.csv`.
        counts: Images of each split, one or more for each of the eight classes; None for 240 of `"train"`, 64 of
            `"validation"` and 64 of `"test"`.

    Returns:
        The folder, and the file of boxes.

    Raises:
        KerasxaiError: There is no such split, the folder or the file exists with other content, or an image cannot be
            written.

    Example:
        >>> images, boxes = kerasxai.data.write_shapes("drawn", {"train": 16, "validation": 8, "test": 8})
        >>> boxes.name
        'drawn_boxes.csv'
    """
    root = Path(folder)
    boxes = root.with_name(f"{root.name}_boxes.csv")
    files = dict(_files(_COUNTS if counts is None else counts))
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    # A call that was killed before its last step has left the boxes alone, and is done again.
    if found or (boxes.exists() and {row.get(_COLUMNS[0]) for row in read_csv(boxes)} != set(files)):
        if found != set(files) or not boxes.exists():
            raise KerasxaiError(f"expected a new folder, got {printable(root)} with other files; choose another name")
        return root, boxes
    with atomic_path(root) as temporary:
        try:
            rows = [(name, *_write(temporary / name, *files[name])) for name in files]
            write_csv(boxes, _COLUMNS, rows)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return root, boxes


def _files(counts: Mapping[str, int]) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield the name of each image, its split and its index."""
    for split, count in counts.items():
        if split not in FIRST_SEED:
            raise unknown("split", split, FIRST_SEED)
        for index in range(whole(f"counts[{split!r}]", count, least=len(CLASSES))):
            yield f"{split}/{CLASSES[index % len(CLASSES)]}/{index:04d}.png", (split, index)


def _write(path: Path, split: str, index: int) -> tuple[float, ...]:
    """Draw an image, and return its box in pixels."""
    scene = draw_sample((FIRST_SEED[split] + index,), split, index % len(CLASSES), _SIDE)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene.image).save(path)
    return tuple(round(float(edge) * _SIDE, 2) for edge in scene.boxes[0])
