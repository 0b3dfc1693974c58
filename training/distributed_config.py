"""The processes of a distributed training. Nothing here imports TensorFlow."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

from kerasxai.tools.arguments import comma_separated
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.settings import Limits, setting

WORKERS = "workers"
"""The heading of the flags in `--help`."""
_LARGEST_PORT = 65_535


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The processes of a training.

    Attributes:
        workers: HOST:PORT of each process; the first is the chief. Empty for one process, or for those in TF_CONFIG.
        worker: The position of this process in the list.
    """

    workers: tuple[str, ...] = setting(
        "train in several processes, the same command on each machine with another --worker; the first one writes "
        "--out (default: the workers in the environment variable TF_CONFIG, or one process)",
        WORKERS,
        (),
        metavar="HOST:PORT,...",
        parse=comma_separated,
    )
    worker: int | None = setting(
        "position of this process in --workers, from 0", WORKERS, None, limits=Limits(least=0), metavar="I"
    )

    @property
    def several(self) -> bool:
        """Whether there is more than one process.

        Raises:
            KerasxaiError: The settings are wrong.
        """
        if self.workers:
            checked_workers(self.workers, self.worker)
            return True
        if self.worker is not None:
            raise KerasxaiError(f"expected --workers with --worker, got --worker {self.worker} alone; add --workers")
        return len(_workers_of_environment()) > 1


def checked_workers(addresses: Sequence[str], index: int | None) -> list[str]:
    """Return the addresses of several processes.

    Args:
        addresses: HOST:PORT of each process.
        index: The position of this process.

    Raises:
        KerasxaiError: An address is wrong or occurs twice, there is only one, or no such position.

    Example:
        >>> checked_workers(["a:1", "b:1"], 1)
        ['a:1', 'b:1']
    """
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) <= _LARGEST_PORT:
            raise KerasxaiError(f"expected workers as HOST:PORT, got {address!r}")
    if len(set(addresses)) != len(addresses) or len(addresses) < 2:
        raise KerasxaiError(f"expected two or more different workers, got {', '.join(addresses)}")
    if index is None or not 0 <= index < len(addresses):
        raise KerasxaiError(f"worker must be from 0 to {len(addresses) - 1}, got {index}")
    return list(addresses)


def _workers_of_environment() -> list[str]:
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return []
    try:
        cluster = json.loads(text).get("cluster", {})
        found = cluster.get("worker", [])
        jobs = set(cluster) - {"worker"}
    except (AttributeError, json.JSONDecodeError) as error:
        raise KerasxaiError(f"expected JSON in the environment variable TF_CONFIG, got {text!r}") from error
    if jobs:
        raise KerasxaiError(f"expected workers alone in TF_CONFIG, got {', '.join(sorted(jobs))}; list all as worker")
    return list(found)
