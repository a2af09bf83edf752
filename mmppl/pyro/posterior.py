"""Scoring, moving and sampling posteriors on Pyro, for :mod:`mmppl.inference`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pyro.infer import HMC, MCMC, NUTS
from torch.distributions import biject_to

from mmppl._backend.torch import BACKEND
from mmppl.batch import Batch
from mmppl.errors import OptionError
from mmppl.inference.posterior.short_chains import refine_steps
from mmppl.inference.posterior.site_densities import site_densities
from mmppl.pyro import density
from mmppl.pyro.kernels import HostKernel
from mmppl.pyro.primitives import as_batch
from mmppl.pyro.threads import alone
from mmppl.pyro.tracing import Runs
from mmppl.sites import PLATE

__all__ = [
    "JOINT",
    "chains",
    "guide_log_prob",
    "on_real_line",
    "outside",
    "log_densities",
    "refine",
    "scores",
    "seeded",
    "unconstrained",
]

JOINT: dict[str, Any] = {"nuts": NUTS, "joint_hmc": HMC}
# What our kernels report of every draw, and ArviZ's names for it.
OURS = {"log_density": "lp", "accept_prob": "acceptance_rate", "energy": "energy", "diverging": "diverging"}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Pyro's random stream started from a seed, and given back as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@alone
def scores(model: Callable, hidden: Mapping, batch: Batch, prior: bool = True) -> tuple[dict[str, np.ndarray], Any]:
    """Log likelihood of each modality (0 where absent) and log prior of latents ``(K, N, *event)``: all ``(K, N)``.

    Without ``prior`` the second is None: that of a diffusion takes an integration. What lies outside the plate of the
    data is left out; see :func:`outside`.
    """
    with torch.no_grad():
        log_lik, log_prior = _scores(model, _tensors(hidden), as_batch(batch), prior)
    wanted = None if log_prior is None else BACKEND.to_numpy(log_prior)
    return {name: BACKEND.to_numpy(value) for name, value in log_lik.items()}, wanted


def _scores(model: Callable, hidden: Mapping, batch: Batch, prior: bool = True) -> tuple[dict, Any]:
    names = batch.modalities
    found = site_densities(Runs(batch), model, hidden, batch, lambda site: prior or site.name in names).rows
    log_lik = {name: found[name] for name in names if name in found}
    return log_lik, sum(x for name, x in found.items() if name not in log_lik) if prior else None


@alone
def guide_log_prob(guide: Callable, hidden: Mapping, batch: Batch) -> np.ndarray:
    """The guide's log density of latents ``(K, N, *event)`` in the plate of the data, ``(K, N)``."""
    batch = as_batch(batch)
    with torch.no_grad():
        found = site_densities(Runs(batch), guide, _tensors(hidden), batch, lambda site: True)
        return BACKEND.to_numpy(sum(found.rows.values()))


@alone
def outside(model: Callable, guide: Callable, hidden: Mapping, batch: Batch) -> np.ndarray | None:
    """Log p - log q of what lies outside the plate of the data, ``(K,)``; None where nothing does."""
    batch, own = as_batch(batch), _tensors(hidden)
    with torch.no_grad():
        log_p, log_q = (site_densities(Runs(batch), fn, own, batch, lambda site: True).outside for fn in (model, guide))
        return BACKEND.to_numpy(sum(log_p.values()) - sum(log_q.values())) if log_p or log_q else None


@alone
def log_densities(model: Callable, hidden: Mapping, batch: Batch, gradients: bool) -> tuple[dict, dict]:
    """Log density ``(K, N)`` of each site at latents ``(K, N, *event)``, and whether its gradient is anywhere not 0."""
    batch, own = as_batch(batch), _tensors(hidden)
    values: dict[str, list] = {}
    reached: dict[str, bool] = {}
    for k in range(len(next(iter(own.values())))):
        z = {n: x[k].detach().clone().requires_grad_(gradients) for n, x in own.items()}
        with torch.set_grad_enabled(gradients):
            for name, site in density.run(model, (batch,), {}, z).items():
                term = density.site_log_density(site)
                values.setdefault(name, []).append(_by_row(BACKEND.to_numpy(term), len(batch)))
                reached[name] = reached.get(name, False) or _slopes(term, list(z.values()))
    return {n: np.stack(v) for n, v in values.items()}, reached


def _slopes(term: torch.Tensor, z: list[torch.Tensor]) -> bool:
    if not term.requires_grad:
        return False
    grads = torch.autograd.grad(term.sum(), z, allow_unused=True, retain_graph=True)
    return any(g is not None and bool((g != 0.0).any()) for g in grads)


def _by_row(log_prob: np.ndarray, num: int) -> np.ndarray:
    if not log_prob.ndim or log_prob.shape[-1] != num:
        return np.broadcast_to(log_prob.sum(), (num,))
    return log_prob.sum(axis=tuple(range(log_prob.ndim - 1)))


