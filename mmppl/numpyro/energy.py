"""The energy-tilted prior as a NumPyro distribution."""

import math
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import Distribution, biject_to
from numpyro.distributions.util import validate_sample

from mmppl._backend.jax import BACKEND
from mmppl.display import Shown
from mmppl.errors import OptionError
from mmppl.nets.bound import BoundNet
from mmppl.nets.equinox_rows import spread
from mmppl.numpyro.compiling import compiled, random_key
from mmppl.numpyro.declared import taken_apart
from mmppl.numpyro.parts import whole_key
from mmppl.numpyro.seeded import program_key
from mmppl.priors.energy.chain_bias import ChainBias, chain_bias
from mmppl.priors.energy.chains import LangevinChains
from mmppl.priors.energy.normalizer import LogNormalizer, annealed_importance_sampling, summarise
from mmppl.priors.energy.real_line import check_continuous, on_real_line
from mmppl.priors.energy.tilted import contrastive_zero

__all__ = ["EnergyTilted", "ambient_key"]


class EnergyTilted(Shown, Distribution):
    r"""A base distribution tilted by a learnable energy.

    .. math:: p_\alpha(z) = \frac{1}{Z(\alpha)} \exp(f_\alpha(z))\, p_0(z)

    ``log_prob`` is deterministic, :math:`f + \log p_0 - \log Z` with the given ``log_z`` (0 if it is not known), so
    NUTS and MALA may use it. Its gradient with respect to parameters carries :math:`-\nabla \log Z`, estimated in
    the backward pass from Langevin chains whose number ``chains`` sets; nothing is sampled unless the parameters ask
    for a gradient. Those are all that the base and the energy rest on, wherever they are kept: in a list of
    transforms, in a module, or in the closure of a function. Without an energy it is the base, bit for bit.
    Chains of a base with bounds run on the real line, by the host's map to its support, so that bounds may be learned.

    References:
        | Learning Multimodal Latent Generative Models with Energy-Based Prior (Yuan et al., 2024)
        | https://arxiv.org/abs/2409.19862

    Arguments:
        base: :math:`p_0`, with event shape ``(D,)`` and no batch shape.
        energy: f, maps ``(*, D)`` to ``(*,)``: what ``mm.net`` returns, an Equinox module, a function, or None.
        chains: How negatives and samples are drawn.
        log_z: log Z in nats, where it is known.
        kept: 1 for coordinates that the energy sees, else 0, ``(D,)``; None for all. The others are as in the base.
        rng_key: Key for the negatives; taken from the enclosing ``seed`` handler by default.

    Raises:
        OptionError: If the base has a batch shape, is discrete or is not a vector; when drawing, if it does not declare
            to JAX all that it needs.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro.distributions as dist
        >>> base = dist.Laplace(jnp.zeros(2), 1.0).to_event(1)
        >>> prior = EnergyTilted(base, lambda z: -jnp.sum(z**2, -1))
        >>> bool(prior.log_prob(jnp.ones(2)) == base.log_prob(jnp.ones(2)) - 2.0)
        True
    """

    arg_constraints: dict = {}
    pytree_data_fields = ("base", "energy_params", "log_z", "chain_key", "persistent", "kept")
    pytree_aux_fields = ("energy_static", "chains")

    def __init__(
        self,
        base: Distribution,
        energy: Any = None,
        chains: LangevinChains | None = None,
        *,
        log_z: Any = 0.0,
        kept: Any = None,
        rng_key: jax.Array | None = None,
        validate_args: bool | None = None,
    ):
        if base.batch_shape or len(base.event_shape) != 1:
            raise OptionError(
                f"Expected a base with batch shape () and event shape (D,); got {base.batch_shape} and "
                f"{base.event_shape}. Use .to_event(1)."
            )
        check_continuous(base)
        self.base, self.log_z = base, log_z
        self.kept = None if kept is None else jax.lax.stop_gradient(jnp.asarray(kept, float))
        self.chains = LangevinChains() if chains is None else chains
        module = energy.module if isinstance(energy, BoundNet) else energy
        self.energy_params, self.energy_static = eqx.partition(module, eqx.is_inexact_array)
        self.chain_key = self.persistent = None
        super().__init__((), base.event_shape, validate_args=validate_args)
        if energy is not None:
            self.chain_key = whole_key(ambient_key()) if rng_key is None else rng_key
            self.persistent = self._persist(energy, self.chain_key) if self.chains.buffer else None

    @property
    def support(self) -> Any:
        return self.base.support

    @property
    def tilted(self) -> bool:
        """Tells whether there is an energy; without one this is the base."""
        return not (self.energy_static is None and self.energy_params is None)

    def energy(self, value: jax.Array) -> jax.Array:
        """The energy f at ``value``, ``(*, D)`` to ``(*,)``; zero without an energy."""
        return _energy(self.energy_params, self.energy_static, value, self.kept)

    @validate_sample
    def log_prob(self, value: jax.Array) -> jax.Array:
        if self.energy_static is None and self.energy_params is None:
            return self.base.log_prob(value)
        log_density = self._log_density(value)
        if BACKEND.is_concrete(log_density):
            return log_density - self.log_z
        return log_density - self.log_z + self._learning()

    def _log_density(self, z: jax.Array) -> jax.Array:
        return _log_density(self.energy_params, self.energy_static, self.base, z, self.kept)

    def _line_density(self, y: jax.Array) -> jax.Array:
        return _line_density(self.energy_params, self.energy_static, self.base, y, self.kept)

    def _learning(self) -> jax.Array:
        """Zero, with the gradient of -log Z: what that is taken in is read off the computations themselves."""
        chains, key = self.chains, self.chain_key
        start = eqx.filter_closure_convert(
            lambda key: spread(on_real_line(self.base, dist, biject_to)[0].sample(key, (chains.number,))), key
        )
        density = eqx.filter_closure_convert(self._line_density, start.out_struct)
        params, rest = eqx.partition(density, eqx.is_inexact_array)
        aux, static = eqx.partition((rest, start, key, self.persistent), eqx.is_array)

        def log_density(params: Any, aux: Any, z: jax.Array) -> jax.Array:
            rest, *_ = eqx.combine(aux, static)
            return eqx.combine(params, rest)(z)

        def negatives(params: Any, aux: Any) -> jax.Array:
            _, start, key, persistent = eqx.combine(aux, static)
            if persistent is not None:
                return persistent
            first, second = jax.random.split(key)
            return chains.run(BACKEND, second, lambda z: log_density(params, aux, z), start(first))[0]

        return contrastive_zero(BACKEND, log_density, params, negatives, aux)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draws by Metropolis-adjusted Langevin chains from the base, one chain for each draw."""
        if self.energy_static is None and self.energy_params is None:
            return self.base.sample(key, sample_shape)
        num = math.prod(sample_shape)
        with taken_apart(self.base):
            draws = _draw(self.chains, self.energy_params, self.energy_static, self.base, self.kept, key, num)
        return draws.reshape(*sample_shape, *self.event_shape)

    def log_normalizer(self, rng_key: jax.Array, num_chains: int = 1000, num_temperatures: int = 300) -> LogNormalizer:
        """Log Z with its standard error, by annealed importance sampling from the base.

        Arguments:
            rng_key: Random key.
            num_chains: Number of weights.
            num_temperatures: Steps from the base to the tilted density.
        """
        if self.energy_static is None and self.energy_params is None:
            return LogNormalizer(0.0, 0.0, float(num_chains))
        args = (self.chains, self.energy_params, self.energy_static, self.base, self.kept, rng_key)
        with taken_apart(self.base):
            return summarise(BACKEND.to_numpy(_anneal(*args, num_chains, num_temperatures)))

    def chain_bias(self, rng_key: jax.Array, num_chains: int = 4000) -> ChainBias:
        """Bias of short-run chains, run as for a gradient: see :class:`~mmppl.priors.ChainBias`.

        Arguments:
            rng_key: Random key.
            num_chains: Number of chains.

        Raises:
            OptionError: If chains are kept in a buffer.
        """
        self.chains.check_short_run()
        if self.energy_static is None and self.energy_params is None:
            return ChainBias(0.0, 0.0, 0.0, float(num_chains))
        args = (self.chains, self.energy_params, self.energy_static, self.base, self.kept, rng_key)
        with taken_apart(self.base):
            return chain_bias(*map(BACKEND.to_numpy, _both_ends(*args, num_chains)))

    def _persist(self, energy: Any, key: jax.Array) -> jax.Array:
        """Advances the buffer, a mutable site of the program; dead code, and so free, where it is not trained."""
        name = f"{energy.name if isinstance(energy, BoundNet) else 'energy'}$chains"
        first, second, third = jax.random.split(key, 3)
        line, _ = on_real_line(self.base, dist, biject_to)
        site = numpyro.primitives.mutable(name, {"chains": line.sample(first, (self.chains.buffer,))})
        frozen = jax.lax.stop_gradient((self.energy_params, site["chains"]))
        base = jax.lax.stop_gradient(spread(line.sample(second, (self.chains.number,))))
        chains, site["chains"] = jax.lax.stop_gradient(
            self.chains.refresh(
                BACKEND,
                third,
                lambda y: _line_density(frozen[0], self.energy_static, self.base, y, self.kept),
                frozen[1],
                base,
            )
        )
        return chains


def ambient_key() -> jax.Array:
    """The key of the enclosing program; a fixed one outside of any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        key = program_key()
    return random_key(0) if key is None else key


