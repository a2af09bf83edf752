"""MMVAE+: a mixture of experts on a shared latent, and a private latent of each modality."""

from collections.abc import Callable
from typing import Any

from mmppl.batch import Modality
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program, Stage
from mmppl.models.common.coders import UNCONDITIONAL, Conditions
from mmppl.models.common.declare import system, weights
from mmppl.models.common.latent_priors import latent_prior
from mmppl.models.common.shared_private import SharedPrivate

__all__ = ["mmvae_plus"]


@system
def mmvae_plus(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    latent_dim: int = 16,
    private_dim: int = 8,
    hidden: int = 256,
    beta: float = 1.0,
    particles: int = 1,
    gradient: str = "standard",
    strata: str = "all",
    hidden_private: str = "prior",
    scales: str = "free",
    prior: str | Callable[[], Any] = "laplace",
    components: int = 50,
    conditions: Conditions = UNCONDITIONAL,
    seed: int = 0,
) -> Program:
    r"""MMVAE+.

    .. math:: z \sim \mathrm{Laplace}(0, 1), \quad w_m \sim \mathrm{Laplace}(0, 1), \quad
        x_m \sim p(x_m \mid z, w_m), \\
        q(z \mid x_S) = \frac{1}{|S|} \sum_{m \in S} q(z \mid x_m), \quad q(w_m \mid x_m)

    In training a modality that is decoded from another's z gets its w from an auxiliary prior with learned scales, so
    that what modalities share has to be in z.

    References:
        | MMVAE+: Enhancing the Generative Quality of Multimodal VAEs without Compromises (Palumbo et al., 2023)
        | https://openreview.net/forum?id=sdQGxouELX

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        latent_dim: Dimension of z.
        private_dim: Dimension of each w.
        hidden: Width of the nets.
        beta: Factor on the ratio of prior and posterior.
        particles: Draws K of the guide for each datum.
        gradient: ``"standard"``, ``"stl"`` or ``"dreg"``.
        strata: ``"all"`` experts in each step, or ``"one"`` drawn for each datum.
        hidden_private: Where w of a hidden modality comes from once trained: ``"prior"``, as published, or
            ``"auxiliary"``, as in training.
        scales: Of posteriors: ``"free"``, or ``"normalised"``, with the mean 1 over their coordinates, as in the
            published code.
        prior: ``"normal"``, ``"laplace"``, ``"gaussian_mixture"``, ``"vamp"``, ``"flow"``, or a function that returns a
            distribution, called inside the model; see :func:`~mmppl.models.common.latent_priors.latent_prior`.
        components: Number of Gaussians or pseudo-inputs of such a prior.
        conditions: Covariates.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If an option is unknown.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import Modality, models
        >>> views = {"a": Modality((3,)), "b": Modality((2,))}
        >>> models.mmvae_plus(views, ppl=mm, latent_dim=2, hidden=8, particles=10).objective
        MMVAEPlus(particles=10, strata='all', beta=1.0, gradient='standard')
    """
    parts = SharedPrivate(
        modalities,
        ppl,
        latent_dim=latent_dim,
        private_dim=private_dim,
        hidden=hidden,
        seed=seed,
        scales=scales,
        conditions=conditions,
    )
    latent = latent_prior(parts.coders, prior, latent_dim, posterior=parts.posterior, components=components, seed=seed)
    model = parts.model(latent)
    objective = ppl.MMVAEPlus(particles, strata=strata, beta=beta, gradient=gradient, weights=weights(modalities))
    stages = (Stage(guide=parts.guide("auxiliary")),)
    return Program(model, parts.guide(hidden_private), objective, ppl, modalities, stages=stages)
