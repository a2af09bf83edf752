"""Protocols of what a host gives: ``mmppl.numpyro`` and ``mmppl.pyro``, with their ``host`` module.

A :class:`PPL` is what a user imports. Its ``host`` serves two clients: programs of :mod:`mmppl.models`, which are
written once for both hosts (:class:`ProgramHost`), and :mod:`mmppl.inference`, which trains and runs them
(:class:`Runtime`). Shapes are those of K draws, N rows and the event of each site.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.errors import OptionError
from mmppl.graph import Node
from mmppl.nets.spec import Spec

if TYPE_CHECKING:
    from mmppl.inference.objectives import Objective
    from mmppl.inference.posterior.site_densities import Places
    from mmppl.inference.training.fitted import Fitted
    from mmppl.inference.training.program import Program, Stage

Array = Any
Latents = Mapping[str, Any]

__all__ = ["PPL", "Host", "ProgramHost", "Runtime", "Trainer", "check_ppl"]


class ProgramHost(Protocol):
    """Primitives in which programs are written for either host."""

    NAME: str
    dist: Any
    sample: Any
    param: Any
    factor: Any
    scale: Any

    def random(self) -> Any:
        """A random handle, inside a program."""

    def zeros(self, *shape: int) -> Array:
        """Zeros of a shape."""

    def loc_scale(self, family: str, loc: Array, scale: float | Array) -> Any:
        """A ``"normal"`` or ``"laplace"`` distribution by location and scale."""

    def masked_mixture(self, mask: Array, other: Any, own: Any) -> Any:
        """The distribution of each row by a mask ``(N,)``: ``own`` where it is true, ``other`` where it is not."""

    def likelihood(self, modality: Modality, output: Any) -> Any:
        """The likelihood p(x | z) of a modality, from what its decoder returns."""

    def build_all(self, specs: Mapping[str, Spec], seed: int) -> dict[str, Any]:
        """Networks by name, each with initial weights of its own from the seed."""


class Trainer(Protocol):
    """Training of a program, stage by stage."""

    def begin(self, stage: "Stage", steps: int = 1, schedule: Any = "constant") -> None:
        """Starts a stage of so many steps: what moves, by which objective, with a new optimiser.

        The schedule is a name of :data:`~mmppl.inference.training.schedules.SCHEDULES`, or one of the host.
        """

    def end_at(self, steps: int) -> None:
        """Ends the stage after so many steps in all, by which its schedule goes from now on."""

    def step(self, batch: Batch) -> tuple[bool, dict[str, float]]:
        """One step: whether it was finite (else nothing has moved), and the record of the objective."""

    def held_out(self, batch: Batch, number: int) -> dict[str, float]:
        """The objective's record of other rows, with the weights as they are, which nothing moves.

        A beta that warms up is what it ends at; the noise is that of the number.
        """

    def finish(self) -> None:
        """Ends a stage on the averaged weights, where an average is kept."""

    def encode(self, fn: Callable, data: Batch, size: int) -> Batch:
        """``fn`` of every batch of the data, with the weights as they are."""

    def measure(self, fn: Callable, batch: Batch, number: int) -> dict[str, float]:
        """Means over the rows of what ``fn`` tells of them, with the weights that are kept; noise as held out."""

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Sets parameters by public name."""

    def moved(self, stage: "Stage") -> list[str]:
        """The parameters that a stage moves, by the host's names."""

    def weights(self) -> dict[str, np.ndarray]:
        """Parameters by public name, the same on both hosts."""

    def snapshot(self) -> dict[str, np.ndarray]:
        """State from which training goes on bit for bit."""

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Goes back to a snapshot of the same program and stage."""


class Runtime(Protocol):
    """Training and running of programs; a bound model or guide has its weights."""

    NAME: str
    JOINT: Mapping[str, Any]
    TRAINS_IN_PLACE: bool  # whether training changes the networks that a program was declared with
    Trainer: Callable[..., Trainer]

    def fitting(self) -> AbstractContextManager:
        """A context for a fit, whatever the caller's own settings of gradients are."""

    def processes(self, number: int) -> AbstractContextManager[int]:
        """The processes of a fit on so many devices, each of which runs what is within; the rank of this one."""

    def on_devices(self, number: int, tasks: Sequence[Callable[[], dict]]) -> Generator[dict, None, None]:
        """Runs tasks, each for some rows, on so many devices: their arrays by name, in the order of the tasks."""

    def check_numbers(self, batch: Batch) -> None:
        """Refuses values and labels that the host's arrays would turn into others."""

    def bind(self, program: "Program", weights: Mapping[str, np.ndarray], batch: Batch) -> tuple[Callable, Callable]:
        """The program's model and guide with these weights."""

    def places(self, model: Callable, batch: Batch) -> "Places":
        """Places of the latents of a model."""

    def graph(self, model: Callable, batch: Batch) -> list[Node]:
        """Sites of a model, with their sizes and what each depends on."""

    def latents(
        self, model: Callable, guide: Callable, batch: Batch, num: int, seed: int, prior_rows: np.ndarray
    ) -> dict[str, Array]:
        """Draws of the latents, ``(num, N, *event)``: from the guide, or from the prior in ``prior_rows``."""

    def decode(self, model: Callable, hidden: Latents, batch: Batch, seed: int, mean: bool) -> dict[str, np.ndarray]:
        """Draws (or means) of every modality of the batch given latents."""

    def simulate(
        self, model: Callable, guide: Callable, batch: Batch, num: int, seed: int, mean: bool, prior_rows: np.ndarray
    ) -> tuple[dict, dict]:
        """Draws of latents and of every modality."""

    def scores(
        self, model: Callable, hidden: Latents, batch: Batch, prior: bool = True
    ) -> tuple[dict[str, np.ndarray], Any]:
        """Log likelihood of each modality (0 where absent) and log prior, ``(K, N)`` each."""

    def guide_log_prob(self, guide: Callable, hidden: Latents, batch: Batch) -> np.ndarray:
        """The guide's log density in the plate of the data, ``(K, N)``."""

    def outside(self, model: Callable, guide: Callable, hidden: Latents, batch: Batch) -> np.ndarray | None:
        """Log p - log q of what lies outside the plate of the data, ``(K,)``; None where nothing does."""

    def log_weights(
        self, model: Callable, guide: Callable, objective: "Objective", batch: Batch, seed: int
    ) -> np.ndarray:
        """The objective's log importance weights of its first term, ``(K, N)``."""

    def log_densities(self, model: Callable, hidden: Latents, batch: Batch, gradients: bool) -> tuple[dict, dict]:
        """Log density ``(K, N)`` of each site, and whether its gradient is anywhere not 0."""

    def refine(
        self, model: Callable, hidden: Latents, batch: Batch, kernel: Any, steps: int, seed: int
    ) -> dict[str, Array]:
        """Draws of the latents after steps of a kernel, every draw of every datum a chain."""

    def unconstrained(self, model: Callable, hidden: Latents, batch: Batch) -> np.ndarray:
        """Latents side by side on the real line, ``(K, N, D)``."""

    def on_real_line(
        self,
        model: Callable,
        hidden: Latents,
        batch: Batch,
        task: Callable,
        kernel: Any,
        steps: int,
        seed: int,
        arrays: Mapping[str, np.ndarray],
    ) -> Any:
        """``task(backend, kernel, log_target, noise, **arrays)``, as numpy arrays.

        ``log_target`` is the log joint density of latents that lie side by side on the real line, ``(K, N, D)`` to
        ``(K, N)``; ``noise`` gives from a kernel's first state that of ``steps`` transitions, stacked. Of ``hidden``
        only sites and shapes count.
        """

    def chains(
        self,
        fitted: "Fitted",
        batch: Batch,
        kernel: Callable[[Callable], Any],
        start: Mapping[str, np.ndarray],
        *,
        num_samples: int,
        num_warmup: int,
        seed: int,
        row_seeds: Sequence[int] | None = None,
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Runs a kernel: latents and statistics by ArviZ's names, ``(chains, draws, *)``.

        Arguments:
            fitted: The program and its weights.
            batch: The data.
            kernel: Makes the kernel for a model.
            start: Where the chains begin, constrained, ``(chains, N, *event)``.
            num_samples: Draws of each chain.
            num_warmup: Warm-up steps.
            seed: Random seed.
            row_seeds: A seed for each datum, in place of the one.
        """

    def find_prior(self, model: Callable, batch: Batch) -> dict[str, Any]:
        """Latents of a model whose prior has a ``log_normalizer``, with the prior."""

    def log_normalizer(self, prior: Any, seed: int) -> Any:
        """The prior's log Z, from a seed."""

    def chain_bias(self, prior: Any, seed: int) -> Any:
        """Bias of the prior's short-run chains, from a seed."""


class Host(ProgramHost, Runtime, Protocol):
    """Both: the module ``mmppl.<host>.host``."""


class PPL(Protocol):
    """A module that users import, ``mmppl.numpyro`` or ``mmppl.pyro``; its other names are in its ``__all__``."""

    host: Host

    def __hash__(self) -> int:
        """That of the module."""

    def __getattr__(self, name: str) -> Any:
        """Distributions, kernels, objectives and primitives by name."""


def check_ppl(ppl: Any) -> None:
    """Refuses what is no such module, as its name.

    Raises:
        OptionError: If it has no host.
    """
    if not hasattr(ppl, "host"):
        raise OptionError(f"Expected ppl to be the module mmppl.numpyro or mmppl.pyro; got {ppl!r:.100}.")