def _tensors(hidden: Mapping) -> dict[str, torch.Tensor]:
    return {n: torch.as_tensor(z) for n, z in hidden.items()}


@alone
def refine(
    model: Callable, hidden: Mapping, batch: Batch, kernel: Any, steps: int, seed: int
) -> dict[str, torch.Tensor]:
    """Moves draws of the latents ``(K, N, *event)`` by steps of a kernel, every draw of every datum a chain."""
    batch = as_batch(batch)
    begin, back = _side_by_side(model, _tensors(hidden), batch)

    def log_density(position: torch.Tensor) -> torch.Tensor:
        if position.ndim > 3:
            return torch.stack([log_density(one) for one in position])
        z, jacobian = back(position)
        return _log_joint(model, z, jacobian, batch)

    def noise(state: Any) -> tuple:
        return _noise(kernel, state, steps)

    with seeded(seed), torch.no_grad(), density.frozen():
        return back(refine_steps(BACKEND, kernel, log_density, begin, steps, noise))[0]


@alone
def on_real_line(
    model: Callable,
    hidden: Mapping,
    batch: Batch,
    task: Callable,
    kernel: Any,
    steps: int,
    seed: int,
    arrays: Mapping[str, np.ndarray],
) -> Any:
    """A task on the log density of a model's latents on the real line, which has the noise of so many transitions."""
    batch = as_batch(batch)
    _, back = _side_by_side(model, _tensors(hidden), batch)
    given = {name: torch.as_tensor(x, dtype=torch.get_default_dtype()) for name, x in arrays.items()}

    def log_target(position: torch.Tensor) -> torch.Tensor:
        z, jacobian = back(position)
        return _log_joint(model, z, jacobian, batch)

    with seeded(seed), torch.no_grad(), density.frozen():
        found = task(BACKEND, kernel, log_target, lambda state: _noise(kernel, state, steps), **given)
    return tuple(map(BACKEND.to_numpy, found)) if isinstance(found, tuple) else BACKEND.to_numpy(found)


@alone
def unconstrained(model: Callable, hidden: Mapping, batch: Batch) -> np.ndarray:
    """Latents ``(K, N, *event)`` side by side on the real line, ``(K, N, D)``."""
    with torch.no_grad():
        return BACKEND.to_numpy(_side_by_side(model, _tensors(hidden), as_batch(batch))[0])


def _noise(kernel: Any, state: Any, steps: int) -> tuple:
    every = [kernel.noise(BACKEND, None, state) for _ in range(steps)]
    return tuple(torch.stack(x) for x in zip(*every, strict=True))


def _log_joint(model: Callable, hidden: dict, jacobian: torch.Tensor, batch: Batch) -> torch.Tensor:
    log_lik, log_prior = _scores(model, hidden, batch)
    return sum(log_lik.values()) + log_prior + jacobian


def _side_by_side(model: Callable, hidden: Mapping, batch: Batch) -> tuple[torch.Tensor, Callable]:
    """Latents side by side on the real line, ``(K, N, D)``, and the way back: latents and the log Jacobian."""
    support = _to_support(model, hidden, batch)
    free = {n: support[n].inv(z) for n, z in hidden.items()}

    def back(position: torch.Tensor) -> tuple[dict, torch.Tensor]:
        split = torch.split(position, [int(np.prod(u.shape[2:])) for u in free.values()], dim=-1)
        chains = position.shape[:2]
        own = {n: part.reshape(*chains, *u.shape[2:]) for (n, u), part in zip(free.items(), split, strict=True)}
        out = {n: support[n](u) for n, u in own.items()}
        each = (support[n].log_abs_det_jacobian(u, out[n]) for n, u in own.items())
        return out, sum(j.reshape(*position.shape[:2], -1).sum(-1) for j in each)

    return torch.cat([u.reshape(*u.shape[:2], -1) for u in free.values()], -1), back


def _to_support(model: Callable, hidden: Mapping, batch: Batch) -> dict[str, Any]:
    """The map from the real line to the support of each latent."""
    with torch.no_grad():
        sites = density.run(model, (batch,), {}, {n: z[0] for n, z in hidden.items()})
    missing = [n for n in hidden if n not in sites]
    if missing:
        raise OptionError(f"Expected latents among {density.latent_sites(sites)}; got {missing}.")
    return {n: biject_to(sites[n]["fn"].support) for n in hidden}


