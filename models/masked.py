"""The masked multi-modal VAE: one learned posterior for every subset, trained on random ones."""

from collections.abc import Callable
from typing import Any

from mmppl._backend import get_backend
from mmppl.aggregation import where_present
from mmppl.aggregation.base import FAMILIES
from mmppl.aggregation.families import CORRELATED
from mmppl.batch import Modality
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
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
    decoder,
    encoder,
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
    seed: int = 0,
) -> Program:
    r"""Masked multi-modal VAE.

    .. math:: z \sim p(z), \quad \tilde z_m \sim p(\tilde z_m \mid z), \quad x_m \sim p(x_m \mid z, \tilde z_m), \qquad
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
            and, without correlations, of the private latents' prior. None for multivariate normals up to 32 latents.
        private_prior: ``"standard"``, or ``"conditional"``: location and scale from z by a network.
        empty: What they answer given nothing: ``"learned"``, or the ``"prior"``, standard.
        bound: ``"masked"``, ``"mixture"`` or ``"tc"``.
        subsets: ``"uniform"`` or ``"bernoulli"``.
        beta: Factor on the KL terms.
        warmup: Steps over which beta rises from 0; 0 for none, and None for 400 or, where these are fewer, a quarter of
            the fit's. Without, some latents collapse onto the prior, more or fewer by the seed. A warm-up of most of a
            fit leaves it with what a smaller beta has taught: 2,000 of 2,340 steps doubled the errors of conditional
            means.
        particles: K.
        gradient: ``"stl"`` (with several particles the doubly reparametrised gradient) or ``"standard"``.
        prior: As in :func:`~mmppl.models.mvae`.
        components: Number of Gaussians or pseudo-inputs of such a prior.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If an option is unknown, or a mixture is asked of a product or a mixture of experts.
    """
    family = "normal" if family is None and mixture > 1 else own_family(family, latent_dim)
    if aggregation is None:
        aggregation = "product" if family == CORRELATED else "sum_pooling"
    if aggregation not in AGGREGATIONS:
        raise OptionError(f"Expected an aggregation among {AGGREGATIONS}; got {aggregation!r}.")
    if private < 0:
        raise OptionError(f"Expected private >= 0; got {private}.")
    if private_prior not in PRIVATE_PRIORS:
        raise OptionError(f"Expected private_prior among {PRIVATE_PRIORS}; got {private_prior!r}.")
    if family not in FAMILIES:
        raise OptionError(f"Expected a family among {FAMILIES}; got {family!r}.")
    if mixture > 1 and family != "normal":
        raise OptionError(f"Expected mixture=1 with family {family!r}; got {mixture}. Mixtures are of Gaussians.")
    if mixture > 1 and aggregation not in POOLED:
        raise OptionError(f"Expected mixture=1 with aggregation {aggregation!r}; got {mixture}. Choose a learned one.")
    pooled, specs = aggregation in POOLED, {}
    correlated, own_kind = family == CORRELATED, "normal" if family == CORRELATED else family
    for name, modality in modalities.items():
        specs[f"{name}.encoder"] = encoder(
            modality, *(hidden, hidden, None) if pooled else (latent_dim, hidden, family)
        )
        specs[f"{name}.decoder"] = decoder(modality, latent_dim + private, hidden)
        if private and not pooled:
            specs[f"{name}.private"] = encoder(modality, private, hidden, own_kind)
        if private and private_prior == "conditional":
            specs[f"{name}.private.prior"] = LocScale(MLP((latent_dim,), (2 * private,), (hidden,)), own_kind)
    if pooled:
        shared, own = POOLED[aggregation]
        specs["pool"] = shared(hidden, latent_dim, width=hidden, components=mixture, correlated=correlated)
        if private:
            specs["private"] = own(hidden, private, latent_dim, width=hidden)
    nets = ppl.host.build_all(specs, seed)
    sample, zeros = ppl.host.sample, ppl.host.zeros

    def net(name):
        return ppl.net(name, nets[name])

    def encode(batch):
        return {m: net(f"{m}.encoder")(*batch.inputs(m)) for m in batch.modalities}

    def posterior(batch, encoded=None):
        encoded = encode(batch) if encoded is None else encoded
        if pooled:
            return ppl.Pooled(encoded, batch.present, net("pool"), family=family, empty=empty)
        if aggregation == "product":
            return ppl.Product(encoded, batch.present, family=family)
        return ppl.MixtureOfExperts(encoded, batch.present, family=family)

    def prior_of(name, z):
        """Location and scale of a private latent's prior given z."""
        if private_prior == "conditional":
            return net(f"{name}.private.prior")(z)
        return zeros(private), zeros(private) + 1.0

    def privates(batch, encoded, z):
        """Posteriors of the private latents by modality, and the prior where it is hidden."""
        absent = {m: prior_of(m, z) for m in batch.modalities}
        if pooled:
            return ppl.private_posteriors(encoded, batch.present, net("private"), z, family=own_kind, absent=absent)
        own = {
            m: where_present(seen, net(f"{m}.private")(*batch.inputs(m)), absent[m])
            for m, seen in batch.present.items()
        }
        return {m: ppl.host.loc_scale(own_kind, *pair).to_event(1) for m, pair in own.items()}

    latent = latent_prior(
        ppl, prior, latent_dim, modalities=modalities, posterior=posterior, components=components, seed=seed
    )

    def model(batch):
        p = latent()
        with ppl.plate(batch):
            z = sample("z", p)
            for name, modality in modalities.items():
                code = z
                if private:
                    own = sample(f"{name}.private", ppl.host.loc_scale(own_kind, *prior_of(name, z)).to_event(1))
                    code = get_backend(z).xp.concat([z, own], axis=-1)
                if name in batch.modalities:
                    ppl.observe(name, ppl.likelihood(modality, net(f"{name}.decoder")(code)), batch)

    def guide(batch):
        encoded = encode(batch)
        with ppl.plate(batch):
            z = sample("z", posterior(batch, encoded))
            if private:
                for name, fn in privates(batch, encoded, z).items():
                    sample(f"{name}.private", fn)

    objective = ppl.Masked(
        particles,
        subsets=subsets,
        bound=bound,
        beta=beta_schedule(ppl, beta, warmup),
        gradient=gradient,
        weights=weights(modalities),
    )
    return Program(model, guide, objective, ppl, modalities, learning_rate=usual_rate(modalities))
