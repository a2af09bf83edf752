"""Turns of threads on Pyro, whose parameters and random stream are the process's too; and gradients."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pyro.poutine.runtime import _PYRO_STACK

from mmppl.inference.threads import Alone

__all__ = ["alone", "gradients"]


@contextmanager
def gradients() -> Iterator[None]:
    """Within, gradients are as torch has them by default, be it in a caller's ``no_grad`` or ``inference_mode``."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


alone = Alone("Pyro", _PYRO_STACK, gradients)
