"""Arrays of JAX from those of numpy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["copied", "to_jax"]


def to_jax(x: Any, dtype: Any = None) -> jax.Array:
    """An array of JAX, as ``jnp.asarray`` gives it; of one of numpy, nothing is compiled.

    ``jnp.asarray`` compiles a program for each shape that is new to it, of which a fit has dozens.
    """
    if isinstance(x, np.ndarray):
        # A copy, since JAX may go on using the memory that it is given.
        return jax.device_put(np.array(x, dtype))
    return jnp.asarray(x, dtype)


@jax.jit
def copied(tree: Any) -> Any:
    """Copies of all arrays of a tree, compiled as one program where ``jnp.array`` compiles one for each shape."""
    return jax.tree.map(jnp.copy, tree)
