"""Posteriors of a fitted program: draws, likelihoods, convergence, ArviZ."""
