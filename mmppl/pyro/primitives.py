"""Primitives of programs beside Pyro's own."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.distributions import Distribution, ExpandedDistribution, Independent, MaskedDistribution, constraints
from pyro.poutine.mask_messenger import MaskMessenger
from pyro.poutine.replay_messenger import ReplayMessenger
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from torch.distributions import transform_to
from torch.distributions.constraints import MixtureSameFamilyConstraint

from mmppl.batch import Batch
from mmppl.checks import at_least, checked
from mmppl.errors import DataError, ModalityError
from mmppl.nets.bound import BoundNet, registered_once
from mmppl.nets.given import check_network
from mmppl.nets.spec import Spec
from mmppl.nets.torch import build as build_net
from mmppl.pyro.networks import copied, entered, ready
from mmppl.representable import check_representable
from mmppl.sites import PLATE, elementwise

__all__ = ["as_batch", "build", "check_numbers", "net", "observe", "plate"]

_OWN: ContextVar[dict | None] = ContextVar("mmppl_own_modules", default=None)


def check_numbers(batch: Batch) -> None:
    """Refuses values and labels that the host's arrays would turn into others; see :func:`check_representable`."""
    limits = torch.iinfo(torch.int64), torch.finfo(torch.get_default_dtype())
    for name, value in batch.values.items():
        check_representable(f"Modality '{name}'", value, *limits)
    check_representable("Labels", batch.numbers, *limits)
    for name, value in batch.for_hosts().covariates.items():
        check_representable(f"Covariate '{name}'", value, *limits)


@checked()
def as_batch(batch: Batch) -> Batch:
    """The batch with torch tensors, of numpy's arrays in the types that networks and distributions of torch take.

    Integers come as int64, floats in torch's default precision, which its networks and distributions insist on.
    Labels and covariates that are numbers come along; a program is not shown others.

    Arguments:
        batch: A batch of arrays of any backend.

    Raises:
        DataError: If values or labels are too large for torch, where integers go round to others and floats become
            infinite.

    Example:
        >>> import numpy as np
        >>> as_batch(Batch({"x": np.ones((2, 3))}))["x"].shape
        torch.Size([2, 3])
    """
    check_numbers(batch)
    return Batch.trusted(
        {name: _tensor(value) for name, value in batch.values.items()},
        {name: _tensor(mask) for name, mask in batch.present.items()},
        None if batch.numbers is None else _tensor(batch.numbers),
        len(batch),
        batch.scored,
        {name: _tensor(mask) for name, mask in batch.elements.items()},
        {name: _tensor(value) for name, value in batch.for_hosts().covariates.items()},
        _tensor(np.arange(len(batch)) if batch.places is None else batch.places),
    )


def _tensor(x: Any) -> torch.Tensor:
    if isinstance(x, torch.Tensor):
        return x
    x = np.ascontiguousarray(x)
    x = x if x.flags.writeable else x.copy()  # what torch warns of, as of JAX's arrays
    if x.dtype.kind in "iu":
        return torch.as_tensor(x.astype(np.int64, copy=False))
    tensor = torch.as_tensor(x)
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


@checked()
def build(spec: Spec, seed: int = 0) -> Any:
    """The network a spec describes, with the same initial weights on either host.

    Arguments:
        spec: A description from :mod:`mmppl.nets`.
        seed: Random seed of the initial weights.

    Example:
        >>> from mmppl import Modality, nets
        >>> loc, scale = build(nets.encoder(Modality((3,)), 2, 8))(torch.ones((5, 3)))
        >>> loc.shape
        torch.Size([5, 2])
    """
    return build_net(spec, seed)


@checked()
def net(name: str, module: Any) -> BoundNet:
    """Registers a network's weights as parameters under ``name``, and returns it to be called.

    Arguments:
        name: Name of the parameters, unique in the program.
        module: A ``torch.nn.Module``.

    Raises:
        OptionError: If it is none, or makes parameters at its first call.

    Example:
        >>> encoder = torch.nn.Linear(3, 2)
        >>> net("x.encoder", encoder)(torch.ones(5, 3)).shape
        torch.Size([5, 2])
        >>> sorted(name for name in pyro.get_param_store() if name.startswith("x.encoder"))
        ['x.encoder$$$bias', 'x.encoder$$$weight']
    """
    check_network(name, module, "a torch.nn.Module", isinstance(module, torch.nn.Module), ("flax", "equinox"))
    own = _OWN.get()
    if own is not None:
        if name not in own:
            own[name] = entered(copied(ready(name, module)))
        module = own[name]
    return BoundNet(name, registered_once(name, module, _register))


def _register(name: str, module: torch.nn.Module) -> torch.nn.Module:
    return pyro.module(name, ready(name, module))


@contextmanager
def own_modules(modules: dict[str, torch.nn.Module]) -> Iterator[None]:
    """Copies networks within the context, by name in the dictionary given; those of the program stay as they are."""
    token = _OWN.set(modules)
    try:
        yield
    finally:
        _OWN.reset(token)


