"""One small way to drive either host, so that a contract is written once."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from mmppl.batch import Batch
from mmppl.errors import OptionError
from mmppl.inference.step import Step

Array = Any
Program = Callable[..., Any]

__all__ = ["Driver", "Step", "driver"]


class Driver(Protocol):
    """A host: ``mm`` is ``mmppl.<host>``, ``ppl`` the host's own module, ``dist`` its distributions."""

    name: str
    mm: ModuleType
    ppl: ModuleType
    dist: ModuleType

    def double(self) -> AbstractContextManager:
        """Context manager in which arrays are in double precision."""

    def array(self, x: Any) -> Array:
        """A numpy array as the host's; its dtype is kept within :meth:`double`."""

    def numpy(self, x: Array) -> np.ndarray:
        """A host's array as numpy's."""

    def call(self, f: Callable[[], Any], seed: int) -> Any:
        """``f()`` under the host's random stream started from a seed, which is given back as it was."""

    def sample(self, fn: Any, shape: tuple[int, ...], seed: int) -> np.ndarray:
        """Draws of a distribution, ``(*shape, *batch, *event)``."""

    def log_prob(self, fn: Any, value: np.ndarray) -> np.ndarray:
        """The log density of a distribution at a numpy array."""

    def stratified(self, fn: Any, shape: tuple[int, ...], seed: int) -> np.ndarray:
        """Stratified draws of an aggregated posterior."""

    def value_and_grad(
        self, f: Callable[[dict], Array], params: Mapping[str, np.ndarray], seed: int
    ) -> tuple[float, dict[str, np.ndarray]]:
        """A scalar function of named arrays and its gradient."""

    def repeat_grad(
        self, f: Callable[[dict, Array], Array], params: Mapping[str, np.ndarray], xs: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Gradients of a scalar ``f(params, x)`` for each x along the first axis of ``xs``, each with other noise."""

    def log_joint(self, program: Program, values: Mapping[str, np.ndarray], seed: int = 0) -> float:
        """The log density of a program without arguments at values of its sample sites."""

    def losses(self, objective: Any, program: Any, batch: Batch, num: int = 3000) -> np.ndarray:
        """Losses of draws of a program without parameters, ``num`` of them or, where each takes long, 20."""

    def trace_elbo(self) -> Any:
        """The host's own ``Trace_ELBO``."""

    def stepper(self, objective: Any, model: Program, guide: Program) -> Callable[..., Step]:
        """A function ``(batch, seed, params=None)`` to a :class:`Step`; ``params`` replace initial values by name."""

    def fit(
        self, objective: Any, model: Program, guide: Program, batch: Batch, *, steps: int, rate: float, seed: int = 0
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Losses ``(steps,)`` and parameters after training by the host's own ``SVI`` with Adam."""

    def run_chains(
        self, kernel: Any, batch: Batch, *, chains: int, warmup: int, samples: int, seed: int
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Draws ``(chains, samples, *)`` by the host's ``MCMC``, and the kernel's diagnostics.

        Of the diagnostics ``accept_prob`` and ``log_density`` are of every draw, ``(chains, samples, N)``, and
        ``step_size`` is the last, ``(chains, N)``.
        """

    def effective_size(self, draws: np.ndarray) -> np.ndarray:
        """The host's effective sample size of draws ``(chains, samples, *)``."""


def driver(host: str) -> Any:
    """The driver of a host.

    Arguments:
        host: ``"numpyro"`` or ``"pyro"``; only that host is imported.

    Raises:
        OptionError: If there is no such host.
        HostError: If it is not installed.

    Example:
        >>> driver("numpyro").name
        'numpyro'
    """
    if host == "numpyro":
        from mmppl.numpyro.driver import NumPyroDriver

        return NumPyroDriver()
    if host == "pyro":
        from mmppl.pyro.driver import PyroDriver

        return PyroDriver()
    raise OptionError(f"Expected a host 'numpyro' or 'pyro'; got {host!r}.")
