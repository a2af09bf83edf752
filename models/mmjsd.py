"""mmJSD: experts and the prior held together by a Jensen-Shannon divergence."""

from mmppl._backend import get_backend
from mmppl.batch import Modality
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
from mmppl.models.common.coders import UNCONDITIONAL, Coders, Conditions
from mmppl.models.common.declare import autoencoders, system, weights

__all__ = ["mmjsd"]


@system
def mmjsd(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    latent_dim: int = 16,
    hidden: int = 256,
    beta: float = 1.0,
    dynamic: str = "geometric",
    particles: int = 1,
    conditions: Conditions = UNCONDITIONAL,
    seed: int = 0,
) -> Program:
    r"""mmJSD.

    .. math:: z \sim N(0, I), \quad x_m \sim p(x_m \mid z), \qquad
        q(z \mid x_m), \quad q(z \mid x_S) \propto \Big( p(z) \prod_{m \in S} q(z \mid x_m) \Big)^{1 / (|S| + 1)}

    The answer to several modalities is the dynamic prior: the mean of their experts and the prior, geometric as above,
    or arithmetic.

    References:
        | Multimodal Generative Learning Utilizing Jensen-Shannon-Divergence (Sutter et al., 2020)
        | https://arxiv.org/abs/2006.08242

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        latent_dim: Dimension D of z.
        hidden: Width of the nets.
        beta: Factor on the divergence.
        dynamic: ``"geometric"`` or ``"arithmetic"``.
        particles: Draws K of the guide for each datum.
        conditions: Covariates.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If there is no such mean.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import Modality, models
        >>> views = {"a": Modality((3,)), "b": Modality((2,))}
        >>> models.mmjsd(views, ppl=mm, latent_dim=2, hidden=8).objective
        MMJSD(particles=1, beta=1.0)
    """
    means = {"geometric": ppl.GeometricMean, "arithmetic": ppl.MixtureOfExperts}
    if dynamic not in means:
        raise OptionError(f"Expected dynamic among {list(means)}; got {dynamic!r}.")
    coders = Coders(ppl, modalities, conditions)
    coders.build(autoencoders(coders, latent_dim, hidden, "normal"), seed)
    dist, sample = ppl.host.dist, ppl.host.sample

    def model(batch):
        with ppl.plate(batch):
            z = sample("z", dist.Normal(ppl.host.zeros(latent_dim), 1.0).to_event(1))
            for name in batch.modalities:
                coders.observe(name, z, batch)

    def guide(batch):
        with ppl.plate(batch):
            experts = coders.encode_all(batch)
            loc, _ = experts[batch.modalities[0]]
            xp = get_backend(loc).xp
            several = xp.sum(xp.astype(xp.stack(list(batch.present.values())), loc.dtype), axis=0) > 1.5
            experts["prior"] = xp.zeros_like(loc), xp.ones_like(loc)
            sample("z", means[dynamic](experts, {**batch.present, "prior": several}))

    objective = ppl.MMJSD(particles, beta=beta, weights=weights(modalities))
    return Program(model, guide, objective, ppl, modalities)
