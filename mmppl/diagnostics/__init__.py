"""Looking at what was fitted: run folders, evaluation, the posterior in ArviZ, the report."""

from mmppl.diagnostics.evaluation import evaluate
from mmppl.diagnostics.loading import load_fitted, load_run, run_info
from mmppl.diagnostics.report import report
from mmppl.diagnostics.summary import read_posterior, sample_posterior, summarise_posterior, write_posterior

__all__ = [
    "evaluate",
    "load_fitted",
    "load_run",
    "read_posterior",
    "report",
    "run_info",
    "sample_posterior",
    "summarise_posterior",
    "write_posterior",
]
