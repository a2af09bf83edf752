"""Refinement: draws of the guide, moved by a few steps of a kernel towards the posterior."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.inference.kernels import KERNELS, Kernel
from mmppl.inference.training.fitted import Fitted

Array = Any

__all__ = ["refine", "refine_draws", "refine_steps"]


@checked(data=ANYTHING, steps=at_least(0), num_samples=at_least(1))
def refine(
    fitted: Fitted,
    data: Batch,
    *,
    kernel: str = "mala",
    steps: int = 50,
    num_samples: int = 250,
    seed: int | Any = 0,
    **options: Any,
) -> Any:
    r"""Draws of the guide, each moved by a few steps of a kernel towards :math:`p(z \mid x_S)`, for any subset S.

    .. math:: z^{(0)} \sim q(z \mid x_S), \qquad z^{(k+1)} \sim T_{x_S}(\cdot \mid z^{(k)}), \quad k < K

    with T leaving :math:`p(z \mid x_S)` as it is: every step brings the draws closer to it, whatever the guide. Each
    draw of each datum is a chain of its own, which learns its step size in the first half of the steps.

    References:
        | Learning Multimodal Latent Space with EBM Prior and MCMC Inference (Yuan, Lipizzi & Han, 2024)
        | https://arxiv.org/abs/2408.10467

    Arguments:
        fitted: A fitted program.
        data: Data, N rows; modalities may be missing.
        kernel: A kernel by name.
        steps: K.
        num_samples: Draws for each datum.
        seed: Random seed; one, or one for each datum.
        options: Of the kernel, such as ``step_size``.

    Returns:
        A :class:`~mmppl.inference.Posterior` of independent draws.

    Raises:
        OptionError: If the kernel or an option is unknown, or ``steps`` is negative.
        ModalityError, DataError: If the data do not fit the program.
    """
    from mmppl.inference.posterior.infer import infer

    return infer(
        fitted, data, method="refine", num_samples=num_samples, seed=seed, kernel=kernel, steps=steps, **options
    )


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
