"""MVTCAE: a product of experts learned by a bound on the total correlation."""

from types import ModuleType

from mmppl.batch import Modality
from mmppl.inference.program import Program
from mmppl.models.parts import autoencoders, likelihood, system, weights

__all__ = ["mvtcae"]


@system
def mvtcae(
    modalities: dict[str, Modality],
    *,
    ppl: ModuleType,
    latent_dim: int = 16,
    hidden: int = 256,
    beta: float = 1.0,
    alpha: float = 5 / 6,
    particles: int = 1,
    seed: int = 0,
) -> Program:
    r"""MVTCAE.

    .. math:: z \sim N(0, I), \quad x_m \sim p(x_m \mid z), \qquad q(z \mid x_S) \propto \prod_{m \in S} q_m(z \mid x_m)

    trained so that each modality's expert says what all of them say together.

    References:
        | Multi-View Representation Learning via Total Correlation Objective (Hwang et al., 2021)
        | https://proceedings.neurips.cc/paper/2021/hash/65a99bb7a3115fdede20da98b08a370f-Abstract.html

    Arguments:
        modalities: What each modality is, by name.
        ppl: The face.
        latent_dim: Dimension D of z.
        hidden: Width of the nets.
        beta: Factor on the KL terms.
        alpha: Share of the conditional bounds, in [0, 1]; the rest is the ELBO's.
        particles: K.
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
            sample("z", ppl.Product(experts, batch.present, prior_expert=False))

    objective = ppl.MVTCAE(particles, alpha=alpha, beta=beta, weights=weights(modalities))
    return Program(model, guide, objective, ppl, modalities)
