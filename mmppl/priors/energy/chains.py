"""Sampling of an energy-tilted prior while it learns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmppl._backend import Backend
from mmppl.checks import above, at_least, checked, within
from mmppl.errors import OptionError
from mmppl.mcmc.langevin import run_chain

Array = Any

__all__ = ["LangevinChains"]


@checked(
    number=at_least(1),
    steps=at_least(1),
    step_size=above(0),
    clip=above(0),
    buffer=at_least(0),
    restart=within(0, 1),
    draw_steps=at_least(1),
)
@dataclass(frozen=True)
class LangevinChains:
    r"""Langevin chains whose number the prior sets, not the plate.

    .. math:: z' = z + \tfrac{s^2}{2} \operatorname{clip}(\nabla \log p(z)) + s\,\epsilon

    Without a buffer the chains are short-run: each gradient starts them anew from the base. With one they persist:
    each gradient takes ``number`` chains out of the buffer, restarts some from the base, runs them, and puts them
    back. A buffer of just ``number`` chains is persistent contrastive divergence, a larger one a replay buffer.

    References:
        | Learning Latent Space Energy-Based Prior Model (Pang et al., 2020), section 3
        | https://arxiv.org/abs/2006.08205
        | Training restricted Boltzmann machines using approximations to the likelihood gradient (Tieleman, 2008)

    Arguments:
        number: Chains for each gradient.
        steps: Langevin steps for each gradient.
        step_size: s, in units of the latent.
        clip: Bound on each coordinate of the score; None for none.
        adjusted: Whether steps are Metropolis-adjusted.
        buffer: Number of chains kept between gradients; 0 for short-run chains.
        restart: Share of the chains restarted from the base at each gradient, with a buffer.
        draw_steps: Metropolis-adjusted steps from the base for each draw of ``sample``.

    Raises:
        OptionError: If a number is out of range, or the buffer is smaller than ``number``.

    Example:
        >>> LangevinChains(number=64, buffer=640).steps
        60
    """

    number: int = 256
    steps: int = 60
    step_size: float = 0.2
    clip: float | None = 50.0
    adjusted: bool = False
    buffer: int = 0
    restart: float = 0.05
    draw_steps: int = 500

    def __post_init__(self) -> None:
        if self.buffer and self.buffer < self.number:
            raise OptionError(f"Expected a buffer of at least number={self.number} chains; got {self.buffer}.")

    def check_short_run(self) -> None:
        """Raises :class:`OptionError` if chains are kept in a buffer."""
        if self.buffer:
            raise OptionError(
                f"Expected chains that start anew at every gradient; got a buffer of {self.buffer}, whose chains go "
                "on. Take buffer=0."
            )

    def run(
        self,
        backend: Backend,
        rng: Any,
        log_density: Callable[[Array], Array],
        start: Array,
        steps: int | None = None,
        adjusted: bool | None = None,
    ) -> tuple[Array, Array]:
        """Runs the chains from ``start`` (``(*chains, D)``): the last positions and the acceptance of each step."""
        steps = self.steps if steps is None else steps
        adjusted = self.adjusted if adjusted is None else adjusted
        first, second = backend.split(rng, 2)
        noise = backend.normal(first, (steps, *start.shape), start)
        uniform = backend.uniform(second, (steps, *start.shape[:-1]), start) if adjusted else None
        return run_chain(backend, log_density, start, noise, uniform, self.step_size, self.clip)

    def refresh(
        self, backend: Backend, rng: Any, log_density: Callable[[Array], Array], buffer: Array, base: Array
    ) -> tuple[Array, Array]:
        """Advances ``number`` chains of the buffer.

        The buffer is FIFO: chains are taken from the front and appended at the back, so that every
        chain has its turn.

        Arguments:
            backend: The backend of the arrays.
            rng: A random handle.
            log_density: Maps ``(number, D)`` to ``(number,)``.
            buffer: ``(buffer, D)``.
            base: Fresh draws from the base, ``(number, D)``.

        Returns:
            The advanced chains ``(number, D)`` and the new buffer.
        """
        xp = backend.xp
        first, second = backend.split(rng, 2)
        restart = backend.uniform(first, (self.number, 1), buffer) < self.restart
        start = xp.where(restart, base, buffer[: self.number, :])
        chains, _ = self.run(backend, second, log_density, start)
        return chains, xp.concat([buffer[self.number :, :], chains], axis=0)
