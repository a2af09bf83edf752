"""NumPyro's ``seed``, whose keys may be of any kind."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpyro import handlers
from numpyro.primitives import Messenger

from mmppl.numpyro.compiling import RNG

__all__ = ["seeded", "suited", "threefry"]


def seeded(fn: Callable, key: jax.Array) -> Callable:
    """``handlers.seed`` of a key of any kind."""
    return suited(handlers.seed(fn, key))


class suited(Messenger):
    """Gives a site a key that its distribution can use, after ``seed``: JAX draws counts by one kind alone."""

    def process_message(self, msg: Any) -> None:
        key = msg["kwargs"].get("rng_key") if msg["type"] == "sample" else None
        if key is not None and _is_cheap(key) and not _draws(msg["fn"], key):
            msg["kwargs"]["rng_key"] = threefry(key)


def threefry(key: jax.Array) -> jax.Array:
    """Key of JAX's usual kind, from one of ours."""
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), jnp.uint32), impl="threefry2x32")


def _is_cheap(key: jax.Array) -> bool:
    return jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and str(jax.random.key_impl(key)) == RNG


def _draws(fn: Any, key: jax.Array) -> bool:
    """Tells whether a distribution draws by the key; only counts do not, so that no other is tried."""
    if not getattr(fn.support, "is_discrete", False):
        return True
    try:
        jax.eval_shape(fn.sample, key)
    except NotImplementedError:
        return False
    return True
