"""Parts of priors that are mixtures: checks, and Gaussians fitted to draws."""

import warnings
from typing import Any

import numpy as np

from mmppl.errors import OptionError

Array = Any

__all__ = ["check_components", "check_gaussians", "fit_gaussians"]

ROWS = 8  # at least so many draws for each Gaussian


def check_gaussians(loc: Array, scale: Array, logits: Array | None) -> None:
    """Raises :class:`OptionError` unless the shapes are those of K Gaussians in D dimensions.

    Arguments:
        loc: ``(*, K, D)``.
        scale: Of the same shape, or one that broadcasts to it.
        logits: ``(*, K)``, or None.
    """
    if loc.ndim < 2:
        raise OptionError(f"Expected loc of shape (*, K, D), K means in D dimensions; got {tuple(loc.shape)}.")
    shape, own = tuple(loc.shape), tuple(getattr(scale, "shape", ()))
    fits = all(a in (1, b) for a, b in zip(own[::-1], shape[::-1], strict=False)) and len(own) <= len(shape)
    if not fits:
        raise OptionError(f"Expected scale of shape {shape}, that of loc, or one that broadcasts to it; got {own}.")
    if logits is not None and tuple(logits.shape[-1:]) != (shape[-2],):
        raise OptionError(f"Expected logits of shape (*, {shape[-2]}), one for each mean; got {tuple(logits.shape)}.")


def check_components(posterior: Any, logits: Array | None) -> None:
    """Raises :class:`OptionError` unless a distribution has components along its last batch dimension.

    Arguments:
        posterior: A host distribution of batch shape ``(*, K)`` and event shape ``(D,)``.
        logits: ``(*, K)``, or None.
    """
    batch, event = tuple(posterior.batch_shape), tuple(posterior.event_shape)
    if not batch or len(event) != 1:
        raise OptionError(
            f"Expected a posterior with batch shape (K,), one of each pseudo-input, and event shape (D,); got {batch} "
            f"and {event}. Give it the K pseudo-inputs as rows, and use .to_event(1)."
        )
    if logits is not None and tuple(logits.shape[-1:]) != batch[-1:]:
        raise OptionError(
            f"Expected logits of shape (*, {batch[-1]}), one for each pseudo-input; got {tuple(logits.shape)}."
        )


def fit_gaussians(z: np.ndarray, components: int, seed: int = 0) -> dict[str, np.ndarray]:
    r"""Fits a mixture of K Gaussians with diagonal covariances to draws, by expectation maximisation.

    .. math:: \max_{\pi, \mu, \sigma} \sum_{n=1}^N \log \sum_{k=1}^K \pi_k\,
        \mathcal{N}(z_n; \mu_k, \operatorname{diag} \sigma_k^2)

    Of fewer than 8 K draws, fewer Gaussians are fitted, which then stand several times and share their weight.

    References:
        | From Variational to Deterministic Autoencoders (Ghosh et al., 2020), section 4: ex-post density estimation
        | https://arxiv.org/abs/1903.12436

    Arguments:
        z: Draws, ``(N, D)``.
        components: Number K of Gaussians.
        seed: Random seed, of where it starts.

    Returns:
        ``loc`` and ``scale``, ``(K, D)``, and ``logits``, ``(K,)``.

    Raises:
        OptionError: If there is no draw, or K is less than 1.

    Example:
        >>> found = fit_gaussians(np.array([[-2.0], [2.0]]).repeat(50, axis=0), 2)
        >>> np.sort(found["loc"][:, 0]).round(3).tolist()
        [-2.0, 2.0]
    """
    if components < 1 or len(z) < 1:
        raise OptionError(f"Expected components >= 1 and a draw or more; got {components} and {len(z)} draws.")
    # Imported here: it takes long to load.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    z = np.asarray(z, float)
    centre, unit = z.mean(0), z.std(0)
    unit = np.where(unit > 0, unit, 1.0)
    number = min(components, max(1, len(z) // ROWS))
    mixture = GaussianMixture(number, covariance_type="diag", reg_covar=1e-4, max_iter=200, random_state=seed)
    with warnings.catch_warnings():
        # A few steps short of the maximum is as good a density.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit((z - centre) / unit if len(z) > 1 else np.repeat(z - centre, 2, axis=0))
    place = np.arange(components) % number
    logits = np.log(np.maximum(mixture.weights_, 1e-12)) - np.log(np.bincount(place))
    loc, scale = centre + unit * mixture.means_, unit * np.sqrt(mixture.covariances_)
    return {"loc": loc[place], "scale": scale[place], "logits": logits[place]}
