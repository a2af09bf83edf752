"""Runs of programs under NumPyro's handlers, read as sample sites."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from numpyro import handlers
from numpyro.distributions import Delta, ExpandedDistribution, Independent, MaskedDistribution

from mmppl._backend.jax import BACKEND
from mmppl.batch import Batch
from mmppl.inference.objectives.runs import Layout, layout
from mmppl.inference.shipped import is_shipped
from mmppl.nets.bound import another_run, evaluated_once
from mmppl.numpyro.at_once import gives_the_same
from mmppl.numpyro.bound import unbound
from mmppl.numpyro.seeded import seeded
from mmppl.numpyro.state import MutableState, given
from mmppl.sites import PlateFrame, Site, innermost, integrates, unmasked

__all__ = ["Runs", "site_log_density", "sites_of"]

OURS = ("_particles", "_terms", "_draws")
AROUND = (Independent, ExpandedDistribution)


def site_log_density(node: dict, over: float = 1.0) -> jax.Array:
    """The log density of a sample site over its batch shape, masked and scaled as the host does, over ``over``."""
    fn, value, intermediates = node["fn"], node["value"], node["intermediates"]
    log_prob = fn.log_prob(value, intermediates) if intermediates else fn.log_prob(value)
    scale = node["scale"]
    if scale is None or (isinstance(scale, float | int) and scale == over):
        return log_prob
    return factor_of(node, over) * log_prob


def factor_of(node: dict, over: float) -> Any:
    """The scale on the log density of a sample site, over ``over``."""
    scale = 1.0 if node["scale"] is None else node["scale"]
    return scale if over == 1.0 else scale / over


def plain_log_density(node: dict, over: float) -> Callable[[], jax.Array] | None:
    """Function for the log density of a sample site without scales and masks; None where ``over`` is all there is."""
    fn = unmasked(node["fn"], MaskedDistribution, AROUND)
    scale = 1.0 if node["scale"] is None else node["scale"]
    if isinstance(scale, float | int) and scale == over and fn is node["fn"]:
        return None
    return lambda: fn.log_prob(node["value"])


def frames_of(node: dict, trace: Mapping) -> tuple[PlateFrame, ...]:
    """The plates of the program that a site lies in."""
    frames = (f for f in node["cond_indep_stack"] if f.name not in OURS)
    return tuple(PlateFrame(f.name, f.dim, int(f.size), _size(f, trace)) for f in frames)


def _size(frame: Any, trace: Mapping) -> int:
    """Rows of a plate in all; one that the trace does not hold, as within ``scan``, stands for itself."""
    return int(trace[frame.name]["args"][0]) if frame.name in trace else int(frame.size)


def sites_of(trace: Mapping) -> dict[str, Site]:
    """The sample sites of a trace."""
    return {name: _site(name, node, trace) for name, node in trace.items() if node["type"] == "sample"}


def _site(name: str, node: dict, trace: Mapping) -> Site:
    inner = innermost(node["fn"], (*AROUND, MaskedDistribution))
    return Site(
        name,
        node["value"],
        lambda over: site_log_density(node, over),
        frames_of(node, trace),
        len(node["fn"].batch_shape),
        node["is_observed"],
        bool(node["infer"].get("is_auxiliary", False)),
        False if node["is_observed"] else bool(node["fn"].support.is_discrete),
        plain=lambda over: plain_log_density(node, over),
        point=isinstance(inner, Delta),
        factor=lambda over: factor_of(node, over),
        integrated=integrates(inner),
    )


class Runs:
    """Runs a program for one evaluation of an objective; see the protocol of the same name.

    Arguments:
        params: Parameters and mutable state by name.
        key: A random key.
        args: Further arguments of model and guide.
        kwargs: Their keyword arguments.
    """

    backend = BACKEND

    def __init__(self, params: Mapping[str, Any], key: jax.Array, args: tuple = (), kwargs: Mapping | None = None):
        self.params, self.args, self.kwargs = dict(params), args, dict(kwargs or {})
        self.streams = jax.random.split(key, 3)
        leaves = [x for x in jax.tree.leaves(self.params) if jnp.issubdtype(x.dtype, jnp.floating)]
        self.like = jnp.zeros((), leaves[0].dtype if leaves else jnp.float32)
        self.mutable = MutableState()

    def run(
        self,
        fn: Callable,
        batch: Batch,
        values: Mapping | None = None,
        *,
        axes: tuple = (1, 1),
        rng: Any = None,
        role: str = "density",
    ) -> dict[str, Site]:
        another_run()
        moved = self.mutable.start(role == "prior") if role in ("prior", "likelihood") else {}
        known = {**self.params, **moved, **(values or {})}

        def value(msg: dict) -> Any:
            if msg["name"] in known:
                return known[msg["name"]]
            return self._rows(msg) if msg["type"] == "plate" else None

        program = given(seeded(fn, rng), substitute_fn=value)
        with _axes(axes):
            trace = handlers.trace(program).get_trace(batch, *self.args, **self.kwargs)
        if role == "draw":
            self.mutable.draws(trace)
        elif role != "density":
            self.mutable.scores(trace, role == "prior")
        return sites_of(trace)

    def _rows(self, msg: dict) -> jax.Array | None:
        """The rows that a plate picks, the same in every run of an evaluation."""
        size, rows = msg["args"][:2]
        if msg["value"] is not None or rows is None or rows == size:
            return None  # they are known
        key = jax.random.fold_in(self.streams[2], zlib.crc32(msg["name"].encode()))
        return msg["fn"](size, rows, rng_key=key)

    def map(self, f: Callable[..., Any], *trees: Any) -> Any:
        return self._mapped(lambda *xs: (f(*xs), ()), trees)[0]

    def same(self, f: Callable[..., tuple[Any, Any]], *trees: Any) -> tuple[Any, Any] | None:
        try:
            return self._mapped(f, trees)
        except ValueError as error:
            if "out_axes" not in str(error):
                raise
            return None

    def _mapped(self, f: Callable, trees: tuple) -> Any:
        """Under ``vmap``; what is returned second must not depend on what is mapped over."""
        before, after = self.mutable, []

        def one(*xs: Any) -> tuple:
            self.mutable = before.apart()
            # A network that answered from memory would carry tracers out of here.
            with evaluated_once():
                out, common = f(*xs)
            after.append(self.mutable)
            return (out, self.mutable.values()), common

        try:
            (out, moved), common = jax.vmap(one, out_axes=(0, None))(*trees)
        finally:
            self.mutable = before
        self.mutable = after[-1].with_values(jax.tree.map(lambda x: x[0], moved))
        return out, common

    def keys(self, which: int, shape: tuple[int, ...]) -> jax.Array:
        key = self.streams[which]
        return jax.random.split(key, shape) if shape else key

    def layout(self, model: Callable, guide: Callable, batch: Batch, names: tuple[str, ...]) -> Layout:
        found = []

        def look() -> None:
            with evaluated_once():
                found.append(layout(self, model, guide, batch, names))

        jax.eval_shape(look)
        return found[0]

    def at_once(self, program: Callable, batch: Batch, draws: tuple, *, masked: bool = False) -> bool:
        return is_shipped(unbound(program)) or gives_the_same(self, program, batch, draws[0], masked)

    def frozen(self) -> "Runs":
        out = Runs.__new__(Runs)
        out.__dict__.update(self.__dict__, params=jax.lax.stop_gradient(self.params), mutable=self.mutable.apart())
        return out


class _axes:
    """Host plates for particles and terms, where there is more than one of them."""

    def __init__(self, sizes: tuple[int, int]):
        wanted = sizes != (1, 1)
        axes = zip(OURS, sizes, (-3, -2), strict=False)
        self.plates = [numpyro.plate(name, size, dim=dim) for name, size, dim in axes] if wanted else []

    def __enter__(self) -> None:
        for plate in self.plates:
            plate.__enter__()

    def __exit__(self, *args: Any) -> None:
        for plate in reversed(self.plates):
            plate.__exit__(*args)
