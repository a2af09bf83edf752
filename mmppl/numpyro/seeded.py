"""NumPyro's ``seed`` by keys that compile fast, where nobody but the package draws by them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from numpyro import handlers
from numpyro.primitives import _PYRO_STACK, Messenger

from mmppl.numpyro.compiling import RNG
from mmppl.numpyro.parts import is_part_key, whole_key, with_part

__all__ = ["program_key", "seeded", "threefry", "unobserved"]


def seeded(fn: Callable, key: jax.Array) -> Callable:
    """``handlers.seed``; of one of our keys, sites and programs that need JAX's usual kind are given that."""
    return _Suited(handlers.seed(fn, key), key) if _is_cheap(key) else handlers.seed(fn, key)


class _Suited(Messenger):
    """Changes keys after ``seed`` has given them: JAX draws counts by its usual kind alone, and so may a program."""

    def __init__(self, fn: Callable, of: jax.Array):
        super().__init__(fn)
        self.of = of  # the key that was given

    def process_message(self, msg: Any) -> None:
        key = msg["kwargs"].get("rng_key") if msg["type"] in ("sample", "prng_key", "control_flow") else None
        if key is not None and _is_cheap(key) and (msg["type"] != "sample" or not _draws(msg["fn"], key)):
            msg["kwargs"]["rng_key"] = threefry(key)


class unobserved(Messenger):
    """``handlers.uncondition`` within ``seed``, which then gives the site its key as any other."""

    def process_message(self, msg: Any) -> None:
        if msg["type"] == "sample" and msg["is_observed"]:
            msg["is_observed"], msg["value"] = False, None


def program_key() -> Any:
    """``numpyro.prng_key()`` for draws of the package's own within a program: of the kind that it was seeded by."""
    key = numpyro.prng_key()
    suited = next((handler for handler in reversed(_PYRO_STACK) if isinstance(handler, _Suited)), None)
    if key is None or suited is None:
        return key
    return with_part(jax.random.wrap_key_data(jax.random.bits(key, (4,), jnp.uint32), impl=RNG), suited.of)


def threefry(key: jax.Array) -> jax.Array:
    """Key of JAX's usual kind, from one of ours."""
    return jax.random.wrap_key_data(jax.random.bits(whole_key(key), (2,), jnp.uint32), impl="threefry2x32")


def _is_cheap(key: jax.Array) -> bool:
    usual = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and str(jax.random.key_impl(key)) == RNG
    return usual or is_part_key(key)


def _draws(fn: Any, key: jax.Array) -> bool:
    """Tells whether a distribution draws by the key; only counts do not, so that no other is tried."""
    if not getattr(fn.support, "is_discrete", False):
        return True
    try:
        jax.eval_shape(fn.sample, key)
    except NotImplementedError:
        return False
    return True
