"""A folder of shards: each is computed in a hidden folder, which is renamed when it is complete.

A shard is there or it is not, whatever process is killed at whatever moment, so that nothing has to be repaired. A lock
for each shard keeps processes that share the folder from computing the same one twice.
"""

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasxai.evaluation.saved_results import differences
from kerasxai.tools.commands import command_line
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import cannot, read_json, write_json
from kerasxai.tools.folders import LockedError, check_output_folder, locked

_LOG = logging.getLogger(__name__)

PLAN = "shards.json"
"""The settings that all shards of a folder share."""
# Seconds for which a process waits for another one that joins the tables, and between two looks.
_PATIENCE, _PAUSE = 600.0, 0.2


@dataclass(frozen=True)
class Shard:
    """A part of a data set.

    Attributes:
        number: From 0.
        start: The first image.
        stop: The image after the last.
        folder: Where its files are written, or were written.
    """

    number: int
    start: int
    stop: int
    folder: Path

    def __len__(self) -> int:
        return self.stop - self.start


class ShardFolder:
    """The shards of one result.

    Args:
        out: The folder; it need not exist.
        settings: Everything that the results depend on, also the identity of the images, ready for JSON.
        images: The number of images.
        shards: The number of shards.

    Raises:
        KerasxaiError: The folder has shards of other settings, or cannot be written to.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], images: int, shards: int) -> None:
        check_output_folder(out)
        self.out, self.images, self.shards = out, images, shards
        given = {**settings, "images": images, "shards": shards}
        path = out / PLAN
        if not path.exists():
            write_json(path, {"command": command_line(), "settings": given})
            return
        found = read_json(path)
        differing = differences(found["settings"], given) if isinstance(found, dict) and "settings" in found else ["?"]
        if differing:
            raise KerasxaiError(
                f"expected a folder without other shards, got {out}, whose shards have other settings "
                f"({'; '.join(differing)}); choose another --out"
            )

    def shard(self, number: int) -> Shard:
        """Return a shard; the images are spread evenly, in their order."""
        width = len(str(self.shards - 1))
        name = f"shard-{number:0{width}}-of-{self.shards}"
        return Shard(
            number, self.images * number // self.shards, self.images * (number + 1) // self.shards, self.out / name
        )

    def left(self, only: int | None = None) -> list[int]:
        """Return the numbers of the shards that are not computed.

        Args:
            only: Consider this shard alone.

        Raises:
            KerasxaiError: There is no such shard.
        """
        if only is not None and only >= self.shards:
            raise KerasxaiError(f"shard must be from 0 to {self.shards - 1}, got {only}")
        numbers = range(self.shards) if only is None else [only]
        return [number for number in numbers if not self.shard(number).folder.exists()]

    @contextlib.contextmanager
    def joining(self) -> Iterator[list[Shard]]:
        """Yield all shards in order, to join their results, while no other process does.

        Locks and temporary files that killed processes left in the folder are removed.

        Raises:
            KerasxaiError: Some shards are not computed, or another process joins them for ten minutes.
        """
        left = self.left()
        if left:
            raise KerasxaiError(f"expected {self.shards} shards in {self.out}, got {self.shards - len(left)}")
        with waiting(self.out):
            for lock in self.out.glob(".lock-*"):
                with contextlib.suppress(LockedError), locked(lock):
                    pass
                _remove_empty(lock)
            yield [self.shard(number) for number in range(self.shards)]

    def compute(self, numbers: Sequence[int], work: Callable[[Shard], None]) -> None:
        """Compute shards; those that another process computes are left out.

        Args:
            numbers: The shards.
            work: Writes the files of a shard into its folder.
        """
        for number in numbers:
            with self._claimed(number) as shard:
                if shard is None:
                    continue
                begun = time.monotonic()
                work(shard)
            seconds = time.monotonic() - begun
            _LOG.info(
                "shard %d of %d: %d images, %.1f a second",
                number + 1,
                self.shards,
                len(shard),
                len(shard) / max(seconds, 1e-9),
            )

    @contextlib.contextmanager
    def _claimed(self, number: int) -> Iterator[Shard | None]:
        """Yield a shard with a folder to fill, or None if it is done or another process computes it."""
        final = self.shard(number)
        temporary, lock = (self.out / f".{kind}-{final.folder.name}" for kind in ("tmp", "lock"))
        with contextlib.ExitStack() as stack:
            # Runs after the lock is released: the folder of a lock that a killed process left is not removed otherwise.
            stack.callback(_remove_empty, lock)
            try:
                stack.enter_context(locked(lock))
            except LockedError:
                yield None
                return
            # Looked up under the lock: another process may have completed the shard in the meantime.
            if final.folder.exists():
                yield None
                return
            # A process that was killed leaves its temporary folder.
            shutil.rmtree(temporary, ignore_errors=True)
            try:
                temporary.mkdir()
                yield Shard(number, final.start, final.stop, temporary)
                temporary.rename(final.folder)
            except OSError as error:
                raise cannot("write", final.folder, error) from error
            finally:
                shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def waiting(folder: Path) -> Iterator[None]:
    """Lock a folder, as soon as another process that has locked it releases it."""
    until = time.monotonic() + _PATIENCE
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except LockedError:
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE)
        yield


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
