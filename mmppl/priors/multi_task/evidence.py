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

__all__ = ["EvidenceTerms", "evidence_terms"]


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
    states: BlockRoles,
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
        states: What each block is.
        grid: Times from 1 down to 0, ``(T + 1,)``.
        noise: The i-th standard normal draw ``(*, D)``, i from T - 1 for the first time to 0 for the last.
    """
    xp, sde = backend.xp, space.sde
    primary = space.blocks.spread(space.is_primary(states))
    asked = space.blocks.spread(states.diffused)
    moves, others = asked & primary, asked & ~primary
    shift = backend.stop_gradient(learning.shift(backend, space, net, space.joins(states, z)))

    def total(x: Array, where: Array) -> Array:
        return xp.sum(xp.where(where, x, xp.zeros_like(x)), axis=-1)

    def at_time(carry: None, xs: tuple) -> tuple[None, tuple]:
        i, t, own, pull, spread, now, then = xs
        xi = noise(i)
        there = space.diffuse(z, states, t, xi, shift)
        answer = learning.answer(backend, space, net, states, there, t + xp.zeros_like(z[..., :1]))
        guess = xp.where(asked, answer.mean(backend), z)
        guess = learning.shift(backend, space, net, space.joins(states, guess))
        # The means of q and p differ in what joins and in the noise.
        wrong = (then - own * now) * (shift - guess) - pull * (xi - answer.noise) / sde.scale(t)
        read = -total(answer.log_prob(backend, z), others)
        width = xp.where(spread > 0.0, spread, sde.scale(t))
        squared = 0.5 * total(wrong * wrong, moves) / width**2
        return None, (squared, read, xp.log(width))

    t, u = grid[:-1], grid[1:]
    columns = table(backend, z, t, *posterior(sde, t, u), space.weight(t), space.weight(u))
    squared, read, log_width = backend.scan(at_time, None, (count(backend, len(t)), *columns))[1]
    last = backend.asarray(np.asarray(grid[0]), like=z)
    start = sde.mean_factor(last) * z + space.weight(last) * shift
    unit = normal_log_density(xp.zeros_like(z), xp.zeros_like(z) + log_width[-1])
    return EvidenceTerms(
        end=0.5 * total(start * start, moves) / sde.prior_scale**2,
        steps=xp.sum(squared[:-1, ...], axis=0),
        heads=xp.sum(read, axis=0),
        data=squared[-1, ...] - total(unit, moves),
        reading=read[-1, ...],
    )
