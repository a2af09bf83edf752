"""A number with its Monte-Carlo error."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Estimate"]


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error.

    Arguments:
        value: The mean.
        error: Its standard error; NaN where there is one datum only, or where what it rests on is not to be trusted.
        num: Number of independent data that it rests on.

    Example:
        >>> print(Estimate.of(np.array([1.0, 0.0, 1.0, 1.0])))
        0.750 +- 0.250
    """

    value: float
    error: float
    num: int

    @classmethod
    def of(cls, values: np.ndarray) -> "Estimate":
        """The mean of an array ``(*, N)``; several draws for one datum (leading axes) are averaged first.

        The error is that of the N means. Where N is 1 the draws themselves are the data.
        """
        values = np.asarray(values, dtype=float)
        if values.shape[-1] == 1:
            values = values.reshape(-1)
        rows = values.reshape(-1, values.shape[-1]).mean(axis=0)
        error = rows.std(ddof=1) / np.sqrt(rows.size) if rows.size > 1 else np.nan
        return cls(float(rows.mean()), float(error), rows.size)

    def __str__(self) -> str:
        return f"{self.value:.3f} +- {self.error:.3f}" if np.isfinite(self.error) else f"{self.value:.3f}"
