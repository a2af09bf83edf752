"""The two programs that are timed, of either host: a mixture of Laplace experts, and a product of normal ones."""

from types import ModuleType
from typing import Any, NamedTuple

from mmppl.batch import Batch
from mmppl.data import load, minibatches
from mmppl.models.common.coders import Coders
from mmppl.models.common.declare import autoencoders

__all__ = ["BATCH", "KINDS", "LATENT", "Setting", "declare"]

BATCH, LATENT, HIDDEN = 128, 16, 256
KINDS = ("MMVAE", "ELBO")


class Setting(NamedTuple):
    """A program with its objective, its networks by name, the modalities and a batch of the host's arrays."""

    kind: str
    model: Any
    guide: Any
    objective: Any
    nets: dict[str, Any]
    modalities: dict[str, Any]
    batch: Batch


def declare(ppl: ModuleType, kind: str, rows: int = BATCH) -> Setting:
    """``"MMVAE"``: mixture of Laplace experts, all strata; ``"ELBO"``: product of normal experts; K = 1.

    Modalities are those of polydigits, of which the batch holds ``rows`` tuples.
    """
    digits = load("polydigits")
    modalities = digits.published
    mixture = kind == "MMVAE"
    nets = ppl.host.build_all(
        autoencoders(Coders(ppl, modalities), LATENT, HIDDEN, "laplace" if mixture else "normal"), 0
    )
    prior_family = ppl.host.dist.Laplace if mixture else ppl.host.dist.Normal
    sample = ppl.host.sample

    def model(batch):
        # Networks are bound before the plate, as in Pyro's own examples: there each parameter passes fewer handlers.
        decoders = {name: ppl.net(f"{name}.decoder", nets[f"{name}.decoder"]) for name in batch.modalities}
        with ppl.plate(batch):
            z = sample("z", prior_family(ppl.host.zeros(LATENT), 1.0).to_event(1))
            for name in batch.modalities:
                ppl.observe(name, ppl.likelihood(modalities[name], decoders[name](z)), batch)

    def guide(batch):
        experts = {m: ppl.net(f"{m}.encoder", nets[f"{m}.encoder"])(batch[m]) for m in batch.modalities}
        if mixture:
            q = ppl.MixtureOfExperts(experts, batch.present, family="laplace")
        else:
            q = ppl.Product(experts, batch.present)
        with ppl.plate(batch):
            sample("z", q)

    objective = ppl.MMVAE() if mixture else ppl.ELBO()
    batch = ppl.as_batch(next(iter(minibatches(digits.train, rows, seed=0, epoch=0))))
    return Setting(kind, model, guide, objective, nets, modalities, batch)
