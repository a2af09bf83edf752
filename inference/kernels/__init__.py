"""Kernels, one a file: Langevin steps per datum, and the adaptation of their step sizes."""

from mmppl.inference.kernels.base import Kernel, KernelState
from mmppl.inference.kernels.layout import Layout
from mmppl.inference.kernels.mala import MALA
from mmppl.inference.kernels.ula import ULA

__all__ = ["MALA", "ULA", "Kernel", "KernelState", "Layout"]
