"""Early stopping: a stage ends where its held-out loss no longer falls."""

import math
from collections.abc import Iterable, Iterator, Sequence
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

    def bests(self, losses: Iterable[float]) -> Iterator[int]:
        """The number of the best epoch so far, after each: the last that was below all before it by more than the gain.

        Example:
            >>> list(EarlyStopping(patience=2).bests([3.0, 1.0, 2.0, 0.5]))
            [0, 1, 1, 3]
        """
        best, least = 0, math.nan
        for number, loss in enumerate(losses):
            # Whatever is a number is better than none.
            if loss < least - self.min_delta or math.isnan(least) and not math.isnan(loss):
                best, least = number, loss
            yield best

    def best(self, losses: Sequence[float]) -> int:
        """The number of the best epoch."""
        return max(self.bests(losses), default=0)

    def waited(self, best: int, taken: int) -> bool:
        """Tells whether a stage is over whose best epoch so far has this number, of so many that were taken."""
        return taken - 1 - best >= self.patience

    def ended(self, losses: Sequence[float]) -> bool:
        """Tells whether a stage with these losses is over."""
        return self.waited(self.best(losses), len(losses)) if losses else False

    def as_dict(self) -> dict[str, Any]:
        """Its fields, as JSON can hold them."""
        return asdict(self)
