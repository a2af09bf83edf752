"""Stochastic dynamics: Langevin steps (diffusions follow)."""
