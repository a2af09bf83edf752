"""A program's weights: found by the host's SVI, named, and given back to the program."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpyro.infer import SVI

from mmppl._backend.jax_arrays import to_jax
from mmppl.batch import Batch
from mmppl.errors import OptionError
from mmppl.nets.equinox import state as net_state
from mmppl.nets.transfer import check_arrays, check_weights
from mmppl.numpyro.autoguides import check_amortized
from mmppl.numpyro.bound import Bound, Same
from mmppl.numpyro.compiling import compiled_once
from mmppl.numpyro.primitives import as_batch
from mmppl.numpyro.threads import alone

__all__ = ["bind", "flat", "like", "plain", "public", "start", "unflat"]


@alone.in_programs
def bind(program: Any, weights: Mapping[str, np.ndarray], batch: Batch) -> tuple[Callable, Callable]:
    """The program's model and guide with these weights: ordinary NumPyro callables.

    Raises:
        OptionError: If the guide is an automatic one with parameters of each row, or the weights are others.
    """
    check_amortized(program.guide, as_batch(batch))
    shapes = program.compiled.get(_key("shapes", program, batch), lambda: _shapes(program, batch))
    check_arrays(_expected(program, batch, shapes, weights), weights, f"the weights of '{program.name}'", extra=True)
    full = unflat(shapes, weights)
    return Bound(program.model, full), Bound(program.guide, full)


def _expected(program: Any, batch: Batch, shapes: dict, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of the names and shapes of the program's; its own where some given one is not finite, as a mask may be."""
    floats = (w for w in map(np.asarray, weights.values()) if np.issubdtype(w.dtype, np.floating))
    if all(np.isfinite(w).all() for w in floats):
        return _zeros(shapes)
    svi, begun = start(program, jax.random.key(0), batch)
    return flat(svi.get_params(begun), begun.mutable_state or {})


def _shapes(program: Any, batch: Batch) -> dict:
    """Shapes and types of the parameters and the mutable state; nothing is run."""
    svi = _svi(program)

    def first(batch: Batch) -> dict:
        begun = svi.init(jax.random.key(0), batch)
        return {**svi.get_params(begun), **(begun.mutable_state or {})}

    return jax.eval_shape(first, as_batch(batch))


def _zeros(shapes: Mapping) -> dict[str, np.ndarray]:
    """Zeros, which take no memory, of the shapes and types by public name."""
    out: dict[str, Any] = {}
    for name, tree in shapes.items():
        for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]:
            leaf = jax.tree_util.keystr(path, simple=True, separator=".")
            out[name if not path else f"{public(name)}.{leaf}"] = x
    chains = {name.replace("$", "."): tree["chains"] for name, tree in shapes.items() if _are_chains(name, tree)}
    out = {name: x for name, x in out.items() if not name.endswith("$chains.chains")} | chains
    kinds = {name: np.uint32 if _is_key(x) else x.dtype for name, x in out.items()}
    return {name: np.broadcast_to(np.zeros((), kinds[name]), _plain_shape(x)) for name, x in out.items()}


def _svi(program: Any) -> SVI:
    return SVI(program.model, program.guide, optax.sgd(0.0), program.objective)


def _key(what: str, program: Any, batch: Batch) -> tuple:
    """Key of what a program is traced with: its callables, the structure of the batch, and the precision."""
    leaves, structure = jax.tree.flatten(as_batch(batch))
    return (
        what,
        Same(program.model),
        Same(program.guide),
        structure,
        *((leaf.shape, leaf.dtype) for leaf in leaves),
        jnp.result_type(float),
    )


def start(program: Any, key: jax.Array, batch: Batch) -> tuple[SVI, Any]:
    """SVI and its first state, compiled: run operation by operation a program takes seconds."""

    def made() -> tuple[SVI, Callable]:
        svi = _svi(program)
        return svi, compiled_once(svi.init)

    program = program.initial or program
    known = _key("init", program, batch)
    svi, init = program.compiled.get(known, made)
    begun = init(key, as_batch(batch))
    try:
        svi.constrain_fn(svi.optim.get_params(begun.optim_state))
    except jax.errors.UnexpectedTracerError:
        # A bound of a constraint is an array that the program computes, so the program has to run.
        program.compiled.forget(known)
        begun = svi.init(key, as_batch(batch))
    return svi, begun


def public(name: str) -> str:
    """The name of a parameter that both hosts share."""
    return name.removesuffix("$params")


def flat(params: Mapping, mutable: Mapping) -> dict[str, np.ndarray]:
    """Arrays of their own by public name.

    Raises:
        OptionError: If two arrays have one name.
    """
    out: dict[str, np.ndarray] = {}
    for name, value in {**params, **mutable}.items():
        if isinstance(value, jax.Array):
            own = {name: plain(value)}
        elif _are_chains(name, value):
            own = {name.replace("$", "."): np.array(value["chains"])}
        else:
            own = {f"{public(name)}.{leaf}": array for leaf, array in net_state(_unkeyed(value)).items()}
        twice = sorted(set(out) & set(own))
        if twice:
            raise OptionError(f"Expected a name of its own for every array; got {twice[:3]} twice. Rename a network.")
        out |= own
    return out


def unflat(shapes: Mapping, weights: Mapping[str, np.ndarray]) -> dict:
    """The host's parameters, known by shapes and types, with weights given by public name.

    Raises:
        DataError: If the weights of a network have other shapes.
    """
    out = {}
    for name, tree in shapes.items():
        if isinstance(tree, jax.ShapeDtypeStruct | jax.Array):
            out[name] = like(tree, weights[name])
        elif _are_chains(name, tree):
            out[name] = {"chains": to_jax(weights[name.replace("$", ".")], tree["chains"].dtype)}
        else:
            leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
            names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
            own = {leaf: weights[f"{public(name)}.{leaf}"] for leaf in names}
            expected = {leaf: _plain_shape(x) for leaf, (_, x) in zip(names, leaves, strict=True)}
            check_weights(expected, own)
            new = [like(x, own[leaf]) for leaf, (_, x) in zip(names, leaves, strict=True)]
            out[name] = jax.tree.unflatten(structure, new)
    return out


def plain(array: jax.Array) -> np.ndarray:
    """A copy in numpy; of a random key, as a network of its own dropout keeps, its data."""
    return np.array(_unkeyed(array))


def like(array: Any, value: Any) -> Any:
    """Turns a value that :func:`plain` gave into an array of a type; what is no array, and no type of one, is left."""
    if not isinstance(array, jax.Array | jax.ShapeDtypeStruct):
        return array
    if _is_key(array):
        impl: list = []
        jax.eval_shape(lambda key: impl.append(jax.random.key_impl(key)), array)
        return jax.random.wrap_key_data(jnp.asarray(value), impl=impl[0])
    return to_jax(np.asarray(value), array.dtype)


def _are_chains(name: str, value: Any) -> bool:
    return name.endswith("$chains") and isinstance(value, dict) and set(value) == {"chains"}


def _unkeyed(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array | jax.ShapeDtypeStruct) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _plain_shape(x: Any) -> tuple[int, ...]:
    return jax.eval_shape(jax.random.key_data, x).shape if _is_key(x) else x.shape
