"""A program's weights: found by the host's SVI, named, and given back to the program."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpyro.infer import SVI

from mmppl.batch import Batch
from mmppl.errors import OptionError
from mmppl.nets.equinox import load as load_net
from mmppl.nets.equinox import state as net_state
from mmppl.nets.transfer import check_arrays
from mmppl.numpyro.primitives import as_batch
from mmppl.numpyro.state import given
from mmppl.numpyro.threads import alone

__all__ = ["bind", "flat", "like", "plain", "public", "start", "unflat"]


@alone
def bind(program: Any, weights: Mapping[str, np.ndarray], batch: Batch) -> tuple[Callable, Callable]:
    """The program's model and guide with these weights: ordinary NumPyro callables."""
    svi = SVI(program.model, program.guide, optax.sgd(0.0), program.objective)
    begun = start(svi, jax.random.key(0), as_batch(batch))
    constrained, mutable = svi.get_params(begun), begun.mutable_state or {}
    check_arrays(flat(constrained, mutable), weights, f"the weights of '{program.name}'", extra=True)
    full = unflat({**constrained, **mutable}, weights)
    model, guide = given(program.model, data=full), given(program.guide, data=full)
    return alone.within_handlers(model), alone.within_handlers(guide)


def start(svi: SVI, key: jax.Array, batch: Batch) -> Any:
    """SVI's first state, compiled: run operation by operation a program takes seconds."""
    begun = jax.jit(svi.init)(key, batch)
    try:
        svi.constrain_fn(svi.optim.get_params(begun.optim_state))
    except jax.errors.UnexpectedTracerError:
        # A bound of a constraint is an array that the program computes, so the program has to run.
        begun = svi.init(key, batch)
    return begun


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


def unflat(params: Mapping, weights: Mapping[str, np.ndarray]) -> dict:
    """The host's parameters with weights given by public name."""
    out = {}
    for name, value in params.items():
        if isinstance(value, jax.Array):
            out[name] = like(value, weights[name])
        elif _are_chains(name, value):
            out[name] = {"chains": jnp.asarray(weights[name.replace("$", ".")], value["chains"].dtype)}
        else:
            data = _unkeyed(value)
            own = {leaf: weights[f"{public(name)}.{leaf}"] for leaf in net_state(data)}
            out[name] = jax.tree.map(like, value, load_net(data, own))
    return out


def plain(array: jax.Array) -> np.ndarray:
    """A copy in numpy; of a random key, as a network of its own dropout keeps, its data."""
    return np.array(_unkeyed(array))


def like(array: Any, value: Any) -> Any:
    """Turns a value that :func:`plain` gave into an array of its former type; what is no array is left."""
    if not isinstance(array, jax.Array):
        return array
    if _is_key(array):
        return jax.random.wrap_key_data(jnp.asarray(value), impl=jax.random.key_impl(array))
    return jnp.array(value, array.dtype, copy=True)


def _are_chains(name: str, value: Any) -> bool:
    return name.endswith("$chains") and isinstance(value, dict) and set(value) == {"chains"}


def _unkeyed(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
