"""One evaluation of an objective, as numbers."""

from typing import NamedTuple

import numpy as np

__all__ = ["Step"]


class Step(NamedTuple):
    """What one evaluation of an objective gave.

    Arguments:
        loss: The loss, to minimise.
        record: The objective's record, by name.
        grads: Gradients by parameter; those of a network as ``"<network>.<weight>"``.
    """

    loss: float
    record: dict[str, float]
    grads: dict[str, np.ndarray]
