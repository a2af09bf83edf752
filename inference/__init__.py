"""Fitting programs, and generation, likelihoods and posteriors by them."""

from mmppl.inference.draws import Draws
from mmppl.inference.generate import generate
from mmppl.inference.posterior.infer import infer
from mmppl.inference.posterior.likelihood import LogLikelihood, log_likelihood, log_normalizer
from mmppl.inference.posterior.posterior import Posterior
from mmppl.inference.posterior.refine import refine
from mmppl.inference.posterior.to_arviz import to_arviz
from mmppl.inference.reduction.find_subspaces import find_subspaces
from mmppl.inference.reduction.ratio_learning import RatioLearning
from mmppl.inference.training.callbacks import Callback, FitEvent
from mmppl.inference.training.early_stopping import EarlyStopping
from mmppl.inference.training.fit import fit
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.history import History
from mmppl.inference.training.loggers import MLflow, TensorBoard, WeightsAndBiases
from mmppl.inference.training.program import Program, Stage
from mmppl.inference.training.run_folder import Run
from mmppl.inference.trajectory import trajectory

__all__ = [
    "Callback",
    "Draws",
    "EarlyStopping",
    "FitEvent",
    "Fitted",
    "History",
    "LogLikelihood",
    "MLflow",
    "Posterior",
    "Program",
    "RatioLearning",
    "Run",
    "Stage",
    "TensorBoard",
    "WeightsAndBiases",
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
