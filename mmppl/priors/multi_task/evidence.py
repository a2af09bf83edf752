r"""The bound of a multi-task diffusion, term by term, on a grid of times :math:`0 = t_0 < \dots < t_T = 1`.

.. math::
    L_0 &= \mathrm{KL}(q(z_T \mid z_0, x) \,\|\, p(z_T)), \qquad
    L_1 = \sum_{t > 1} \mathrm{KL}(q(z_{t-1} \mid z_0, z_t, x) \,\|\, p(z_{t-1} \mid z_t)) \\
    L_2 &= -\sum_{t \ge 1} \sum_i \log p(x_i \mid z_t), \qquad L_3 = -\log p(z_0 \mid z_1)

The published objective :math:`L_0 + L_1 + L_2 + L_3` reads the others at every time, so it bounds the evidence of one
:math:`z_0` with T copies of them. Of one copy, read at the first time alone,

.. math:: \log p(z_0, x) \ge -E_q[L_0 + L_1 + L_3] + \sum_i E_q \log p(x_i \mid z_1)

Steps back are Normals with the variance of q, and the last one with that of :math:`z_1` given :math:`z_0`; what joins
in their means is the heads' mean.

References:
    | Diffusion Models For Multi-Modal Generative Modeling (Chen et al., 2024), section 3.2
    | https://openreview.net/forum?id=cbv0sBIZh9
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from mmppl._backend import Backend
from mmppl.numerics import normal_log_density
from mmppl.priors.condition import BlockRoles
from mmppl.priors.multi_task.loss import MultiTaskLoss
from mmppl.priors.multi_task.shared_space import SharedSpace
from mmppl.priors.score.matching import Net
from mmppl.sde.solvers.ancestral import posterior
from mmppl.sde.solvers.base import count, table

Array = Any

__all__ = ["EvidenceTerms", "evidence_terms", "sampled_terms"]


class EvidenceTerms(NamedTuple):
    """Terms of the bound of each datum in nats, ``(*,)`` each.

    Arguments:
        end: :math:`L_0`.
        steps: :math:`L_1`.
        heads: :math:`L_2`, over all times.
        data: :math:`L_3`.
        reading: What :math:`L_2` has at the first time.
    """

    end: Array
    steps: Array
    heads: Array
    data: Array
    reading: Array

    @property
    def objective(self) -> Array:
        """The published negative bound, :math:`L_0 + L_1 + L_2 + L_3`."""
        return self.end + self.steps + self.heads + self.data

    @property
    def bound(self) -> Array:
        """Lower bound of the log evidence of one copy of everything."""
        return -(self.end + self.steps + self.data + self.reading)


def evidence_terms(
    backend: Backend,
    space: SharedSpace,
    learning: MultiTaskLoss,
    net: Net,
    z: Array,
    roles: BlockRoles,
    grid: np.ndarray,
    noise: Callable[[Array], Array],
) -> EvidenceTerms:
    """One draw of the terms for each datum; those of known and absent blocks are left out.

    Arguments:
        backend: The backend of the arrays.
        space: The forward diffusion.
        learning: What the network predicts.
        net: The network.
        z: Clean latents, ``(*, D)``.
        roles: What each block is.
        grid: Times from 1 down to 0, ``(T + 1,)``.
        noise: The i-th standard normal draw ``(*, D)``, i from T - 1 for the first time to 0 for the last.
    """
    xp, shift, part = backend.xp, *_parts(backend, space, learning, net, z, roles)

    def at_time(carry: None, xs: tuple) -> tuple[None, tuple]:
        i, *columns = xs
        return None, part(noise(i), *columns)

    columns = _columns(backend, space, z, grid)
    squared, read = backend.scan(at_time, None, (count(backend, len(grid) - 1), *columns))[1]
    return EvidenceTerms(
        end=_end(backend, space, z, roles, grid, shift),
        steps=xp.sum(squared[:-1, ...], axis=0),
        heads=xp.sum(read, axis=0),
        data=squared[-1, ...] + _log_volume(backend, space, z, roles, grid),
        reading=read[-1, ...],
    )


def sampled_terms(
    backend: Backend,
    space: SharedSpace,
    learning: MultiTaskLoss,
    net: Net,
    z: Array,
    roles: BlockRoles,
    grid: np.ndarray,
    rng: Any,
) -> EvidenceTerms:
    """Estimates of the terms of data ``(*, D)``, each by the last time and one of all T, at the cost of two.

    Its mean over noise is that of :func:`evidence_terms`; half of the times are uniform, and half by the error that a
    network makes that knows only that data have unit variance. Arguments are those there, but for a random handle.
    """
    xp, shift, part = backend.xp, *_parts(backend, space, learning, net, z, roles)
    first, second, third = backend.split(rng, 3)
    number, lead = len(grid) - 1, tuple(z.shape[:-1])
    rows = prod(lead)
    even = (backend.asarray(np.arange(float(rows)), like=z) + backend.uniform(first, (rows,), z)) / rows
    shares = _shares(space, grid)
    columns = _columns(backend, space, z, grid)
    ends = backend.asarray(np.cumsum(shares)[:-1], like=z)
    place = xp.searchsorted(ends, even, side="right")
    own = [xp.reshape(xp.take(column, place), (*lead, 1)) for column in columns]
    weight = xp.reshape(xp.take(backend.asarray(1.0 / shares, like=z), place), lead)
    place = xp.reshape(place, lead)
    squared, read = part(backend.normal(second, tuple(z.shape), z), *own)
    last, reading = part(backend.normal(third, tuple(z.shape), z), *(column[-1] for column in columns))
    return EvidenceTerms(
        end=_end(backend, space, z, roles, grid, shift),
        steps=xp.where(place < number - 1, weight * squared, xp.zeros_like(squared)),
        heads=weight * read,
        data=last + _log_volume(backend, space, z, roles, grid),
        reading=reading,
    )


def _shares(space: SharedSpace, grid: np.ndarray) -> np.ndarray:
    """Probabilities of the times, ``(T,)``."""
    t, sde = grid[:-1], space.sde
    _, gain, spread = posterior(sde, t, grid[1:])
    width = np.where(spread > 0.0, spread, sde.scale(t))
    error = (gain * sde.mean_factor(t) / (sde.scale(t) * width)) ** 2 * (np.arange(len(t)) < len(t) - 1)
    return 0.5 / len(t) + 0.5 * error / error.sum()


def _free(space: SharedSpace, roles: BlockRoles) -> tuple[Array, Array]:
    """Coordinates that are diffused, and those that are read, boolean ``(*, D)``."""
    primary = space.blocks.spread(space.is_primary(roles))
    asked = space.blocks.spread(roles.diffused)
    return asked & primary, asked & ~primary


def _parts(
    backend: Backend, space: SharedSpace, learning: MultiTaskLoss, net: Net, z: Array, roles: BlockRoles
) -> tuple[Array, Callable[..., tuple[Array, Array]]]:
    """Sum of what joins, and the two terms of a time: the squared error of the mean, and the reading, ``(*,)`` each."""
    xp, (free, others) = backend.xp, _free(space, roles)
    shift = backend.stop_gradient(learning.shift(backend, space, net, space.joins(roles, z)))

    def part(
        xi: Array, t: Array, own: Array, gain: Array, spread: Array, now: Array, then: Array
    ) -> tuple[Array, Array]:
        there = space.diffuse(z, roles, t, xi, shift)
        answer = learning.answer(backend, space, net, roles, there, t + xp.zeros_like(z[..., :1]))
        prediction = xp.where(free | others, answer.mean(backend), z)
        prediction = learning.shift(backend, space, net, space.joins(roles, prediction))
        # The means of q and p differ in what joins and in the noise.
        wrong = (then - own * now) * (shift - prediction) - gain * (xi - answer.noise) / space.sde.scale(t)
        read = -_total(backend, answer.log_prob(backend, z), others)
        width = xp.where(spread > 0.0, spread, space.sde.scale(t))
        return 0.5 * _total(backend, (wrong / width) ** 2, free), read

    return shift, part


def _columns(backend: Backend, space: SharedSpace, z: Array, grid: np.ndarray) -> tuple[Array, ...]:
    """The numbers of each step, ``(T,)`` each."""
    t, u = grid[:-1], grid[1:]
    return table(backend, z, t, *posterior(space.sde, t, u), space.weight(t), space.weight(u))


def _end(backend: Backend, space: SharedSpace, z: Array, roles: BlockRoles, grid: np.ndarray, shift: Array) -> Array:
    last = backend.asarray(np.asarray(grid[0]), like=z)
    start = space.sde.mean_factor(last) * z + space.weight(last) * shift
    return 0.5 * _total(backend, start * start, _free(space, roles)[0]) / space.sde.prior_scale**2


def _log_volume(backend: Backend, space: SharedSpace, z: Array, roles: BlockRoles, grid: np.ndarray) -> Array:
    """Minus the log density of the last step at its own mean."""
    xp = backend.xp
    width = space.sde.scale(backend.asarray(np.asarray(grid[-2]), like=z))
    unit = normal_log_density(xp.zeros_like(z), xp.zeros_like(z) + xp.log(width))
    return -_total(backend, unit, _free(space, roles)[0])


def _total(backend: Backend, x: Array, where: Array) -> Array:
    return backend.xp.sum(backend.xp.where(where, x, backend.xp.zeros_like(x)), axis=-1)
