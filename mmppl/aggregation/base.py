"""What every aggregation starts from: one expert per modality and who is present."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmppl._backend import get_backend
from mmppl.errors import ModalityError, OptionError

Array = Any

__all__ = ["FAMILIES", "Experts", "stack_experts"]

FAMILIES = ("normal", "laplace")


@dataclass(frozen=True)
class Experts:
    r"""Experts :math:`q_m(z \mid x_m)` side by side.

    Arguments:
        loc: Locations :math:`\mu_m`, shape ``(*, M, D)``.
        scale: Scales :math:`\sigma_m > 0`, shape ``(*, M, D)``.
        present: Which experts speak, boolean, shape ``(*, M)``; may have more leading axes than ``loc``.
        family: ``"normal"`` or ``"laplace"``.
    """

    loc: Array
    scale: Array
    present: Array
    family: str = "normal"

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The broadcast shape of the leading axes."""
        ours, theirs = self.loc.shape[:-2], self.present.shape[:-1]
        if len(ours) < len(theirs):
            ours, theirs = theirs, ours
        padded = (1,) * (len(ours) - len(theirs)) + tuple(theirs)
        return tuple(max(a, b) if min(a, b) else 0 for a, b in zip(ours, padded, strict=True))

    @property
    def dim(self) -> int:
        """The number of latent dimensions D."""
        return self.loc.shape[-1]


def stack_experts(experts: Mapping[str, Any], present: Mapping[str, Array], family: str | None = None) -> Experts:
    """Stacks experts given by modality name.

    An expert is a tuple ``(loc, scale)`` of arrays ``(*, D)``, or a host's Normal or Laplace distribution, also when
    made an event with ``to_event``.

    Raises:
        ModalityError: If there is no expert, or ``present`` does not know one.
        OptionError: If the family is unknown.

    Example:
        >>> import numpy as np
        >>> pair = (np.zeros((3, 2)), np.ones((3, 2)))
        >>> stack_experts({"a": pair, "b": pair}, {"a": np.ones(3, bool), "b": np.zeros(3, bool)}).loc.shape
        (3, 2, 2)
    """
    if not experts:
        raise ModalityError("Expected at least one expert; got none.")
    missing = [name for name in experts if name not in present]
    if missing:
        raise ModalityError(f"Experts {missing} have no entry in present, which names {sorted(present)}.")
    pairs, families = [], set()
    for expert in experts.values():
        if isinstance(expert, tuple):
            pairs.append(expert)
        else:
            base = expert
            while hasattr(base, "base_dist"):
                base = base.base_dist
            families.add(type(base).__name__.lower())
            pairs.append((base.loc, base.scale))
    family = family or (families.pop() if len(families) == 1 else "normal" if not families else "mixed")
    if family not in FAMILIES:
        raise OptionError(f"Expected experts of one family among {FAMILIES}; got {family!r}.")
    backend = get_backend(pairs[0][0])
    xp = backend.xp
    masks = [backend.asarray(present[name]) for name in experts]
    shape = masks[0].shape
    for mask in masks[1:]:
        shape = mask.shape if mask.ndim > len(shape) else shape
    masks = [mask if mask.shape == shape else xp.broadcast_to(mask, shape) for mask in masks]
    pairs = [pair if pair[0].shape == pair[1].shape else xp.broadcast_arrays(*pair) for pair in pairs]
    loc, scale = (xp.stack(side, axis=-2) for side in zip(*pairs, strict=True))
    return Experts(loc, scale, xp.stack(masks, axis=-1), family)
