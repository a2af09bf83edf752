"""JMVAE: a joint encoder of everything, and one of each modality."""

from collections.abc import Callable
from typing import Any

from mmppl._backend import get_backend
from mmppl.aggregation.families import CORRELATED
from mmppl.batch import Modality
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
from mmppl.models.common.coders import UNCONDITIONAL, Coders, Conditions
from mmppl.models.common.declare import autoencoders, system, usual_rate, weights
from mmppl.models.common.families import own_family
from mmppl.models.common.one_latent import one_latent
from mmppl.nets import MLP, LocFactor, LocScale
from mmppl.nets.spec import factor_outputs

__all__ = ["jmvae"]


@system
def jmvae(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    latent_dim: int = 16,
    hidden: int = 256,
    beta: float = 1.0,
    alpha: float = 0.1,
    particles: int = 1,
    family: str | None = None,
    prior: str | Callable[[], Any] = "normal",
    components: int = 50,
    conditions: Conditions = UNCONDITIONAL,
    seed: int = 0,
) -> Program:
    r"""JMVAE-kl.

    .. math:: z \sim p(z), \quad x_m \sim p(x_m \mid z), \qquad q(z \mid x_1, \ldots, x_M), \quad q(z \mid x_m)

    The joint encoder sees the features of all modalities; each single encoder is pulled towards it. Given several
    modalities but not all, which the paper does not ask for, the guide answers with the product of their encoders.

    References:
        | Joint Multimodal Learning with Deep Generative Models (Suzuki et al., 2016)
        | https://arxiv.org/abs/1611.01891

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        latent_dim: Dimension D of z.
        hidden: Width of the nets.
        beta: Factor on the KL terms.
        alpha: Factor on the divergences of the joint posterior from the single ones.
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
        >>> models.jmvae(views, ppl=mm, latent_dim=2, hidden=8, alpha=0.1).objective
        JMVAE(particles=1, alpha=0.1, beta=1.0)
    """
    coders, family = Coders(ppl, modalities, conditions), own_family(family, latent_dim, modalities)
    specs = autoencoders(coders, latent_dim, hidden, family)
    for name in modalities:
        specs |= coders.encoder_specs(name, hidden, hidden, None, "features")
    correlated = family == CORRELATED
    outputs = factor_outputs(latent_dim) if correlated else 2 * latent_dim
    together = MLP((len(modalities) * hidden,), (outputs,), (hidden,))
    specs["encoder"] = LocFactor(together) if correlated else LocScale(together)
    coders.build(specs, seed)

    def posterior(batch):
        experts = coders.encode_all(batch)
        if experts.keys() != modalities.keys():  # pseudo-inputs have no texts
            return ppl.Product(experts, batch.present, prior_expert=False)
        features = list(coders.encode_all(batch, "features").values())
        xp = get_backend(features[0]).xp
        everything = xp.all(xp.stack(list(batch.present.values())), axis=0)
        experts["everything"] = coders.net("encoder")(xp.concat(features, axis=-1))
        present = {m: mask & ~everything for m, mask in batch.present.items()} | {"everything": everything}
        return ppl.Product(experts, present, prior_expert=False)

    model, guide = one_latent(coders, posterior, prior=prior, latent_dim=latent_dim, components=components, seed=seed)
    objective = ppl.JMVAE(particles, alpha=alpha, beta=beta, weights=weights(modalities))
    return Program(model, guide, objective, ppl, modalities, learning_rate=usual_rate(modalities))
