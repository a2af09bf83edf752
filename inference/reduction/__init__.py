"""Subspaces of latents, learned from a fitted program."""
