"""Priors given a label, as Pyro distributions."""

import torch
from pyro.distributions import Normal

from mmppl.priors.conditional import known_logits
from mmppl.priors.mixture import check_gaussians
from mmppl.pyro.mixture import GaussianMixture

__all__ = ["Conditional"]


class Conditional(GaussianMixture):
    r"""A Gaussian for each label, which is what makes a latent identifiable; a mixture where the label is not known.

    .. math:: p(z \mid u) = N(z; \mu_u, \mathrm{diag}\, \sigma_u^2), \qquad
        p(z) = \sum_{k=1}^K \pi_k\, N(z; \mu_k, \mathrm{diag}\, \sigma_k^2)

    References:
        | Variational Autoencoders and Nonlinear ICA (Khemakhem et al., 2020), https://arxiv.org/abs/1907.04809

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
