"""Modalities, or single values, hidden completely at random, at an exact rate."""

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import checked, within
from mmppl.errors import DataError, OptionError

__all__ = ["hide"]


@checked(rate=within(0, 1, open_ends=")"))
def hide(batch: Batch, rate: float, *, elements: bool = False, seed: int = 0) -> Batch:
    r"""The batch with a share of its values hidden, completely at random, and in every row at least one kept.

    Of n values that are present :math:`\mathrm{round}(\eta n)` are hidden, no more and no fewer: in every row one is
    kept, each with the same probability, and of all the others as many are drawn without replacement.

    References:
        | CPM-Nets: Cross Partial Multi-View Networks (Zhang et al., 2019), section 4
        | Hirt et al. (2024), section 5.2, https://arxiv.org/abs/2309.00380

    Arguments:
        batch: Rows; modalities may be missing already.
        rate: :math:`\eta`, the share of what is present that is hidden.
        elements: Whether single elements are hidden, rather than whole modalities of rows.
        seed: Random seed, of what is hidden.

    Raises:
        OptionError: If the rate is not in [0, 1), or so high that a row would lose everything.
        DataError: If a row has nothing to keep.

    Example:
        >>> rows = Batch({"a": np.ones((4, 2)), "b": np.ones((4, 3))})
        >>> hidden = hide(rows, 0.25)
        >>> int(sum((~mask).sum() for mask in hidden.present.values())), bool(hidden.observed().all())
        (2, True)
        >>> partly = hide(rows, 0.25, elements=True)
        >>> int(sum((~partly.there(name)).sum() for name in "ab"))
        5
    """
    if not len(batch):
        raise DataError("Expected a batch with rows; got none.")
    masks = {n: np.asarray(batch.there(n) if elements else batch.present[n]) for n in batch.modalities}
    present = np.concatenate([mask.reshape(len(batch), -1) for mask in masks.values()], axis=1)
    if not present.any(1).all():
        raise DataError(f"Expected rows with something to keep; row {int(np.argmin(present.any(1)))} has no modality.")
    rng, number = np.random.default_rng(seed), round(rate * int(present.sum()))
    kept = np.argmax(np.where(present, rng.random(present.shape), -1.0), axis=1)
    free = present.copy()
    free[np.arange(len(free)), kept] = False
    cells = np.flatnonzero(free)
    if number > len(cells):
        most = len(cells) / present.sum()
        raise OptionError(f"Expected a rate of at most {most:.3f}, as every row keeps a modality; got {rate}.")
    present.flat[rng.choice(cells, number, replace=False)] = False
    parts = np.split(present, np.cumsum([np.prod(mask.shape[1:], dtype=int) for mask in masks.values()])[:-1], axis=1)
    return batch.with_present(
        {n: part.reshape(mask.shape) for (n, mask), part in zip(masks.items(), parts, strict=True)}
    )
