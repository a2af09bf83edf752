"""MVAE: a product of experts."""

from collections.abc import Callable
from typing import Any

from mmppl.batch import Modality
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
from mmppl.models.common.coders import UNCONDITIONAL, Coders, Conditions
from mmppl.models.common.declare import autoencoders, system, usual_beta, usual_rate, weights
from mmppl.models.common.families import own_family
from mmppl.models.common.one_latent import one_latent

__all__ = ["mvae"]


@system
def mvae(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    latent_dim: int = 16,
    hidden: int = 256,
    beta: float = 1.0,
    particles: int = 1,
    random: int = 1,
    family: str | None = None,
    prior: str | Callable[[], Any] = "normal",
    components: int = 50,
    conditions: Conditions = UNCONDITIONAL,
    seed: int = 0,
) -> Program:
    r"""MVAE.

    .. math:: z \sim N(0, I), \quad x_m \sim p(x_m \mid z), \qquad
        q(z \mid x_S) \propto N(0, I) \prod_{m \in S} q_m(z \mid x_m)

    trained by the sum of the ELBOs of everything present, of each single modality and of random subsets.

    References:
        | Multimodal Generative Models for Scalable Weakly-Supervised Learning (Wu & Goodman, 2018)
        | https://arxiv.org/abs/1802.05335

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        latent_dim: Dimension D of z.
        hidden: Width of the nets.
        beta: Factor on the KL term; for tables of few numbers with categories it rises from 0 over the first 400 steps,
            or a quarter of the fit's where these are fewer.
        particles: Draws K of the guide for each datum.
        random: Number of random subsets in each step.
        family: ``"normal"``, or ``"multivariate_normal"``, with correlations; None for the latter where
            at most 16 latents stand for vectors and categories of 64 values, and for the former otherwise, as
            published.
        prior: ``"normal"``, ``"laplace"``, ``"gaussian_mixture"``, ``"vamp"``, ``"flow"``, or a function that returns a
            distribution, called inside the model; see :func:`~mmppl.models.common.latent_priors.latent_prior`.
        components: Number of Gaussians or pseudo-inputs of such a prior.
        conditions: Covariates.
        seed: Random seed of the initial weights.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import Modality, models
        >>> views = {"a": Modality((3,)), "b": Modality((2,))}
        >>> models.mvae(views, ppl=mm, latent_dim=2, hidden=8, random=2).objective
        MVAE(particles=1, random=2, beta=1.0)
    """
    coders = Coders(ppl, modalities, conditions)
    family = own_family(family, latent_dim, modalities, categories=True)
    coders.build(autoencoders(coders, latent_dim, hidden, family), seed)

    def posterior(batch):
        experts = coders.encode_all(batch)
        return ppl.Product(experts, batch.present)

    model, guide = one_latent(coders, posterior, prior=prior, latent_dim=latent_dim, components=components, seed=seed)
    objective = ppl.MVAE(particles, random=random, beta=usual_beta(ppl, modalities, beta), weights=weights(modalities))
    return Program(model, guide, objective, ppl, modalities, learning_rate=usual_rate(modalities, categories=True))
