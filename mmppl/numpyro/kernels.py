"""Kernels of NumPyro's ``MCMC``, used as ``NUTS(model)`` is."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.distributions import biject_to
from numpyro.infer import init_to_uniform
from numpyro.infer.mcmc import MCMCKernel
from numpyro.infer.util import initialize_model
from numpyro.util import is_prng_key

from mmppl._backend.jax import BACKEND
from mmppl.errors import OptionError
from mmppl.inference import kernels as shared
from mmppl.inference.kernels.adaptation import DualAveraging
from mmppl.inference.kernels.mass import Mass
from mmppl.numpyro import density
from mmppl.numpyro.compiling import compiled
from mmppl.numpyro.state import fresh
from mmppl.numpyro.threads import alone

__all__ = ["HMC", "MALA", "SGLD", "ULA", "AnnealedLangevin", "RandomWalk", "TemperedLangevin", "UnderdampedLangevin"]


class HostState(NamedTuple):
    """The state as NumPyro sees it; any field may be collected with ``extra_fields=("accept_prob",)``.

    Where each datum of the plate is a chain of its own, fields have a value for each of the N data; else they are
    scalars.

    Arguments:
        i: Steps taken so far.
        z: Unconstrained latents, by site.
        log_density: Log density over unconstrained latents, in nats, ``(N,)``.
        score: Its gradient, ``(N, D)``; D counts all sites.
        accept_prob: Acceptance probability of the last step, ``(N,)``.
        mean_accept_prob: Its mean since the beginning of warm-up, or of sampling once that has begun, ``(N,)``.
        energy: Energy after the last step, ``(N,)``.
        diverging: Whether the last step diverged, ``(N,)``.
        step_size: Step size of the next step, ``(N,)``.
        adapt_state: What adaptation of the step size remembers; None where step sizes are kept.
        mass: The learned scales of the coordinates; None where the kernel learns none.
        own: What else the kernel keeps of each chain, such as its momentum.
        rng_key: Random key.
    """

    i: jax.Array
    z: dict[str, jax.Array]
    log_density: jax.Array
    score: jax.Array
    accept_prob: jax.Array
    mean_accept_prob: jax.Array
    energy: jax.Array
    diverging: jax.Array
    step_size: jax.Array
    adapt_state: DualAveraging | None
    mass: Mass | None
    own: tuple
    rng_key: jax.Array


class HostKernel(MCMCKernel):
    """Joins a shared kernel to NumPyro's interface: ``joined(MySharedKernel)``.

    Attributes:
        row_seeds: A seed for each datum, ``(N,)``, for noise that is the same in any batch; None for one stream.
    """

    sample_field = "z"
    row_seeds: Any = None

    def get_diagnostics_str(self, state: HostState) -> str:
        return f"step size {jnp.mean(state.step_size):.2e}. acc. prob={jnp.mean(state.mean_accept_prob):.2f}"

    def postprocess_fn(self, args: tuple, kwargs: dict) -> Callable:
        return self._postprocess_fn(*args, **kwargs)

    @alone
    def init(
        self, rng_key: jax.Array, num_warmup: int, init_params: dict | None, model_args: tuple, model_kwargs: dict
    ) -> HostState:
        single = is_prng_key(rng_key)
        keys = jax.random.split(rng_key) if single else jnp.swapaxes(jax.vmap(jax.random.split)(rng_key), 0, 1)
        info, _, self._postprocess_fn, trace = initialize_model(
            keys[0],
            self.model,
            dynamic_args=True,
            init_strategy=init_to_uniform if self.init_strategy is None else self.init_strategy,
            model_args=model_args,
            model_kwargs=model_kwargs,
        )
        self.learn(trace, num_warmup)
        z = dict(info.z if init_params is None else init_params)
        return _first(self, self._fixed, model_args, model_kwargs, z, keys[1], single)

    def learn(self, trace: dict, num_warmup: int) -> None:
        """Learns the places of the latents, and what else is fixed, from the sites of one run of the program."""
        self._num_warmup = num_warmup
        self._fixed = {name: site["value"] for name, site in trace.items() if site["type"] in ("param", "mutable")}
        self._layout = _layout(trace)

    def first(self, z: dict, key: jax.Array, args: tuple, kwargs: dict) -> HostState:
        """State of chains that start at unconstrained latents."""
        self._layout.check(z)
        if self.row_seeds is not None:
            if not self._layout.per_datum:
                raise OptionError("Expected one seed: with a latent outside the plate all data are one chain.")
            key = jax.vmap(partial(jax.random.fold_in, key))(self.row_seeds)
        log_density = partial(self._log_density, self._fixed, args, kwargs, None)
        return self._to_host(self.init_chains(log_density, self._layout.pack(z)), key)

    @alone
    def sample(self, state: HostState, model_args: tuple, model_kwargs: dict) -> HostState:
        step = partial(self._next, args=model_args, kwargs=model_kwargs)
        return step(state) if state.i.ndim == 0 else jax.vmap(step)(state)

    def _next(self, host: HostState, *, args: tuple, kwargs: dict) -> HostState:
        key, now, rows = BACKEND.split(host.rng_key, 3)
        chains = self.chain_type(self._layout.pack(host.z), host.log_density, host.score, *host.own)
        state = shared.KernelState(
            host.i,
            chains,
            host.step_size,
            host.adapt_state,
            host.mass,
            host.accept_prob,
            host.mean_accept_prob,
            host.energy,
            host.diverging,
        )
        noise = self.noise(BACKEND, now, state)
        log_density = partial(self._log_density, self._fixed, args, kwargs, rows if self.stochastic else None)
        state, _ = self.step(log_density, state, noise, self._num_warmup)
        return self._to_host(state, key)

    def _to_host(self, state: shared.KernelState, key: jax.Array) -> HostState:
        position, log_density, score, *own = state.chains
        return HostState(
            state.i,
            self._layout.unpack(position),
            log_density,
            score,
            state.accept_prob,
            state.mean_accept_prob,
            state.energy,
            state.diverging,
            state.step_size,
            state.adapt_state,
            state.mass,
            tuple(own),
            key,
        )

    def _log_density(
        self, fixed: dict, args: tuple, kwargs: dict, rows: jax.Array | None, position: jax.Array
    ) -> jax.Array:
        """The log density over unconstrained latents, ``(N,)`` per datum or a scalar; leading axes are kept.

        Without ``rows``, a random key, a program that draws its own rows draws the same ones always.
        """
        if position.ndim > self._layout.ndim:
            return jax.vmap(partial(self._log_density, fixed, args, kwargs, rows))(position)
        z = self._layout.unpack(position)

        def value(site: dict) -> Any:
            name = site["name"]
            if name in z and site["type"] == "sample":
                return biject_to(site["fn"].support)(z[name])
            # A program may write into a mutable site, so each run gets a copy.
            return fresh(fixed.get(name)) if site["type"] == "mutable" else fixed.get(name)

        sites = density.run(self.model, args, kwargs, value, rows)
        jacobian = {name: density.log_jacobian(sites[name], z[name]) for name in z}
        if not self._layout.per_datum:
            terms = [density.site_log_density(site) for site in sites.values() if site["type"] == "sample"]
            return sum(jnp.sum(term) for term in (*terms, *jacobian.values()))
        total = density.sum_per_datum(sites, density.data_plate(sites))
        return total + sum(jnp.sum(term, axis=tuple(range(term.ndim - 1))) for term in jacobian.values())


@compiled
def _first(
    kernel: HostKernel, fixed: dict, args: tuple, kwargs: dict, z: dict, keys: jax.Array, single: bool
) -> HostState:
    """The first state; compiled, since one by one the operations of a program are many times slower."""
    kernel = copy.copy(kernel)
    kernel._fixed = fixed
    first = partial(kernel.first, args=args, kwargs=kwargs)
    return first(z, keys) if single else jax.vmap(first)(z, keys)


def _layout(trace: dict) -> shared.Layout:
    shapes, axes = {}, {}
    for name in density.latent_sites(trace):
        fn, value = trace[name]["fn"], trace[name]["value"]
        if fn.support.is_discrete:
            raise OptionError(f"Latent '{name}' is discrete; kernels need real latents. Sum it out.")
        shapes[name] = jnp.shape(biject_to(fn.support).inv(value))
        axes[name] = len(fn.batch_shape) - 1
    return shared.Layout(shapes, None if density.data_plate(trace) is None else axes)


def joined(kernel: type[shared.Kernel]) -> Any:
    """A shared kernel as one of NumPyro's, under its own name."""
    return type(kernel.__name__, (HostKernel, kernel), {"__doc__": kernel.__doc__, "__module__": __name__})


HMC = joined(shared.HMC)
MALA = joined(shared.MALA)
SGLD = joined(shared.SGLD)
ULA = joined(shared.ULA)
AnnealedLangevin = joined(shared.AnnealedLangevin)
RandomWalk = joined(shared.RandomWalk)
TemperedLangevin = joined(shared.TemperedLangevin)
UnderdampedLangevin = joined(shared.UnderdampedLangevin)
