"""Coherence of what is generated, by the number of modalities observed."""

import math
from itertools import combinations

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import at_least, checked
from mmppl.errors import OptionError
from mmppl.metrics.classifiers import Classifiers
from mmppl.metrics.estimate import Estimate
from mmppl.metrics.generated_accuracy import Generate, generated_accuracy, labelled_modalities, mean_over_cases

__all__ = ["coherence_by_number"]


@checked(subsets=at_least(1))
def coherence_by_number(
    generate_fn: Generate, batch: Batch, classifiers: Classifiers, *, subsets: int | None = None, seed: int = 0
) -> dict[int, Estimate]:
    """Accuracy of modalities generated from k others, by k = 1, ..., M - 1.

    Arguments:
        generate_fn: Called with a batch in which k modalities are present and the names of the others; returns arrays
            ``(K, N, *event)`` by name.
        batch: Data with labels; a row counts where all k modalities are present.
        classifiers: Classifiers that have the modalities.
        subsets: At most so many subsets for each k, drawn without replacement; None for all of them.
        seed: Random seed of that draw.

    Raises:
        DataError: If the batch has no labels, fewer than two modalities, or a modality in no row.
        ModalityError: If there is no classifier for a modality, or a generated shape does not fit.
        OptionError: If ``subsets`` is less than 1.

    References:
        Bounoua et al., "Multi-modal Latent Diffusion" (2024), section 5; Wesego and Rooshenas, "Score-Based Multimodal
        Autoencoder" (2024), section 5.

    Example:
        >>> from mmppl.batch import Modality
        >>> from mmppl.metrics.classifiers import Classifier
        >>> sign = Classifier(Modality((1,)), 0.0, 1.0, [np.array([[-1.0, 1.0]])], [np.zeros(2)])
        >>> classifiers = Classifiers(dict.fromkeys("abc", sign), np.array([0, 1]), dict.fromkeys("abc", 1.0))
        >>> x = np.array([[1.0], [2.0], [-3.0]])
        >>> batch = Batch({"a": x, "b": x, "c": -x}, label=np.array([1, 1, 0]))
        >>> def copy(given, want):
        ...     first = next(name for name in given if given.present[name].all())
        ...     return {name: given[first][None] for name in want}
        >>> {k: round(e.value, 3) for k, e in coherence_by_number(copy, batch, classifiers).items()}
        {1: 0.667, 2: 1.0}
    """
    names = labelled_modalities(batch, classifiers)
    if subsets is not None and subsets < 1:
        raise OptionError(f"Expected at least 1 of subsets, or None for all; got {subsets}.")
    rng, out = np.random.default_rng(seed), {}
    for number in range(1, len(names)):
        cases = []
        for given in _some(names, number, subsets, rng):
            want = [name for name in names if name not in given]
            whole = np.all([np.asarray(batch.present[name]) for name in given], axis=0)
            if whole.any():
                right = generated_accuracy(generate_fn, batch[np.flatnonzero(whole)].only(*given), want, classifiers)
                for own in right.values():
                    cases.append(np.full(len(batch), np.nan))
                    cases[-1][whole] = own
        if cases:
            out[number] = mean_over_cases(np.stack(cases))
    return out


def _some(names: tuple[str, ...], number: int, subsets: int | None, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Subsets of so many names: all, or some of them; never are all listed where some suffice."""
    if subsets is None or math.comb(len(names), number) <= subsets:
        return list(combinations(names, number))
    chosen: set[tuple[int, ...]] = set()
    while len(chosen) < subsets:
        chosen.add(tuple(sorted(rng.permutation(len(names))[:number].tolist())))
    return [tuple(names[i] for i in own) for own in sorted(chosen)]
