"""Short chains: latents moved by a few steps of a kernel towards the posterior."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.inference.kernels import KERNELS, Kernel
from mmppl.inference.training.fitted import Fitted

Array = Any

__all__ = ["refine_draws", "refine_steps"]


def refine_draws(
    fitted: Fitted, data: Batch, hidden: Any, *, seed: int, kernel: str = "mala", steps: int = 50, **options: Any
) -> dict[str, np.ndarray]:
    """Latents ``(K, N, *event)`` after some steps of a kernel, each draw of each datum a chain."""
    if kernel not in KERNELS:
        raise OptionError(f"Unknown sampler '{kernel}'; expected one of {sorted(KERNELS)}.")
    if steps < 0:
        raise OptionError(f"Expected steps >= 0; got {steps}.")
    if not steps:
        return hidden
    fitted.program.need_chains()
    fitted.rows_alone("Refinement")
    hidden = {name: z for name, z in hidden.items() if name in fitted.latents}
    ppl = fitted.program.ppl
    return ppl.host.refine(
        fitted.model, hidden, data, _kernel_of(ppl, kernel, tuple(sorted(options.items()))), steps, seed
    )


@cache
def _kernel_of(ppl: PPL, kernel: str, options: tuple) -> Kernel:
    """One kernel for all calls, so that a host compiles its steps once."""
    try:
        return getattr(ppl, KERNELS[kernel].__name__)(None, **dict(options))
    except TypeError as error:
        raise OptionError(f"Unknown option of kernel '{kernel}': {error}.") from None


def refine_steps(
    backend: Backend,
    kernel: Kernel,
    log_density: Callable[[Array], Array],
    position: Array,
    steps: int,
    noise: Callable[[Any], Any],
) -> Array:
    """The position ``(*chains, D)`` after some steps; step sizes are learned in the first half.

    Arguments:
        backend: The backend of the arrays.
        kernel: The kernel.
        log_density: Maps ``(*chains, D)`` to ``(*chains,)``.
        position: Start.
        steps: Number of steps.
        noise: From the first state to the noise of all steps, stacked.
    """
    state = kernel.init_chains(log_density, position)

    def step(state: Any, xs: Any) -> tuple[Any, None]:
        return kernel.step(log_density, state, xs, steps // 2)[0], None

    return backend.scan(step, state, noise(state))[0].chains.position
