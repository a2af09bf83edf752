"""Kernels, one a file, for many chains at once, and the adaptation of their step sizes and scales."""

from mmppl.inference.kernels.annealed import AnnealedLangevin
from mmppl.inference.kernels.base import Kernel, KernelState
from mmppl.inference.kernels.hmc import HMC
from mmppl.inference.kernels.layout import Layout
from mmppl.inference.kernels.mala import MALA
from mmppl.inference.kernels.random_walk import RandomWalk
from mmppl.inference.kernels.sgld import SGLD
from mmppl.inference.kernels.tempered import TemperedLangevin
from mmppl.inference.kernels.ula import ULA
from mmppl.inference.kernels.underdamped import UnderdampedLangevin

__all__ = [
    "KERNELS",
    "HMC",
    "MALA",
    "SGLD",
    "ULA",
    "AnnealedLangevin",
    "Kernel",
    "KernelState",
    "Layout",
    "RandomWalk",
    "TemperedLangevin",
    "UnderdampedLangevin",
]

# By the short names that functions and the command line take.
KERNELS: dict[str, type[Kernel]] = {
    "ula": ULA,
    "mala": MALA,
    "random_walk": RandomWalk,
    "hmc": HMC,
    "underdamped": UnderdampedLangevin,
    "annealed": AnnealedLangevin,
    "tempered": TemperedLangevin,
    "sgld": SGLD,
}
