"""Turns of threads on Pyro, whose parameters and random stream are the process's too; gradients; and its refusals."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pyro.poutine.runtime import _PYRO_STACK

from mmppl.errors import InferenceError, MMPPLError
from mmppl.inference.threads import OneAtATime
from mmppl.pyro.networks import originals

__all__ = ["alone", "gradients"]


@contextmanager
def gradients() -> Iterator[None]:
    """Context manager with torch's default gradients, also in a caller's ``no_grad`` or ``inference_mode``."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def running() -> Iterator[None]:
    """Context manager of :func:`gradients` that turns refused parameters of a distribution, as NaN, into advice.

    At the end modules that a program has in common with others are as they were.

    Raises:
        InferenceError: With what Pyro says.
    """
    with gradients():
        try:
            yield
        except ValueError as error:
            if isinstance(error, MMPPLError) or "to satisfy the constraint" not in str(error):
                raise
            raise InferenceError(
                "A distribution of the program was given parameters that it may not have, such as NaN; see that the "
                f"data have the units that the program is for. {error}"
            ) from error
        finally:
            originals()


alone = OneAtATime("Pyro", _PYRO_STACK, running)
