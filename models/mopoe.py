"""MoPoE-VAE: a mixture of products of experts."""

from collections.abc import Callable
from typing import Any

from mmppl.aggregation.families import CORRELATED
from mmppl.batch import Modality
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
from mmppl.models.common.coders import UNCONDITIONAL, Coders, Conditions
from mmppl.models.common.declare import autoencoders, system, usual_rate, weights
from mmppl.models.common.families import own_family
from mmppl.models.common.one_latent import one_latent

__all__ = ["mopoe"]

MOST = 4  # modalities of which a step decodes all subsets, by default


@system
def mopoe(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    latent_dim: int = 16,
    hidden: int = 256,
    beta: float = 1.0,
    particles: int = 1,
    density: str = "own",
    strata: str | None = None,
    family: str | None = None,
    prior: str | Callable[[], Any] = "normal",
    components: int = 50,
    conditions: Conditions = UNCONDITIONAL,
    seed: int = 0,
) -> Program:
    r"""MoPoE-VAE.

    .. math:: z \sim N(0, I), \quad x_m \sim p(x_m \mid z), \qquad
        q(z \mid x_P) = \frac{1}{|\mathcal{S}_P|} \sum_{S} q_S(z), \quad q_S(z) \propto \prod_{m \in S} q_m(z \mid x_m)

    The objective visits every subset, so the guide answers a subset with its product; given a subset, the product is
    what generation uses too, as in the paper. With correlations the prior is a factor of every product, as it is of
    exact posteriors: a single expert would else be free to know less than the prior does, and fits diverge.

    References:
        | Generalized Multimodal ELBO (Sutter et al., 2021)
        | https://arxiv.org/abs/2105.02470

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        latent_dim: Dimension D of z.
        hidden: Width of the nets.
        beta: Factor on the KL term.
        particles: Draws K of the guide for each datum.
        density: ``"own"``: mean of the KLs; ``"mixture"``: density of the mixture over subsets.
        strata: ``"all"`` subsets in each step, or ``"one"`` drawn for each datum, as in the published code: many times
            quicker. None for all of them up to four modalities, and one for more.
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
        >>> models.mopoe(views, ppl=mm, latent_dim=2, hidden=8, beta=0.5).objective
        MoPoE(particles=1, beta=0.5, density='own', strata='all')
    """
    coders, family = Coders(ppl, modalities, conditions), own_family(family, latent_dim, modalities)
    coders.build(autoencoders(coders, latent_dim, hidden, family), seed)

    def posterior(batch):
        experts = coders.encode_all(batch)
        return ppl.Product(experts, batch.present, prior_expert=family == CORRELATED)

    model, guide = one_latent(coders, posterior, prior=prior, latent_dim=latent_dim, components=components, seed=seed)
    strata = ("all" if len(modalities) <= MOST else "one") if strata is None else strata
    objective = ppl.MoPoE(particles, beta=beta, density=density, strata=strata, weights=weights(modalities))
    return Program(model, guide, objective, ppl, modalities, learning_rate=usual_rate(modalities))
