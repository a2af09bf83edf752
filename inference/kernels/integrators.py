r"""Splitting integrators of Hamiltonian motion, for many chains at once.

With energy :math:`H(z, v) = -\log p(z) + |v|^2 / 2` a step of size s is a row of kicks :math:`v \mathrel{+}= b_j s
\nabla \log p(z)` and drifts :math:`z \mathrel{+}= a_j s v`, the same forwards and backwards: it is reversible and
keeps volumes, so that a Metropolis test on the change of H makes it exact.

References:
    | Optimized Forest-Ruth- and Suzuki-like algorithms for integration of motion in many-body systems
    | (Omelyan, Mryglod & Folk, 2002), the velocity version of the extended Forest-Ruth-like scheme
    | https://doi.org/10.1016/S0010-4655(02)00451-4
"""

from typing import Any, NamedTuple

from mmppl._backend import get_backend
from mmppl.errors import OptionError
from mmppl.mcmc.langevin import LangevinState, init

Array = Any

__all__ = ["INTEGRATORS", "Integrator", "find", "trajectory"]

XI, LAMBDA, CHI = 0.1644986515575760, -0.02094333910398989, 1.235692651138917


class Integrator(NamedTuple):
    """A splitting.

    Arguments:
        kicks: Coefficients :math:`b_j`, one more than drifts.
        drifts: Coefficients :math:`a_j`.
        order: Order of its error.
        limit: The step size from which on the motion in a standard normal runs away.
    """

    kicks: tuple[float, ...]
    drifts: tuple[float, ...]
    order: int
    limit: float


INTEGRATORS = {
    "leapfrog": Integrator((0.5, 0.5), (1.0,), 2, 2.0),
    "fourth_order": Integrator(
        (XI, CHI, 1.0 - 2.0 * (CHI + XI), CHI, XI),
        (0.5 - LAMBDA, LAMBDA, LAMBDA, 0.5 - LAMBDA),
        4,
        3.469713,
    ),
}


def find(name: str) -> Integrator:
    """An integrator by name.

    Raises:
        OptionError: If there is no such integrator.

    Example:
        >>> find("leapfrog").order
        2
    """
    if name not in INTEGRATORS:
        raise OptionError(f"Unknown integrator '{name}'; expected one of {sorted(INTEGRATORS)}.")
    return INTEGRATORS[name]


def trajectory(
    log_density: Any, chains: Any, momentum: Array, step_size: Array, integrator: Integrator, num_steps: int
) -> tuple[LangevinState, Array]:
    """Position and momentum after ``num_steps`` steps.

    Arguments:
        log_density: Maps ``(*chains, D)`` to ``(*chains,)``.
        chains: Where the chains are: position, log density and score come first.
        momentum: v, ``(*chains, D)``.
        step_size: s, ``(*chains,)``.
        integrator: The splitting.
        num_steps: Number of steps.
    """
    backend = get_backend(momentum)
    step = step_size[..., None]
    first, last = integrator.kicks[0], integrator.kicks[-1]
    # The last kick of a step and the first of the next are at the same place, and so are one.
    within = [*integrator.kicks[1:-1], first + last] * num_steps
    within = [*within[:-1], last]
    drifts = backend.asarray(list(zip(list(integrator.drifts) * num_steps, within, strict=True)), like=momentum)

    def move(carry: tuple[LangevinState, Array], coefficient: Array) -> tuple[tuple[LangevinState, Array], None]:
        here, v = carry
        there = init(log_density, here.position + coefficient[0] * step * v)
        return (there, v + coefficient[1] * step * there.score), None

    start = LangevinState(*chains[:3])
    return backend.scan(move, (start, momentum + first * step * start.score), drifts)[0]
