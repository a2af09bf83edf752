r"""Langevin steps, unadjusted and Metropolis-adjusted, for many chains at once.

With step size :math:`s`, score :math:`g = \nabla \log p` (clipped where asked) and standard normal :math:`\epsilon`

.. math:: z' = z + \tfrac{s^2}{2} g(z) + s\,\epsilon

Every leading axis of ``z`` is a chain of its own: it is accepted or rejected alone. Noise comes in as arrays.

References:
    | Exponential convergence of Langevin distributions and their discrete approximations (Roberts & Tweedie, 1996)
    | https://doi.org/10.2307/3318418
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from mmppl._backend import Backend, get_backend

Array = Any
LogDensity = Callable[[Array], Array]

__all__ = ["LangevinInfo", "LangevinState", "init", "mala_step", "metropolis", "run_chain", "ula_step"]


class LangevinState(NamedTuple):
    """State of Langevin chains.

    Arguments:
        position: ``(*chains, D)``.
        log_density: ``(*chains,)``.
        score: Gradient of the log density, ``(*chains, D)``; kept so that a step costs one gradient.
    """

    position: Array
    log_density: Array
    score: Array


class LangevinInfo(NamedTuple):
    r"""Record of a step; every field is of shape ``(*chains,)``.

    Arguments:
        accept_prob: Acceptance probability.
        accepted: Whether the proposal was taken.
        energy: :math:`-\log p(z) + |v|^2 / 2` where the chain stands after the step; v is the momentum, for a Langevin
            step the noise that led there.
        diverging: Whether the proposal has no finite log density, or an energy higher by more than 1000.
    """

    accept_prob: Array
    accepted: Array
    energy: Array
    diverging: Array


MAX_ENERGY_ERROR = 1000.0


def init(log_density: LogDensity, position: Array) -> LangevinState:
    """The state of chains that stand at ``position``."""
    value, score = get_backend(position).value_and_grad(log_density, position)
    return LangevinState(position, value, score)


def ula_step(
    log_density: LogDensity, state: LangevinState, noise: Array, step_size: Array | float, clip: float | None = None
) -> tuple[LangevinState, LangevinInfo]:
    """One unadjusted step (every proposal is taken).

    Arguments:
        log_density: Maps ``(*chains, D)`` to ``(*chains,)``.
        state: Where the chains are.
        noise: Standard normal, ``(*chains, D)``.
        step_size: s, a float or ``(*chains,)``.
        clip: Bound on each coordinate of the score.
    """
    xp = get_backend(state.position).xp
    step = _per_chain(step_size)
    proposal = init(log_density, state.position + _drift(state.score, step, clip, xp) + step * noise)
    ones = xp.ones_like(proposal.log_density)
    energy = 0.5 * xp.sum(noise * noise, axis=-1) - proposal.log_density
    return proposal, LangevinInfo(ones, ones > 0, energy, ~xp.isfinite(proposal.log_density))


def mala_step(
    log_density: LogDensity,
    state: LangevinState,
    noise: Array,
    uniform: Array,
    step_size: Array | float,
    clip: float | None = None,
) -> tuple[LangevinState, LangevinInfo]:
    """One Metropolis-adjusted step; exact for any clip, since the proposal density uses the same drift.

    Arguments:
        log_density: Maps ``(*chains, D)`` to ``(*chains,)``.
        state: Where the chains are.
        noise: Standard normal, ``(*chains, D)``.
        uniform: On [0, 1), ``(*chains,)``.
        step_size: s, a float or ``(*chains,)``.
        clip: Bound on each coordinate of the score.
    """
    xp = get_backend(state.position).xp
    step = _per_chain(step_size)
    proposal = init(log_density, state.position + _drift(state.score, step, clip, xp) + step * noise)
    back = (state.position - proposal.position - _drift(proposal.score, step, clip, xp)) / step
    before = 0.5 * xp.sum(noise * noise, axis=-1) - state.log_density
    after = 0.5 * xp.sum(back * back, axis=-1) - proposal.log_density
    return metropolis(state, proposal, before, after, uniform)


def metropolis(state: Any, proposal: Any, before: Array, after: Array, uniform: Array) -> tuple[Any, LangevinInfo]:
    r"""Takes each chain's proposal with probability :math:`\min(1, e^{H - H'})`, and leaves the others where they are.

    Arguments:
        state: Where the chains are, a named tuple of arrays ``(*chains, *)``.
        proposal: Where they may go.
        before: Energy H of the state, ``(*chains,)``.
        after: Energy H' of the proposal, ``(*chains,)``.
        uniform: On [0, 1), ``(*chains,)``.
    """
    xp = get_backend(state.position).xp
    # A proposal of no density, or one that is not a number, is refused.
    log_ratio = xp.where(xp.isnan(before - after), -xp.inf, before - after)
    accept_prob = xp.exp(xp.clip(log_ratio, max=0.0))
    accepted = uniform < accept_prob
    taken = type(state)(*(_where(accepted, new, old, xp) for new, old in zip(proposal, state, strict=True)))
    energy = xp.where(accepted, after, before)
    return taken, LangevinInfo(accept_prob, accepted, energy, log_ratio < -MAX_ENERGY_ERROR)


def _where(accepted: Array, new: Array, old: Array, xp: Any) -> Array:
    return xp.where(accepted[..., None] if new.ndim > accepted.ndim else accepted, new, old)


def run_chain(
    backend: Backend,
    log_density: LogDensity,
    position: Array,
    noise: Array,
    uniform: Array | None,
    step_size: float,
    clip: float | None = None,
) -> tuple[Array, Array]:
    """Runs chains for as many steps as there is noise; adjusted if ``uniform`` is given.

    Arguments:
        backend: The backend of the arrays.
        log_density: Maps ``(*chains, D)`` to ``(*chains,)``.
        position: Start, ``(*chains, D)``.
        noise: Standard normal, ``(steps, *chains, D)``.
        uniform: On [0, 1), ``(steps, *chains)``, or None for unadjusted steps.
        step_size: Step size s.
        clip: Bound on each coordinate of the score.

    Returns:
        The last position and the mean acceptance probability of every step, ``(steps,)``.
    """

    def step(state: LangevinState, xs: tuple) -> tuple[LangevinState, Array]:
        if uniform is None:
            state, info = ula_step(log_density, state, xs[0], step_size, clip)
        else:
            state, info = mala_step(log_density, state, xs[0], xs[1], step_size, clip)
        return state, backend.xp.mean(info.accept_prob)

    xs = (noise,) if uniform is None else (noise, uniform)
    state, accept = backend.scan(step, init(log_density, position), xs)
    return state.position, accept


def _per_chain(step_size: Array | float) -> Array | float:
    return step_size if isinstance(step_size, float) or not step_size.ndim else step_size[..., None]


def _drift(score: Array, step: Array | float, clip: float | None, xp: Any) -> Array:
    return 0.5 * step * step * (score if clip is None else xp.clip(score, -clip, clip))
