"""A distribution over the whole real space, where Langevin chains may walk, and the way back to its support."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["on_real_line"]


def on_real_line(base: Any, dist: ModuleType, biject_to: Callable) -> tuple[Any, Callable]:
    r"""The density of :math:`y = T^{-1}(z)` for z of ``base``, and T; base and the identity where it has no bounds.

    T is the host's map from the real space to the support. In y no bound moves with a parameter, so that
    :math:`\nabla \log Z = \mathbb{E}\, \nabla \log p(y)` holds with :math:`\log \lvert T'(y) \rvert` in p; in z it
    would lack what crosses the bound.

    Arguments:
        base: A distribution of the host.
        dist: The host's distributions.
        biject_to: The host's map from a support to T.
    """
    try:
        support = base.support
    except NotImplementedError:
        return base, _same
    inner = support
    while getattr(inner, "base_constraint", None) is not None:
        inner = inner.base_constraint
    if inner is None or isinstance(inner, type(dist.constraints.real)):
        return base, _same
    there = biject_to(support)
    return dist.TransformedDistribution(base, [there.inv]), there


def _same(z: Any) -> Any:
    return z
