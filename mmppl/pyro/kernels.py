"""Kernels of Pyro's ``MCMC``, used as ``NUTS(model)`` is."""

from collections import OrderedDict
from typing import Any

import torch
from pyro import poutine
from pyro.infer.autoguide import init_to_uniform
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from pyro.infer.mcmc.util import initialize_model

from mmppl._backend.torch import BACKEND, RowStreams
from mmppl.errors import OptionError
from mmppl.inference import kernels as shared
from mmppl.pyro import density
from mmppl.pyro.threads import alone
from mmppl.pyro.tracing import is_subsample
from mmppl.pyro.unsampled import Unsampled

__all__ = ["HMC", "MALA", "SGLD", "ULA", "AnnealedLangevin", "RandomWalk", "TemperedLangevin", "UnderdampedLangevin"]

MAX_PLATES = 10


class HostKernel(MCMCKernel):
    """Joins a shared kernel to Pyro's interface: ``joined(MySharedKernel)``.

    ``MCMC(...).diagnostics()`` returns by chain, where each datum of the plate is a chain of its own with a value for
    each of the N data: ``"acceptance rate"`` and ``"step size"`` ``(N,)``, ``"accept_prob"``, ``"log_density"``,
    ``"energy"`` and ``"diverging"`` of every draw, ``(draws, N)``.
    """

    transforms: Any = None
    state: Any = None
    found: Any = None  # the diagnostics, when chains have ended
    row_seeds: Any = None  # a seed for each datum, for noise that is the same in any batch; None for Pyro's stream
    _initial_params: dict | None = None

    @property
    def initial_params(self) -> dict | None:
        return self._initial_params

    @initial_params.setter
    def initial_params(self, params: dict) -> None:
        self._initial_params = params

    @alone
    def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
        self._num_warmup, self._args, self._kwargs = warmup_steps, args, kwargs
        self._frozen = density.frozen()
        program = self._drawing()
        found, _, self.transforms, trace = initialize_model(
            # Where the start is given, a prior's own chain or solver would be run for a shape.
            density.frozen()(program if self._initial_params is None else Unsampled()(program)),
            args,
            kwargs,
            # Nothing is enumerated, so any bound will do; guessing one would run the program once more.
            max_plate_nesting=MAX_PLATES,
            init_strategy=init_to_uniform if self.init_strategy is None else self.init_strategy,
            initial_params=self._initial_params,
        )
        self._layout = _layout(density.sample_sites(trace), self.transforms)
        self._layout.check(found)
        self._initial_params = {name: z.detach() for name, z in found.items()}
        with torch.no_grad():
            self.state = self.init_chains(self._log_density, self._layout.pack(self._initial_params))
        self._draws: list[tuple] = []
        if self.row_seeds is not None and not self._layout.per_datum:
            raise OptionError("Expected one seed: with a latent outside the plate all data are one chain.")
        self._rng = None if self.row_seeds is None else RowStreams(self.row_seeds)

    def _drawing(self) -> Any:
        """The program as Pyro's initialisation may see it, which refuses one that draws its own rows."""
        if not self.stochastic:
            return self.model
        return poutine.block(self.model, hide_fn=lambda site: site["type"] == "sample" and is_subsample(site))

    @alone
    def sample(self, params: dict) -> dict:
        with torch.no_grad():
            noise = self.noise(BACKEND, self._rng, self.state)
            self.state, info = self.step(self._log_density, self.state, noise, self._num_warmup)
        if self.state.i > self._num_warmup:
            self._draws.append((info.accept_prob, self.state.chains.log_density, info.energy, info.diverging))
        return self._layout.unpack(self.state.chains.position)

    def logging(self) -> OrderedDict:
        step_size, accept = self.state.step_size.mean(), self.state.mean_accept_prob.mean()
        return OrderedDict([("step size", f"{step_size:.2e}"), ("acc. prob", f"{accept:.3f}")])

    def diagnostics(self) -> dict[str, torch.Tensor]:
        out = {"acceptance rate": self.state.mean_accept_prob, "step size": self.state.step_size}
        for name, values in zip(
            ("accept_prob", "log_density", "energy", "diverging"), zip(*self._draws, strict=True), strict=False
        ):
            out[name] = torch.stack(values)
        self.found = out
        return out

    def cleanup(self) -> None:
        self.state = self._initial_params = None

    def _log_density(self, position: torch.Tensor) -> torch.Tensor:
        """The log density over unconstrained latents, ``(N,)`` per datum or a scalar; leading axes are kept."""
        if position.ndim > self._layout.ndim:
            return torch.stack([self._log_density(one) for one in position])
        z = self._layout.unpack(position)
        values = {name: self.transforms[name].inv(z[name]) for name in z}
        with self._frozen:
            sites = density.run(self.model, self._args, self._kwargs, values)
            jacobian = [density.log_jacobian(sites[name], self.transforms[name], z[name]) for name in z]
            if not self._layout.per_datum:
                return sum(term.sum() for term in (*map(density.site_log_density, sites.values()), *jacobian))
            total = density.sum_per_datum(sites, density.data_plate(sites))
        return total + sum(term.reshape(-1, term.shape[-1]).sum(0) for term in jacobian)


def _layout(sites: dict, to_real: dict) -> shared.Layout:
    shapes, axes = {}, {}
    for name in density.latent_sites(sites):
        fn, value = sites[name]["fn"], sites[name]["value"]
        if name not in to_real or fn.support.is_discrete:
            raise OptionError(f"Latent '{name}' is discrete; kernels need real latents. Sum it out.")
        shapes[name] = tuple(to_real[name](value).shape)
        axes[name] = len(fn.batch_shape) - 1
    return shared.Layout(shapes, None if density.data_plate(sites) is None else axes)


def joined(kernel: type[shared.Kernel]) -> Any:
    """A shared kernel as one of Pyro's, under its own name."""
    return type(kernel.__name__, (HostKernel, kernel), {"__doc__": kernel.__doc__, "__module__": __name__})


HMC = joined(shared.HMC)
MALA = joined(shared.MALA)
SGLD = joined(shared.SGLD)
ULA = joined(shared.ULA)
AnnealedLangevin = joined(shared.AnnealedLangevin)
RandomWalk = joined(shared.RandomWalk)
TemperedLangevin = joined(shared.TemperedLangevin)
UnderdampedLangevin = joined(shared.UnderdampedLangevin)
