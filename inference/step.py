"""One evaluation of an objective, as the hosts' drivers give it to the contracts."""

from typing import NamedTuple

import numpy as np

__all__ = ["Step"]


class Step(NamedTuple):
    """Result of one evaluation of an objective.

    Arguments:
        loss: The loss, to minimise.
        record: The objective's record, by name.
        grads: Gradients by parameter; those of a network as ``"<network>.<weight>"``.
    """

    loss: float
    record: dict[str, float]
    grads: dict[str, np.ndarray]
