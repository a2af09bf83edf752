"""Priors of a few lines over the host's own distributions, as Pyro distributions."""

import torch
from pyro.distributions import Categorical, MixtureSameFamily, Normal, TorchDistribution, constraints
from torch.distributions.utils import broadcast_all

from mmppl.display import Shown
from mmppl.priors import smoothed_laplace
from mmppl.priors.conditional import known_logits
from mmppl.priors.mixture import check_components, check_gaussians

__all__ = ["Conditional", "GaussianMixture", "SmoothedLaplace", "VampPrior"]


class _Mixture(Shown, MixtureSameFamily):
    """Torch's mixture, on a support that NUTS knows, and expanded as any other distribution is."""

    support = constraints.real_vector
    expand = TorchDistribution.expand


class GaussianMixture(_Mixture):
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
        >>> prior = GaussianMixture(torch.tensor([[-1.0], [1.0]]), 0.5)
        >>> prior.batch_shape, prior.event_shape
        (torch.Size([]), torch.Size([1]))
    """

    def __init__(self, loc, scale, logits=None, *, validate_args=None):
        check_gaussians(loc, scale, logits)
        logits = loc.new_zeros(loc.shape[-2:-1]) if logits is None else logits
        gaussians = Normal(loc, scale, validate_args=validate_args).to_event(1)
        super().__init__(Categorical(logits=logits), gaussians, validate_args=validate_args)


class VampPrior(_Mixture):
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
        >>> posterior = Normal(torch.zeros(3, 2), 1.0).to_event(1)
        >>> VampPrior(posterior).event_shape
        torch.Size([2])
    """

    def __init__(self, posterior: TorchDistribution, logits=None, *, validate_args=None):
        check_components(posterior, logits)
        logits = torch.zeros(posterior.batch_shape[-1:]) if logits is None else logits
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
        >>> prior = Conditional(torch.tensor([[-1.0], [1.0]]), 0.5, label=torch.tensor([0, 1, 1, 0]))
        >>> tuple(prior.batch_shape), tuple(prior.event_shape)
        ((4,), (1,))
    """

    def __init__(self, loc, scale, logits=None, *, label=None, present=None, validate_args=None):
        check_gaussians(loc, scale, logits)
        self.loc, self.scale = loc, scale
        self.label_prior = loc.new_zeros(loc.shape[:-1]) if logits is None else logits
        if label is not None:
            logits = known_logits(self.label_prior, label, present)
            shape = (*logits.shape[:-1], *loc.shape)
            loc, scale = (torch.as_tensor(x, dtype=loc.dtype).expand(shape) for x in (loc, scale))
        super().__init__(loc, scale, logits, validate_args=validate_args)

    def label_logits(self, z):
        r""":math:`\log \pi_u + \log p(z \mid u)` of every label, ``(*, K)``: logits of :math:`p(u \mid z)`."""
        gaussians = Normal(self.loc, self.scale).to_event(1)
        return torch.log_softmax(self.label_prior, -1) + gaussians.log_prob(z[..., None, :])


class SmoothedLaplace(Shown, TorchDistribution):
    r"""Laplace with a rounded centre, for Langevin chains: :mod:`mmppl.priors.smoothed_laplace` has the formula.

    Arguments:
        loc: :math:`\mu`.
        scale: Scale b.
        delta: Half width of the rounded centre, in the units of the variable.

    Example:
        >>> SmoothedLaplace(0.0, 1.0).sample((3,)).shape
        torch.Size([3])
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc=0.0, scale=1.0, delta: float = 0.1, *, validate_args=None):
        self.loc, self.scale = broadcast_all(loc, scale)
        self.delta = delta
        super().__init__(self.loc.shape, torch.Size(), validate_args=validate_args)

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> torch.Tensor:
        shape = (*sample_shape, *self.batch_shape)
        u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + smoothed_laplace.quantile(u, self.scale, self.delta)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return smoothed_laplace.log_prob(value - self.loc, self.scale, self.delta)
