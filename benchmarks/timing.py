"""Interleaved timing, to cancel what else the machine does meanwhile."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

__all__ = ["Measure", "duration", "interleave", "rate", "ratio"]

PARTS = 5


class Measure(NamedTuple):
    """A number that was measured.

    Arguments:
        value: The median over all rounds.
        low: The lowest of the medians of five consecutive parts of the rounds, which tells how stable it is.
        high: The highest of them.
        unit: Of the value.
        bound: What it should not exceed, where there is an aim.
    """

    value: float
    low: float
    high: float
    unit: str
    bound: float | None = None

    def __str__(self) -> str:
        return f"{self.value:.4g} {self.unit} ({self.low:.4g} to {self.high:.4g})"


def interleave(
    steps: Mapping[str, Callable[[], object]],
    rounds: int,
    inner: int = 1,
    warm: int = 3,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, np.ndarray]:
    """Seconds of one call of each function in every round, ``(rounds,)``: of processor time, or by another clock.

    In a round each is called ``inner`` times in a row, and every other round goes backwards (A B B A). A step must
    return only when its work is done.
    """
    for step in steps.values():
        for _ in range(warm):
            step()
    times = {name: np.empty(rounds) for name in steps}
    order = list(steps.items())
    for number in range(rounds):
        for name, step in order:
            start = clock()
            for _ in range(inner):
                step()
            times[name][number] = (clock() - start) / inner
        order.reverse()
    return times


def ratio(times: Mapping[str, np.ndarray], ours: str, theirs: str, bound: float | None = None) -> Measure:
    """The time of ``ours`` over that of ``theirs``: a quotient of medians."""
    return _measure([times[ours], times[theirs]], lambda a, b: np.median(a) / np.median(b), "times", bound)


def rate(times: Mapping[str, np.ndarray], name: str) -> Measure:
    """Calls per second."""
    return _measure([times[name]], lambda a: 1.0 / np.median(a), "per second", None)


def duration(times: Mapping[str, np.ndarray], name: str) -> Measure:
    """Milliseconds of a call."""
    return _measure([times[name]], lambda a: 1e3 * np.median(a), "ms", None)


def _measure(arrays: list[np.ndarray], formula: Callable, unit: str, bound: float | None) -> Measure:
    parts = [formula(*part) for part in zip(*(np.array_split(a, PARTS) for a in arrays), strict=True)]
    return Measure(float(formula(*arrays)), float(min(parts)), float(max(parts)), unit, bound)
