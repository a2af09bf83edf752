"""MVAE: a product of experts."""

from types import ModuleType

from mmppl.batch import Modality
from mmppl.inference.program import Program
from mmppl.models.parts import autoencoders, likelihood, system, weights

__all__ = ["mvae"]


@system
def mvae(
    modalities: dict[str, Modality],
    *,
    ppl: ModuleType,
    latent_dim: int = 16,
    hidden: int = 256,
    beta: float = 1.0,
    particles: int = 1,
    random: int = 1,
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
        ppl: The face.
        latent_dim: Dimension D of z.
        hidden: Width of the nets.
        beta: Factor on the KL term.
        particles: K.
        random: Number of random subsets in each step.
        seed: Of the initial weights.
    """
    nets = ppl.host.build_all(autoencoders(modalities, latent_dim, hidden, "normal"), seed)
    dist, sample = ppl.host.dist, ppl.host.sample

    def model(batch):
        with ppl.plate(batch):
            z = sample("z", dist.Normal(ppl.host.zeros(latent_dim), 1.0).to_event(1))
            for name in batch.modalities:
                output = ppl.net(f"{name}.decoder", nets[f"{name}.decoder"])(z)
                ppl.observe(name, likelihood(ppl, modalities[name], output), batch)

    def guide(batch):
        with ppl.plate(batch):
            experts = {m: ppl.net(f"{m}.encoder", nets[f"{m}.encoder"])(batch[m]) for m in batch.modalities}
            sample("z", ppl.Product(experts, batch.present))

    objective = ppl.MVAE(particles, random=random, beta=beta, weights=weights(modalities))
    return Program(model, guide, objective, ppl, modalities)
