"""Parameters of a prior in fewer dimensions, found between the stages of a program."""

from types import ModuleType

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch
from mmppl.errors import OptionError
from mmppl.inference.reduction.find_subspaces import PROBES, find_subspaces
from mmppl.inference.reduction.ratio_learning import RATIOS, RatioLearning
from mmppl.priors import Blocks, Frame

__all__ = ["frame_params", "frame_values", "ratio_learning"]


def ratio_learning(ratio: str, seed: int) -> RatioLearning:
    """How a system learns the score ratio, by the name of its net.

    Raises:
        OptionError: If the name is unknown.
    """
    if ratio not in RATIOS:
        raise OptionError(f"Expected ratio among {RATIOS}; got {ratio!r}.")
    return RatioLearning(ratio, probes=PROBES, seed=seed)


def frame_params(ppl: ModuleType, blocks: Blocks) -> Frame:
    """Parameters for the frame of a reduced prior: all is kept until it is settled by :func:`frame_values`."""
    like = ppl.host.zeros(1)
    values = Frame.identity(blocks)._asdict()
    return Frame(**{n: ppl.host.param(f"prior.{n}", get_backend(like).asarray(v, like)) for n, v in values.items()})


def frame_values(
    ppl: ModuleType, blocks: Blocks, latents: Batch, eps: float, learning: RatioLearning
) -> dict[str, np.ndarray]:
    """Values of the parameters of :func:`frame_params`, from a score ratio learned from latents.

    Arguments:
        ppl: The face.
        blocks: The blocks.
        latents: The latents, ``(N, D_m)`` by name of block.
        eps: The tolerance of what is estimated to be lost, in nats.
        learning: How the ratio is learned.
    """
    space = find_subspaces(latents, blocks, eps=eps, ppl=ppl, learning=learning)
    return {f"prior.{name}": value for name, value in Frame.of(space)._asdict().items()}
