"""Timing in interleaved rounds: what is compared runs once a round, so that a busy machine slows all alike."""

import statistics
from collections.abc import Callable, Mapping

from benchmarks.subject import Seconds, seconds_of

Function = Callable[[], object]


def interleaved(functions: Mapping[str, Function], rounds: int) -> dict[str, list[Seconds]]:
    """Call every function once a round.

    Args:
        functions: The functions, by name, already warm.
        rounds: How often.

    Returns:
        The CPU and the wall seconds of each round, by name.
    """
    taken: dict[str, list[Seconds]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            taken[name].append(seconds_of(function))
    return taken


def ratios(taken: list[Seconds], base: list[Seconds]) -> list[Seconds]:
    """Return the CPU and the wall ratio of each round."""
    return [(cpu / by_cpu, wall / by_wall) for (cpu, wall), (by_cpu, by_wall) in zip(taken, base, strict=True)]


def median_of(function: Function, times: int) -> Seconds:
    """Return the medians of the CPU and the wall seconds of some calls."""
    taken = [seconds_of(function) for _ in range(times)]
    return statistics.median(cpu for cpu, _ in taken), statistics.median(wall for _, wall in taken)


def batched(function: Function, times: int) -> Function:
    """Return a function that calls another several times, for calls that are too short to be timed alone."""

    def call() -> None:
        for _ in range(times):
            function()

    return call
