"""Data held out of a fit, on which its bound is evaluated after each epoch."""

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.covariates import Covariate
from mmppl.data.dataset import Dataset, split_rows
from mmppl.data.rows import Rows, rows_or_batch
from mmppl.errors import OptionError
from mmppl.inference.objectives.leave_one_out import CONDITIONAL
from mmppl.inference.training.checksums import data_digest
from mmppl.inference.training.moments import in_blocks

__all__ = ["conditional_weights", "even_blocks", "hold_out", "weighted_mean", "weights_of"]


def hold_out(
    validation: Any,
    data: Any,
    modalities: Mapping[str, Modality],
    seed: int,
    covariates: Mapping[str, Covariate] | None = None,
) -> tuple[Any, Any, dict[str, Any] | None]:
    """The rows to train on, those that are held out, and the latter in the words of a run folder.

    Rows of a source are not read: those held out have no digest yet.

    Arguments:
        validation: None; a share of the rows in (0, 1), which are drawn by the seed; or other data: a batch, arrays by
            name, a data set, whose test part is taken, or a source of rows.
        data: The data of the fit, a batch or rows of a source.
        modalities: What the modalities are.
        seed: Random seed.
        covariates: What the covariates are.

    Raises:
        OptionError: If the share is out of range, or leaves no row on one side.
        ModalityError, DataError: If the data do not fit the program.

    Example:
        >>> rows = Batch({"x": np.zeros((10, 2), np.float32)})
        >>> train, held, about = hold_out(0.2, rows, {"x": Modality((2,))}, 0)
        >>> len(train), len(held), about
        (8, 2, {'share': 0.2})
    """
    if validation is None:
        return data, None, None
    if isinstance(validation, Real) or isinstance(validation, str | bytes):
        share: Any = validation
        if isinstance(share, str | bytes | bool | np.bool_) or not 0 < float(share) < 1:
            raise OptionError(
                f"Expected validation to be data or a share of the rows, 0 < validation < 1; got validation={share!r}."
            )
        if len(data) < 2:
            raise OptionError(f"Expected at least 2 rows, some of them to be held out; got {len(data)}.")
        train, held = split_rows(len(data), seed, float(share))
        if not len(train):
            raise OptionError(f"Expected validation={share!r} to leave rows to train on; it takes all {len(data)}.")
        # In the order that they had.
        parts = (np.sort(train), np.sort(held))
        first, second = (data.part(rows) if isinstance(data, Rows) else data[rows] for rows in parts)
        return first, second, {"share": float(share)}
    own = rows_or_batch(validation.test if isinstance(validation, Dataset) else validation, modalities, covariates)
    if isinstance(own, Rows):
        return data, own, None
    held_out = own.validate(modalities)
    if not len(held_out):
        raise OptionError("Expected validation data with rows; got none.")
    return data, held_out, data_digest(held_out)


def even_blocks(data: Batch | Rows, size: int) -> Iterator[Batch]:
    """All rows in their order, each once, in blocks of at most ``size`` and, if there is a way, of one shape.

    A host compiles a program for every shape. Where no number of blocks up to twice the least one divides the rows, the
    last block is smaller.

    Example:
        >>> [[len(b) for b in even_blocks(Batch({"x": np.zeros((n, 1))}), 4)] for n in (3, 6, 7)]
        [[3], [3, 3], [4, 3]]
    """
    least = -(-len(data) // size)
    number = next((n for n in range(least, 2 * least + 1) if len(data) % n == 0), None)
    step = size if number is None else len(data) // number
    return in_blocks(data, step)


def weights_of(record: Mapping[str, float], block: Batch) -> dict[str, float]:
    """Rows that each number of a block's record is a mean over: of a modality's log likelihood those that have it."""
    out = {}
    for name in record:
        modality = name.removeprefix("log_lik.")
        has = name != modality and modality in block.values
        out[name] = float(np.sum(block.present[modality]) if has else len(block))
    return out


def conditional_weights(record: Mapping[str, float], block: Batch) -> dict[str, float]:
    """Rows that bounds of a modality given the others are means over: those that have it and another one."""
    out = {}
    for name in record:
        own = name.removeprefix(CONDITIONAL)
        others = [np.asarray(mask) for other, mask in block.present.items() if other != own]
        out[name] = float((np.asarray(block.present[own]) & np.any(others, axis=0)).sum())
    return out


def weighted_mean(records: Sequence[Mapping[str, float]], weights: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over all rows of records of blocks, by their weights; 0 where there is no row.

    Example:
        >>> weighted_mean([{"loss": 1.0}, {"loss": 4.0}], [{"loss": 2.0}, {"loss": 1.0}])
        {'loss': 2.0}
    """
    out = {}
    for name in records[0]:
        weight = [of_block[name] for of_block in weights]
        total = sum(weight)
        out[name] = sum(w * r[name] for w, r in zip(weight, records, strict=True) if w) / total if total else 0.0
    return out
