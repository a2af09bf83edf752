"""A program's weights: found by the host's SVI, named, and given back to the program."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpyro import handlers
from numpyro.infer import SVI

from mmppl.batch import Batch
from mmppl.nets.equinox import load as load_net
from mmppl.nets.equinox import state as net_state
from mmppl.numpyro.primitives import as_batch

__all__ = ["bind", "flat", "public", "start", "unflat"]


def bind(program: Any, weights: Mapping[str, np.ndarray], batch: Batch) -> tuple[Callable, Callable]:
    """The program's model and guide with these weights: ordinary NumPyro callables."""
    svi = SVI(program.model, program.guide, optax.sgd(0.0), program.objective)
    begun = start(svi, jax.random.key(0), as_batch(batch))
    params = {**svi.get_params(begun), **(begun.mutable_state or {})}
    full = unflat(params, weights)
    return handlers.substitute(program.model, data=full), handlers.substitute(program.guide, data=full)


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
    """Arrays of their own by public name."""
    out = {}
    for name, value in {**params, **mutable}.items():
        if isinstance(value, jax.Array):
            out[name] = np.array(value)
        elif name.endswith("$chains"):
            out[name.replace("$", ".")] = np.array(value["chains"])
        else:
            out |= {f"{public(name)}.{leaf}": array for leaf, array in net_state(value).items()}
    return out


def unflat(params: Mapping, weights: Mapping[str, np.ndarray]) -> dict:
    """The host's parameters with weights given by public name."""
    out = {}
    for name, value in params.items():
        if isinstance(value, jax.Array):
            out[name] = jnp.asarray(weights[name], value.dtype)
        elif name.endswith("$chains"):
            out[name] = {"chains": jnp.asarray(weights[name.replace("$", ".")], value["chains"].dtype)}
        else:
            own = {leaf: weights[f"{public(name)}.{leaf}"] for leaf in net_state(value)}
            out[name] = load_net(value, own)
    return out
