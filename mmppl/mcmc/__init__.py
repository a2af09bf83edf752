"""Steps of Markov chain Monte Carlo."""
