"""One measure of what is generated, for each subset of modalities that is given."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from mmppl.batch import Batch
from mmppl.errors import DataError, ModalityError
from mmppl.metrics.generated_accuracy import Generate

__all__ = ["by_subset"]

T = TypeVar("T")


def by_subset(
    generate_fn: Generate,
    batch: Batch,
    subsets: Iterable[Sequence[str]],
    measure: Callable[[str, np.ndarray, np.ndarray], T],
) -> dict[tuple[str, ...], dict[str, T]]:
    """Measures every modality generated from each subset of the others: F1, Frechet distances, errors.

    Arguments:
        generate_fn: Called with a batch in which the subset is present and the names of the others; returns arrays
            ``(K, N, *event)`` by name.
        batch: Data; rows count that have the subset and all elements of the modality compared.
        subsets: Names given; an empty subset is for draws from the prior.
        measure: Called with the modality's name, draws ``(K, N, *event)`` and data ``(N, *event)``.

    Returns:
        By subset and by name of the modality generated; subsets that no row has are left out.

    Raises:
        ModalityError: If a subset names an unknown modality, or a modality was not generated.
        DataError: If there is no subset.

    References:
        The protocols of Wesego and Rooshenas, "Score-Based Multimodal Autoencoder" (2024), and of Bounoua et al.,
        "Multi-modal Latent Diffusion" (2024), on CelebAMask-HQ.

    Example:
        >>> from mmppl.metrics import f1
        >>> batch = Batch({"mask": np.array([[1.0, 0.0], [1.0, 1.0]]), "tags": np.array([[1.0], [0.0]])})
        >>> def ones(given, want):
        ...     return {name: np.ones((1, *batch[name].shape)) for name in want}
        >>> found = by_subset(ones, batch, [("tags",), ()], lambda name, made, real: round(f1(made, real).value, 2))
        >>> found
        {('tags',): {'mask': 0.83}, (): {'mask': 0.83, 'tags': 0.5}}
    """
    names = batch.modalities
    out: dict[tuple[str, ...], dict[str, T]] = {}
    for subset in map(tuple, subsets):
        unknown = [name for name in subset if name not in names]
        if unknown:
            raise ModalityError(f"Expected subsets of {list(names)}; got {unknown[0]!r}.")
        want = [name for name in names if name not in subset]
        whole = np.all([np.ones(len(batch), bool), *(np.asarray(batch.present[name]) for name in subset)], axis=0)
        if not whole.any():
            continue
        rows = batch[np.flatnonzero(whole)]
        samples = generate_fn(rows.only(*subset), want)
        lost = [name for name in want if name not in samples]
        if lost:
            raise ModalityError(f"Expected '{lost[0]}' among what was generated; got {list(samples)}.")
        out[subset] = {}
        for name in want:
            there = np.flatnonzero(np.asarray(rows.whole(name)))
            if there.size:
                out[subset][name] = measure(name, np.asarray(samples[name])[:, there], np.asarray(rows[name])[there])
    if not out:
        raise DataError("Expected at least one subset that some row has; got none.")
    return out