@checked(size=at_least(1))
def plate(batch: Batch, size: int | None = None) -> AbstractContextManager:
    """The plate of the rows of a batch, at dimension -1; entered, it gives their places in the data.

    Those are the places in the batch that the rows were taken from, by mini-batches or by blocks of the library or by
    ``data[rows]``, as the indices of the host's own sub-sampled plate: what a program keeps for each datum, such as an
    array of offsets, is read by them. With ``size`` the host takes by them rows of what it is given for all data, by
    ``pyro.param`` and ``pyro.subsample`` with ``event_dim``.

    Arguments:
        batch: The batch, N rows.
        size: Number of rows of the whole data set, where the bound is to be scaled to it.

    Raises:
        DataError: If the batch has no rows.

    Example:
        >>> import pyro.distributions as dist
        >>> batch = as_batch(Batch({"x": np.ones((4, 3))}))
        >>> with plate(batch):
        ...     z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        >>> z.shape
        torch.Size([4, 2])
    """
    num = len(batch)
    if not num:
        raise DataError("Expected a batch with rows; got none.")
    places = torch.arange(num) if batch.places is None else torch.as_tensor(batch.places)
    if size is None:
        return pyro.plate(PLATE, num, subsample=places, dim=-1)
    return _Rows(PLATE, size, subsample=places, dim=-1)


class _Rows(pyro.plate):
    """A plate whose rows are those of ``param`` and ``subsample`` at their places, also where they are all there are.

    The host takes rows by places where they are fewer than all; a batch of all may have them in another order.
    """

    subsample_size: int

    def _postprocess_message(self, msg: Any) -> None:
        number, self.subsample_size = self.subsample_size, 0
        try:
            super()._postprocess_message(msg)
        finally:
            self.subsample_size = number


def observe(name: str, fn: Distribution, batch: Batch) -> Any:
    r"""Scores a modality where it is present: a sample statement, observed and masked.

    Where single elements may be missing a likelihood :math:`\prod_i p(x_i \mid z)` counts those that are there; one of
    elements that depend on each other counts their marginal density, and draws of the rest are given them.
    Where nothing is scored, as in Pyro's ``Predictive``, what is missing is drawn, at a site ``<name>_unobserved``, and
    the value is complete.

    Arguments:
        name: The modality, also the name of the site.
        fn: Its likelihood, with batch shape ``(*, N)``.
        batch: The batch.

    Raises:
        ModalityError: If the event shape of the likelihood is not that of the data, single elements may be missing
            that are not independent under it, or the program has another site of the modality's name.

    Example:
        >>> import pyro.distributions as dist
        >>> batch = as_batch(Batch({"x": np.ones((2, 3))}, {"x": np.array([True, False])}))
        >>> def model(batch):
        ...     with plate(batch):
        ...         observe("x", dist.Normal(torch.zeros(3), 1.0).to_event(1), batch)
        >>> round(float(pyro.poutine.trace(model).get_trace(batch).log_prob_sum()), 3)  # of the row that has x
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
    inside = _inside(fn, name, batch)
    if name in batch.elements:
        around = MaskedDistribution, Independent, ExpandedDistribution
        fn = elementwise(fn, batch.elements[name], inside, around, name)
    value = _completed(fn, name, batch) if _predicting() else inside
    with poutine.mask(mask=batch.present[name]):
        return pyro.sample(name, fn, obs=value)


def _predicting() -> bool:
    """Tells whether Pyro's ``Predictive`` runs the model: without gradients, no site scored, no trace replayed.

    A ``mask`` of the program's own lies inside what an objective replays, or inside the plate of the rows.
    """
    if torch.is_grad_enabled():
        return False
    for handler in _PYRO_STACK:
        if isinstance(handler, MaskMessenger) and handler.mask is False:
            return True
        if isinstance(handler, ReplayMessenger) or getattr(handler, "name", None) == PLATE:
            return False
    return False


def _completed(fn: Distribution, name: str, batch: Batch) -> torch.Tensor:
    """The value with draws of the likelihood where it is missing."""
    value, mask = batch[name], batch.masks[name]
    if bool(mask.all()):
        return value
    return torch.where(batch.there(name), value, pyro.sample(f"{name}_unobserved", fn).to(value.dtype))


def _sites() -> Iterator[Mapping]:
    """The sites so far, of every trace that is being written."""
    return (h.trace.nodes for h in _PYRO_STACK if isinstance(h, TraceMessenger))


def _inside(fn: Distribution, name: str, batch: Batch) -> torch.Tensor:
    """The value with what hides absent values, 0, moved inside the support: there a density may have no gradient."""
    value, present, support = batch[name], batch.present[name], fn.support
    while isinstance(support, constraints.independent | MixtureSameFamilyConstraint):
        support = support.base_constraint
    if support.is_discrete or support is constraints.real:
        return value
    there = batch.elements.get(name)
    if there is None:
        there = present.reshape(-1, present.shape[-1]).any(0).reshape(-1, *[1] * (value.ndim - 1))
    return torch.where(there, value, transform_to(support)(torch.zeros_like(value)))
