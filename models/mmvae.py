"""MMVAE: a mixture of experts."""

from collections.abc import Callable
from typing import Any

from mmppl.batch import Modality
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
from mmppl.models.common.coders import UNCONDITIONAL, Coders, Conditions
from mmppl.models.common.declare import autoencoders, system, weights
from mmppl.models.common.one_latent import one_latent

__all__ = ["mmvae"]


@system
def mmvae(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    latent_dim: int = 16,
    hidden: int = 256,
    beta: float = 1.0,
    particles: int = 1,
    gradient: str = "standard",
    strata: str = "all",
    prior: str | Callable[[], Any] = "laplace",
    components: int = 50,
    conditions: Conditions = UNCONDITIONAL,
    seed: int = 0,
) -> Program:
    r"""MMVAE.

    .. math:: z \sim \mathrm{Laplace}(0, 1)^D, \quad x_m \sim p(x_m \mid z), \qquad
        q(z \mid x_S) = \frac{1}{|S|} \sum_{m \in S} \mathrm{Laplace}(z; \mu_m(x_m), b_m(x_m))

    trained by the stratified importance-weighted bound, with DReG gradients on request.

    References:
        | Variational Mixture-of-Experts Autoencoders for Multi-Modal Deep Generative Models (Shi et al., 2019)
        | https://arxiv.org/abs/1911.03393

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        latent_dim: Dimension D of z.
        hidden: Width of the nets.
        beta: Factor on the ratio of prior and posterior.
        particles: Draws K of the guide for each datum.
        gradient: ``"standard"``, ``"stl"`` or ``"dreg"``.
        strata: ``"all"`` experts in each step, or ``"one"`` drawn for each datum.
        prior: ``"normal"``, ``"laplace"``, ``"gaussian_mixture"``, ``"vamp"``, ``"flow"``, or a function that returns a
            distribution, called inside the model; see :func:`~mmppl.models.common.latent_priors.latent_prior`.
        components: Number of Gaussians or pseudo-inputs of such a prior.
        conditions: Covariates.
        seed: Random seed of the initial weights.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import Modality, models
        >>> views = {"a": Modality((3,)), "b": Modality((2,))}
        >>> models.mmvae(views, ppl=mm, latent_dim=2, hidden=8, particles=10).objective
        MMVAE(particles=10, strata='all', beta=1.0, gradient='standard')
    """
    coders = Coders(ppl, modalities, conditions)
    coders.build(autoencoders(coders, latent_dim, hidden, "laplace"), seed)

    def posterior(batch):
        experts = coders.encode_all(batch)
        return ppl.MixtureOfExperts(experts, batch.present, family="laplace")

    model, guide = one_latent(coders, posterior, prior=prior, latent_dim=latent_dim, components=components, seed=seed)
    objective = ppl.MMVAE(particles, strata=strata, beta=beta, gradient=gradient, weights=weights(modalities))
    return Program(model, guide, objective, ppl, modalities)
