"""A linear classifier on the latents."""

import numpy as np

from mmppl.checks import at_least, checked
from mmppl.errors import DataError
from mmppl.metrics.estimate import Estimate
from mmppl.metrics.numbers import numbers

__all__ = ["latent_probe"]


@checked(num=at_least(1))
def latent_probe(
    z_train: np.ndarray,
    y_train: np.ndarray,
    z_test: np.ndarray,
    y_test: np.ndarray,
    *,
    num: int | None = 500,
    seed: int = 0,
) -> Estimate:
    """Accuracy on test data of a logistic regression from latents (standardised) to labels.

    Arguments:
        z_train: Latents of shape ``(N, D)`` to fit on.
        y_train: Their labels, of shape ``(N,)``, at least two different ones.
        z_test: Latents of shape ``(N', D)`` to score.
        y_test: Their labels, of shape ``(N',)``.
        num: Number of training latents that are used, drawn at random, 500 in the protocol; None for all.
        seed: Random seed, of the choice.

    Returns:
        Share of right answers, with its standard error over the test data.

    Raises:
        DataError: If shapes do not fit, a latent is not finite, or there is only one label.

    References:
        The protocol of Sutter, Daunhawer and Vogt, "Generalized Multimodal ELBO" (2021), section 5.

    Example:
        >>> z = np.array([[-1.0], [-0.8], [0.9], [1.1]])
        >>> latent_probe(z, np.array([0, 0, 1, 1]), z, np.array([0, 0, 1, 0])).value
        0.75
    """
    parts = [(numbers("z", z), np.asarray(y)) for z, y in ((z_train, y_train), (z_test, y_test))]
    for z, y in parts:
        if z.ndim != 2 or y.shape != z.shape[:1] or z.shape[1] != parts[0][0].shape[-1]:
            raise DataError(f"Expected latents (N, D) and labels (N,); got {z.shape} and {y.shape}.")
    (z_fit, y_fit), (z_score, y_score) = parts
    if num is not None and num < len(z_fit):
        chosen = np.random.default_rng(seed).choice(len(z_fit), num, replace=False)
        z_fit, y_fit = z_fit[chosen], y_fit[chosen]
    if len(np.unique(y_fit)) < 2:
        raise DataError(f"Expected at least two different labels to tell apart; got {np.unique(y_fit).tolist()}.")
    # They take long to import, which others need not wait for.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(z_fit, y_fit)
    return Estimate.of(probe.predict(z_score) == y_score)
