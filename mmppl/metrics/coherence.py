"""Coherence: whether generated modalities show the same thing, as classifiers see it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmppl.batch import Batch
from mmppl.errors import DataError, ModalityError
from mmppl.metrics.classifiers import Classifiers
from mmppl.metrics.estimate import Estimate
from mmppl.metrics.generated_accuracy import Generate, generated_accuracy, labelled_modalities, mean_over_cases

__all__ = [
    "Coherence",
    "CrossCoherence",
    "LeaveOneOutCoherence",
    "coherence",
    "cross_coherence",
    "leave_one_out_coherence",
]


@dataclass(frozen=True, eq=False)
class Coherence:
    """Agreement of the classifiers on samples of several modalities.

    Arguments:
        joint: Share of samples on which all classifiers agree.
        names: The modalities evaluated.
        pairs: Share on which two classifiers agree, of shape ``(M, M)``, rows and columns as in ``names``.
        at_least: Share on which k classifiers or more read what the first one reads, itself among them, by
            k = 2, ..., M.
        accuracy: Share that each classifier reads as the label, by name; None without labels.
    """

    joint: Estimate
    names: tuple[str, ...]
    pairs: np.ndarray
    at_least: dict[int, Estimate]
    accuracy: dict[str, Estimate] | None = None


@dataclass(frozen=True, eq=False)
class CrossCoherence:
    """Accuracy of each modality generated from one other.

    Arguments:
        mean: Mean over all pairs of different modalities.
        names: The modalities.
        accuracy: Share of right labels, ``[source, target]`` of shape ``(M, M)``; NaN on the diagonal.
        error: Standard errors of ``accuracy``.
    """

    mean: Estimate
    names: tuple[str, ...]
    accuracy: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class LeaveOneOutCoherence:
    """Accuracy of each modality generated from all others.

    Arguments:
        mean: Mean over the modalities.
        accuracy: Share of right labels, by name of the modality generated.
    """

    mean: Estimate
    accuracy: dict[str, Estimate]


def coherence(
    samples: Mapping[str, np.ndarray], classifiers: Classifiers, label: np.ndarray | None = None
) -> Coherence:
    """Joint coherence of samples, and with labels the accuracy of each modality.

    Arguments:
        samples: Arrays of shape ``(*, *event)`` by name, with the same leading axes ``(*)``: ``(K,)`` for unconditional
            samples, ``(K, N)`` for K draws for each of N data. Draws for one datum are averaged before the standard
            error is taken.
        classifiers: Classifiers that have the modalities.
        label: Labels of shape ``(N,)``, the last of the leading axes.

    Raises:
        ModalityError: If there is no classifier for a modality, a shape does not fit, or leading axes differ.
        DataError: If there are no samples, or the labels have another length.

    References:
        Shi et al., "Variational Mixture-of-Experts Autoencoders" (2019), section 4; Sutter, Daunhawer and Vogt (2021);
        for ``at_least`` the code of Wesego and Rooshenas, "Score-Based Multimodal Autoencoder" (2024).

    Example:
        >>> from mmppl.batch import Modality
        >>> from mmppl.metrics.classifiers import Classifier
        >>> sign = Classifier(Modality((1,)), 0.0, 1.0, [np.array([[-1.0, 1.0]])], [np.zeros(2)])
        >>> classifiers = Classifiers({"a": sign, "b": sign}, np.array([0, 1]), {"a": 1.0, "b": 1.0})
        >>> a, b = np.array([[1.0], [2.0], [-1.0], [-3.0]]), np.array([[1.0], [-2.0], [-1.0], [-3.0]])
        >>> coherence({"a": a, "b": b}, classifiers).joint.value
        0.75
    """
    if not samples:
        raise DataError("Expected samples of at least one modality; got none.")
    seen = {name: classifiers.predict(name, x) for name, x in samples.items()}
    names = tuple(seen)
    lead = seen[names[0]].shape
    for name, labels in seen.items():
        if labels.shape != lead:
            raise ModalityError(
                f"Modality '{name}': expected leading axes {lead}, as '{names[0]}' has; got {labels.shape}."
            )
    if 0 in lead:
        raise DataError(f"Expected at least one sample; got leading axes {lead}.")
    votes = np.stack(list(seen.values()))
    joint = Estimate.of((votes == votes[0]).all(axis=0))
    pairs = (votes[:, None] == votes[None]).reshape(len(names), len(names), -1).mean(axis=-1)
    agree = (votes == votes[0]).sum(axis=0)
    at_least = {k: Estimate.of(agree >= k) for k in range(2, len(names) + 1)}
    if label is None:
        return Coherence(joint, names, pairs, at_least)
    label = np.asarray(label)
    if label.shape != lead[-1:]:
        raise DataError(
            f"Expected labels of shape {lead[-1:]}, the last leading axis of the samples; got {label.shape}."
        )
    accuracy = {name: Estimate.of(labels == label) for name, labels in seen.items()}
    return Coherence(joint, names, pairs, at_least, accuracy)


def cross_coherence(generate_fn: Generate, batch: Batch, classifiers: Classifiers) -> CrossCoherence:
    """Accuracy of every modality generated from one single other, over all pairs.

    Arguments:
        generate_fn: Called with a batch in which one modality is present and the names wanted; returns arrays
            ``(K, N, *event)`` by name.
        batch: Data with labels; rows that lack the source are left out.
        classifiers: Classifiers that have the modalities.

    Raises:
        DataError: If the batch has no labels, fewer than two modalities, or a modality in no row.
        ModalityError: If there is no classifier for a modality, or a generated shape does not fit.
    """
    names = labelled_modalities(batch, classifiers)
    hits = np.full((len(names), len(names), len(batch)), np.nan)
    for i, source in enumerate(names):
        targets = [name for name in names if name != source]
        for target, right in generated_accuracy(generate_fn, batch.only(source), targets, classifiers).items():
            hits[i, names.index(target)] = right
    pairs = ~np.eye(len(names), dtype=bool)
    accuracy, error = np.full(pairs.shape, np.nan), np.full(pairs.shape, np.nan)
    for i, j in np.argwhere(pairs):
        estimate = Estimate.of(hits[i, j][~np.isnan(hits[i, j])])
        accuracy[i, j], error[i, j] = estimate.value, estimate.error
    return CrossCoherence(mean_over_cases(hits[pairs]), names, accuracy, error)


def leave_one_out_coherence(generate_fn: Generate, batch: Batch, classifiers: Classifiers) -> LeaveOneOutCoherence:
    """Accuracy of every modality generated from all the others.

    Arguments:
        generate_fn: Called with a batch in which one modality is hidden and its name; returns ``(K, N, *event)`` by
            name.
        batch: Data with labels; rows in which nothing else is present are left out.
        classifiers: Classifiers that have the modalities.

    Raises:
        DataError: If the batch has no labels, fewer than two modalities, or a modality in no row.
        ModalityError: If there is no classifier for a modality, or a generated shape does not fit.
    """
    names = labelled_modalities(batch, classifiers)
    hits = np.stack([generated_accuracy(generate_fn, batch.without(name), [name], classifiers)[name] for name in names])
    accuracy = {name: Estimate.of(h[~np.isnan(h)]) for name, h in zip(names, hits, strict=True)}
    return LeaveOneOutCoherence(mean_over_cases(hits), accuracy)
