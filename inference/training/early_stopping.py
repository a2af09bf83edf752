"""Early stopping: a stage ends where its held-out loss no longer falls."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from mmppl.errors import OptionError

__all__ = ["EarlyStopping"]


@dataclass(frozen=True)
class EarlyStopping:
    r"""A rule by which a stage of training ends, and the epoch whose weights it ends on.

    It ends after epoch :math:`t` if none of the last P held-out losses :math:`\ell` is below the best one before them
    by more than :math:`\delta`, and goes back to the best epoch; so it does at the end of its own epochs.

    .. math:: \min_{s > t - P} \ell_s \ge \min_{s \le t - P} \ell_s - \delta

    References:
        | Early Stopping - But When? (Prechelt, 1998), criterion UP

    Arguments:
        patience: P, in epochs.
        min_delta: :math:`\delta`, in nats a datum; what is less is no gain.

    Raises:
        OptionError: If the patience is less than one epoch, or the gain negative.

    Example:
        >>> rule = EarlyStopping(patience=2)
        >>> rule.best([3.0, 1.0, 2.0, 1.5]), rule.ended([3.0, 1.0, 2.0]), rule.ended([3.0, 1.0, 2.0, 1.5])
        (1, False, True)
    """

    patience: int = 5
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        whole = isinstance(self.patience, Integral) and not isinstance(self.patience, bool | np.bool_)
        if not whole or self.patience < 1:
            raise OptionError(
                f"Expected early_stopping to be a patience in epochs, a whole number >= 1, or EarlyStopping(...); got "
                f"{self.patience!r}."
            )
        real = isinstance(self.min_delta, Real) and not isinstance(self.min_delta, bool | np.bool_)
        if not (real and 0 <= self.min_delta < math.inf):
            raise OptionError(f"Expected min_delta >= 0, in nats; got {self.min_delta!r}.")
        object.__setattr__(self, "patience", int(self.patience))
        object.__setattr__(self, "min_delta", float(self.min_delta))

    def best(self, losses: Sequence[float]) -> int:
        """The number of the best epoch: the last that was below all before it by more than the gain."""
        best = 0
        for number, loss in enumerate(losses):
            # Whatever is a number is better than none.
            if loss < losses[best] - self.min_delta or math.isnan(losses[best]) and not math.isnan(loss):
                best = number
        return best

    def ended(self, losses: Sequence[float]) -> bool:
        """Tells whether a stage with these losses is over."""
        return len(losses) - 1 - self.best(losses) >= self.patience if losses else False

    def as_dict(self) -> dict[str, Any]:
        """Its fields, as JSON can hold them."""
        return asdict(self)
