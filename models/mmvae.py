"""MMVAE: a mixture of experts."""

from types import ModuleType

from mmppl.batch import Modality
from mmppl.inference.program import Program
from mmppl.models.parts import autoencoders, likelihood, system, weights

__all__ = ["mmvae"]


@system
def mmvae(
    modalities: dict[str, Modality],
    *,
    ppl: ModuleType,
    latent_dim: int = 16,
    hidden: int = 256,
    beta: float = 1.0,
    particles: int = 1,
    gradient: str = "standard",
    strata: str = "all",
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
        ppl: The face.
        latent_dim: Dimension D of z.
        hidden: Width of the nets.
        beta: Factor on the ratio of prior and posterior.
        particles: K.
        gradient: ``"standard"``, ``"stl"`` or ``"dreg"``.
        strata: ``"all"`` experts in each step, or ``"one"`` drawn for each datum.
        seed: Of the initial weights.
    """
    nets = ppl.host.build_all(autoencoders(modalities, latent_dim, hidden, "laplace"), seed)
    dist, sample = ppl.host.dist, ppl.host.sample

    def model(batch):
        with ppl.plate(batch):
            z = sample("z", dist.Laplace(ppl.host.zeros(latent_dim), 1.0).to_event(1))
            for name in batch.modalities:
                output = ppl.net(f"{name}.decoder", nets[f"{name}.decoder"])(z)
                ppl.observe(name, likelihood(ppl, modalities[name], output), batch)

    def guide(batch):
        with ppl.plate(batch):
            experts = {m: ppl.net(f"{m}.encoder", nets[f"{m}.encoder"])(batch[m]) for m in batch.modalities}
            sample("z", ppl.MixtureOfExperts(experts, batch.present, family="laplace"))

    objective = ppl.MMVAE(particles, strata=strata, beta=beta, gradient=gradient, weights=weights(modalities))
    return Program(model, guide, objective, ppl, modalities)
