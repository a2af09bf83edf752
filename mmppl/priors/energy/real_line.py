"""A distribution over the whole real space, where Langevin chains may run, and the way back to its support."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from mmppl.errors import OptionError

__all__ = ["check_continuous", "on_real_line"]


def on_real_line(base: Any, dist: ModuleType, biject_to: Callable) -> tuple[Any, Callable]:
    r"""The density of :math:`y = T^{-1}(z)` for z of ``base``, and T; base and the identity where it has no bounds.

    T is the host's map from the real space to the support. In y no bound moves with a parameter, so that
    :math:`\nabla \log Z = \mathbb{E}\, \nabla \log p(y)` holds with :math:`\log \lvert T'(y) \rvert` in p; in z it
    would lack what crosses the bound.

    Arguments:
        base: A distribution of the host.
        dist: The host's distributions.
        biject_to: The host's map from a support to T.

    Raises:
        OptionError: If it is a mixture whose components have bounds of their own.
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
    if any(getattr(getattr(inner, bound, None), "ndim", 0) > 1 for bound in ("lower_bound", "upper_bound")):
        raise OptionError(
            "Expected a base with bounds of its own; got a mixture of components that have each their own, which no "
            "one map reaches. Give all components the same support."
        )
    there = biject_to(support)
    return dist.TransformedDistribution(base, [there.inv]), there


def check_continuous(base: Any) -> None:
    """Refuses a base of discrete values; one that does not tell its support is taken to have a density.

    Raises:
        OptionError: If its values are discrete.
    """
    try:
        discrete = base.support.is_discrete
    except (NotImplementedError, AttributeError):
        return
    if discrete:
        raise OptionError("Expected a base with a density, along whose gradient chains move; got discrete values.")


def _same(z: Any) -> Any:
    return z
