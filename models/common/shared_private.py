"""Systems with one shared latent and a private one of each modality."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.models.common.coders import UNCONDITIONAL, Coders, Conditions
from mmppl.models.common.latent_priors import gaussian_mixture
from mmppl.priors.mixture import fit_gaussians

__all__ = ["SharedPrivate"]

SCALES = ("free", "normalised")


class SharedPrivate:
    r"""Models and guides with a shared latent z and private latents w.

    .. math:: z \sim p(z), \quad w_m \sim \mathrm{Laplace}(0, 1), \quad x_m \sim p(x_m \mid z, w_m), \qquad
        q(z \mid x_S) = \frac{1}{|S|} \sum_{m \in S} q(z \mid x_m), \quad q(w_m \mid x_m)

    Where a modality is hidden the guide draws its private latent from the auxiliary prior
    :math:`r_m = \mathrm{Laplace}(0, b_m)`, whose learned scales have the mean 1, or from the prior. With
    ``private_components`` a second model has a mixture of Gaussians for prior, the aggregate of posteriors of w:

    .. math:: p(w_m) = \sum_{k=1}^K \pi_k\, \mathcal{N}(w_m; \mu_k, \operatorname{diag} \sigma_k^2)
        \approx \frac{1}{N} \sum_n q(w_m \mid x_{nm})

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        latent_dim: Dimension of z.
        private_dim: Dimension of each w.
        private_components: Number K of Gaussians of each learned private prior.
        hidden: Width of the nets.
        seed: Random seed of the initial weights.
        scales: ``"free"``, or ``"normalised"``: those of every posterior have the mean 1 over its coordinates.
        conditions: Covariates that they condition on.
        more: Further networks, by name.

    Raises:
        OptionError: If ``scales`` is unknown, or there is no Gaussian.
    """

    def __init__(
        self,
        modalities: Mapping[str, Modality],
        ppl: PPL,
        *,
        latent_dim: int,
        private_dim: int,
        hidden: int,
        seed: int,
        private_components: int = 1,
        scales: str = "free",
        conditions: Conditions = UNCONDITIONAL,
        more: Mapping[str, Any] | None = None,
    ):
        if private_components < 1:
            raise OptionError(f"Expected private_components >= 1; got {private_components}.")
        if scales not in SCALES:
            raise OptionError(f"Expected scales among {SCALES}; got {scales!r}.")
        specs: dict[str, Any] = {}
        self.coders = coders = Coders(ppl, modalities, conditions)
        for name in modalities:
            specs |= coders.encoder_specs(name, latent_dim, hidden, "laplace")
            specs |= coders.encoder_specs(name, private_dim, hidden, "laplace", "private")
            specs |= coders.decoder_specs(name, latent_dim + private_dim, hidden)
        coders.build({**specs, **(more or {})}, seed)
        self.modalities, self.ppl, self.private_dim, self.scales = modalities, ppl, private_dim, scales
        self.private_components, self.seed = private_components, seed

    def net(self, name: str) -> Any:
        """A network, bound to its name."""
        return self.coders.net(name)

    def code(self, name: str, batch: Batch, part: str = "encoder") -> tuple[Any, Any]:
        """Location and scale of a posterior of a modality, of the shared latent or the private one."""
        loc, scale = self.coders.encode(name, batch, part)
        if self.scales == "normalised":
            scale = scale / get_backend(scale).xp.mean(scale, axis=-1, keepdims=True)
        return loc, scale

    def private_prior(self, name: str, learned: bool = False) -> Any:
        """P(w_m): Laplace(0, 1), or the learned mixture, a normal density until :meth:`private_values` are found."""
        host = self.ppl.host
        if not learned:
            return host.dist.Laplace(host.zeros(self.private_dim), 1.0).to_event(1)
        shape = self.private_components, self.private_dim
        return gaussian_mixture(self.ppl, f"{name}.private_prior", np.zeros(shape), np.ones(shape))

    def private_draws(self, batch: Batch) -> dict[str, Any]:
        """A draw of every q(w_m | x_m), ``(N, D)``."""
        host = self.ppl.host
        codes = {m: self.code(m, batch, "private") for m in batch.modalities}
        return {m: host.sample(f"{m}.draw", host.dist.Laplace(*code).to_event(1)) for m, code in codes.items()}

    def private_values(self, draws: Batch) -> dict[str, np.ndarray]:
        """Values of the parameters of the learned private priors, from :meth:`private_draws` of the data."""
        out: dict[str, np.ndarray] = {}
        for m in draws.modalities:
            w = np.asarray(draws[m])[np.asarray(draws.present[m])]
            if len(w):
                found = fit_gaussians(w, self.private_components, self.seed)
                out |= {f"{m}.private_prior.{part}": value for part, value in found.items()}
        return out

    def model(self, prior: Callable[[], Any], learned: bool = False) -> Callable[[Batch], None]:
        """The generative process, with a prior of z, and learned priors of w or the standard one."""
        sample = self.ppl.host.sample

        def model(batch: Batch) -> None:
            p = prior()
            own = {name: self.private_prior(name, learned) for name in self.modalities}
            with self.ppl.plate(batch):
                z = sample("z", p)
                for name in self.modalities:
                    w = sample(f"{name}.w", own[name])
                    if name in batch.modalities:
                        self.coders.observe(name, get_backend(z).xp.concat([z, w], axis=-1), batch)

        return model

    def posterior(self, batch: Batch) -> Any:
        """Q(z | x_S)."""
        experts = {m: self.code(m, batch) for m in batch.modalities}
        return self.ppl.MixtureOfExperts(experts, batch.present, family="laplace")

    def guide(self, hidden: str, learned: bool = False) -> Callable[[Batch], None]:
        """The posterior; where a modality is hidden w comes from the ``"auxiliary"`` prior or from the ``"prior"``.

        Arguments:
            hidden: One of the two.
            learned: Whether the prior is the learned one, whose draws have no gradient.
        """
        if hidden not in ("prior", "auxiliary"):
            raise OptionError(f"Expected hidden_private 'prior' or 'auxiliary'; got {hidden!r}.")
        host = self.ppl.host

        def guide(batch: Batch) -> None:
            logits = {m: host.param(f"{m}.auxiliary", host.zeros(self.private_dim)) for m in batch.modalities}
            mixed = learned and hidden == "prior"
            own = {m: self.private_prior(m, True) for m in batch.modalities} if mixed else {}
            with self.ppl.plate(batch):
                host.sample("z", self.posterior(batch))
                for m in batch.modalities:
                    (loc, scale), here = self.code(m, batch, "private"), batch.present[m][..., None]
                    if mixed:
                        posterior = host.dist.Laplace(loc, scale).to_event(1)
                        host.sample(f"{m}.w", host.masked_mixture(batch.present[m], own[m], posterior))
                        continue
                    backend = get_backend(loc)
                    other = backend.xp.ones_like(scale)
                    if hidden == "auxiliary":
                        other = other * backend.xp.exp(backend.log_softmax(logits[m], axis=-1)) * self.private_dim
                    loc = backend.xp.where(here, loc, backend.xp.zeros_like(loc))
                    host.sample(f"{m}.w", host.dist.Laplace(loc, backend.xp.where(here, scale, other)).to_event(1))

        return guide
