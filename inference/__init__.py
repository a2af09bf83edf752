"""Fitting, generating and judging: what a program is for."""

from mmppl.inference.arviz_bridge import to_arviz
from mmppl.inference.checkpoint import Run
from mmppl.inference.fit import fit
from mmppl.inference.fitted import Fitted
from mmppl.inference.generate import generate
from mmppl.inference.infer import infer
from mmppl.inference.likelihood import LogLikelihood, log_likelihood, log_normalizer
from mmppl.inference.posterior import Posterior
from mmppl.inference.program import Program, Stage
from mmppl.inference.ratio_learning import RatioLearning
from mmppl.inference.reduction import find_subspaces
from mmppl.inference.refine import refine
from mmppl.inference.trajectory import trajectory

__all__ = [
    "Fitted",
    "LogLikelihood",
    "Posterior",
    "Program",
    "RatioLearning",
    "Run",
    "Stage",
    "find_subspaces",
    "fit",
    "generate",
    "infer",
    "log_likelihood",
    "log_normalizer",
    "refine",
    "to_arviz",
    "trajectory",
]
