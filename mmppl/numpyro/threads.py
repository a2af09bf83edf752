"""Turns of threads on NumPyro."""

from numpyro.primitives import _PYRO_STACK

from mmppl.inference.threads import OneAtATime

__all__ = ["alone"]

alone = OneAtATime("NumPyro", _PYRO_STACK)
