"""NEXUS: a latent of each modality, and a latent above them all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
        dropout: Probability that messages of a datum are dropped: a uniform number of them, so that one always stays.
        warmup: Steps over which beta rises from 0; 0 for none.
        prior: ``"normal"``, ``"laplace"``, ``"gaussian_mixture"``, ``"vamp"``, ``"flow"``, or a function that returns a
            distribution, called inside the model; see :func:`~mmppl.models.common.latent_priors.latent_prior`.
        components: Number of Gaussians or pseudo-inputs of such a prior.
        conditions: Covariates.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If a number is out of range, or the prior is unknown.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import Modality, models
        >>> views = {"a": Modality((3,)), "b": Modality((2,))}
        >>> models.nexus(views, ppl=mm, latent_dim=2, hidden=8).objective
        ELBO(beta=1.0)
    """
    if not 0 <= dropout <= 1 or not gamma >= 0 or not local_beta > 0:
        raise OptionError(
            f"Expected dropout in [0, 1], gamma >= 0 and local_beta > 0; got {dropout}, {gamma} and {local_beta}."
        )
    levels = TwoLevels(
        coders=Coders(ppl, modalities, conditions),
        latent_dim=latent_dim,
        local_dim=local_dim,
        message_dim=message_dim,
        hidden=hidden,
        local_beta=local_beta,
        gamma=gamma,
        dropout=dropout,
        prior=prior,
        components=components,
        seed=seed,
    )
    objective = ppl.ELBO(beta=beta_schedule(ppl, beta, warmup), weights=weights(modalities))
    stages = (Stage(model=levels.training_model, guide=levels.training_guide),)
    return Program(levels.model, levels.guide, objective, ppl, modalities, stages=stages)


