"""The images that a command reads: the files, their order, and those that are skipped."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai import data
from kerasxai.cli.explain_config import ExplainConfig
from kerasxai.cli.ledger import Ledger, Stamp, stamp_of
from kerasxai.cli.localize_config import LocalizeConfig
from kerasxai.data.choosing import spread_over_positions
from kerasxai.data.examples import example_or_file
from kerasxai.data.finding import find_images, folded, no_images, written_names
from kerasxai.data.images import SUFFIXES
from kerasxai.engine.images.image_input import ImageInput
from kerasxai.explainer import Explainer
from kerasxai.refinements import RefinementChoice
from kerasxai.refinements.automatic import MOST
from kerasxai.streaming.images import choice_on
from kerasxai.tools.commands import print_line
from kerasxai.tools.errors import KerasxaiError, NotFiniteError
from kerasxai.tools.files import cannot, text_of

_MOST_BYTES = 2**27
"""Bytes of images in memory at once; a batch of large images has fewer of them."""
_LISTED = 20
T = TypeVar("T")


@dataclass(frozen=True)
class ImageIn:
    """An image that was read.

    Attributes:
        number: Its position among all images.
        path: As it was given, or found in a folder.
        pixels: `(H, W, 3)` uint8, `(H, W, 4)` for a model of four channels.
        stamp: Stamp of the file before it was read.
    """

    number: int
    path: Path
    pixels: NDArray[np.uint8]
    stamp: Stamp


def image_files(given: Sequence[str], out: Path) -> list[Path]:
    """Return the files given and those in the folders given.

    Files that a command wrote into `out` are left out, even if they are given.

    Args:
        given: Files, folders, and `example:NAME` for photographs that are installed with kerasxai.
        out: The folder that the command writes to.

    Raises:
        KerasxaiError: A path does not exist, or there are no images.
    """
    own, results = written_names(out), out.resolve()
    files: dict[Path, bool] = {}
    again: list[Path] = []
    left_out = 0
    for path in map(example_or_file, given):
        if path.is_dir():
            found = [file for file in find_images(path, SUFFIXES, out) if not _is_own(file, results, own)]
            if not found:
                raise no_images(path, SUFFIXES)
            files = dict.fromkeys(found, False) | files
        elif not path.exists():
            raise KerasxaiError(f"expected an existing image or folder, got {path}")
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
    # The file may be a link to elsewhere; the folder of its name is compared.
    parent = path.parent.resolve()
    return parent.is_relative_to(results) and folded((parent / path.name).relative_to(results).as_posix()) in own


def read_batches(
    paths: Sequence[Path],
    numbers: Iterable[int],
    batch_size: int,
    skip: Callable[[int, Path, str], None],
    bits: int | None = None,
) -> Iterator[list[ImageIn]]:
    """Read images as they are needed, in batches that stay small in memory.

    Args:
        paths: All images.
        numbers: The positions of those that are read.
        batch_size: Images in a batch at most; of large images there are fewer.
        skip: Called with the position, the path and the reason of each image that cannot be read.
        bits: As for `kerasxai.data.read_image`.
    """
    batch: list[ImageIn] = []
    for number in numbers:
        path = paths[number]
        stamp = stamp_of(path)
        try:
            pixels = data.read_image(path, bits=bits)
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
    first = list(itertools.islice(batches, 1))
    if not first and len(ledger.skipped) == len(paths):
        raise none_readable(ledger.skipped, len(paths))
    with ledger:
        if first:
            work(_from_first(first, batches))
    if len(ledger.skipped) == len(paths):
        raise none_readable(ledger.skipped, len(paths))


def choose_refinements(
    explainers: Iterable[Explainer],
    ledger: Ledger,
    paths: Sequence[Path],
    model_input: ImageInput,
    bits: int | None = None,
    given: RefinementChoice | None = None,
) -> None:
    """Make the choice of `--refine auto` on images of all folders, or repeat that of the call that began the results.

    Args:
        explainers: Of one model; those without a choice are left alone.
        ledger: Keeps the choice: on a folder that has grown it might be another one.
        paths: All images: the first ones are often of one class.
        model_input: Fits images to the model.
        bits: As for `kerasxai.data.read_image`.
        given: A choice that is repeated, unless there are results of another one.

    Raises:
        KerasxaiError: The folder has results without the choice that they were made with.
    """
    chosen = [explainer for explainer in explainers if explainer.chooses_refinement]
    if not chosen:
        return
    if not ledger.own.records and given is not None:
        ledger.own.refinement = given
    elif not ledger.own.records:
        numbers = spread_over_positions(len(paths), MOST).tolist()
        batches = with_channels(read_batches(paths, numbers, MOST, lambda *_: None, bits), model_input.channels, bits)
        pixels = (model_input.batch([image.pixels for image in read]) for read in batches)
        ledger.own.refinement = choice_on(chosen[0], pixels, len(numbers))
    elif ledger.own.refinement is None:
        table = text_of(ledger.folder / ledger.table.files[0])
        raise KerasxaiError(f"expected the choice of --refine auto in {table}, got none; choose another --out")
    for explainer in chosen:
        explainer.refinement_choice = ledger.own.refinement


def _from_first(first: list[list[ImageIn]], rest: Iterator[list[ImageIn]]) -> Iterator[list[ImageIn]]:
    # Taken out of its list, so that the pictures of the first batch do not stay in memory to the end.
    yield first.pop()
    yield from rest


def with_channels(batches: Iterable[list[ImageIn]], channels: int, bits: int | None = None) -> Iterator[list[ImageIn]]:
    """Yield batches unchanged for models of 1 or 3 channels, and read again with their alpha channel for 4.

    Args:
        batches: As from `read_batches`; the first is read before the model, and so its channels, are known.
        channels: The channels that the model takes.
        bits: As for `kerasxai.data.read_image`.
    """
    for images in batches:
        if channels == 4:
            images = [replace(one, pixels=data.read_image(one.path, channels=4, bits=bits)) for one in images]
        yield images


def none_readable(skipped: Sequence[dict[str, str]], count: int) -> KerasxaiError:
    """Return the error for images none of which can be used.

    Args:
        skipped: With `reason`.
        count: Of all images.
    """
    reason = skipped[0]["reason"]
    return KerasxaiError(reason if count == 1 else f"none of the {count} images can be used; the first: {reason}")


def report_skipped(skipped: Sequence[dict[str, str]], count: int) -> int:
    """List the images that were skipped on stderr, and return the command's exit status.

    Args:
        skipped: With `reason`.
        count: Of all images.
    """
    if not skipped:
        return 0
    for one in skipped[:_LISTED]:
        print_line(f"skipped: {one['reason']}")
    if len(skipped) > _LISTED:
        print_line(f"skipped: {len(skipped) - _LISTED} more")
    print_line(f"{len(skipped)} of {count} images were skipped")
    return 1


def finite_images(
    images: list[ImageIn], explain: Callable[[list[ImageIn]], T], ledger: Ledger
) -> tuple[list[ImageIn], T | None]:
    """Explain a batch; images with numbers that are not finite are skipped and listed.

    Args:
        images: The batch.
        explain: Explains a batch.
        ledger: Keeps what was skipped.

    Returns:
        The images that were explained, and the result of `explain`; None if there were none.

    Raises:
        NotFiniteError: All images are concerned, as with weights that are not finite.
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


def resized(images: Sequence[NDArray], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize images of any sizes to one batch `(N, *size, C)` float32, as training does."""
    return np.stack([tf.image.resize(image, size, antialias=True).numpy() for image in images])
