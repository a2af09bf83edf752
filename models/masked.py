"""The masked multi-modal VAE: one learned posterior for every subset, trained on random ones."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from mmppl._backend import get_backend
from mmppl.batch import Modality
from mmppl.errors import OptionError
from mmppl.inference.program import Program
from mmppl.models.parts import likelihood, system, weights
from mmppl.models.priors import latent_prior
from mmppl.nets import DeepSets, EquivariantDeepSets, EquivariantTransformer, SetTransformer, decoder, encoder

__all__ = ["masked"]

POOLED = {
    "sum_pooling": (DeepSets, EquivariantDeepSets),
    "self_attention": (SetTransformer, EquivariantTransformer),
}
AGGREGATIONS = (*POOLED, "product", "mixture")


@system
def masked(
    modalities: dict[str, Modality],
    *,
    ppl: ModuleType,
    latent_dim: int = 16,
    private: int = 0,
    hidden: int = 256,
    aggregation: str = "sum_pooling",
    mixture: int = 1,
    empty: str = "learned",
    bound: str = "masked",
    subsets: str = "uniform",
    beta: float = 1.0,
    particles: int = 1,
    gradient: str = "stl",
    prior: str | Callable[[], Any] = "normal",
    components: int = 50,
    seed: int = 0,
) -> Program:
    r"""Masked multi-modal VAE.

    .. math:: z \sim p(z), \quad \tilde z_m \sim N(0, I), \quad x_m \sim p(x_m \mid z, \tilde z_m), \qquad
        q(z, \tilde z \mid x_S) = q(z \mid \{h_m(x_m)\}_{m \in S}) \prod_{m \in S} q(\tilde z_m \mid z, x_S)
        \prod_{m \notin S} p(\tilde z_m)

    trained by a bound on the likelihood of a random subset and one on that of the rest given it, with the encoder as
    conditional prior.

    References:
        | Learning multi-modal generative models with permutation-invariant encoders and tighter variational objectives
        | (Hirt et al., 2024), https://arxiv.org/abs/2309.00380

    Arguments:
        modalities: What each modality is, by name.
        ppl: The face.
        latent_dim: Dimension of z.
        private: Dimension of each private latent; 0 for none.
        hidden: Width of the nets.
        aggregation: ``"sum_pooling"``, ``"self_attention"``, ``"product"`` or ``"mixture"``.
        mixture: Gaussians in the posterior of z, for the two learned aggregations.
        empty: What they answer given nothing: ``"learned"``, or the ``"prior"``, standard.
        bound: ``"masked"``, ``"mixture"`` or ``"tc"``.
        subsets: ``"uniform"`` or ``"coins"``.
        beta: Factor on the KL terms.
        particles: K.
        gradient: ``"stl"`` or ``"standard"``.
        prior: As in :func:`~mmppl.models.mvae`.
        components: Number of Gaussians or pseudo-inputs of such a prior.
        seed: Of the initial weights.

    Raises:
        OptionError: If an option is unknown, or a mixture is asked of a product or a mixture of experts.
    """
    if aggregation not in AGGREGATIONS:
        raise OptionError(f"Expected an aggregation among {AGGREGATIONS}; got {aggregation!r}.")
    if private < 0:
        raise OptionError(f"Expected private >= 0; got {private}.")
    if mixture > 1 and aggregation not in POOLED:
        raise OptionError(f"Expected mixture=1 with aggregation {aggregation!r}; got {mixture}. Choose a learned one.")
    pooled, specs = aggregation in POOLED, {}
    for name, modality in modalities.items():
        specs[f"{name}.encoder"] = encoder(modality, *(hidden, hidden, None) if pooled else (latent_dim, hidden))
        specs[f"{name}.decoder"] = decoder(modality, latent_dim + private, hidden)
        if private and not pooled:
            specs[f"{name}.private"] = encoder(modality, private, hidden)
    if pooled:
        shared, own = POOLED[aggregation]
        specs["pool"] = shared(hidden, latent_dim, width=hidden, components=mixture)
        if private:
            specs["private"] = own(hidden, private, latent_dim, width=hidden)
    nets = ppl.host.build_all(specs, seed)
    dist, sample, zeros = ppl.host.dist, ppl.host.sample, ppl.host.zeros

    def net(name):
        return ppl.net(name, nets[name])

    def encode(batch):
        return {m: net(f"{m}.encoder")(batch[m]) for m in batch.modalities}

    def posterior(batch, encoded=None):
        encoded = encode(batch) if encoded is None else encoded
        if pooled:
            return ppl.Pooled(encoded, batch.present, net("pool"), empty=empty)
        if aggregation == "product":
            return ppl.Product(encoded, batch.present)
        return ppl.MixtureOfExperts(encoded, batch.present)

    def privates(batch, encoded, z):
        """Posteriors of the private latents by modality, standard where it is hidden."""
        if pooled:
            return ppl.private(encoded, batch.present, net("private"), z)
        experts = {m: {m: net(f"{m}.private")(batch[m])} for m in batch.modalities}
        return {m: ppl.Product(one, batch.present, prior_expert=False) for m, one in experts.items()}

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
                    own = sample(f"{name}.private", dist.Normal(zeros(private), 1.0).to_event(1))
                    code = get_backend(z).xp.concat([z, own], axis=-1)
                if name in batch.modalities:
                    ppl.observe(name, likelihood(ppl, modality, net(f"{name}.decoder")(code)), batch)

    def guide(batch):
        encoded = encode(batch)
        with ppl.plate(batch):
            z = sample("z", posterior(batch, encoded))
            if private:
                for name, fn in privates(batch, encoded, z).items():
                    sample(f"{name}.private", fn)

    objective = ppl.Masked(
        particles, subsets=subsets, bound=bound, beta=beta, gradient=gradient, weights=weights(modalities)
    )
    return Program(model, guide, objective, ppl, modalities)
