"""Looking at what was fitted: run folders, evaluation, diagnosis, the posterior in ArviZ, the report."""

from mmppl.diagnostics.calibration import Coverage, Ranks, calibrate, coverage, simulate
from mmppl.diagnostics.card import card
from mmppl.diagnostics.coverage_by_subset import CoverageBySubset, coverage_by_subset
from mmppl.diagnostics.diagnosis import diagnose
from mmppl.diagnostics.energies import EnergyHealth, energy_health
from mmppl.diagnostics.evaluation import evaluate
from mmppl.diagnostics.guide_gaps import Gaps, gaps, guide_k
from mmppl.diagnostics.loading import load_run, run_info
from mmppl.diagnostics.prediction import Prediction, prediction_by_subset
from mmppl.diagnostics.rates import RateDistortion, rate_distortion
from mmppl.diagnostics.report.report import report
from mmppl.diagnostics.robustness import Robustness, robustness
from mmppl.diagnostics.summary import (
    read_posterior,
    sample_posterior,
    summarise_posterior,
    worst_data,
    write_posterior,
)
from mmppl.diagnostics.two_sample import two_sample_accuracy

__all__ = [
    "Coverage",
    "CoverageBySubset",
    "EnergyHealth",
    "Gaps",
    "Prediction",
    "Ranks",
    "RateDistortion",
    "Robustness",
    "calibrate",
    "card",
    "coverage",
    "coverage_by_subset",
    "diagnose",
    "energy_health",
    "evaluate",
    "gaps",
    "guide_k",
    "load_run",
    "prediction_by_subset",
    "rate_distortion",
    "read_posterior",
    "report",
    "robustness",
    "run_info",
    "sample_posterior",
    "simulate",
    "summarise_posterior",
    "two_sample_accuracy",
    "worst_data",
    "write_posterior",
]
