"""The masked multi-modal VAE: one learned posterior for every subset, trained on random ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmppl._backend import get_backend
from mmppl.aggregation import where_present
from mmppl.aggregation.base import FAMILIES
from mmppl.aggregation.families import CORRELATED
from mmppl.batch import Batch, Modality
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
from mmppl.models.common.coders import UNCONDITIONAL, Coders, Conditions
from mmppl.models.common.declare import beta_schedule, system, usual_rate, weights
from mmppl.models.common.families import own_family
from mmppl.models.common.latent_priors import latent_prior
from mmppl.nets import (
    MLP,
    DeepSets,
    EquivariantDeepSets,
    EquivariantTransformer,
    LocScale,
    SetTransformer,
)

__all__ = ["masked"]

POOLED = {
    "sum_pooling": (DeepSets, EquivariantDeepSets),
    "self_attention": (SetTransformer, EquivariantTransformer),
}
AGGREGATIONS = (*POOLED, "product", "mixture")
PRIVATE_PRIORS = ("standard", "conditional")


@system
def masked(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    latent_dim: int = 16,
    private: int = 0,
    hidden: int = 256,
    aggregation: str | None = None,
    mixture: int = 1,
    family: str | None = None,
    private_prior: str = "standard",
    empty: str = "learned",
    bound: str = "masked",
    subsets: str = "uniform",
    beta: float = 1.0,
    warmup: int | None = None,
    particles: int = 1,
    gradient: str = "stl",
    prior: str | Callable[[], Any] = "normal",
    components: int = 50,
    conditions: Conditions = UNCONDITIONAL,
    seed: int = 0,
) -> Program:
    r"""Masked multi-modal VAE.

    .. math:: z \sim p(z), \quad \tilde z_m \sim p(\tilde z_m \mid z), \quad x_m \sim p(x_m \mid z, \tilde z_m), \\
        q(z, \tilde z \mid x_S) = q(z \mid \{h_m(x_m)\}_{m \in S}) \prod_{m \in S} q(\tilde z_m \mid z, x_S)
        \prod_{m \notin S} p(\tilde z_m \mid z)

    trained by a bound on the likelihood of a random subset and one on that of the rest given it, with the encoder as
    conditional prior.

    References:
        | Learning multi-modal generative models with permutation-invariant encoders and tighter variational objectives
        | (Hirt et al., 2024), https://arxiv.org/abs/2309.00380

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        latent_dim: Dimension of z.
        private: Dimension of each private latent; 0 for none.
        hidden: Width of the nets.
        aggregation: ``"sum_pooling"``, ``"self_attention"``, ``"product"`` or ``"mixture"``. None for the product of
            normal experts with correlations where the family may be theirs, and for sum pooling otherwise: such a
            product is what a posterior of several modalities is where decoders are linear, while networks that pool
            were seen to leave a latent unused for a whole fit.
        mixture: Gaussians in the posterior of z, for the two learned aggregations.
        family: ``"normal"``, ``"laplace"``, or ``"multivariate_normal"``, with correlations: the family of posteriors
            and, without correlations, of the private latents' prior. None for multivariate normals where ``latent_dim``
            is at most 32, all modalities are vectors of real numbers and ``mixture`` is 1; else for normals.
        private_prior: ``"standard"``, or ``"conditional"``: location and scale from z by a network.
        empty: The posterior that the two learned aggregations give where no modality is present: ``"learned"``, or the
            standard ``"prior"``.
        bound: ``"masked"``, ``"mixture"`` or ``"tc"``: see :class:`~mmppl.inference.objectives.Masked`.
        subsets: Law of the random subset: ``"uniform"`` in its size, or ``"bernoulli"``, each modality with
            probability 1/2.
        beta: Factor on the KL terms.
        warmup: Steps over which beta rises from 0; 0 for none, and None for 400, or a quarter of the fit's steps where
            that is less. Without a warm-up some latents collapse onto the prior, how many depends on the seed. One that
            takes most of a fit leaves too few steps with the full beta: 2,000 of 2,340 doubled the errors of
            conditional means.
        particles: Draws K of the guide for each datum.
        gradient: ``"stl"`` (with several particles the doubly reparametrised gradient) or ``"standard"``.
        prior: As in :func:`~mmppl.models.mvae`.
        components: Number of Gaussians or pseudo-inputs of such a prior.
        conditions: Covariates.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If an option is unknown, or a mixture is asked of a product or a mixture of experts.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import Modality, models
        >>> views = {"a": Modality((3,)), "b": Modality((2,))}
        >>> models.masked(views, ppl=mm, latent_dim=2, hidden=8, aggregation="product").objective.particles
        1
    """
    family = "normal" if family is None and mixture > 1 else own_family(family, latent_dim, modalities)
    if aggregation is None:
        aggregation = "product" if family == CORRELATED else "sum_pooling"
    parts = MaskedVAE(
        coders=Coders(ppl, modalities, conditions),
        latent_dim=latent_dim,
        private=private,
        hidden=hidden,
        aggregation=aggregation,
        mixture=mixture,
        family=family,
        private_prior=private_prior,
        empty=empty,
        seed=seed,
    )
    parts.latent = latent_prior(
        parts.coders, prior, latent_dim, posterior=parts.posterior, components=components, seed=seed
    )
    objective = ppl.Masked(
        particles,
        subsets=subsets,
        bound=bound,
        beta=beta_schedule(ppl, beta, warmup),
        gradient=gradient,
        weights=weights(modalities),
    )
    return Program(parts.model, parts.guide, objective, ppl, modalities, learning_rate=usual_rate(modalities))


@dataclass(eq=False, kw_only=True)
class MaskedVAE:
    """Model and guide over networks that they share; other arguments are those of :func:`masked`.

    Arguments:
        coders: Encoders and decoders of the modalities.
    """

    coders: Coders
    latent_dim: int
    private: int
    hidden: int
    aggregation: str
    mixture: int
    family: str
    private_prior: str
    empty: str
    seed: int
    pooled: bool = field(init=False)
    latent: Callable[[], Any] = field(init=False)

    def __post_init__(self) -> None:
        self._check()
        self.pooled = self.aggregation in POOLED
        self.coders.build(self._specs(), self.seed)

    def _check(self) -> None:
        if self.aggregation not in AGGREGATIONS:
            raise OptionError(f"Expected an aggregation among {AGGREGATIONS}; got {self.aggregation!r}.")
        if self.private < 0:
            raise OptionError(f"Expected private >= 0; got {self.private}.")
        if self.private_prior not in PRIVATE_PRIORS:
            raise OptionError(f"Expected private_prior among {PRIVATE_PRIORS}; got {self.private_prior!r}.")
        if self.family not in FAMILIES:
            raise OptionError(f"Expected a family among {FAMILIES}; got {self.family!r}.")
        if self.mixture > 1 and self.family != "normal":
            raise OptionError(
                f"Expected mixture=1 with family {self.family!r}; got {self.mixture}. Mixtures are of Gaussians."
            )
        if self.mixture > 1 and self.aggregation not in POOLED:
            raise OptionError(
                f"Expected mixture=1 with aggregation {self.aggregation!r}; got {self.mixture}. Choose a learned one."
            )

    def _specs(self) -> dict[str, Any]:
        """Specifications of the networks by name; an encoder that is pooled has features in place of a posterior."""
        hidden, private, family = self.hidden, self.private, self.private_family
        specs: dict[str, Any] = {}
        for name in self.coders.modalities:
            shape = (hidden, hidden, None) if self.pooled else (self.latent_dim, hidden, self.family)
            specs |= self.coders.encoder_specs(name, *shape)
            specs |= self.coders.decoder_specs(name, self.latent_dim + private, hidden)
            if private and not self.pooled:
                specs |= self.coders.encoder_specs(name, private, hidden, family, "private")
            if private and self.private_prior == "conditional":
                specs[f"{name}.private.prior"] = LocScale(MLP((self.latent_dim,), (2 * private,), (hidden,)), family)
        if self.pooled:
            shared, own = POOLED[self.aggregation]
            specs["pool"] = shared(
                hidden, self.latent_dim, width=hidden, components=self.mixture, correlated=self.family == CORRELATED
            )
            if private:
                specs["private"] = own(hidden, private, self.latent_dim, width=hidden)
        return specs

    def net(self, name: str) -> Any:
        """A network, bound to its name."""
        return self.coders.net(name)

    @property
    def private_family(self) -> str:
        """The family of private latents, which have no correlations."""
        return "normal" if self.family == CORRELATED else self.family

    @property
    def ppl(self) -> PPL:
        """The host."""
        return self.coders.ppl

    # Posteriors ---------------------------------------------------------------------------------------------------
    def encode(self, batch: Batch) -> dict[str, Any]:
        """Features ``(N, hidden)`` by modality, or location and scale, each ``(N, latent_dim)``, of an expert."""
        return self.coders.encode_all(batch)

    def posterior(self, batch: Batch, encoded: Mapping[str, Any] | None = None) -> Any:
        """The density q(z | x_S)."""
        encoded = self.encode(batch) if encoded is None else encoded
        if self.pooled:
            return self.ppl.Pooled(encoded, batch.present, self.net("pool"), family=self.family, empty=self.empty)
        if self.aggregation == "product":
            return self.ppl.Product(encoded, batch.present, family=self.family)
        return self.ppl.MixtureOfExperts(encoded, batch.present, family=self.family)

    def private_posteriors(self, batch: Batch, encoded: Mapping[str, Any], z: Any) -> dict[str, Any]:
        """Posteriors of the private latents by modality, and the prior where it is hidden."""
        absent = {m: self.prior_of_private(m, z) for m in batch.modalities}
        if self.pooled:
            private = self.net("private")
            return self.ppl.private_posteriors(
                encoded, batch.present, private, z, family=self.private_family, absent=absent
            )
        own = {
            m: where_present(seen, self.coders.encode(m, batch, "private"), absent[m])
            for m, seen in batch.present.items()
        }
        return {m: self.ppl.host.loc_scale(self.private_family, *pair).to_event(1) for m, pair in own.items()}

    def prior_of_private(self, name: str, z: Any) -> tuple[Any, Any]:
        """Location and scale of a private latent's prior given z, each ``(N, private)``, or ``(private,)``."""
        if self.private_prior == "conditional":
            return self.net(f"{name}.private.prior")(z)
        zeros = self.ppl.host.zeros(self.private)
        return zeros, zeros + 1.0

    # The program --------------------------------------------------------------------------------------------------
    def model(self, batch: Batch) -> None:
        """The generative process: the shared latent, the private ones given it, and the data."""
        host, p = self.ppl.host, self.latent()
        with self.ppl.plate(batch):
            z = host.sample("z", p)
            for name in self.coders.modalities:
                code = z
                if self.private:
                    prior = host.loc_scale(self.private_family, *self.prior_of_private(name, z)).to_event(1)
                    code = get_backend(z).xp.concat([z, host.sample(f"{name}.private", prior)], axis=-1)
                if name in batch.modalities:
                    self.coders.observe(name, code, batch)

    def guide(self, batch: Batch) -> None:
        """The posterior of z, then the private latents' given z."""
        encoded, sample = self.encode(batch), self.ppl.host.sample
        with self.ppl.plate(batch):
            z = sample("z", self.posterior(batch, encoded))
            if self.private:
                for name, fn in self.private_posteriors(batch, encoded, z).items():
                    sample(f"{name}.private", fn)
