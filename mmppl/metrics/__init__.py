"""How good samples and latents are: coherence, Frechet distance, latent probe, MCC; numpy and scikit-learn only."""

from mmppl.metrics.coherence import (
    Coherence,
    CrossCoherence,
    LeaveOneOutCoherence,
    coherence,
    cross_coherence,
    leave_one_out_coherence,
)
from mmppl.metrics.coherence_by_number import coherence_by_number
from mmppl.metrics.estimate import Estimate
from mmppl.metrics.frechet import frechet
from mmppl.metrics.judges import Judges
from mmppl.metrics.latent_probe import latent_probe
from mmppl.metrics.likelihood_gap import LikelihoodGap, likelihood_gap
from mmppl.metrics.mean_correlation import MeanCorrelation, mean_correlation
from mmppl.metrics.training import train_judges

__all__ = [
    "Coherence",
    "CrossCoherence",
    "Estimate",
    "Judges",
    "LeaveOneOutCoherence",
    "MeanCorrelation",
    "LikelihoodGap",
    "coherence",
    "coherence_by_number",
    "cross_coherence",
    "frechet",
    "latent_probe",
    "leave_one_out_coherence",
    "mean_correlation",
    "likelihood_gap",
    "train_judges",
]
