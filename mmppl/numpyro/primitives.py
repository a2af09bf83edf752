"""Primitives of programs beside NumPyro's own."""

from collections.abc import Iterable, Iterator, Mapping
from types import MethodType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import handlers
from numpyro.contrib.module import eqx_module
from numpyro.distributions import Distribution, ExpandedDistribution, Independent, MaskedDistribution
from numpyro.primitives import _PYRO_STACK

from mmppl._backend.jax import BACKEND
from mmppl._backend.jax_arrays import to_jax
from mmppl.batch import Batch
from mmppl.checks import at_least, checked
from mmppl.errors import DataError, ModalityError
from mmppl.inference.draws import Draws
from mmppl.nets.bound import BoundNet
from mmppl.nets.equinox import Net
from mmppl.nets.equinox import build as build_net
from mmppl.nets.equinox_bfloat16 import Halved, is_in_bfloat16
from mmppl.nets.given import check_network
from mmppl.nets.spec import Spec
from mmppl.numpyro.devices import placed
from mmppl.representable import check_representable
from mmppl.sites import PLATE, elementwise

__all__ = ["as_batch", "build", "check_numbers", "net", "observe", "plate"]

# Packages whose networks are none of this host's ``net``.
OTHERS = ("flax", "torch")


def _flatten(batch: Batch) -> tuple[tuple, tuple]:
    plain = batch.for_hosts()
    arrays = (plain.values, plain.present, plain.label, plain.elements, plain.covariates, plain.places)
    return arrays, (batch.num, batch.scored)


def _unflatten(aux: tuple, children: tuple) -> Batch:
    values, present, label, *parts = children
    return Batch.trusted(values, present, label, *aux, *parts)


jax.tree_util.register_pytree_node(Batch, _flatten, _unflatten)


def _flatten_draws(draws: Draws) -> tuple[tuple, tuple]:
    """Arrays in the order of sorted names, as JAX has those of a dictionary."""
    names = tuple(sorted(draws))
    return tuple(draws[name] for name in names), (names, tuple(draws.modalities.items()), draws.given)


def _flatten_draws_with_keys(draws: Draws) -> tuple[tuple, tuple]:
    values, aux = _flatten_draws(draws)
    return tuple((jax.tree_util.DictKey(name), value) for name, value in zip(aux[0], values, strict=True)), aux


def _unflatten_draws(aux: tuple, values: Iterable) -> Draws:
    names, modalities, given = aux
    return Draws(dict(zip(names, values, strict=True)), dict(modalities), given=given)


jax.tree_util.register_pytree_with_keys(Draws, _flatten_draws_with_keys, _unflatten_draws, _flatten_draws)


def check_numbers(batch: Batch) -> None:
    """Refuses values and labels that the host's arrays would turn into others; see :func:`check_representable`."""
    limits = jnp.iinfo(jnp.result_type(int)), jnp.finfo(jnp.result_type(float))
    for name, value in batch.values.items():
        check_representable(f"Modality '{name}'", value, *limits)
    check_representable("Labels", batch.numbers, *limits)
    for name, value in batch.for_hosts().covariates.items():
        check_representable(f"Covariate '{name}'", value, *limits)


@checked()
def as_batch(batch: Batch) -> Batch:
    """The batch with JAX arrays; integers come as JAX's own, and halves in its default precision.

    Labels and covariates that are numbers come along; a program is not shown others.

    Arguments:
        batch: A batch of arrays of any backend.

    Raises:
        DataError: If values or labels are too large for JAX, where integers go round to others and floats become
            infinite.

    Example:
        >>> import numpy as np
        >>> as_batch(Batch({"x": np.ones((2, 3))}))["x"].shape
        (2, 3)
    """
    check_numbers(batch)
    own = Batch.trusted(
        {name: _array(value) for name, value in batch.values.items()},
        {name: to_jax(mask) for name, mask in batch.present.items()},
        None if batch.numbers is None else _array(batch.numbers),
        len(batch),
        batch.scored,
        {name: to_jax(mask) for name, mask in batch.elements.items()},
        {name: _array(value) for name, value in batch.for_hosts().covariates.items()},
        _array(np.arange(len(batch)) if batch.places is None else batch.places),
    )
    return placed(own)


