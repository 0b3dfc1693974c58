"""Matching the file names of a file of boxes with the images of a folder."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from kerasxai.data.finding import folded
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.printable import printable


class ImageNames:
    """The images of a folder, found by names that other tools have for them.

    A name is that of an image if the folders in it that occur among the images at all are, in this order, folders of
    the image: `/home/me/photos/dog/1.jpg`, `images/dog/1.jpg` and `1.jpg` may all be `train/dog/1.jpg`, while
    `cat/1.jpg` is not if there is a folder of cats. Case and Unicode forms make no difference.

    Args:
        names: The images, relative to the folder.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._folders: set[str] = set()
        self._by_name: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        for name in sorted(self._names):
            *folders, last = folded(name).split("/")
            self._folders.update(folders)
            for key in (last, _stem_key(PurePosixPath(last).stem)):
                self._by_name.setdefault(key, []).append((name, tuple(folders)))

    def find(self, file_name: str, by_stem: bool = False) -> str | None:
        """Return the image with a name; None if there is none.

        Args:
            file_name: The name, with "/" between folders.
            by_stem: Whether the name has no suffix.

        Raises:
            KerasxaiError: Several images have this name.
        """
        if file_name in self._names and not by_stem:
            return file_name
        *folders, last = folded(file_name).split("/")
        candidates = self._by_name.get(_stem_key(last) if by_stem else last, [])
        whole = [name for name, its in candidates if tuple(folders[len(folders) - len(its) :]) == its]
        known = [folder for folder in folders if folder in self._folders]
        found = whole if len(whole) == 1 else [name for name, its in candidates if _in_order(known, its)]
        if len(found) > 1:
            raise KerasxaiError(
                f"expected a file name of one image, got {printable(file_name)!r}, which is that of "
                f"{printable(found[0])} and {printable(found[1])}; write the folders into the file of boxes"
            )
        return found[0] if found else None


def _stem_key(stem: str) -> str:
    # A name has no "/", so that stems do not collide with whole names.
    return f"{stem}/"


def _in_order(some: Sequence[str], every: Sequence[str]) -> bool:
    """Return whether words occur in a sequence in this order."""
    rest: Iterator[str] = iter(every)
    return all(word in rest for word in some)
