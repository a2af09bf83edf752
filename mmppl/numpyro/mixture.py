"""Priors that are mixtures, as NumPyro distributions."""

import jax.numpy as jnp
from numpyro.distributions import Categorical, Distribution, MixtureSameFamily, Normal

from mmppl.priors.mixture import check_components, check_gaussians

__all__ = ["GaussianMixture", "VampPrior"]


class GaussianMixture(MixtureSameFamily):
    r"""A mixture of K Gaussians with diagonal covariances; learned where its arguments are parameters.

    .. math:: p(z) = \sum_{k=1}^K \pi_k\, \mathcal{N}(z; \mu_k, \operatorname{diag} \sigma_k^2), \qquad
        \pi = \operatorname{softmax}(\ell)

    Arguments:
        loc: :math:`\mu`, ``(*, K, D)``.
        scale: :math:`\sigma`, ``(*, K, D)`` or what broadcasts to it.
        logits: :math:`\ell`, ``(*, K)``; equal weights by default.

    Raises:
        OptionError: If shapes do not fit together.

    Example:
        >>> prior = GaussianMixture(jnp.array([[-1.0], [1.0]]), 0.5)
        >>> prior.batch_shape, prior.event_shape
        ((), (1,))
    """

    def __init__(self, loc, scale, logits=None, *, validate_args=None):
        loc = jnp.asarray(loc)
        check_gaussians(loc, scale, logits)
        logits = jnp.zeros(loc.shape[-2:-1], loc.dtype) if logits is None else logits
        gaussians = Normal(loc, scale, validate_args=validate_args).to_event(1)
        super().__init__(Categorical(logits=logits), gaussians, validate_args=validate_args)


class VampPrior(MixtureSameFamily):
    r"""A mixture of posteriors of pseudo-inputs.

    .. math:: p(z) = \sum_{k=1}^K \pi_k\, q(z \mid u_k)

    with q the program's own posterior and :math:`u_k` learned: encode them as data are encoded, by the same networks,
    and give what the guide answers, of any aggregation.

    References:
        | VAE with a VampPrior (Tomczak & Welling, 2018), https://arxiv.org/abs/1705.07120

    Arguments:
        posterior: :math:`q(z \mid u_k)` of all k: a distribution of batch shape ``(K,)`` and event shape ``(D,)``.
        logits: :math:`\log \pi` up to a constant, ``(K,)``; equal weights by default.

    Raises:
        OptionError: If the posterior has another shape, or the logits another number.

    Example:
        >>> posterior = Normal(jnp.zeros((3, 2)), 1.0).to_event(1)
        >>> VampPrior(posterior).event_shape
        (2,)
    """

    def __init__(self, posterior: Distribution, logits=None, *, validate_args=None):
        check_components(posterior, logits)
        logits = jnp.zeros(posterior.batch_shape[-1:]) if logits is None else logits
        super().__init__(Categorical(logits=logits), posterior, validate_args=validate_args)