def _array(x: Any) -> jax.Array:
    x = x if isinstance(x, jax.Array) else np.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.integer):
        return to_jax(x, int)
    return to_jax(x, float if x.dtype == jnp.float16 else None)


@checked()
def build(spec: Spec, seed: int = 0) -> Any:
    """The network a spec describes, with the same initial weights on either host.

    Arguments:
        spec: A description from :mod:`mmppl.nets`.
        seed: Random seed of the initial weights.

    Example:
        >>> from mmppl import Modality, nets
        >>> loc, scale = build(nets.encoder(Modality((3,)), 2, 8))(jnp.ones((5, 3)))
        >>> loc.shape
        (5, 2)
    """
    return build_net(spec, seed)


@checked()
def net(name: str, module: Any) -> BoundNet:
    """Registers a network's weights as parameters under ``name``, and returns it to be called.

    Arguments:
        name: Name of the parameters, unique in the program.
        module: An Equinox module (or any pytree that can be called).

    Raises:
        OptionError: If it is none, or one of Flax, which goes by NumPyro's ``flax_module`` or ``nnx_module``.

    Example:
        >>> from mmppl import Modality, nets
        >>> encoder = build(nets.encoder(Modality((3,)), 2, 8))
        >>> guide = numpyro.handlers.trace(numpyro.handlers.seed(lambda x: net("x.encoder", encoder)(x), 0))
        >>> list(guide.get_trace(jnp.ones((5, 3))))
        ['x.encoder$params']
    """
    is_one = callable(module) or isinstance(module, eqx.Module)  # a flow is not called
    check_network(name, module, "an Equinox module or another pytree that can be called", is_one, OTHERS)
    registered = eqx_module(name, module)
    # A network of a spec knows of itself what is taken in bfloat16; a flow, which is not called, is no network.
    whole = is_in_bfloat16() and not isinstance(module, Net) and callable(module)
    return BoundNet(name, Halved(registered) if whole else registered)


@checked(size=at_least(1))
def plate(batch: Batch, size: int | None = None) -> numpyro.plate:
    """The plate of the rows of a batch, at dimension -1; entered, it gives their places in the data.

    Those are the places in the batch that the rows were taken from, by mini-batches or by blocks of the library or by
    ``data[rows]``, as the indices of the host's own sub-sampled plate: what a program keeps for each datum, such as an
    array of offsets, is read by them. With ``size`` the host takes by them rows of what it is given for all data, by
    ``numpyro.param`` and ``numpyro.subsample`` with ``event_dim``.

    Arguments:
        batch: The batch, N rows.
        size: Number of rows of the whole data set, where the bound is to be scaled to it.

    Raises:
        DataError: If the batch has no rows.

    Example:
        >>> import numpy as np
        >>> import numpyro.distributions as dist
        >>> batch = as_batch(Batch({"x": np.ones((4, 3))}))
        >>> def model(batch):
        ...     with plate(batch):
        ...         return numpyro.sample("z", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
        >>> numpyro.handlers.seed(model, 0)(batch).shape
        (4, 2)
    """
    num = len(batch)
    if not num:
        raise DataError("Expected a batch with rows; got none.")
    # The host would draw places among all rows, which are not those of the batch.
    places = jnp.arange(num) if batch.places is None else jnp.asarray(batch.places)
    with handlers.substitute(data={PLATE: places}):
        made = numpyro.plate(PLATE, num if size is None else size, subsample_size=num, dim=-1)
    # No subclass: where the host has enumerated discrete latents once, it makes plates of its own class alone.
    if size is not None and type(made) is numpyro.plate:
        made.postprocess_message = MethodType(_by_places, made)
    return made


