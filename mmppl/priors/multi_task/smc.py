r"""Conditionals of a multi-task diffusion whose network is unconditional.

Its heads say of one coordinate at a time what :math:`z_t` says of it. Several coordinates are independent given
:math:`z_0`, but not given :math:`z_t`: of the uncertainty about :math:`z_0` they share the errors, and the product of
their heads counts it once for each. So that product only twists particles of the unconditional diffusion, and less so
the more is uncertain and the more coordinates K there are for each of the D of the primary block,

.. math:: \tilde p_t(z) = \prod_i p(x_i \mid z_t)^{(1 + w) / (1 + c \tau_t^2)}, \qquad c = \frac{K - 1}{D}, \quad
    \tau_t^2 = \frac{\sigma_t^2}{a_t^2 + \sigma_t^2}

Particles are weighed by what the twist changed; at the last time, where nothing is left of the uncertainty, it is the
likelihood. As their number grows they have the density :math:`p(z_0) \prod_i p(x_i \mid z_0)^{1 + w}`, with w = 0 for
the conditional.

References:
    | Practical and Asymptotically Exact Conditional Sampling in Diffusion Models (Wu et al., 2023), algorithm 1
    | https://arxiv.org/abs/2306.17775
"""

from typing import Any

import numpy as np

from mmppl.priors.condition import BlockRoles, Query
from mmppl.priors.multi_task.loss import Answer, MultiTaskLoss
from mmppl.priors.multi_task.shared_space import SharedSpace
from mmppl.priors.score.smc import Twist, TwistedSMC

Array = Any

__all__ = ["NUMBER", "STEPS", "blind_to", "draw_primary"]

# Steps have the noise that is right for latents of unit variance, so that few do.
NUMBER, STEPS = 16, 60


def blind_to(space: SharedSpace, roles: BlockRoles) -> BlockRoles:
    """The roles of the blocks without a condition: others join unseen, primary ones are hidden."""
    joins = roles.clean & ~space.is_primary(roles)
    return BlockRoles(roles.diffused | joins, roles.clean & ~roles.clean)


def draw_primary(
    rng: Any,
    query: Query,
    space: SharedSpace,
    learning: MultiTaskLoss,
    particles: TwistedSMC,
    power: float,
    observed: Array,
) -> tuple[Array, Array]:
    """Draws ``(*, D)`` of the primary block, the others as they are, and effective numbers of particles ``(*,)``.

    Arguments:
        rng: A random handle.
        query: The network, and what each block is.
        space: The forward diffusion.
        learning: What the network predicts.
        particles: Settings of the sampler.
        power: 1 + w.
        observed: Values of the known blocks, ``(*, D)``.
    """
    backend, roles = query.backend, query.roles
    xp, blind = backend.xp, blind_to(space, roles)
    known = space.some(roles.clean)
    free = space.blocks.spread(space.is_primary(roles) & ~roles.clean)
    joins = space.blocks.spread(space.others(blind).diffused)
    guides = space.blocks.spread(space.others(roles).clean & ~known)
    pieces = xp.ones_like(observed) * space.pieces(backend, observed)
    number = xp.sum(xp.where(guides, pieces, xp.zeros_like(observed)), axis=-1)
    excess = xp.where(number > 1, number - 1.0, xp.zeros_like(number)) / space.own

    def ask(z: Array, t: Array) -> Answer:
        return learning.answer(backend, space, query.net, blind, z, t + xp.zeros_like(z[..., :1]))

    def twist(z: Array, t: Array, xi: Array) -> Twist:
        scale = space.sde.scale(t) ** 2
        share = power / (1.0 + excess * scale / (space.sde.mean_factor(t) ** 2 + scale))

        def heads(at: Array) -> Array:
            parts = ask(at, t).log_prob(backend, observed)
            return share * xp.sum(xp.where(guides, parts, xp.zeros_like(parts)), axis=-1)

        answer, (value, slope) = ask(z, t), backend.value_and_grad(heads, z)
        joined = space.shift(xp.where(joins, answer.draw(backend, xi), xp.zeros_like(xi)))
        slope = xp.where(free, slope, xp.zeros_like(slope))
        return Twist(-answer.noise / space.sde.scale(t), value, slope, joined)

    z, at, size = particles.run(backend, rng, space.sde, twist, observed, free, space.weight, unit=True)
    t = backend.asarray(np.asarray(particles.last), like=observed)
    return xp.where(free, space.sde.denoise(z - space.weight(t) * at.joined, t, at.score), observed), size
