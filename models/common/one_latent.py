"""Systems with one latent: a prior, a decoder of each modality, and a posterior of what is present."""

from collections.abc import Callable
from typing import Any

from mmppl.batch import Batch
from mmppl.models.common.coders import Coders
from mmppl.models.common.latent_priors import latent_prior

__all__ = ["one_latent"]


def one_latent(
    coders: Coders,
    posterior: Callable[[Batch], Any],
    *,
    prior: str | Callable[[], Any],
    latent_dim: int,
    components: int,
    seed: int,
) -> tuple[Callable[[Batch], None], Callable[[Batch], None]]:
    r"""Model and guide of :math:`z \sim p(z),\ x_m \sim p(x_m \mid z)` with a posterior :math:`q(z \mid x_S)`.

    Arguments:
        coders: The encoders and decoders.
        posterior: The guide's distribution of z for a batch.
        prior: See :func:`~mmppl.models.common.latent_priors.latent_prior`, as for the others.
        latent_dim: Dimension D of z.
        components: Number of Gaussians or pseudo-inputs of the prior.
        seed: Random seed, of the initial values of the prior.

    Raises:
        OptionError: If the prior is unknown.
    """
    ppl = coders.ppl
    latent = latent_prior(coders, prior, latent_dim, posterior=posterior, components=components, seed=seed)

    def model(batch: Batch) -> None:
        p = latent()
        with ppl.plate(batch):
            z = ppl.host.sample("z", p)
            for name in batch.modalities:
                coders.observe(name, z, batch)

    def guide(batch: Batch) -> None:
        with ppl.plate(batch):
            ppl.host.sample("z", posterior(batch))

    return model, guide
