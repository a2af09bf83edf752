"""Parameters of a prior in fewer dimensions, found between the stages of a program."""

from types import ModuleType

import numpy as np

from mmppl._backend import get_backend
from mmppl.priors import Blocks, Frame, Subspaces

__all__ = ["frame_params", "frame_values"]


def frame_params(ppl: ModuleType, blocks: Blocks) -> Frame:
    """Parameters for the frame of a reduced prior: all is kept until it is settled by :func:`frame_values`."""
    like = ppl.host.zeros(1)
    values = Frame.identity(blocks)._asdict()
    return Frame(**{n: ppl.host.param(f"prior.{n}", get_backend(like).asarray(v, like)) for n, v in values.items()})


def frame_values(space: Subspaces) -> dict[str, np.ndarray]:
    """Values of the parameters of :func:`frame_params`."""
    return {f"prior.{name}": value for name, value in Frame.of(space)._asdict().items()}
