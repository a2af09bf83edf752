"""Aggregations that are one distribution of a family."""

from typing import Any

from mmppl._backend import get_backend

Array = Any

__all__ = ["OneComponent"]


class OneComponent:
    """Base: a subclass sets ``component``, a distribution over the last axis, ``batch_shape`` and ``dim``."""

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
