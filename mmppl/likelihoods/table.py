"""Ready-made likelihoods: outputs of a decoder, a scale, and values that each can score."""

from dataclasses import dataclass

import numpy as np

from mmppl.likelihoods import logistic_mixture

__all__ = ["LIKELIHOODS", "Likelihood"]


@dataclass(frozen=True)
class Likelihood:
    """A likelihood of one value x given outputs :math:`o` of a decoder and a scale s.

    Arguments:
        outputs: How many outputs of the decoder each value takes.
        scaled: Whether it has a scale.
        factors: Whether the decoder gives factors of a low-rank covariance, and a scale to each value.
        levels: Whether it is a mass of 256 levels, not a density.
        is_location: Whether o is a location in the units of x, so that what is standardised can be scored in them.
        values: What x may be: ``"real"``, ``"unit"`` ([0, 1]), ``"open unit"`` ((0, 1)), ``"counts"`` or ``"tokens"``.
    """

    outputs: int = 1
    scaled: bool = False
    factors: bool = False
    levels: bool = False
    is_location: bool = False
    values: str = "real"

    def wrong(self, x: np.ndarray) -> np.ndarray:
        """Mask of values that cannot be scored, NaN or Inf aside: boolean of the shape of ``x``."""
        if self.values == "counts":
            return (x < 0) | (x != np.floor(x))
        if self.values == "unit":
            return (x < 0) | (x > 1)
        return (x <= 0) | (x >= 1) if self.values == "open unit" else np.zeros(x.shape, bool)

    @property
    def wanted(self) -> str:
        """The values that can be scored, in words."""
        words = {"counts": "counts (0, 1, 2, ...)", "unit": "values in [0, 1]", "open unit": "values inside (0, 1)"}
        return words.get(self.values, "numbers")


LIKELIHOODS = {
    "normal": Likelihood(scaled=True, is_location=True),
    "laplace": Likelihood(scaled=True, is_location=True),
    "discretized_logistic": Likelihood(scaled=True, levels=True, is_location=True, values="unit"),
    "discretized_logistic_mixture": Likelihood(outputs=logistic_mixture.OUTPUTS, levels=True, values="unit"),
    "low_rank_normal": Likelihood(scaled=True, factors=True, is_location=True),
    "low_rank_logit_normal": Likelihood(scaled=True, factors=True, values="unit"),
    "bernoulli": Likelihood(values="unit"),
    "beta": Likelihood(scaled=True, values="open unit"),
    "poisson": Likelihood(values="counts"),
    "negative_binomial": Likelihood(scaled=True, values="counts"),
    "zero_inflated_poisson": Likelihood(outputs=2, values="counts"),
    "zero_inflated_negative_binomial": Likelihood(outputs=2, scaled=True, values="counts"),
    "categorical": Likelihood(values="tokens"),
}
