"""Training: programs, their fit, and run folders."""
