"""Finding a TFDS builder by name and preparing it once, with a one-line error if that fails."""

import contextlib
import io
import logging
import os
import socket
from collections.abc import Iterator, Sequence

import tensorflow_datasets as tfds

from kerasxai.data.tables import DATASETS, DatasetRow
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import StrPath
from kerasxai.tools.lazy import resolve

_LOG = logging.getLogger(__name__)

_PROBE = ("storage.googleapis.com", 443)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings of TFDS about its own internals (its deprecated properties, folders that it will fill)."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def row_of(name: str) -> DatasetRow:
    """Return the row of DATASETS for a name, with or without a configuration or version; an empty one if none."""
    base = name.split(":")[0]
    return DATASETS.get(base) or DATASETS.get(base.split("/")[0]) or DatasetRow(summary="")


def is_dataset(name: str) -> bool:
    """Whether a name is in DATASETS or known to TFDS."""
    base = name.split(":")[0]
    return row_of(name).summary != "" or base.split("/")[0] in tfds.list_builders(with_community_datasets=False)


def make_builder(name: str, row: DatasetRow, data_dir: StrPath | None) -> tfds.core.DatasetBuilder:
    """Return the TFDS builder of a name, not yet prepared."""
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
        raise KerasxaiError(f"cannot open {name!r} with TFDS: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]


def _online() -> bool:
    """Whether downloads can work, since TFDS would retry for minutes; a proxy is assumed to work."""
    if any(os.environ.get(name) for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "ALL_PROXY")):
        return True
    try:
        socket.create_connection(_PROBE, timeout=5.0).close()
    except OSError:
        return False
    return True


def prepare(builder: tfds.core.DatasetBuilder, name: str) -> None:
    """Download or make a data set that is not prepared yet.

    Several processes may do so at once: the first one to finish writes the folder, and the others read it.

    Raises:
        KerasxaiError: There is no network, the download fails, files must be fetched by hand, or the disk refuses.
    """
    with quiet():
        if builder.is_prepared():
            if not builder.info.splits:  # Another process has finished it since this builder was made.
                builder.info.read_from_directory(builder.data_dir)
            return
    makes_itself = row_of(name).builder is not None
    # Under TFDS' own mocking nothing is downloaded, whatever the builder is.
    mocked = not hasattr(type(builder).download_and_prepare, "__wrapped__")
    if not makes_itself and not mocked and not _online():
        raise KerasxaiError(
            f"cannot download the data set {name!r} to {builder.data_dir}: there is no network; prepare it on a "
            "machine with network, or use 'shapes' or a folder of images"
        )
    try:
        if makes_itself:
            # A warning, so that it is visible without any logging set up: it may take minutes.
            _LOG.warning("Making the data set %r in %s; this is done once.", name, builder.data_dir)
        # TFDS announces a download of unknown size, although nothing is downloaded; its progress bars go to stderr.
        with contextlib.redirect_stdout(io.StringIO()) if makes_itself else contextlib.nullcontext():
            builder.download_and_prepare()
    except Exception as error:  # A download, an unpacker or a disk may raise anything.
        if isinstance(error, FileExistsError) and builder.is_prepared():
            builder.info.read_from_directory(builder.data_dir)
            return
        what = "make" if makes_itself else "download and prepare"
        raise KerasxaiError(
            f"cannot {what} the data set {name!r} in {builder.data_dir}: {_first_line(error)}"
        ) from error


def name_splits(available: Sequence[str], row: DatasetRow) -> dict[str, str]:
    """Map the names train, validation, test and others to TFDS split expressions.

    Without a validation split, the last tenth of the training split is held out; with a training split only, two
    tenths are held out, one of them to test. The row of DATASETS wins.

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
    split_train = {"train": "train[:80%]", "validation": "train[80%:90%]", "test": "train[90%:]"}
    return split_train | {n: t for n, t in own.items() if n != "train"}
