"""Common ground of aggregations: one expert per modality, and a presence mask."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmppl._backend import Backend, get_backend
from mmppl.aggregation.triangular import factor
from mmppl.errors import ModalityError, OptionError

Array = Any

__all__ = ["FAMILIES", "Experts", "OneComponent", "stack_experts", "stack_features"]

FAMILIES = ("normal", "laplace", "multivariate_normal")


@dataclass(frozen=True)
class Experts:
    r"""Experts :math:`q_m(z \mid x_m)` side by side.

    Arguments:
        loc: Locations :math:`\mu_m`, shape ``(*, M, D)``.
        scale: Scales :math:`\sigma_m > 0`, shape ``(*, M, D)``; of ``"multivariate_normal"`` experts lower triangular
            factors :math:`C_m` of precisions :math:`C_m C_m^\top`, ``(*, M, D, D)``.
        present: Which experts speak, boolean, shape ``(*, M)``; may have more leading axes than ``loc``.
        family: ``"normal"``, ``"laplace"`` or ``"multivariate_normal"``.
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


class OneComponent:
    """Base of an aggregation that is one distribution; a subclass sets ``component``, ``batch_shape`` and ``dim``."""

    component: Any
    batch_shape: tuple[int, ...]
    dim: int

    def log_prob(self, z: Array) -> Array:
        """The log density of ``z``, shape ``(*, D)`` to ``(*,)``."""
        return self.component.log_prob(z)

    def sample(self, rng: Any, sample_shape: tuple[int, ...] = ()) -> Array:
        """Reparametrised samples of shape ``(*sample_shape, *batch_shape, D)``."""
        backend = get_backend(self.component[0])
        return self.component.sample(self.component.draw(backend, rng, (*sample_shape, *self.batch_shape, self.dim)))

    stratified = sample


def stack_experts(experts: Mapping[str, Any], present: Mapping[str, Array], family: str | None = None) -> Experts:
    """Stacks experts given by modality name.

    An expert is a tuple ``(loc, scale)`` of arrays ``(*, D)``, or a host's Normal or Laplace distribution, also when
    made an event with ``to_event``. Or all are multivariate normal: the host's, or tuples of locations ``(*, D)`` and
    lower triangular factors of precisions, ``(*, D, D)``.

    Arguments:
        experts: Experts by modality name.
        present: Boolean arrays ``(*,)`` by modality name.
        family: ``"normal"`` or ``"laplace"``; read off the experts where they are distributions.

    Raises:
        ModalityError: If there is no expert, or ``present`` does not know one.
        OptionError: If the family is unknown.

    Example:
        >>> import numpy as np
        >>> pair = (np.zeros((3, 2)), np.ones((3, 2)))
        >>> stack_experts({"a": pair, "b": pair}, {"a": np.ones(3, bool), "b": np.zeros(3, bool)}).loc.shape
        (3, 2, 2)
    """
    _known(experts, present)
    pairs, families = [], set()
    for expert in experts.values():
        if isinstance(expert, tuple):
            pairs.append(expert)
        else:
            base = expert
            while hasattr(base, "base_dist"):
                base = base.base_dist
            own = type(base).__name__.lower()
            families.add({"multivariatenormal": "multivariate_normal"}.get(own, own))
            pairs.append((base.loc, factor(base.precision_matrix)[0] if own == "multivariatenormal" else base.scale))
    factors = [pair[1].ndim > pair[0].ndim for pair in pairs if pair[1].ndim]
    told = "multivariate_normal" if factors and all(factors) else "normal"
    family = family or (families.pop() if len(families) == 1 else told if not families else "mixed")
    if family not in FAMILIES:
        raise OptionError(f"Expected experts of one family among {FAMILIES}; got {family!r}.")
    backend = get_backend(pairs[0][0])
    xp = backend.xp
    if family == "multivariate_normal":
        if not all(factors):
            raise OptionError("Expected the factor of a precision, (*, D, D), of every expert; got scales of some.")
        loc, scale = (xp.stack(side, axis=axis) for side, axis in zip(zip(*pairs, strict=True), (-2, -3), strict=True))
        return Experts(loc, scale, _stack_present(backend, experts, present), family)
    pairs = [pair if pair[0].shape == pair[1].shape else xp.broadcast_arrays(*pair) for pair in pairs]
    loc, scale = (xp.stack(side, axis=-2) for side in zip(*pairs, strict=True))
    return Experts(loc, scale, _stack_present(backend, experts, present), family)


def stack_features(features: Mapping[str, Array], present: Mapping[str, Array]) -> tuple[Array, Array]:
    """Stacks features ``(*, F)`` by modality name: ``(*, M, F)``, and who is present, ``(*, M)``.

    Features that no mask shows are 0, so that what they hold cannot matter.

    Arguments:
        features: Features by modality name.
        present: Boolean arrays ``(*,)`` by modality name.

    Raises:
        ModalityError: If there is no feature, or ``present`` does not know one.

    Example:
        >>> import numpy as np
        >>> features, present = dict.fromkeys("ab", np.ones((3, 2))), dict.fromkeys("ab", np.ones(3, bool))
        >>> tuple(x.shape for x in stack_features(features, present))
        ((3, 2, 2), (3, 2))
    """
    _known(features, present)
    stacked = list(features.values())
    backend = get_backend(*stacked)
    xp = backend.xp
    mask = _stack_present(backend, features, present)
    stacked = xp.stack(stacked, axis=-2)
    masks_only = mask.ndim - (stacked.ndim - 1)
    seen = xp.any(mask, axis=tuple(range(masks_only))) if masks_only > 0 else mask
    return xp.where(seen[..., None], stacked, xp.zeros_like(stacked)), mask


def _known(parts: Mapping[str, Any], present: Mapping[str, Array]) -> None:
    if not parts:
        raise ModalityError("Expected at least one expert; got none.")
    missing = [name for name in parts if name not in present]
    if missing:
        raise ModalityError(f"Experts {missing} have no entry in present, which names {sorted(present)}.")


def _stack_present(backend: Backend, names: Iterable[str], present: Mapping[str, Array]) -> Array:
    masks = [backend.asarray(present[name]) for name in names]
    shape = masks[0].shape
    for mask in masks[1:]:
        shape = mask.shape if mask.ndim > len(shape) else shape
    masks = [mask if mask.shape == shape else backend.xp.broadcast_to(mask, shape) for mask in masks]
    return backend.xp.stack(masks, axis=-1)
