"""Finds programs that give something else where axes of particles and terms are put before their plates."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.primitives import Messenger

from mmppl.batch import Batch
from mmppl.nets.bound import evaluated_once

__all__ = ["gives_the_same"]

SIZES = (11, 13)  # of particles and terms, unlike any size of a program's own
# JAX's operations that keep a shape and go along axes, and their parameters that name these.
TOGETHER = ("cum", "sort", "rev", "reduce")
ACROSS = ("axes", "axis", "dimension", "dimensions")


class _Shapes(Messenger):
    """Notes the shapes of distributions before plates of particles and terms widen them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, tuple[tuple, tuple]] = {}

    def process_message(self, msg: dict) -> None:
        if msg["type"] == "sample":
            self.found[msg["name"]] = tuple(msg["fn"].batch_shape), tuple(msg["fn"].event_shape)


def gives_the_same(runs: Any, program: Callable, batch: Batch, values: Mapping, masked: bool) -> bool:
    """Tells it from shapes and operations alone, as within a compiled function there are no values.

    Every distribution has the two axes or none of them, or where masks differ that of terms alone; and nothing is
    summed, sorted or joined along them.
    """

    def run(values: Mapping, batch: Batch, axes: tuple) -> tuple[dict, dict]:
        shapes = _Shapes()

        def watched(*args: Any, **kwargs: Any) -> None:
            with shapes:
                program(*args, **kwargs)

        with evaluated_once():
            return shapes.found, runs.run(watched, batch, values, axes=axes, rng=jax.random.key(0))

    plain: list[dict] = []
    jax.eval_shape(lambda: plain.append(run(values, batch, (1, 1))[0]))
    wide = {name: jnp.broadcast_to(z, (*SIZES, *z.shape)) for name, z in values.items()}
    several = {n: jnp.broadcast_to(x, (SIZES[1], *x.shape)) if masked else x for n, x in batch.present.items()}
    found: list[dict] = []

    def traced(values: Mapping, present: dict) -> list:
        seen = batch.with_parts(present=present)
        shapes, sites = run(values, seen, SIZES)
        found.append(shapes)
        return [site.log_density(1.0) for site in sites.values() if not site.integrated]

    try:
        jaxpr = jax.make_jaxpr(traced)(wide, several)
    except Exception:  # whatever a program does not take axes for, it is run without them
        return False
    leads = {(1, 1), SIZES, (1, SIZES[1])} if masked else {(1, 1), SIZES}
    for name, (batch_shape, event_shape) in found[0].items():
        if event_shape != plain[0].get(name, (None, None))[1]:
            return False
        if len(batch_shape) > 3 or (1, 1, *batch_shape)[-3:-1] not in leads:
            return False
    return not any(map(_mixes, _operations(jaxpr.jaxpr)))


def _operations(jaxpr: Any) -> Iterator[Any]:
    """The operations of a traced function, those within others in their place."""
    for eqn in jaxpr.eqns:
        parts = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns"))
        inner = [part for part in (getattr(x, "jaxpr", x) for x in parts) if hasattr(part, "eqns")]
        if not inner:
            yield eqn
        for part in inner:
            yield from _operations(part)


def _mixes(eqn: Any) -> bool:
    """Tells whether an operation goes along the axes of particles or terms, or does not leave them in their place."""
    if not any(map(_wide, eqn.invars)) or eqn.primitive.name == "reshape":  # which networks put rows side by side by
        return False
    if _is_batch_norm(eqn):
        return False
    if not all(map(_wide, eqn.outvars)):
        return True
    along = [eqn.params[name] for name in ACROSS if name in eqn.params and eqn.primitive.name.startswith(TOGETHER)]
    return any(axis in (0, 1) for axes in along for axis in (axes if isinstance(axes, tuple | list) else (axes,)))


def _is_batch_norm(eqn: Any) -> bool:
    """Tells whether it is a statistic of each channel over all rows, of whatever particle and term."""
    axes, last = eqn.params.get("axes", ()), len(eqn.invars[0].aval.shape) - 1
    return eqn.primitive.name.startswith("reduce") and {0, 1, 2} <= set(axes) and last not in axes


def _wide(x: Any) -> bool:
    return tuple(getattr(x.aval, "shape", ())[:2]) == SIZES
