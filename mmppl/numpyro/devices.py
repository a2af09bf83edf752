"""Placement of a fit on several devices of JAX: rows are divided among them, all else is on each."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmppl.batch import Batch
from mmppl.errors import OptionError, TrainingError
from mmppl.nets.equinox_rows import divided

__all__ = ["Devices", "on_devices", "placed"]

ROWS = "rows"
_DEVICES: ContextVar["Devices | None"] = ContextVar("mmppl_devices", default=None)


class Devices:
    """A mesh over the rows of a batch; with one device everything is as JAX places it.

    After ``jax.distributed.initialize`` the devices are those of all processes, each of which has the same rows.

    Arguments:
        number: Number of devices, the first that JAX has.

    Raises:
        OptionError: If JAX has fewer, or several processes have others than all of them.

    References:
        Distributed arrays and automatic parallelization, https://docs.jax.dev/en/latest/notebooks/
        Distributed_arrays_and_automatic_parallelization.html
    """

    def __init__(self, number: int):
        self.number, self.several = number, jax.process_count() > 1
        found = jax.devices()
        if self.several and number != len(found):
            raise OptionError(
                f"Expected devices={len(found)} (--devices), those of all {jax.process_count()} processes that "
                f"jax.distributed has joined; got {number}."
            )
        if number == 1:
            return
        if number > len(found):
            raise OptionError(
                f"Expected devices (--devices) of at most {len(found)}, as JAX has here; got {number}. On a CPU set "
                f"XLA_FLAGS=--xla_force_host_platform_device_count={number} before JAX starts."
            )
        mesh = Mesh(found[:number], (ROWS,))
        self.divided, self.everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((ROWS,), ()))

    def copied(self, tree: Any) -> Any:
        """The arrays on every device."""
        return tree if self.number == 1 else self._put(tree, self.everywhere)

    def rows(self, batch: Batch) -> Batch:
        """A batch whose rows are divided; on every device where their number does not divide, as of a last block."""
        if self.number == 1:
            return batch
        return self._put(batch, self.everywhere if len(batch) % self.number else self.divided)

    @contextmanager
    def together(self) -> Iterator[None]:
        """A context in which networks divide their rows, and of several processes one that has ended is said to have.

        Raises:
            TrainingError: If there are several processes.
        """
        try:
            with nullcontext() if self.number == 1 else divided(self.divided):
                yield
        except jax.errors.JaxRuntimeError as error:
            if not self.several:
                raise
            raise TrainingError(
                "Another process of the fit has ended, and this one with it. What was saved before is kept: go on with "
                f"resume=True. JAX says: {str(error)[:300]}"
            ) from error

    def _put(self, tree: Any, sharding: NamedSharding) -> Any:
        return jax.tree.map(lambda x: _shared(x, sharding), tree) if self.several else jax.device_put(tree, sharding)


def _shared(x: Any, sharding: NamedSharding) -> jax.Array:
    """An array that every process has the whole of, of which each puts its own part on its devices."""
    if jnp.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_shared(jax.random.key_data(x), sharding), impl=jax.random.key_impl(x))
    whole = np.asarray(x)
    return jax.make_array_from_callback(whole.shape, sharding, lambda place: whole[place])


def on_devices(number: int, tasks: Sequence[Callable[[], dict]]) -> Generator[dict, None, None]:
    """Runs tasks one after another, the rows of each batch in them divided among the first devices.

    Arguments:
        number: Number of devices.
        tasks: The tasks.

    Raises:
        OptionError: If JAX has fewer devices, or they are to be those of several processes.
    """
    if number > 1 and jax.process_count() > 1:
        raise OptionError(
            f"Expected devices=1 in each of the {jax.process_count()} processes that jax.distributed has joined, each "
            f"with rows of its own; got {number}."
        )
    devices = None if number == 1 else Devices(number)

    def results() -> Generator[dict, None, None]:
        for task in tasks:
            with _within(devices):
                found = task()
            yield found

    return results()


@contextmanager
def _within(devices: Devices | None) -> Iterator[None]:
    token = _DEVICES.set(devices)
    try:
        with nullcontext() if devices is None else divided(devices.divided):
            yield
    finally:
        _DEVICES.reset(token)


def placed(batch: Batch) -> Batch:
    """A batch of JAX arrays on the devices of :func:`on_devices`, within it."""
    devices = _DEVICES.get()
    return batch if devices is None else devices.rows(batch)
