"""Turns of threads on NumPyro."""

from numpyro.primitives import _PYRO_STACK

from mmppl.inference.threads import Alone

__all__ = ["alone"]

alone = Alone("NumPyro", _PYRO_STACK)
