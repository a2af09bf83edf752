"""Seeded shuffled minibatches, a function of (seed, epoch) alone."""

from collections.abc import Iterator

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.data.reading_ahead import read_ahead
from mmppl.data.rows import Rows
from mmppl.errors import OptionError

__all__ = ["blocks", "minibatches"]


@checked(batch=ANYTHING, size=at_least(1), epoch=at_least(0))
def minibatches(batch: Batch | Rows, size: int, *, seed: int, epoch: int, drop_last: bool = True) -> Iterator[Batch]:
    """The rows of a batch in a random order, ``size`` at a time.

    The order depends on ``(seed, epoch)`` and the number of rows alone, so that training resumed at an epoch sees
    what the uninterrupted run would have seen. Rows of a source are read ahead by a thread.

    Arguments:
        batch: Data of N rows.
        size: Rows in each minibatch, from 1 to N.
        seed: Seed of the run, not negative.
        epoch: Number of the pass over the data, not negative.
        drop_last: Whether to leave out the last rows when they do not fill a minibatch.

    Raises:
        OptionError: If ``size`` is not in [1, N], or ``seed`` or ``epoch`` is negative.

    Example:
        >>> rows = Batch({"x": np.arange(5.0)[:, None]})
        >>> [len(b) for b in minibatches(rows, 2, seed=0, epoch=0, drop_last=False)]
        [2, 2, 1]
    """
    if not 1 <= size <= len(batch):
        raise OptionError(f"Expected a minibatch size in [1, {len(batch)}], the number of rows; got {size}.")
    if seed < 0 or epoch < 0:
        raise OptionError(f"Expected a seed and an epoch that are not negative; got seed={seed}, epoch={epoch}.")
    places = np.arange(len(batch), dtype=np.int32 if len(batch) < 2**31 else np.int64)
    order = np.random.default_rng([seed, epoch]).permutation(places)
    stop = len(order) - len(order) % size if drop_last else len(order)
    found = (batch[order[start : start + size]] for start in range(0, stop, size))
    return read_ahead(found) if isinstance(batch, Rows) else found


@checked(size=at_least(1))
def blocks(batch: Batch, size: int) -> Iterator[Batch]:
    """The rows in their order, ``size`` at a time; the last block is filled up with the first rows.

    Every block has the same shape, so that a host compiles one program for all of them.

    Arguments:
        batch: Data of N rows.
        size: Rows in a block; fewer where there are fewer data.

    Example:
        >>> [rows["x"].tolist() for rows in blocks(Batch({"x": np.arange(3)}), 2)]
        [[0, 1], [2, 0]]
    """
    size = min(size, len(batch))
    return (batch[np.arange(start, start + size) % len(batch)] for start in range(0, len(batch), size))


def block_seed(seed: int, rows: Batch) -> int:
    """Seed of the noise of a block of rows, by the place of the first, the same whenever it is read.

    Example:
        >>> rows = Batch({"x": np.arange(6)})
        >>> seeds = [block_seed(0, block) for block in (rows[2:4], rows[1:][1:3], rows[:2])]
        >>> seeds[0] == seeds[1], seeds[0] == seeds[2]
        (True, False)
    """
    first = 0 if rows.places is None else int(np.asarray(rows.places)[0])
    return int(np.random.SeedSequence([seed, first]).generate_state(1)[0])
