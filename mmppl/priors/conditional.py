"""Labels of a conditional prior."""

from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.errors import OptionError

Array = Any

__all__ = ["known_logits"]

IMPOSSIBLE = -1e30


def known_logits(logits: Array, label: Array, present: Array | None) -> Array:
    """Logits ``(N, K)`` that put all weight on the label of a row, where it is present, and are ``logits`` elsewhere.

    Arguments:
        logits: Of the labels, ``(K,)``.
        label: Integer labels, ``(N,)`` or ``(N, 1)``.
        present: Whose label is known, boolean, ``(*, N)``; None for all.

    Raises:
        OptionError: If the labels have another shape.
    """
    backend = get_backend(logits)
    xp = backend.xp
    if label.ndim == 2 and label.shape[1] == 1:
        label = label[:, 0]
    if label.ndim != 1:
        raise OptionError(f"Expected labels of shape (N,) or (N, 1); got {tuple(label.shape)}.")
    # Numbers of the labels in the logits' type: that of the labels may be too narrow for all of them.
    chosen = label[:, None] == backend.asarray(np.arange(logits.shape[-1]), like=logits)
    fixed = xp.where(chosen, xp.zeros_like(logits), xp.full_like(logits, IMPOSSIBLE))
    return fixed if present is None else xp.where(present[..., None], fixed, logits)
