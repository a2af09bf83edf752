"""Priors of a few lines over the host's own distributions, as NumPyro distributions."""

import jax
import jax.numpy as jnp
from numpyro.distributions import Categorical, Distribution, MixtureSameFamily, Normal, constraints
from numpyro.distributions.util import promote_shapes, validate_sample

from mmppl.display import Shown
from mmppl.priors import smoothed_laplace
from mmppl.priors.conditional import known_logits
from mmppl.priors.mixture import check_components, check_gaussians

__all__ = ["Conditional", "GaussianMixture", "SmoothedLaplace", "VampPrior"]


class GaussianMixture(Shown, MixtureSameFamily):
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


class VampPrior(Shown, MixtureSameFamily):
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


class Conditional(GaussianMixture):
    r"""A Gaussian for each label, which is what makes a latent identifiable; a mixture where the label is not known.

    .. math:: p(z \mid u) = N(z; \mu_u, \mathrm{diag}\, \sigma_u^2), \qquad
        p(z) = \sum_{k=1}^K \pi_k\, N(z; \mu_k, \mathrm{diag}\, \sigma_k^2)

    References:
        | Variational Autoencoders and Nonlinear ICA: A Unifying Framework (Khemakhem et al., 2020)
        | https://arxiv.org/abs/1907.04809

    Arguments:
        loc: :math:`\mu`, ``(K, D)``.
        scale: :math:`\sigma`, ``(K, D)`` or what broadcasts to it.
        logits: :math:`\log \pi` up to a constant, ``(K,)``; equal weights by default.
        label: u of each row, ``(N,)`` or ``(N, 1)``, in ``[0, K)``; None leaves it out.
        present: Whose label is known, boolean, ``(*, N)``; all by default.

    Raises:
        OptionError: If shapes do not fit together.

    Example:
        >>> prior = Conditional(jnp.array([[-1.0], [1.0]]), 0.5, label=jnp.array([0, 1, 1, 0]))
        >>> tuple(prior.batch_shape), tuple(prior.event_shape)
        ((4,), (1,))
    """

    def __init__(self, loc, scale, logits=None, *, label=None, present=None, validate_args=None):
        loc = jnp.asarray(loc)
        check_gaussians(loc, scale, logits)
        self.loc, self.scale = loc, scale
        self.label_prior = jnp.zeros(loc.shape[:-1], loc.dtype) if logits is None else logits
        if label is not None:
            logits = known_logits(self.label_prior, label, present)
            shape = (*logits.shape[:-1], *loc.shape)
            loc, scale = (jnp.broadcast_to(x, shape) for x in (loc, scale))
        super().__init__(loc, scale, logits, validate_args=validate_args)

    def label_logits(self, z):
        r""":math:`\log \pi_u + \log p(z \mid u)` of every label, ``(*, K)``: logits of :math:`p(u \mid z)`."""
        gaussians = Normal(self.loc, self.scale).to_event(1)
        return jax.nn.log_softmax(self.label_prior, -1) + gaussians.log_prob(z[..., None, :])


class SmoothedLaplace(Shown, Distribution):
    r"""Laplace with a rounded centre, for Langevin chains: :mod:`mmppl.priors.smoothed_laplace` has the formula.

    Arguments:
        loc: :math:`\mu`.
        scale: Scale b.
        delta: Half width of the rounded centre, in the units of the variable.

    Example:
        >>> SmoothedLaplace(0.0, 1.0).sample(jax.random.key(0), (3,)).shape
        (3,)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    reparametrized_params = ["loc", "scale"]
    pytree_aux_fields = ("delta",)

    def __init__(self, loc=0.0, scale=1.0, delta: float = 0.1, *, validate_args=None):
        self.loc, self.scale = promote_shapes(jnp.asarray(loc), jnp.asarray(scale))
        self.delta = delta
        shape = jax.lax.broadcast_shapes(jnp.shape(loc), jnp.shape(scale))
        super().__init__(shape, (), validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        dtype = jnp.result_type(self.loc, float)
        u = jax.random.uniform(key, (*sample_shape, *self.batch_shape), dtype)
        return self.loc + smoothed_laplace.quantile(u, self.scale.astype(dtype), self.delta)

    @validate_sample
    def log_prob(self, value: jax.Array) -> jax.Array:
        return smoothed_laplace.log_prob(value - self.loc, self.scale, self.delta)
