"""Parameters of a prior in fewer dimensions, found between the stages of a program."""

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.inference.reduction.find_subspaces import PROBES, find_subspaces
from mmppl.inference.reduction.ratio_learning import RATIOS, RatioLearning
from mmppl.priors import Blocks, Whitening

__all__ = ["ratio_learning", "whitening_params", "whitening_values"]


def ratio_learning(ratio: str, seed: int) -> RatioLearning:
    """Settings by which a system learns the score ratio, by the name of its net.

    Raises:
        OptionError: If the name is unknown.
    """
    if ratio not in RATIOS:
        raise OptionError(f"Expected ratio among {RATIOS}; got {ratio!r}.")
    return RatioLearning(ratio, probes=PROBES, seed=seed)


def whitening_params(ppl: PPL, blocks: Blocks) -> Whitening:
    """Parameters of the whitening of a reduced prior, at first the identity; see :func:`whitening_values`."""
    like = ppl.host.zeros(1)
    values = Whitening.identity(blocks)._asdict()
    return Whitening(**{n: ppl.host.param(f"prior.{n}", get_backend(like).asarray(v, like)) for n, v in values.items()})


def whitening_values(
    ppl: PPL, blocks: Blocks, latents: Batch, eps: float, learning: RatioLearning
) -> dict[str, np.ndarray]:
    """Values of the parameters of :func:`whitening_params`, from a score ratio learned from latents.

    Arguments:
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        blocks: The blocks.
        latents: The latents, ``(N, D_m)`` by name of block.
        eps: The tolerance of what is estimated to be lost, in nats.
        learning: How the ratio is learned.
    """
    space = find_subspaces(latents, blocks, eps=eps, ppl=ppl, learning=learning)
    return {f"prior.{name}": value for name, value in Whitening.of(space)._asdict().items()}
