"""Multi-task diffusion: one block diffuses, and heads predict the others from it."""
