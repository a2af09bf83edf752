"""The joint score as a NumPyro distribution."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, constraints

from mmppl._backend.jax import BACKEND
from mmppl.errors import OptionError
from mmppl.nets.bound import BoundNet
from mmppl.numpyro.energy import ambient_key
from mmppl.priors.blocks import Blocks
from mmppl.priors.joint_score import DENSITIES, Known, ScoreModel, gather
from mmppl.priors.multi_time import States
from mmppl.priors.twisted import Particles
from mmppl.sde.solvers import Solver

__all__ = ["Diffusion", "JointScore"]


class JointScore(Distribution):
    r"""A density of the latents of all modalities, side by side, by one score for every subset of them.

    .. math:: s(z_\tau, \tau) = -\hat\epsilon(z_\tau, \tau) / \sigma(t) \approx \nabla \log p(z_{A, t} \mid z_C)

    with a time for each block: t for the blocks A that are diffused, 0 for conditions C, -1 for absent ones.
    ``log_prob`` says what it is: with ``density="flow"`` the log density by the probability flow, deterministic, so
    that NUTS and MALA may use it; with ``density="denoising"`` the random denoising bound whose gradient learns the
    network. Use the latter in the model that is trained.

    References:
        | Multi-modal Latent Diffusion (Bounoua et al., 2024), https://arxiv.org/abs/2306.04445

    Arguments:
        net: The noise predicted, :math:`\hat\epsilon`: blocks and their times ``(*, D + M)`` to ``(*, D)``; see
            :mod:`mmppl.nets.scores`.
        blocks: Dimensions by name of block, or a :class:`~mmppl.priors.ScoreModel` that says besides how it is
            learned, solved and conditioned.
        loc: Mean of the latents, ``(D,)``, for standardisation.
        scale: Their standard deviation, ``(D,)``.
        energy: The network of the pairwise guidance that ``blocks`` asks for, or one for each pair by name.
        density: ``"flow"`` or ``"denoising"``.
        rng_key: Key for the denoising bound; taken from the enclosing ``seed`` handler by default.

    Raises:
        OptionError: If the density is unknown.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> prior = JointScore(lambda x: 0.5 * x[..., :3], {"ink": 2, "word": 1})
        >>> given = prior.conditional({"word": jnp.ones((4, 1))})
        >>> z = given.sample(jax.random.key(0))
        >>> z.shape, bool((z[:, 2] == 1.0).all())
        ((4, 3), True)
    """

    arg_constraints: dict = {}
    support = constraints.real_vector
    pytree_data_fields = ("net_params", "energy_params", "loc", "scale", "known", "aux")
    pytree_aux_fields = ("net_static", "energy_static", "options", "density")

    def __init__(
        self,
        net: Any,
        blocks: Mapping[str, int] | ScoreModel,
        *,
        loc: Any = 0.0,
        scale: Any = 1.0,
        energy: Any = None,
        density: str = "flow",
        rng_key: jax.Array | None = None,
        validate_args: bool | None = None,
    ):
        if density not in DENSITIES:
            raise OptionError(f"Expected a density among {DENSITIES}; got {density!r}.")
        options = blocks if isinstance(blocks, ScoreModel) else ScoreModel(Blocks.of(blocks))
        module, energy = _modules(net), _modules(energy)
        key = ambient_key() if rng_key is None and density == "denoising" else rng_key
        params, static = eqx.partition(module, eqx.is_inexact_array)
        self.energy_params, self.energy_static = eqx.partition(energy, eqx.is_inexact_array)
        self._settle(params, static, options, loc, scale, density, key, None, validate_args)

    def _settle(self, params, static, options, loc, scale, density, key, known, validate_args):
        self.net_params, self.net_static, self.options = params, static, options
        self.density, self.aux, self.known = density, key, known
        width = (options.blocks.dim,)
        self.loc = jax.lax.stop_gradient(jnp.broadcast_to(jnp.asarray(loc, float), width))
        self.scale = jax.lax.stop_gradient(jnp.broadcast_to(jnp.asarray(scale, float), width))
        shape = () if known is None else jnp.broadcast_shapes(known.loc.shape[:-1], known.states.clean.shape[:-1])
        super().__init__(shape, width, validate_args=validate_args)

    def _given(self, known: Known, options: ScoreModel) -> "JointScore":
        new = object.__new__(type(self))
        new.energy_params, new.energy_static = self.energy_params, self.energy_static
        args = (self.net_params, self.net_static, options, self.loc, self.scale, self.density, self.aux, known)
        new._settle(*args, self._validate_args)
        return new

    def conditional(
        self,
        values: Mapping[str, Any],
        present: Mapping[str, jax.Array] | None = None,
        *,
        want: tuple[str, ...] | None = None,
        guidance: float | None = None,
        solver: Solver | None = None,
        particles: int | Particles | None = None,
    ) -> "JointScore":
        """The distribution of all blocks given some: known ones come back as they are.

        Arguments:
            values: Known blocks ``(*, size)``, or pairs of location and scale that they are drawn from.
            present: Where each is known, ``(*,)``; everywhere by default. Any pattern in any row.
            want: Blocks to generate; None for all. Others are neither used nor made, and come back at their mean.
            guidance: Strength of guidance, if not the prior's.
            solver: The solver, if not the prior's.
            particles: Number of particles for draws that become exact as it grows, from a score that knows the joint
                density; see :class:`~mmppl.priors.Particles`.

        Raises:
            ModalityError: If a block is unknown or has another dimension.
            OptionError: If nothing is given.
            DataError: If a value is not finite where it is present.
        """
        known = gather(BACKEND, self.options.blocks, values, present, want)
        return self._given(known, self.options.guided(guidance, solver, particles))

    def marginal(self, present: Mapping[str, jax.Array]) -> "JointScore":
        """The distribution of the blocks that are present in each row, without the others.

        Arguments:
            present: Boolean ``(*,)`` for every block.
        """
        there = self.options.blocks.stack(present)
        loc = jnp.zeros((*there.shape[:-1], self.options.blocks.dim), self.loc.dtype)
        return self._given(Known(loc, None, States(there, jnp.zeros_like(there))), self.options)

    def log_prob(self, value: jax.Array) -> jax.Array:
        if self.density == "denoising":
            states = self._known(()).states
            present = states.diffused | states.clean
            args = (self._net(), value, present, self.loc, self.scale)
            return self.options.bound(BACKEND, self.aux, *args)
        return self.log_density(value)[0]

    def log_density(self, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The log density by the probability flow, and the standard error of its probes, ``(*,)`` each."""
        return _log_density(self, value)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        return _sample(self, key, tuple(sample_shape))[0]

    def sample_with_size(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> tuple[jax.Array, jax.Array]:
        """Draws of a conditional by particles, and the smallest effective number of them on the way of each.

        Raises:
            OptionError: If there are no particles.
        """
        if self.options.particles is None:
            raise OptionError("Expected a conditional with particles; got none. Call conditional(..., particles=P).")
        return _sample(self, key, tuple(sample_shape))

    def _net(self) -> Any:
        return eqx.combine(self.net_params, self.net_static)

    def _known(self, sample_shape: tuple[int, ...]) -> Known:
        """What is known, with leading axes; of a joint density, nothing."""
        shape = (*sample_shape, *self.batch_shape)
        number, dim = len(self.options.blocks), self.options.blocks.dim
        if self.known is None:
            everything = jnp.ones((*shape, number), bool)
            return Known(jnp.zeros((*shape, dim), self.loc.dtype), None, States(everything, ~everything))
        loc, scale, states = self.known
        wide = None if scale is None else jnp.broadcast_to(scale, (*shape, dim))
        return Known(
            jnp.broadcast_to(loc, (*shape, dim)), wide, States(*(jnp.broadcast_to(x, (*shape, number)) for x in states))
        )


class Diffusion(JointScore):
    r"""A diffusion prior on one latent: :class:`JointScore` with a single block.

    With ``density="denoising"`` and a :class:`~mmppl.priors.MultiTime` of scheme ``"importance"`` its random log
    density is a bound, so that encoders and prior may be learned together.

    References:
        | Score-based Generative Modeling in Latent Space (Vahdat et al., 2021), theorem 1
        | https://arxiv.org/abs/2106.05931

    Arguments:
        net: The network, ``(*, D + 1)``, latent and time, to ``(*, D)``.
        dim: D, or a :class:`~mmppl.priors.ScoreModel` with one block.
        options: Those of :class:`JointScore`.

    Raises:
        OptionError: If there is more than one block.

    Example:
        >>> Diffusion(lambda x: 0.0 * x[..., :2], 2).event_shape
        (2,)
    """

    def __init__(self, net: Any, dim: int | ScoreModel, **options: Any):
        model = dim if isinstance(dim, ScoreModel) else ScoreModel(Blocks.of({"z": dim}))
        if len(model.blocks) != 1:
            raise OptionError(f"Expected one block; got {list(model.blocks.names)}. Use JointScore for several.")
        super().__init__(net, model, **options)


def _modules(nets: Any) -> Any:
    """Networks without their names in the program."""
    if isinstance(nets, Mapping):
        return {name: _modules(net) for name, net in nets.items()}
    return nets.module if isinstance(nets, BoundNet) else nets


@eqx.filter_jit
def _sample(prior: JointScore, key: jax.Array, sample_shape: tuple) -> tuple[jax.Array, Any]:
    known, energy = prior._known(sample_shape), eqx.combine(prior.energy_params, prior.energy_static)
    return prior.options.sample(BACKEND, key, prior._net(), known, prior.loc, prior.scale, energy)


@eqx.filter_jit
def _log_density(prior: JointScore, value: jax.Array) -> tuple[jax.Array, jax.Array]:
    # What the flow says is not differentiated; the gradient with respect to the value is the score's.
    net = jax.lax.stop_gradient(prior.net_params), prior.net_static
    known = prior._known(())
    return prior.options.log_density(BACKEND, eqx.combine(*net), value, known, prior.loc, prior.scale)
