"""Accuracy of generated modalities, for coherences across modalities."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmppl.batch import Batch
from mmppl.errors import DataError, ModalityError
from mmppl.metrics.classifiers import Classifiers
from mmppl.metrics.estimate import Estimate

__all__ = ["Generate", "labelled_modalities", "mean_over_cases", "generated_accuracy"]

Generate = Callable[[Batch, Sequence[str]], Mapping[str, np.ndarray]]


def labelled_modalities(batch: Batch, classifiers: Classifiers) -> tuple[str, ...]:
    """Modalities of a batch for which coherence is defined."""
    names = batch.modalities
    if batch.label is None:
        raise DataError("Expected a batch with labels; got none. Coherence across modalities compares with the label.")
    if len(names) < 2:
        raise DataError(f"Expected at least two modalities; got {list(names)}.")
    unknown = [name for name in names if name not in classifiers.by_name]
    if unknown:
        raise ModalityError(
            f"Expected modalities among {list(classifiers.by_name)}; got '{unknown[0]}', which has no classifier."
        )
    nowhere = [name for name in names if not np.any(batch.present[name])]
    if nowhere:
        raise DataError(f"Modality '{nowhere[0]}' is present in no row; select() the others.")
    return names


def generated_accuracy(
    generate_fn: Generate, given: Batch, want: Sequence[str], classifiers: Classifiers
) -> dict[str, np.ndarray]:
    """Share of right draws for each row, of shape (N,), by name wanted; NaN where nothing is given."""
    rows = np.flatnonzero(given.observed())
    given_rows = given[rows]
    samples = generate_fn(given_rows, want)
    out = {}
    for name in want:
        if name not in samples:
            raise ModalityError(f"Expected '{name}' among what was generated; got {list(samples)}.")
        seen = classifiers.predict(name, samples[name])
        if seen.ndim != 2 or seen.shape[1] != len(rows):
            raise ModalityError(f"Modality '{name}': expected generated axes (K, {len(rows)}); got {seen.shape}.")
        out[name] = np.full(len(given), np.nan)
        out[name][rows] = (seen == np.asarray(given_rows.label)).mean(axis=0)
    return out


def mean_over_cases(hits: np.ndarray) -> Estimate:
    """Mean over cases (C, N) of their means over rows; a row counts in several cases, which its error respects."""
    num = (~np.isnan(hits)).sum(axis=1, keepdims=True)
    means = np.nansum(hits, axis=1, keepdims=True) / num
    influence = np.nansum((hits - means) / num, axis=0) / len(hits)
    rows = int((~np.isnan(hits)).any(axis=0).sum())
    error = np.sqrt(np.sum(influence**2) * rows / (rows - 1)) if rows > 1 else np.nan
    return Estimate(float(means.mean()), float(error), rows)
