"""The images that a command reads: which files, in which order, and what is left out."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from kerasxai.cli.explain_config import ExplainConfig
from kerasxai.cli.ledger import Ledger, Stamp, stamp_of
from kerasxai.cli.localize_config import LocalizeConfig
from kerasxai.data.finding import find_images, folded, written_names
from kerasxai.tools.commands import tell
from kerasxai.tools.errors import KerasxaiError, NotFiniteError
from kerasxai.tools.files import cannot, text_of

_MOST_BYTES = 2**27
"""Pictures in memory at once, beyond which a batch has fewer images than was asked for."""
_LISTED = 20
T = TypeVar("T")


@dataclass(frozen=True)
class ImageIn:
    """An image that was read.

    Attributes:
        number: Its place among all images.
        path: As it was given, or found.
        pixels: `(H, W, 3)` uint8, `(H, W, 4)` for a model of four channels.
        stamp: Of the file, before it was read.
    """

    number: int
    path: Path
    pixels: np.ndarray
    stamp: Stamp


def image_files(given: Sequence[str], out: Path) -> list[Path]:
    """Returns the files that were named and those in the folders that were named, which must be there.

    What a command wrote into `out` is never among them, even if it was named.

    Args:
        given: Files and folders.
        out: The folder that the command writes to.

    Raises:
        KerasxaiError: A path does not exist, or there are no images.
    """
    from kerasxai.data.images import SUFFIXES

    own, results = written_names(out), out.resolve()
    files: dict[Path, bool] = {}
    again: list[Path] = []
    left_out = 0
    for path in map(Path, given):
        if path.is_dir():
            found = [file for file in find_images(path, SUFFIXES, out) if not _is_own(file, results, own)]
            if not found:
                raise KerasxaiError(f"the folder {path} holds no images ({', '.join(sorted(SUFFIXES))})")
            files = dict.fromkeys(found, False) | files
        elif not path.exists():
            raise KerasxaiError(f"there is no image {path}")
        elif not path.is_file():
            raise KerasxaiError(f"expected an image file, got {path}, which is no regular file")
        elif _is_own(path, results, own):
            left_out += 1
        elif files.get(path):
            again.append(path)
        else:
            files[path] = True
    if left_out:
        print(f"{left_out} of the images named are results in {out}, and are left out")
    if not files:
        raise KerasxaiError(f"expected images, got only what kerasxai wrote into {out}; name other files")
    return [*files, *again]


def _is_own(path: Path, results: Path, own: set[str]) -> bool:
    if not own:
        return False
    # The file itself may be a link to elsewhere; where its name stands is what counts.
    parent = path.parent.resolve()
    return parent.is_relative_to(results) and folded((parent / path.name).relative_to(results).as_posix()) in own


def read_batches(
    paths: Sequence[Path],
    wanted: Iterable[int],
    batch_size: int,
    skip: Callable[[int, Path, str], None],
    bits: int | None = None,
) -> Iterator[list[ImageIn]]:
    """Reads images as they are needed, in batches that stay small in memory.

    Args:
        paths: All images.
        wanted: The places of those that are read.
        batch_size: Images in a batch at most; of large images there are fewer.
        skip: Is called with the place and the path of each image that cannot be read, and why.
        bits: As for `kerasxai.data.read_image`.
    """
    from kerasxai.data import read_image

    batch: list[ImageIn] = []
    for number in wanted:
        path = paths[number]
        stamp = stamp_of(path)
        try:
            pixels = read_image(path, bits=bits)
        except KerasxaiError as error:
            skip(number, path, str(error))
            continue
        except (OSError, MemoryError) as error:
            skip(number, path, str(cannot("read", path, error)))
            continue
        batch.append(ImageIn(number, path, pixels, stamp))
        if len(batch) >= batch_size or sum(image.pixels.nbytes for image in batch) >= _MOST_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def process_images(
    config: ExplainConfig | LocalizeConfig,
    ledger: Ledger,
    paths: Sequence[Path],
    finished: Sequence[bool],
    verb: str,
    work: Callable[[Iterator[list[ImageIn]]], None],
) -> None:
    """Process the images that no earlier call has finished.

    Args:
        config: Settings of the command.
        ledger: Keeps what was done and what was skipped.
        paths: All images.
        finished: Which of them an earlier call has finished.
        verb: What is done to images, for a message: "explained".
        work: Processes batches of images.

    Raises:
        KerasxaiError: Not one image can be read or processed.
    """
    if any(finished):
        rest = "nothing is left to do" if all(finished) else "going on with the others"
        print(f"{sum(finished)} of {len(paths)} images were {verb} by an earlier call; {rest}")
    todo = (number for number, is_finished in enumerate(finished) if not is_finished)
    batches = read_batches(paths, todo, config.batch_size, ledger.skip, config.bits)
    # The first batch is read before the model is loaded, so that unreadable files are reported at once.
    first = next(batches, None)
    if first is None and len(ledger.skipped) == len(paths):
        raise none_readable(ledger.skipped, len(paths))
    with ledger:
        if first is not None:
            work(itertools.chain([first], batches))
    if len(ledger.skipped) == len(paths):
        raise none_readable(ledger.skipped, len(paths))


def with_channels(batches: Iterable[list[ImageIn]], channels: int, bits: int | None = None) -> Iterator[list[ImageIn]]:
    """Yields batches of images as they are for models of 1 or 3 channels, and read again with their alpha for 4.

    Args:
        batches: What `read_batches` yields. The first is read before it is known what the model takes.
        channels: What the model takes.
        bits: As for `kerasxai.data.read_image`.
    """
    from kerasxai.data import read_image

    for images in batches:
        if channels == 4:
            images = [replace(one, pixels=read_image(one.path, channels=4, bits=bits)) for one in images]
        yield images


def none_readable(skipped: Sequence[dict[str, str]], count: int) -> KerasxaiError:
    """Returns the error for images of which not one can be used.

    Args:
        skipped: With `reason`.
        count: Of all images.
    """
    reason = skipped[0]["reason"]
    return KerasxaiError(reason if count == 1 else f"none of the {count} images can be used; the first: {reason}")


def report_skipped(skipped: Sequence[dict[str, str]], count: int) -> int:
    """Lists on stderr the images that were skipped, and returns the command's exit status.

    Args:
        skipped: With `reason`.
        count: Of all images.
    """
    if not skipped:
        return 0
    for one in skipped[:_LISTED]:
        tell(f"skipped: {one['reason']}")
    if len(skipped) > _LISTED:
        tell(f"skipped: {len(skipped) - _LISTED} more")
    tell(f"{len(skipped)} of {count} images were skipped")
    return 1


def finite_images(
    images: list[ImageIn], explain: Callable[[list[ImageIn]], T], ledger: Ledger
) -> tuple[list[ImageIn], T | None]:
    """Explains a batch; an image whose numbers are not finite is skipped and listed, and the others are explained.

    Args:
        images: The batch.
        explain: Explains a batch.
        ledger: Keeps what was skipped.

    Returns:
        The images that were explained, and what `explain` returned of them; None where there were none.

    Raises:
        NotFiniteError: It is about all images, as with weights.
    """
    while images:
        try:
            return images, explain(images)
        except NotFiniteError as error:
            for image in images if error.image is None else [images[error.image]]:
                ledger.skip(image.number, image.path, f"{text_of(image.path)}: {error}")
            ledger.give_up()
            if error.image is None:
                raise
            images = [image for i, image in enumerate(images) if i != error.image]
    return [], None


def resized(images: Sequence[np.ndarray], side: tuple[int, int]) -> np.ndarray:
    """Resizes images of any sizes to one batch `(N, *side, 3)` float32, as training does."""
    import tensorflow as tf

    return np.stack([tf.image.resize(image, side, antialias=True).numpy() for image in images])
