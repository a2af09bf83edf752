"""Energy-tilted priors: the density, Langevin chains that draw from it, and its log normaliser."""
