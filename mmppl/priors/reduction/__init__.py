"""Dimension reduction of each block by score ratios."""
