"""NEXUS: a latent of each modality, and a latent above them all."""

from collections.abc import Callable
from typing import Any

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program, Stage
from mmppl.models.common.coders import UNCONDITIONAL, Coders, Conditions
from mmppl.models.common.declare import autoencoders, beta_schedule, system, weights
from mmppl.models.common.latent_priors import latent_prior
from mmppl.nets import MLP, LocScale

__all__ = ["nexus"]


@system
def nexus(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    latent_dim: int = 16,
    local_dim: int = 16,
    message_dim: int = 64,
    hidden: int = 256,
    beta: float = 1.0,
    local_beta: float = 0.1,
    gamma: float = 1.0,
    dropout: float = 0.5,
    warmup: int = 0,
    prior: str | Callable[[], Any] = "normal",
    components: int = 50,
    conditions: Conditions = UNCONDITIONAL,
    seed: int = 0,
) -> Program:
    r"""NEXUS.

    .. math:: z \sim N(0, I), \quad z_m \sim p(z_m \mid z), \quad x_m \sim p(x_m \mid z_m), \qquad
        q(z_m \mid x_m), \quad q\Big(z \,\Big|\, \frac{1}{|S|} \sum_{m \in S} c_m(z_m)\Big)

    The levels are trained side by side. Below, each modality has a VAE of its own, whose :math:`z_m` is standard
    normal, with the factor :math:`\beta_0` on its divergence; above, :math:`\gamma \log p(z_m \mid z)` is learned for
    the :math:`z_m` that the encoders draw, without a gradient to them. Messages :math:`c_m` are dropped, so that z
    answers for any subset. Once trained, messages are of the means of :math:`q(z_m \mid x_m)`, which gives the guide a
    density, and a hidden :math:`z_m` comes from :math:`p(z_m \mid z)`, whose scale is learned.

    References:
        | Leveraging Hierarchy in Multimodal Generative Models for Effective Cross-Modality Inference
        | (Vasco et al., 2022)
        | https://doi.org/10.1016/j.neunet.2021.11.019

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        latent_dim: Dimension of z.
        local_dim: Dimension of each :math:`z_m`.
        message_dim: Dimension of the messages.
        hidden: Width of the nets.
        beta: Factor on the divergences of both levels.
        local_beta: :math:`\beta_0`, a further factor below. No other modality tells a :math:`z_m` what to keep: with 1,
            those of photographs keep the colours and lose the digit, and nothing above can bring it back.
        gamma: :math:`\gamma`.
        dropout: Probability that some messages of a datum are dropped; how many is uniform, one always stays.
        warmup: Steps over which beta rises from 0; 0 for none.
        prior: ``"normal"``, ``"laplace"``, ``"gaussian_mixture"``, ``"vamp"``, ``"flow"``, or a function that returns a
            distribution, called inside the model; see :func:`~mmppl.models.common.latent_priors.latent_prior`.
        components: Number of Gaussians or pseudo-inputs of such a prior.
        conditions: Covariates.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If a number is out of range, or the prior is unknown.
    """
    if not 0 <= dropout <= 1 or not gamma >= 0 or not local_beta > 0:
        raise OptionError(
            f"Expected dropout in [0, 1], gamma >= 0 and local_beta > 0; got {dropout}, {gamma} and {local_beta}."
        )
    coders = Coders(ppl, modalities, conditions)
    specs: dict[str, Any] = autoencoders(coders, local_dim, hidden, "normal")
    for name in modalities:
        specs[f"{name}.message"] = MLP((local_dim,), (message_dim,), ())
        specs[f"{name}.nexus"] = LocScale(MLP((latent_dim,), (2 * local_dim,), (hidden, hidden)), "normal")
    specs["nexus"] = LocScale(MLP((message_dim,), (2 * latent_dim,), (hidden, hidden)), "normal")
    coders.build(specs, seed)
    dist, sample, zeros, net = ppl.host.dist, ppl.host.sample, ppl.host.zeros, coders.net

    def standard(dim):
        return dist.Normal(zeros(dim), 1.0).to_event(1)

    def top(locals_, present):
        """Q(z | messages) of latents by modality, standard where there is none."""
        xp = get_backend(locals_[next(iter(locals_))]).xp
        messages = xp.stack([net(f"{m}.message")(z) for m, z in locals_.items()], axis=-2)
        heard = xp.astype(xp.stack([present[m] for m in locals_], axis=-1), messages.dtype)[..., None]
        number = xp.sum(heard, axis=-2)
        loc, scale = net("nexus")(xp.sum(heard * messages, axis=-2) / xp.clip(number, min=1.0))
        return dist.Normal(
            xp.where(number > 0, loc, 0.0 * loc), xp.where(number > 0, scale, 0.0 * scale + 1.0)
        ).to_event(1)

    def posterior(batch):
        return above(coders.encode_all(batch), batch)

    def above(codes, batch):
        """Q(z | x): messages are of the means."""
        return top({m: loc for m, (loc, _) in codes.items()}, batch.present)

    latent = latent_prior(coders, prior, latent_dim, posterior=posterior, components=components, seed=seed)

    def model(batch):
        p = latent()
        with ppl.plate(batch):
            z = sample("z", p)
            for name in modalities:
                local = sample(f"{name}.z", dist.Normal(*net(f"{name}.nexus")(z)).to_event(1))
                if name in batch.modalities:
                    coders.observe(name, local, batch)

    def guide(batch):
        codes = coders.encode_all(batch)
        with ppl.plate(batch):
            z = sample("z", above(codes, batch))
            for m, code in codes.items():
                here, xp = batch.present[m][..., None], get_backend(z).xp
                below = net(f"{m}.nexus")(z)
                loc, scale = (xp.where(here, own, other) for own, other in zip(code, below, strict=True))
                sample(f"{m}.z", dist.Normal(loc, scale).to_event(1))

    def levels(batch):
        """The model in training: two levels that share no gradient."""
        p = latent()
        with ppl.plate(batch):
            z = sample("z", p)
            for name in batch.modalities:
                with ppl.host.scale(scale=local_beta):
                    local = sample(f"{name}.z", standard(local_dim).mask(batch.present[name]))
                coders.observe(name, local, batch)
                backend = get_backend(local)
                above = dist.Normal(*net(f"{name}.nexus")(z)).to_event(1).log_prob(backend.stop_gradient(local))
                shown = backend.xp.where(batch.present[name], above, backend.xp.zeros_like(above))
                ppl.host.factor(f"{name}.nexus", gamma * shown)

    def levels_guide(batch):
        with ppl.plate(batch):
            drawn = {}
            for m in batch.modalities:
                q = dist.Normal(*coders.encode(m, batch)).to_event(1)
                with ppl.host.scale(scale=local_beta):
                    local = sample(f"{m}.z", q.mask(batch.present[m]))
                drawn[m] = get_backend(local).stop_gradient(local)
            sample("z", top(drawn, kept(batch, ppl.host.random(), dropout, drawn[m])))

    objective = ppl.ELBO(beta=beta_schedule(ppl, beta, warmup), weights=weights(modalities))
    stages = (Stage(model=levels, guide=levels_guide),)
    return Program(model, guide, objective, ppl, modalities, stages=stages)


def kept(batch: Batch, rng: Any, rate: float, like: Any) -> dict[str, Any]:
    """Mask of the messages kept, by modality, ``(N,)``: what is present, less what is dropped at random.

    With probability ``rate`` a datum with n modalities loses a number of them uniform on 1, ..., n - 1.
    """
    backend = get_backend(like)
    xp, names = backend.xp, batch.modalities
    noise = backend.uniform(rng, (len(names) + 2, len(batch)), like)
    present = xp.stack([batch.present[m] for m in names])
    number = xp.sum(xp.astype(present, like.dtype), axis=0)
    lost = 1.0 + xp.floor(noise[0, ...] * (number - 1.0))
    lost = xp.where((noise[1, ...] < rate) & (number > 1.5), lost, xp.zeros_like(lost))
    order = xp.where(present, noise[2:, ...], 2.0 + 0.0 * noise[2:, ...])
    place = xp.sum(xp.astype(order[None, ...] < order[:, None, :], like.dtype), axis=1)
    return {m: present[i, ...] & (place[i, ...] >= lost) for i, m in enumerate(names)}
