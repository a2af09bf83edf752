"""Measures of samples and latents: coherence, Frechet distance, F1, latent probe, MCC; numpy and scikit-learn only."""

from mmppl.metrics.by_subset import by_subset
from mmppl.metrics.classifiers import Classifiers
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
from mmppl.metrics.f1 import f1
from mmppl.metrics.frechet import frechet
from mmppl.metrics.latent_probe import latent_probe
from mmppl.metrics.likelihood_gap import LikelihoodGap, likelihood_gap
from mmppl.metrics.mean_correlation import MeanCorrelation, mean_correlation
from mmppl.metrics.paired_features import clip_score, mutual_information_divergence
from mmppl.metrics.selection import selection_score
from mmppl.metrics.training import train_classifiers

__all__ = [
    "Coherence",
    "CrossCoherence",
    "Estimate",
    "Classifiers",
    "LeaveOneOutCoherence",
    "LikelihoodGap",
    "MeanCorrelation",
    "by_subset",
    "clip_score",
    "coherence",
    "coherence_by_number",
    "cross_coherence",
    "f1",
    "frechet",
    "latent_probe",
    "leave_one_out_coherence",
    "likelihood_gap",
    "mean_correlation",
    "mutual_information_divergence",
    "selection_score",
    "train_classifiers",
]