@dataclass(eq=False, kw_only=True)
class TwoLevels:
    """Models and guides of the two levels, over networks that they share; other arguments are those of :func:`nexus`.

    Arguments:
        coders: Encoders and decoders of the modalities.
    """

    coders: Coders
    latent_dim: int
    local_dim: int
    message_dim: int
    hidden: int
    local_beta: float
    gamma: float
    dropout: float
    prior: str | Callable[[], Any]
    components: int
    seed: int
    latent: Callable[[], Any] = field(init=False)

    def __post_init__(self) -> None:
        widths = (self.hidden, self.hidden)
        specs: dict[str, Any] = autoencoders(self.coders, self.local_dim, self.hidden, "normal")
        for name in self.coders.modalities:
            specs[f"{name}.message"] = MLP((self.local_dim,), (self.message_dim,), ())
            specs[f"{name}.nexus"] = LocScale(MLP((self.latent_dim,), (2 * self.local_dim,), widths), "normal")
        specs["nexus"] = LocScale(MLP((self.message_dim,), (2 * self.latent_dim,), widths), "normal")
        self.coders.build(specs, self.seed)
        self.latent = latent_prior(
            self.coders,
            self.prior,
            self.latent_dim,
            posterior=self.posterior,
            components=self.components,
            seed=self.seed,
        )

    def net(self, name: str) -> Any:
        """A network, bound to its name."""
        return self.coders.net(name)

    @property
    def ppl(self) -> PPL:
        """The host."""
        return self.coders.ppl

    # Parts of both levels -----------------------------------------------------------------------------------------
    def encode(self, batch: Batch) -> dict[str, tuple[Any, Any]]:
        """Location and scale of each q(z_m | x_m), ``(N, local_dim)``."""
        return self.coders.encode_all(batch)

    def local_prior(self, name: str, z: Any) -> Any:
        """The density p(z_m | z), ``z`` of shape ``(N, latent_dim)``."""
        return self.ppl.host.dist.Normal(*self.net(f"{name}.nexus")(z)).to_event(1)

    def aggregate(self, locals_: Mapping[str, Any], present: Mapping[str, Any]) -> Any:
        """The density of z given the mean of the messages of what is present, standard normal where nothing is.

        Arguments:
            locals_: z_m by modality, ``(N, local_dim)``.
            present: Presence masks ``(N,)``.
        """
        dist, xp = self.ppl.host.dist, get_backend(locals_[next(iter(locals_))]).xp
        messages = xp.stack([self.net(f"{m}.message")(z) for m, z in locals_.items()], axis=-2)
        weight = xp.astype(xp.stack([present[m] for m in locals_], axis=-1), messages.dtype)[..., None]
        number = xp.sum(weight, axis=-2)
        loc, scale = self.net("nexus")(xp.sum(weight * messages, axis=-2) / xp.clip(number, min=1.0))
        return dist.Normal(
            xp.where(number > 0, loc, 0.0 * loc), xp.where(number > 0, scale, 0.0 * scale + 1.0)
        ).to_event(1)

    def posterior(self, batch: Batch) -> Any:
        """The density q(z | x_S): messages are of the means of what is there."""
        return self._posterior(self.encode(batch), batch)

    def _posterior(self, codes: Mapping[str, tuple[Any, Any]], batch: Batch) -> Any:
        return self.aggregate({m: loc for m, (loc, _) in codes.items()}, batch.present)

    # The program --------------------------------------------------------------------------------------------------
    def model(self, batch: Batch) -> None:
        """The generative process, from z down to the data."""
        p = self.latent()
        with self.ppl.plate(batch):
            z = self.ppl.host.sample("z", p)
            for name in self.coders.modalities:
                local = self.ppl.host.sample(f"{name}.z", self.local_prior(name, z))
                if name in batch.modalities:
                    self.coders.observe(name, local, batch)

    def guide(self, batch: Batch) -> None:
        """The posterior of z, and each z_m by its encoder, or by p(z_m | z) where the modality is hidden."""
        codes, host = self.encode(batch), self.ppl.host
        with self.ppl.plate(batch):
            z = host.sample("z", self._posterior(codes, batch))
            for m, code in codes.items():
                here, xp = batch.present[m][..., None], get_backend(z).xp
                below = self.net(f"{m}.nexus")(z)
                loc, scale = (xp.where(here, own, other) for own, other in zip(code, below, strict=True))
                host.sample(f"{m}.z", host.dist.Normal(loc, scale).to_event(1))

    # Training: two levels that share no gradient ------------------------------------------------------------------
    def training_model(self, batch: Batch) -> None:
        """Each z_m under a standard prior; log p(z_m | z), without a gradient to z_m, is a factor above."""
        host, p = self.ppl.host, self.latent()
        standard = host.dist.Normal(host.zeros(self.local_dim), 1.0).to_event(1)
        with self.ppl.plate(batch):
            z = host.sample("z", p)
            for name in batch.modalities:
                with host.scale(scale=self.local_beta):
                    local = host.sample(f"{name}.z", standard.mask(batch.present[name]))
                self.coders.observe(name, local, batch)
                backend = get_backend(local)
                above = self.local_prior(name, z).log_prob(backend.stop_gradient(local))
                shown = backend.xp.where(batch.present[name], above, backend.xp.zeros_like(above))
                host.factor(f"{name}.nexus", self.gamma * shown)

    def training_guide(self, batch: Batch) -> None:
        """Each z_m by its encoder; z by messages of these draws, without their gradient, some of them dropped."""
        host = self.ppl.host
        with self.ppl.plate(batch):
            drawn = {}
            for m in batch.modalities:
                q = host.dist.Normal(*self.coders.encode(m, batch)).to_event(1)
                with host.scale(scale=self.local_beta):
                    local = host.sample(f"{m}.z", q.mask(batch.present[m]))
                drawn[m] = get_backend(local).stop_gradient(local)
            present = drop_messages(batch, host.random(), self.dropout, drawn[m])
            host.sample("z", self.aggregate(drawn, present))


def drop_messages(batch: Batch, rng: Any, rate: float, like: Any) -> dict[str, Any]:
    """Presence masks of the messages, ``(N,)``: what is present, less what is dropped at random.

    With probability ``rate`` a datum with n modalities loses a number of them uniform on 1, ..., n - 1.
    """
    backend = get_backend(like)
    xp, names = backend.xp, batch.modalities
    # Uniform noise: for how many are dropped, for whether any are, and for which, a row for each modality.
    noise = backend.uniform(rng, (len(names) + 2, len(batch)), like)
    present = xp.stack([batch.present[m] for m in names])
    number = xp.sum(xp.astype(present, like.dtype), axis=0)
    lost = 1.0 + xp.floor(noise[0, ...] * (number - 1.0))
    lost = xp.where((noise[1, ...] < rate) & (number > 1.5), lost, xp.zeros_like(lost))
    # Ranks of the noise among what is present; the first so many are dropped.
    order = xp.where(present, noise[2:, ...], 2.0 + 0.0 * noise[2:, ...])
    place = xp.sum(xp.astype(order[None, ...] < order[:, None, :], like.dtype), axis=1)
    return {m: present[i, ...] & (place[i, ...] >= lost) for i, m in enumerate(names)}
