r"""From one network to the score of any blocks given any others.

A network that was learned with several times takes conditions clean, with time 0. One that knows the joint density
alone is conditioned by replacement: what it sees of the observed blocks is noised to the level of the rest. That is an
approximation (the observed blocks do not feel the others), which the particles of :mod:`mmppl.priors.score.smc` repair.

References:
    | Multi-modal Latent Diffusion (Bounoua et al., 2024), https://arxiv.org/abs/2306.04445
    | Score-Based Multimodal Autoencoder (Wesego & Rooshenas, 2024), https://arxiv.org/abs/2305.15708
    | Classifier-Free Diffusion Guidance (Ho & Salimans, 2022), https://arxiv.org/abs/2207.12598
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmppl._backend import Backend
from mmppl.checks import at_least, checked, one_of
from mmppl.errors import OptionError
from mmppl.priors.blocks import Blocks
from mmppl.priors.condition import BlockRoles
from mmppl.sde import SDE
from mmppl.sde.solvers import Solver
from mmppl.sde.solvers.base import Score

Array = Any
Predict = Callable[[BlockRoles, Array, Array], Array]
Guidance = Callable[[Array, Array], Array]

__all__ = ["CONDITIONING", "Conditioning"]

REPLACEMENTS = ("fresh", "fixed", "clean", "legacy")
CONDITIONING = ("multi_time", *REPLACEMENTS)


@checked(method=one_of(CONDITIONING), guidance=at_least(0))
@dataclass(frozen=True)
class Conditioning:
    r"""Conditioning of a joint score on some of its blocks.

    * ``"multi_time"``: conditions are clean and have time 0; blocks not asked for are absent.
    * ``"fresh"``: replacement, :math:`a z_o + \sigma \xi` with new noise at every step;
    * ``"fixed"``: the same with one noise for the whole way;
    * ``"clean"``: replacement by what is observed, without noise;
    * ``"legacy"``: :math:`(a + \sigma) z_o`, what the published code of score-based autoencoders does.

    With ``guidance`` w the score of a conditional is pushed away from that of the marginal,
    :math:`s = s_{u|o} + w (s_{u|o} - s_u)`, which takes a network that was learned with absent blocks. With w = 0 draws
    are the conditional's; with more they are sharper, and those of no conditional.

    Arguments:
        method: One of the above.
        guidance: w, at least 0.

    Raises:
        OptionError: If it is unknown, or replacement is to be guided by a marginal.

    Example:
        >>> Conditioning("fixed").replaces
        True
    """

    method: str = "multi_time"
    guidance: float = 0.0

    def __post_init__(self) -> None:
        if self.guidance and self.replaces:
            raise OptionError(
                "Expected guidance 0 where conditions are replaced: there is no score of a marginal. Condition by "
                "'multi_time', or guide by a pairwise energy."
            )

    @property
    def replaces(self) -> bool:
        """Tells whether the network knows the joint density alone."""
        return self.method in REPLACEMENTS

    def diffused(self, backend: Backend, roles: BlockRoles) -> BlockRoles:
        """The roles a solver works with: where conditions are replaced, whatever is not observed is diffused."""
        if not self.replaces:
            return roles
        return BlockRoles(~roles.clean, roles.clean)

    def score(
        self,
        backend: Backend,
        sde: SDE,
        blocks: Blocks,
        predict: Predict,
        roles: BlockRoles,
        fixed: Array | None = None,
        guidance: Guidance | None = None,
    ) -> Score:
        """The score of the diffused blocks given the clean ones.

        Arguments:
            backend: The backend of the arrays.
            sde: The diffusion.
            blocks: The blocks.
            predict: The noise predicted, from roles, positions ``(*, D)`` and a time.
            roles: What each block is.
            fixed: Noise ``(*, D)`` for ``"fixed"``, and for the last step of ``"fresh"``.
            guidance: Added to the score at ``(z, t)``, such as minus the gradient of a pairwise energy.
        """
        xp = backend.xp
        free, clean = blocks.spread(roles.diffused), blocks.spread(roles.clean)

        def replaced(z: Array, t: Array, xi: Array | None) -> Array:
            if self.method == "clean":
                return z
            if self.method == "legacy":
                return xp.where(clean, (sde.mean_factor(t) + sde.scale(t)) * z, z)
            noise = fixed if self.method == "fixed" or xi is None else xi
            return xp.where(clean, sde.diffuse(z, t, noise), z)

        def score(z: Array, t: Array, xi: Array | None = None) -> Array:
            if self.replaces:
                z = replaced(z, t, xi)
                everything = xp.ones_like(roles.clean)
                noise = predict(BlockRoles(everything, ~everything), z, t)
            else:
                noise = predict(roles, z, t)
                if self.guidance:
                    nothing = xp.zeros_like(roles.clean)
                    noise = noise + self.guidance * (noise - predict(BlockRoles(roles.diffused, nothing), z, t))
            out = -noise / sde.scale(t)
            return xp.where(free, out if guidance is None else out + guidance(z, t), xp.zeros_like(z))

        return score

    def sample(
        self,
        backend: Backend,
        rng: Any,
        solver: Solver,
        sde: SDE,
        blocks: Blocks,
        predict: Predict,
        roles: BlockRoles,
        observed: Array,
        guidance: Guidance | None = None,
    ) -> Array:
        """Draws the diffused blocks given the clean ones; those come back unchanged, absent ones as 0.

        Arguments:
            backend: The backend of the arrays.
            rng: A random handle.
            solver: From noise to data.
            sde: The diffusion.
            blocks: The blocks.
            predict: The noise predicted, from roles, positions ``(*, D)`` and a time.
            roles: What each block is, ``(*, M)``.
            observed: Values of the clean blocks, ``(*, D)``.
            guidance: See :meth:`score`.

        Raises:
            OptionError: If fresh noise is asked of a solver that draws none.
        """
        if self.method == "fresh" and not solver.draws:
            raise OptionError(f"Fresh noise at every step needs a solver that draws noise; {solver} does not.")
        xp = backend.xp
        first, second = backend.split(rng, 2)
        working = self.diffused(backend, roles)
        fixed = backend.normal(first, tuple(observed.shape), observed) if self.method in ("fresh", "fixed") else None
        score = self.score(backend, sde, blocks, predict, working, fixed, guidance)
        start = xp.where(blocks.spread(roles.clean), observed, xp.zeros_like(observed))
        z = solver.sample(backend, second, sde, score, start, blocks.spread(working.diffused))
        there = blocks.spread(roles.diffused | roles.clean)
        return xp.where(there, z, xp.zeros_like(z))
