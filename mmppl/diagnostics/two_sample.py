r"""The classifier two-sample test: how well a classifier tells draws from data.

Of N draws and N data, half of each are shown to a classifier, which tells the other half apart, and the halves then
change places. The accuracy on what was held out,

.. math:: \hat t = \frac{1}{2N} \sum_i 1[f(x_i) = y_i],

is 1/2 where both have the same distribution and 1 where they have nothing in common; under equality 2 N t is about
binomial. What a classifier does not see says nothing: a value near 1/2 is evidence, no proof.

References:
    | Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017), section 3
    | https://arxiv.org/abs/1610.06545
"""

from math import prod

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from mmppl.batch import Modality
from mmppl.checks import at_least, checked
from mmppl.errors import DataError, ModalityError
from mmppl.metrics import Estimate
from mmppl.metrics.classifiers import flatten

__all__ = ["two_sample_accuracy"]

HIDDEN, BATCH, STEPS = (64,), 64, 400
LEAST = 8  # rows of each


@checked(seed=at_least(0))
def two_sample_accuracy(draws: np.ndarray, data: np.ndarray, modality: Modality, *, seed: int = 0) -> Estimate:
    """Held-out accuracy of a classifier that tells draws of a modality from data.

    The classifier is a perceptron with 64 rectified units on standardised values (ids one-hot, counts by their
    logarithms) and takes 400 steps of 64 rows for each half. Of unequal numbers the first rows are compared, as many
    of each.

    Arguments:
        draws: Draws, ``(K, *event)``.
        data: Data, ``(N, *event)``.
        modality: What both are.
        seed: Seed of the halves, the order and the initial weights.

    Returns:
        The accuracy, with its binomial standard error.

    Raises:
        ModalityError: If a shape does not fit.
        DataError: If there are fewer than 8 rows of either, or a value is not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> near, far = rng.standard_normal((2, 200, 3)) + np.array([0.0, 9.0])[:, None, None]
        >>> two_sample_accuracy(near, far, Modality((3,))).value
        1.0
    """
    x, y = _rows("draws", draws, modality), _rows("data", data, modality)
    number = min(len(x), len(y))
    rng = np.random.default_rng(seed)
    # Both are shuffled: rows of one half may not be told from the other's by their order.
    pair = np.stack([x[rng.permutation(number)], y[rng.permutation(number)]], axis=1)
    right = []
    for shown, held in ((pair[::2], pair[1::2]), (pair[1::2], pair[::2])):
        right.append(_right(_labelled(shown), _labelled(held), rng))
    hits = np.concatenate(right)
    share = float(hits.mean())
    return Estimate(share, float(np.sqrt(max(share * (1.0 - share), 0.25 / len(hits)) / len(hits))), len(hits))


def _rows(name: str, x: np.ndarray, modality: Modality) -> np.ndarray:
    """Rows as vectors, checked."""
    x = np.asarray(x)
    if x.ndim == 0 or x.shape[1:] != modality.shape:
        wanted = ", ".join(["N", *map(str, modality.shape)])
        raise ModalityError(f"Expected {name} of shape ({wanted}); got {x.shape}.")
    if len(x) < LEAST:
        raise DataError(f"Expected at least {LEAST} rows of {name}; got {len(x)}. Draw more.")
    flat = flatten(modality, x)
    if not np.isfinite(flat).all():
        raise DataError(f"Expected finite {name}; got NaN or Inf. Leave out rows that are missing or in part.")
    return flat


def _labelled(pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws and data of pairs ``(N, 2, D)`` one after the other, and 0 or 1 for each."""
    return pair.reshape(-1, prod(pair.shape[2:])), np.tile([0, 1], len(pair))


def _right(
    shown: tuple[np.ndarray, np.ndarray], held: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Marks of the held-out rows that the classifier tells rightly after it has seen the others."""
    x, y = shown
    centre, spread = x.mean(0), np.maximum(x.std(0), 1e-3 * max(float(x.std()), 1e-12))
    size = min(BATCH, len(x))
    from sklearn.neural_network import MLPClassifier  # takes long to import, which others need not wait for

    net = MLPClassifier(HIDDEN, alpha=1e-2, batch_size=size, random_state=int(rng.integers(2**31)))
    # The matrices are small: more threads than one only wait for each other.
    with threadpool_limits(1):
        for _ in range(max(1, STEPS * size // len(x))):
            net.partial_fit((x - centre) / spread, y, classes=[0, 1])
        return net.predict((held[0] - centre) / spread) == held[1]
