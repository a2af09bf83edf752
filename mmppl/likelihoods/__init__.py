"""Likelihoods: what each takes from a decoder and can score, and the formulas that no host has."""

from mmppl.likelihoods.table import LIKELIHOODS, Likelihood

__all__ = ["LIKELIHOODS", "Likelihood"]
