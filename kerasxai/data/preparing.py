"""Finding a TFDS builder by name and preparing it once, with one clear line where that fails."""

import contextlib
import io
import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds

from kerasxai.data import DATASETS, DatasetRow
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.lazy import resolve

_PROBE = ("storage.googleapis.com", 443)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TFDS from warning about its own inner life (its deprecated properties, folders that it will fill)."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def row_of(name: str) -> DatasetRow:
    """Returns the row of DATASETS for a name, with or without a configuration or version; an empty one if none."""
    base = name.split(":")[0]
    return DATASETS.get(base) or DATASETS.get(base.split("/")[0]) or DatasetRow(summary="")


def is_dataset(name: str) -> bool:
    """Whether a name is in DATASETS or known to TFDS."""
    base = name.split(":")[0]
    return row_of(name).summary != "" or base.split("/")[0] in tfds.list_builders(with_community_datasets=False)


def make_builder(name: str, row: DatasetRow, data_dir: str | os.PathLike[str] | None) -> Any:
    """Returns the TFDS builder of a name, not yet prepared."""
    folder = None if data_dir is None else os.fspath(data_dir)
    if row.builder is not None:
        with quiet():
            return resolve(row.builder)(data_dir=folder)
    if not is_dataset(name):
        raise unknown("data set", name, [*DATASETS, *tfds.list_builders(with_community_datasets=False)])
    try:
        with quiet():
            return tfds.builder(name, data_dir=folder)
    except (ValueError, ImportError, AttributeError) as error:
        raise KerasxaiError(f"TFDS cannot open {name!r}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]


def _online() -> bool:
    """Whether downloads can work; TFDS itself would try for minutes. A proxy is believed without asking."""
    if any(os.environ.get(name) for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "ALL_PROXY")):
        return True
    try:
        socket.create_connection(_PROBE, timeout=5.0).close()
    except OSError:
        return False
    return True


def prepare(builder: Any, name: str) -> None:
    """Downloads or makes a data set if that was not done before.

    Raises:
        KerasxaiError: There is no network, the download fails, files must be fetched by hand, or the disk refuses.
    """
    with quiet():
        if builder.is_prepared():
            return
    makes_itself = row_of(name).builder is not None
    # Under TFDS' own mocking nothing is downloaded, whatever the builder is.
    mocked = not hasattr(type(builder).download_and_prepare, "__wrapped__")
    if not makes_itself and not mocked and not _online():
        raise KerasxaiError(
            f"the data set {name!r} is not prepared in {builder.data_dir} and there is no network to download it; "
            "prepare it where there is, or use 'shapes' or a folder of images"
        )
    try:
        if makes_itself:
            print(f"Making the data set {name!r} in {builder.data_dir}; this is done once.", file=sys.stderr)
        # TFDS tells of a download of unknown size, which is not what happens; its progress bars go to stderr.
        with contextlib.redirect_stdout(io.StringIO()) if makes_itself else contextlib.nullcontext():
            builder.download_and_prepare()
    except Exception as error:  # whatever a download, an unpacker or a disk may raise
        what = "make" if makes_itself else "download and prepare"
        raise KerasxaiError(
            f"cannot {what} the data set {name!r} in {builder.data_dir}: {_first_line(error)}"
        ) from error


def name_splits(available: Sequence[str], row: DatasetRow) -> dict[str, str]:
    """Returns from the names train, validation and test (and whatever else there is) to TFDS split expressions.

    Where a data set has no validation split, the last tenth of its training split is held out; where it has a
    training split alone, two tenths are held out, one to test. The row of DATASETS is asked first.

    Example:
        >>> name_splits(["train", "test"], DatasetRow(""))
        {'train': 'train[:90%]', 'validation': 'train[90%:]', 'test': 'test'}
    """
    if row.splits:
        return {name: text for name, text in row.splits.items() if text.split("[")[0] in available}
    own = {name: name for name in available}
    if "train" not in own or "validation" in own:
        return own
    if "test" in own:
        return {"train": "train[:90%]", "validation": "train[90%:]"} | {n: t for n, t in own.items() if n != "train"}
    held_out = {"train": "train[:80%]", "validation": "train[80%:90%]", "test": "train[90%:]"}
    return held_out | {n: t for n, t in own.items() if n != "train"}
