"""MVTCAE: a product of experts learned by a bound on the total correlation."""

from collections.abc import Callable
from typing import Any

from mmppl.batch import Modality
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
from mmppl.models.common.coders import UNCONDITIONAL, Coders, Conditions
from mmppl.models.common.declare import autoencoders, system, usual_rate, weights
from mmppl.models.common.families import own_family
from mmppl.models.common.one_latent import one_latent

__all__ = ["mvtcae"]


@system
def mvtcae(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    latent_dim: int = 16,
    hidden: int = 256,
    beta: float = 1.0,
    alpha: float = 5 / 6,
    particles: int = 1,
    family: str | None = None,
    prior: str | Callable[[], Any] = "normal",
    components: int = 50,
    conditions: Conditions = UNCONDITIONAL,
    seed: int = 0,
) -> Program:
    r"""MVTCAE.

    .. math:: z \sim p(z), \quad x_m \sim p(x_m \mid z), \qquad q(z \mid x_S) \propto \prod_{m \in S} q_m(z \mid x_m)

    trained so that each modality's expert says what all of them say together.

    References:
        | Multi-View Representation Learning via Total Correlation Objective (Hwang et al., 2021)
        | https://proceedings.neurips.cc/paper/2021/hash/65a99bb7a3115fdede20da98b08a370f-Abstract.html

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        latent_dim: Dimension D of z.
        hidden: Width of the nets.
        beta: Factor on the KL terms.
        alpha: Share of the conditional bounds, in [0, 1]; the rest is the ELBO's.
        particles: Draws K of the guide for each datum.
        family: ``"normal"``, or ``"multivariate_normal"``, with correlations; None for the latter where
            at most 16 latents stand for vectors of 64 values, and for the former otherwise, as published.
        prior: ``"normal"``, ``"laplace"``, ``"gaussian_mixture"``, ``"vamp"``, ``"flow"``, or a function that returns a
            distribution, called inside the model; see :func:`~mmppl.models.common.latent_priors.latent_prior`.
        components: Number of Gaussians or pseudo-inputs of such a prior.
        conditions: Covariates.
        seed: Random seed of the initial weights.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import Modality, models
        >>> views = {"a": Modality((3,)), "b": Modality((2,))}
        >>> models.mvtcae(views, ppl=mm, latent_dim=2, hidden=8, alpha=0.9).objective
        MVTCAE(particles=1, alpha=0.9, beta=1.0)
    """
    coders, family = Coders(ppl, modalities, conditions), own_family(family, latent_dim, modalities)
    coders.build(autoencoders(coders, latent_dim, hidden, family), seed)

    def posterior(batch):
        experts = coders.encode_all(batch)
        return ppl.Product(experts, batch.present, prior_expert=False)

    model, guide = one_latent(coders, posterior, prior=prior, latent_dim=latent_dim, components=components, seed=seed)
    objective = ppl.MVTCAE(particles, alpha=alpha, beta=beta, weights=weights(modalities))
    return Program(model, guide, objective, ppl, modalities, learning_rate=usual_rate(modalities))
