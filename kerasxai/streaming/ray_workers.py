"""Shards in workers of Ray, on one machine or a cluster: one process and one model for each.

Ray starts the workers, hands out the shards, and starts workers again that die; only their number is decided here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from kerasxai.streaming.shards import Shard, ShardFolder
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.extras import import_extra

_LOG = logging.getLogger(__name__)
_RETRIES = 3
"""How often a shard is begun again after its worker died."""
_SECONDS = 900
"""Within which the first worker has to start."""
_GRACE = 60
"""Seconds for the other workers; those that start later have no work."""

MakeWork = Callable[[], Callable[[Shard], None]]
"""Loads the model, and returns a function that writes the files of a shard into its folder."""


def import_ray(module: str = "ray") -> ModuleType:
    """Import Ray, or a module of it.

    Raises:
        KerasxaiError: It is not installed.
    """
    return import_extra(module, "ray", "use Ray")


def compute_with_ray(
    folder: ShardFolder, numbers: Sequence[int], work: MakeWork, workers_per_node: int | None = None
) -> None:
    """Compute shards in workers of Ray, in its running cluster, or a new one of this machine.

    Args:
        folder: The shards, in a folder that all machines see under the same path.
        numbers: The shards to compute.
        work: Called once in each worker; Ray pickles it.
        workers_per_node: Workers of a machine; None for one for each GPU, or one without GPUs.

    Raises:
        KerasxaiError: Ray is not installed, no worker starts, a shard fails, or a worker dies again and again.
    """
    ray = import_ray()
    with _cluster(ray):
        needs, count = _needs(ray.nodes(), workers_per_node, len(numbers))
        actor = ray.remote(**needs)(ShardWorker)
        given = str(Path.cwd()), folder, work, needs["num_cpus"]
        workers = [actor.remote(*given) for _ in range(count)]
        pool = import_ray("ray.util").ActorPool(_started(ray, workers))
        try:
            for number, problem in pool.map_unordered(lambda worker, number: worker.compute.remote(number), numbers):
                if problem is not None:
                    raise KerasxaiError(problem)
                _LOG.info("shard %d of %d is done", number + 1, folder.shards)
        except ray.exceptions.RayError as error:
            raise KerasxaiError(
                f"expected workers of Ray that complete a shard, got {type(error).__name__} after {_RETRIES} attempts; "
                "the same command goes on with the shards that are left"
            ) from error


class ShardWorker:
    """A process of Ray that computes shards, one at a time.

    Args:
        directory: The working directory, in which relative paths are looked up.
        folder: The shards.
        make: Called before the first shard.
        cpus: The processors that Ray has reserved.
    """

    def __init__(self, directory: str, folder: ShardFolder, make: MakeWork, cpus: float) -> None:
        os.chdir(directory)
        # TensorFlow would use all processors, also those of other workers.
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, int(cpus))))
        self._folder, self._make = folder, make
        self._work: Callable[[Shard], None] | None = None

    def compute(self, number: int) -> tuple[int, str | None]:
        """Compute a shard, unless it is there; return its number, and a user's mistake if there is one."""
        try:
            if self._work is None:
                self._work = self._make()
            self._folder.compute([number], self._work)
        except KerasxaiError as error:
            return number, str(error)
        return number, None


@contextmanager
def _cluster(ray: ModuleType) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    # Ray reports its use to its makers unless it is switched off.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise KerasxaiError(f"cannot connect to Ray: {reason}; see the variable RAY_ADDRESS") from error
    try:
        yield
    finally:
        ray.shutdown()


def _needs(nodes: Sequence[Mapping[str, Any]], workers_per_node: int | None, shards: int) -> tuple[dict[str, Any], int]:
    """Return what a worker reserves, and the number of workers.

    Args:
        nodes: As from `ray.nodes()`.
        workers_per_node: The given number.
        shards: More workers than shards would be idle.

    Raises:
        KerasxaiError: There is no machine with a processor.
    """
    found = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if not found:
        raise KerasxaiError("expected a cluster of Ray with processors, got none; start its nodes with processors")
    gpus = min(one.get("GPU", 0) for one in found)
    each = workers_per_node or max(1, int(gpus))
    needs = {
        "num_cpus": _share(min(one["CPU"] for one in found), each),
        "num_gpus": _share(gpus, each),
        "scheduling_strategy": "SPREAD",
        # A machine may come and go for weeks; a shard that kills its worker ends the call.
        "max_restarts": -1,
        "max_task_retries": _RETRIES,
    }
    return needs, min(each * len(found), shards)


def _share(resource: float, workers: int) -> float:
    """Return the share of each worker: whole numbers, as Ray takes them from 1 on, or a fraction below 1."""
    return float(resource // workers) if resource >= workers else resource / workers


def _started(ray: ModuleType, workers: Sequence[Any]) -> list[Any]:
    """Return the workers that have started; a busy cluster may have no room for all."""
    ready = {worker.__ray_ready__.remote(): worker for worker in workers}
    first, _ = ray.wait(list(ready), num_returns=1, timeout=_SECONDS)
    if not first:
        raise KerasxaiError(f"expected a worker of Ray within {_SECONDS} seconds, got none; the cluster may be busy")
    done, left = ray.wait(list(ready), num_returns=len(ready), timeout=_GRACE)
    for one in left:
        ray.kill(ready[one])
    if left:
        _LOG.warning("%d of %d workers of Ray have started; the cluster has no room for more", len(done), len(ready))
    return [ready[one] for one in done]
