"""Solvers of the reverse diffusion, one per file: from noise to data along a score."""

from mmppl.sde.solvers.ancestral import Ancestral
from mmppl.sde.solvers.annealed_langevin import AnnealedLangevin
from mmppl.sde.solvers.base import Solver
from mmppl.sde.solvers.dpm_solver import DPMSolver
from mmppl.sde.solvers.euler_maruyama import EulerMaruyama
from mmppl.sde.solvers.heun import Heun
from mmppl.sde.solvers.predictor_corrector import PredictorCorrector
from mmppl.sde.solvers.repaint import RePaint

__all__ = [
    "Ancestral",
    "AnnealedLangevin",
    "DPMSolver",
    "EulerMaruyama",
    "Heun",
    "PredictorCorrector",
    "RePaint",
    "Solver",
]
