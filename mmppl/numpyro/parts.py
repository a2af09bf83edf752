"""Parts of a batch: random keys by which some rows draw what they would draw in the whole batch."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl

from mmppl.batch import Batch
from mmppl.numpyro.compiling import RNG, wrapped_key

__all__ = ["in_parts", "is_part_key", "part_key", "part_of", "whole_and_parts", "whole_key", "with_part"]

TAG = "parts"
ROWS = ("values", "present", "label", "elements", "covariates", "places")  # parts of a batch that have its rows
OWN = 4  # numbers in a key of the usual kind here; then comes the part's place


def part_key(key: jax.Array, place: Any, parts: int, rows: int) -> jax.Array:
    r"""Random key of a part of a batch, which has rows i, i + A, i + 2 A, ... of it.

    What is drawn with an axis as long as the part, the first such, is drawn for the whole batch, and the part's rows of
    it are kept.

    Arguments:
        key: The key of the whole batch.
        place: The part's place i, which may be traced.
        parts: Number of parts A.
        rows: Rows of the batch.

    Example:
        >>> from mmppl.numpyro.compiling import random_key
        >>> whole = jax.random.normal(random_key(0), (5, 6))
        >>> part = jax.random.normal(part_key(random_key(0), 1, 3, 6), (5, 2))
        >>> bool((part == part_of(whole, 1, 3, axis=1)).all())
        True
    """
    data = jnp.concatenate([jax.random.key_data(key), jnp.asarray(place, jnp.uint32)[None]])
    return jax.random.wrap_key_data(data, impl=_kind(parts, rows))


def part_of(x: jax.Array, place: Any, parts: int, axis: int = 0) -> jax.Array:
    """The rows of a part along an axis."""
    split = x.reshape(*x.shape[:axis], x.shape[axis] // parts, parts, *x.shape[axis + 1 :])
    return jax.lax.dynamic_index_in_dim(split, place, axis + 1, keepdims=False)


def is_part_key(key: jax.Array) -> bool:
    """Tells whether a key is one of a part."""
    return jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and str(key.dtype) == f"key<{TAG}>"


def whole_key(key: jax.Array) -> jax.Array:
    """The key of the whole batch, of one that may be of a part."""
    return wrapped_key(jax.random.key_data(key)[..., :OWN]) if is_part_key(key) else key


def with_part(key: jax.Array, of: jax.Array) -> jax.Array:
    """A key of the usual kind, for the part that another one is of, if it is of any."""
    if not is_part_key(of):
        return key
    data = jnp.concatenate([jax.random.key_data(key), jax.random.key_data(of)[OWN:]])
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(of))


def in_parts(gradient: Callable, parts: int, params: Any, key: jax.Array, batch: Batch) -> Any:
    """Sums the gradients of a loss, and what goes with them, over the parts of a batch, one after another.

    Arguments:
        gradient: Of parameters, a key and a batch: a loss, which sums over rows, with a record and mutable state; and
            the gradient.
        parts: Number of parts, which divides the rows.
        params: The parameters.
        key: The key of the whole batch.
        batch: The batch.
    """

    def one(place: Any) -> Any:
        rows, own = _part(place, parts, key, batch)
        (value, (record, changed)), grads = gradient(params, own, rows)
        here = {name: _weight(name, rows) for name in record}
        products = {name: jnp.where(here[name] > 0, x * here[name], 0.0) for name, x in record.items()}
        return (value, products, here, grads), changed

    def add(total: Any, place: Any) -> Any:
        found, changed = one(place)
        return jax.tree.map(jnp.add, total, found), changed

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, 0)[0])
    (value, products, weights, grads), changed = jax.lax.scan(add, zeros, jnp.arange(parts))
    record = {name: x / jnp.maximum(weights[name], 1.0) for name, x in products.items()}
    return (value, (record, jax.tree.map(lambda x: x[-1], changed))), grads


def whole_and_parts(loss: Callable, parts: int, key: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """A loss of a key and a batch, and the sum of those of its parts, which are the same where rows are by themselves.

    Arguments:
        loss: Sums over rows.
        parts: Number of parts, which divides the rows.
        key: The key of the whole batch.
        batch: The batch.
    """
    each = jax.lax.map(lambda place: loss(*_part(place, parts, key, batch)[::-1]), jnp.arange(parts))
    return loss(key, batch), jnp.sum(each)


def _part(place: Any, parts: int, key: jax.Array, batch: Batch) -> tuple[Batch, jax.Array]:
    """The rows of a part, with all that is known of them, and its key."""
    known = {name: getattr(batch, name) for name in ROWS}
    own = jax.tree.map(lambda x: part_of(jnp.asarray(x), place, parts), known)
    return batch.with_parts(**own, num=len(batch) // parts), part_key(key, place, parts, len(batch))


def _weight(name: str, rows: Batch) -> Any:
    """Rows that a number of the record is a mean over."""
    modality = name.removeprefix("log_lik.")
    has = name != modality and modality in rows.values
    return jnp.sum(rows.present[modality]).astype(float) if has else jnp.asarray(float(len(rows)))


@cache
def _kind(parts: int, rows: int) -> Any:
    number = rows // parts

    def with_place(keys: jax.Array, data: jax.Array) -> jax.Array:
        place = jnp.broadcast_to(data[OWN:], (*keys.shape, 1))
        return jnp.concatenate([jax.random.key_data(keys), place], axis=-1)

    def seed(seeds: jax.Array) -> jax.Array:
        return with_place(jax.random.key(seeds, impl=RNG), jnp.zeros(OWN + 1, jnp.uint32))

    def split(data: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return with_place(jax.random.split(wrapped_key(data[:OWN]), shape), data)

    def fold_in(data: jax.Array, number: Any) -> jax.Array:
        return with_place(jax.random.fold_in(wrapped_key(data[:OWN]), number), data)

    def random_bits(data: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
        key, kind = wrapped_key(data[:OWN]), jnp.dtype(f"uint{bit_width}")
        axis = next((axis for axis, size in enumerate(shape) if size == number), None)
        if axis is None:
            return jax.random.bits(key, shape, kind)
        wide = tuple(rows if i == axis else size for i, size in enumerate(shape))
        return part_of(jax.random.bits(key, wide, kind), data[OWN].astype(jnp.int32), parts, axis)

    return define_prng_impl(
        key_shape=(OWN + 1,), seed=seed, split=split, random_bits=random_bits, fold_in=fold_in, name=TAG, tag=TAG
    )