def _by_places(plate: numpyro.plate, msg: Any) -> None:
    """Takes rows of ``param`` and ``subsample`` by their places, also where they are all there are.

    The host does so where they are fewer than all; a batch of all may have them in another order.
    """
    number, plate.subsample_size = plate.subsample_size, 0
    try:
        numpyro.plate.postprocess_message(plate, msg)
    finally:
        plate.subsample_size = number


def observe(name: str, fn: Distribution, batch: Batch) -> Any:
    r"""Scores a modality where it is present: a sample statement, observed and masked.

    Where single elements may be missing a likelihood :math:`\prod_i p(x_i \mid z)` counts those that are there; one of
    elements that depend on each other counts their marginal density, and draws of the rest are given them.
    Where nothing is scored, as in NumPyro's ``Predictive``, what is missing is drawn, at a site ``<name>_unobserved``,
    and the value is complete.

    Arguments:
        name: The modality, also the name of the site.
        fn: Its likelihood, with batch shape ``(*, N)``.
        batch: The batch.

    Raises:
        ModalityError: If the event shape of the likelihood is not that of the data, single elements may be missing
            that are not independent under it, or the program has another site of the modality's name.

    Example:
        >>> import numpy as np
        >>> import numpyro.distributions as dist
        >>> batch = as_batch(Batch({"x": np.ones((2, 3))}, {"x": np.array([True, False])}))
        >>> def model(batch):
        ...     with plate(batch):
        ...         observe("x", dist.Normal(jnp.zeros(3), 1.0).to_event(1), batch)
        >>> density, _ = numpyro.infer.util.log_density(model, (batch,), {}, {})
        >>> round(float(density), 3)  # of the row that has x
        -4.257
    """
    value = batch[name]
    if name not in batch.modalities:
        return value
    if fn.event_shape != value.shape[1:]:
        raise ModalityError(
            f"Modality '{name}': expected a likelihood with event shape {tuple(value.shape[1:])}; got "
            f"{tuple(fn.event_shape)}. Use .to_event({value.ndim - 1})."
        )
    if any(name in sites for sites in _sites()):
        raise ModalityError(
            f"Modality '{name}': expected a name of its own; the program has a site that is called so already. Rename "
            "one of them."
        )
    if name in batch.elements:
        around = MaskedDistribution, Independent, ExpandedDistribution
        fn = elementwise(fn, batch.elements[name], value, around, name)
    if _predicting():
        value = _completed(fn, name, batch)
    with handlers.mask(mask=batch.present[name]):
        return numpyro.sample(name, fn, obs=value)


def _predicting() -> bool:
    """Tells whether NumPyro's ``Predictive`` runs the model: draws are substituted and no site is scored."""
    around = zip(_PYRO_STACK, _PYRO_STACK[1:], strict=False)
    inside = any(
        isinstance(outer, handlers.substitute) and isinstance(inner, handlers.mask) and inner.mask is False
        for outer, inner in around
    )
    return inside and any(isinstance(h, handlers.seed) for h in _PYRO_STACK)


def _completed(fn: Distribution, name: str, batch: Batch) -> jax.Array:
    """The value with draws of the likelihood where it is missing."""
    value, mask = batch[name], batch.masks[name]
    if BACKEND.is_concrete(mask) and np.asarray(mask).all():
        return value
    return jnp.where(batch.there(name), value, numpyro.sample(f"{name}_unobserved", fn).astype(value.dtype))


def _sites() -> Iterator[Mapping]:
    """The sites so far, of every trace that is being written."""
    return (h.trace for h in _PYRO_STACK if isinstance(h, handlers.trace))


def arrays_of(module: Any) -> tuple[Any, Any]:
    """The inexact arrays of a pytree, and the rest."""
    return eqx.partition(module, eqx.is_inexact_array)