def _energy(params: Any, static: Any, z: jax.Array, kept: Any) -> jax.Array:
    module = eqx.combine(params, static)
    return jnp.zeros(z.shape[:-1], z.dtype) if module is None else module(z if kept is None else kept * z)


def _log_density(params: Any, static: Any, base: Distribution, z: jax.Array, kept: Any) -> jax.Array:
    return _energy(params, static, z, kept) + base.log_prob(z)


def _line_density(params: Any, static: Any, base: Distribution, y: jax.Array, kept: Any) -> jax.Array:
    """The tilted log density on the real line, where chains run."""
    line, there = on_real_line(base, dist, biject_to)
    return _energy(params, static, there(y), kept) + line.log_prob(y)


@compiled
def _draw(
    chains: LangevinChains, params: Any, static: Any, base: Distribution, kept: Any, key: jax.Array, num: int
) -> jax.Array:
    first, second = jax.random.split(key)
    line, there = on_real_line(base, dist, biject_to)
    start, steps = spread(line.sample(first, (num,))), chains.draw_steps
    density = lambda y: _line_density(params, static, base, y, kept)  # noqa: E731
    return there(chains.run(BACKEND, second, density, start, steps, adjusted=True)[0])


@compiled
def _both_ends(
    chains: LangevinChains, params: Any, static: Any, base: Distribution, kept: Any, key: jax.Array, num: int
) -> tuple[jax.Array, jax.Array]:
    """Energies where chains start and where they end."""
    first, second = jax.random.split(key)
    line, there = on_real_line(base, dist, biject_to)
    start = line.sample(first, (num,))
    end, _ = chains.run(BACKEND, second, lambda y: _line_density(params, static, base, y, kept), start)
    return _energy(params, static, there(start), kept), _energy(params, static, there(end), kept)


@compiled
def _anneal(
    chains: LangevinChains,
    params: Any,
    static: Any,
    base: Distribution,
    kept: Any,
    key: jax.Array,
    num: int,
    temperatures: int,
) -> jax.Array:
    first, second, third = jax.random.split(key, 3)
    line, there = on_real_line(base, dist, biject_to)
    start = line.sample(first, (num,))
    noise = BACKEND.normal(second, (temperatures, *start.shape), start)
    uniform = BACKEND.uniform(third, (temperatures, num), start)
    return annealed_importance_sampling(
        BACKEND,
        line.log_prob,
        lambda y: _energy(params, static, there(y), kept),
        start,
        noise,
        uniform,
        chains.step_size,
        chains.clip,
    )
