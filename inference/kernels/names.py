"""Kernels by the short names that functions and the command line take."""

__all__ = ["KERNELS"]

KERNELS = {
    "ula": "ULA",
    "mala": "MALA",
    "random_walk": "RandomWalk",
    "hmc": "HMC",
    "underdamped": "UnderdampedLangevin",
    "annealed": "AnnealedLangevin",
    "tempered": "TemperedLangevin",
    "sgld": "SGLD",
}