@alone
def chains(
    fitted: Any,
    batch: Batch,
    kernel: Callable[[Callable], Any],
    start: Mapping[str, np.ndarray],
    *,
    num_samples: int,
    num_warmup: int,
    seed: int,
    row_seeds: Sequence[int] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Latents and statistics of chains; see :meth:`mmppl.inference.host.Runtime.chains`."""
    batch, own = as_batch(batch), _tensors(start)
    number, size = len(next(iter(own.values()))), len(batch)
    made = kernel(fitted.model)
    if isinstance(made, HostKernel):
        if _side_by_side_chains(fitted.model, own, batch, made):
            # Every datum is a chain of its own, so chains of a datum are rows more: one run of the program moves all.
            batch = batch[np.tile(np.arange(size), number)]
            if row_seeds is not None:
                made.row_seeds = [_row_seed(s, chain) for chain in range(number) for s in row_seeds]
            flat = {name: z.reshape(1, -1, *z.shape[2:]) for name, z in own.items()}
            found = _chain(made, fitted.model, batch, flat, num_samples, num_warmup, seed)
            return tuple({k: _by_chain(x, number, size) for k, x in part.items()} for part in found)  # type: ignore[return-value]
    elif row_seeds is not None:
        raise OptionError("Expected one seed: a kernel of the host moves all data together. Take one of mmppl's.")
    every = []
    for chain in range(number):
        made = kernel(fitted.model)
        if row_seeds is not None:
            made.row_seeds = [_row_seed(s, chain) for s in row_seeds]
        one = {name: z[chain : chain + 1] for name, z in own.items()}
        every.append(_chain(made, fitted.model, batch, one, num_samples, num_warmup, seed + chain))
    together = [{k: np.stack([d[k] for d in dicts]) for k in dicts[0]} for dicts in zip(*every, strict=True)]
    return together[0], together[1]


def _row_seed(seed: int, chain: int) -> int:
    return int(np.random.SeedSequence([seed, chain]).generate_state(1)[0])


def _by_chain(x: np.ndarray, number: int, size: int) -> np.ndarray:
    """``(draws, chains N, *)`` as ``(chains, draws, N, *)``."""
    return np.moveaxis(x.reshape(len(x), number, size, *x.shape[2:]), 1, 0)


def _side_by_side_chains(model: Callable, hidden: Mapping, batch: Batch, kernel: HostKernel) -> bool:
    """Tells whether chains may be further rows: all latents are rows of ``mm.plate``, whatever its size."""
    with torch.no_grad():
        sites = density.run(model, (batch,), {}, {n: z[0] for n, z in hidden.items()})
    rows = all(tuple(sites[n]["fn"].batch_shape) == (len(batch),) for n in hidden if n in sites)
    return rows and density.data_plate(sites) == PLATE and not kernel.stochastic


def _chain(
    kernel: Any, model: Callable, batch: Batch, start: Mapping, num_samples: int, num_warmup: int, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Draws and statistics of one run of Pyro's MCMC from ``start``, ``(1, N, *event)`` by site: ``(draws, *)``."""
    support, watch = _to_support(model, start, batch), _Watch()
    mcmc = MCMC(
        kernel,
        num_samples=num_samples,
        warmup_steps=num_warmup,
        initial_params={name: support[name].inv(z[0]) for name, z in start.items()},
        disable_progbar=True,
        hook_fn=watch if isinstance(kernel, HMC) else None,
    )
    with seeded(seed):
        mcmc.run(batch)
    draws = {k: BACKEND.to_numpy(v) for k, v in mcmc.get_samples().items()}
    return draws, _sample_stats(kernel.found) if isinstance(kernel, HostKernel) else watch.stats()


def _sample_stats(found: Mapping) -> dict[str, np.ndarray]:
    """Statistics of each draw and datum of a kernel's chain, ``(draws, N)``, by ArviZ's names."""
    out = {theirs: BACKEND.to_numpy(found[ours]) for ours, theirs in OURS.items()}
    step_size = BACKEND.to_numpy(found["step size"])
    return out | {"step_size": np.broadcast_to(step_size, out["lp"].shape)}


class _Watch:
    """Writes down what Pyro's HMC and NUTS say of each draw, which they do not keep."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, float, bool]] = []
        self.mean, self.diverged = 0.0, 0

    def __call__(self, kernel: Any, params: Any, stage: str, i: int) -> None:
        if not stage.startswith("Sample"):
            return
        number, mean = len(self.rows) + 1, float(kernel._mean_accept_prob)
        accept = number * mean - (number - 1) * self.mean  # of the running mean, the last term
        diverging = len(kernel._divergences) > self.diverged
        self.mean, self.diverged = mean, len(kernel._divergences)
        potential = kernel._fetch_from_cache()[1]
        self.rows.append((-float(potential), min(1.0, max(0.0, accept)), float(kernel.step_size), diverging))

    def stats(self) -> dict[str, np.ndarray]:
        names = ("lp", "acceptance_rate", "step_size", "diverging")
        return dict(zip(names, map(np.array, zip(*self.rows, strict=True)), strict=True)) if self.rows else {}
