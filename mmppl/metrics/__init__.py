"""How good samples and latents are: coherence, Frechet distance, latent probe, MCC; numpy and scikit-learn only."""

from mmppl.metrics.coherence import (
    Coherence,
    CrossCoherence,
    LeaveOneOutCoherence,
    coherence,
    cross_coherence,
    leave_one_out_coherence,
)
from mmppl.metrics.estimate import Estimate
from mmppl.metrics.frechet import frechet
from mmppl.metrics.judges import Judges
from mmppl.metrics.latent_probe import latent_probe
<<<<<<< HEAD
from mmppl.metrics.mean_correlation import MeanCorrelation, mean_correlation
=======
from mmppl.metrics.likelihood_gap import LikelihoodGap, likelihood_gap
>>>>>>> 01179d71d302146531377569ffe7caf07ee36d0f
from mmppl.metrics.training import train_judges

__all__ = [
    "Coherence",
    "CrossCoherence",
    "Estimate",
    "Judges",
    "LeaveOneOutCoherence",
<<<<<<< HEAD
    "MeanCorrelation",
=======
    "LikelihoodGap",
>>>>>>> 01179d71d302146531377569ffe7caf07ee36d0f
    "coherence",
    "cross_coherence",
    "frechet",
    "latent_probe",
    "leave_one_out_coherence",
<<<<<<< HEAD
    "mean_correlation",
=======
    "likelihood_gap",
>>>>>>> 01179d71d302146531377569ffe7caf07ee36d0f
    "train_judges",
]
