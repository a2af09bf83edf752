"""MNIST-SVHN-Text: MNIST-SVHN with the digit's name, somewhere in eight characters."""

import os

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import at_least, checked
from mmppl.data.dataset import Dataset
from mmppl.data.mnist_svhn import mnist_svhn
from mmppl.data.polydigits import WORDS

__all__ = ["mnist_svhn_text", "write_names"]

LENGTH = 8


@checked(pairings=at_least(1), num_train=at_least(1), num_test=at_least(1))
def mnist_svhn_text(
    *,
    root: str | os.PathLike,
    seed: int = 0,
    pairings: int = 1,
    num_train: int | None = None,
    num_test: int | None = None,
) -> Dataset:
    """MNIST-SVHN-Text: ``mnist`` (1, 28, 28), ``svhn`` (3, 32, 32) and ``text`` (8,), paired by their class.

    The first two are those of :func:`~mmppl.data.mnist_svhn.mnist_svhn`. The text is the digit's English name, which
    starts at a random place and ends before the last one; token 0 is a blank and 1 to 26 are a to z (the published
    alphabet has 71 characters, of which no others occur).

    Arguments:
        root: Folder of the data.
        seed: Seed of the pairing, the places and the order.
        pairings: Pairings of each instance; 20 in the papers, which take 17 GB.
        num_train: Training tuples wanted; all by default.
        num_test: Test tuples wanted; all by default.

    Raises:
        DataError: If a file is missing or its arrays do not fit, or a class stands in one of the sets only.
        OptionError: If a number is not positive, or more than there is.

    References:
        Sutter, Daunhawer and Vogt, "Generalized Multimodal ELBO" (2021), section 5.1, and its code.
    """
    pairs = mnist_svhn(root=root, seed=seed, pairings=pairings, num_train=num_train, num_test=num_test)
    rng = np.random.default_rng([seed, 1])
    train, test = (
        Batch({**part.values, "text": write_names(np.asarray(part.label), rng)}, label=part.label)
        for part in (pairs.train, pairs.test)
    )
    modalities = {**pairs.modalities, "text": Modality((LENGTH,), kind="tokens", vocabulary=27)}
    return Dataset(pairs.name.replace("svhn", "svhn_text"), modalities, train, test, published=pairs.published)


def write_names(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Names of digits ``(N,)`` as token ids ``(N, 8)``.

    Example:
        >>> write_names(np.array([1, 3]), np.random.default_rng(0)).tolist()
        [[0, 0, 0, 0, 15, 14, 5, 0], [0, 20, 8, 18, 5, 5, 0, 0]]
    """
    out = np.zeros((len(label), LENGTH), np.int64)
    for row, digit in enumerate(label):
        name = [ord(letter) - ord("a") + 1 for letter in WORDS[digit]]
        start = rng.integers(LENGTH - len(name))
        out[row, start : start + len(name)] = name
    return out
