"""Estimates of the evidence of each datum, method by method, from log weights and their diagnosis."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mmppl.batch import Batch
from mmppl.inference.host import PPL
from mmppl.inference.posterior.annealing import annealed_log_weights, explore, inverse_temperatures
from mmppl.inference.posterior.normal_fit import Normal, first_fit, next_fit, widened
from mmppl.inference.posterior.psis import FEWEST, pareto_k
from mmppl.inference.posterior.trust import LIMIT_K
from mmppl.inference.training.fitted import Fitted
from mmppl.memory import asked_by
from mmppl.numerics import log_mean_exp

__all__ = ["CHOSEN", "DRAWS", "Estimates", "How", "estimates", "fitted_normals", "why_no_chains"]

# Methods in the order of what they cost, and draws of each datum by default.
CHOSEN = ("importance", "normal", "annealed")
DRAWS = {"importance": 1000, "normal": 1000, "annealed": 128, "bound": 64}
# The chains of a fit, its fits, and transitions before each, of which the later half count.
CHAINS, FITS, TRANSITIONS = 16, 4, 20
# Roundings of a log weight that is a sum of many terms.
ROUNDINGS = 32.0


class How(NamedTuple):
    """Methods, each for the data that those before it do not serve, and their sizes.

    Arguments:
        methods: Of ``CHOSEN``, or ``"bound"``.
        draws: K by method.
        steps: Tempered densities.
        chunk: Most draws times rows at once.
    """

    methods: tuple[str, ...]
    draws: Mapping[str, int]
    steps: int
    chunk: int


class Estimates(NamedTuple):
    """Log evidence, standard error, PSIS k and method of N data, ``(N,)`` each."""

    value: np.ndarray
    error: np.ndarray
    pareto_k: np.ndarray
    method: np.ndarray


@dataclass(frozen=True)
class Walk:
    """Normals fitted to the posteriors of N data on the real line.

    Arguments:
        normal: The fits.
        step_size: What the chains have learnt in their coordinates, ``(N,)``.
        like: One draw of the latents, which says their shapes, ``(1, N, *event)`` by site.
    """

    normal: Normal
    step_size: np.ndarray
    like: Mapping[str, Any]

    def of(self, rows: np.ndarray) -> "Walk":
        """Those of some of the data, by number."""
        return Walk(
            Normal(*(x[rows] for x in self.normal)),
            self.step_size[rows],
            {name: z[:, rows] for name, z in self.like.items()},
        )


def why_no_chains(fitted: Fitted) -> str | None:
    """Reason why the latents of each datum have no chains of their own; None if they have."""
    places = fitted.places
    if fitted.program.ode_density:
        return "whose prior's density takes an integration at every step"
    if places.outside:
        return f"whose latents {list(places.outside)} outside the plate of the data tie the data together"
    if places.discrete:
        return f"whose latents {list(places.discrete)} are discrete"
    return None


def estimates(fitted: Fitted, data: Batch, how: How, seed: int) -> Estimates:
    """Estimates of each datum by the first method whose k is trusted, or by that whose k is least."""
    num = len(data)
    found = Estimates(np.zeros(num), np.zeros(num), np.full(num, np.inf), np.full(num, how.methods[0], object))
    left, walk, walked = np.arange(num), None, np.arange(num)
    for method in how.methods:
        if not left.size:
            break
        with asked_by(f"log_likelihood, {how.draws[method]} draws of {len(left)} rows (num, chunk)"):
            if method in ("normal", "annealed"):
                if walk is None:
                    walk, walked = fitted_normals(fitted, data[left], how.chunk, seed), left
                own = walk.of(np.searchsorted(walked, left))
                steps = how.steps if method == "annealed" else 1
                weights = _from_normal(fitted, data[left], own, how.draws[method], steps, how.chunk, seed)
            else:
                weights = _from_guide(fitted, data[left], how.draws[method], how.chunk, seed)
        new = _summarise(weights, method)
        # The first method stands where k is no number, and a later one where its own is less.
        better = (new.pareto_k < found.pareto_k[left]) | (method == how.methods[0])
        for every, part in zip(found, new, strict=True):
            every[left[better]] = part[better]
        left = left[~(found.pareto_k[left] <= LIMIT_K)]
    return found


def _summarise(log_weight: np.ndarray, method: str) -> Estimates:
    """Log mean of weights ``(K, N)``, its delta-method standard error with that of rounding, and their PSIS k."""
    rounding = np.finfo(log_weight.dtype).eps
    log_weight = log_weight.astype(np.float64)
    root, methods = np.sqrt(len(log_weight)), np.full(log_weight.shape[1], method, object)
    if method == "bound":
        k = np.full(log_weight.shape[1], -np.inf)
        return Estimates(log_weight.mean(axis=0), log_weight.std(axis=0, ddof=1) / root, k, methods)
    value = log_mean_exp(log_weight)
    error = np.exp(log_weight - value).std(axis=0, ddof=1) / root
    # Weights that differ by rounding alone have a tail of noise.
    flat = np.ptp(log_weight, axis=0) <= ROUNDINGS * rounding * np.maximum(np.abs(value), 1.0)
    k = np.where(flat & (len(log_weight) >= FEWEST), -np.inf, pareto_k(log_weight))
    return Estimates(value, np.hypot(error, rounding * np.abs(value)), k, methods)


@cache
def _walker(ppl: PPL) -> Any:
    """One kernel for all calls, so that a host compiles its steps once."""
    return ppl.HMC(None, num_steps=4, step_size=0.375)


@cache
def _objective(ppl: PPL, num: int, average: bool) -> Any:
    """One objective for all calls, so that a host compiles its weights once."""
    return ppl.ELBO(particles=num, average=average)


def _average(fitted: Fitted, data: Batch) -> bool:
    """Tells whether each particle is to have its own draws outside the plate of the data.

    Where nothing is drawn there, what is observed there must not depend on the latents of a datum, or it would be in no
    datum's weight; particles that are not averaged see to that.
    """
    if fitted.places.simple or fitted.outside:
        return True
    drawn = fitted.program.ppl.host.latents(fitted.model, fitted.guide, data[:1], 1, 0, np.zeros(1, bool))
    return set(drawn) != set(fitted.latents)


def _blocks(num: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Rows at once, and how many of them are new: the last block is filled up, so that a host compiles one program."""
    for begin in range(0, num, size):
        yield np.arange(begin, begin + size) % num, min(size, num - begin)


def _size(num: int, most: int) -> int:
    """A size of blocks, one of a few whatever number of rows earlier methods have left."""
    return min(max(1, most), 1 << (num - 1).bit_length())


def _again(seed: int, row: int) -> int:
    return int(np.random.SeedSequence([seed, row]).generate_state(1)[0])


def _from_guide(fitted: Fitted, data: Batch, num: int, chunk: int, seed: int) -> np.ndarray:
    """Log weights of the guide's draws, ``(K, N)``."""
    host, objective = fitted.program.ppl.host, _objective(fitted.program.ppl, num, _average(fitted, data))
    out = []
    for rows, new in _blocks(len(data), min(max(1, chunk // num), len(data))):
        again = _again(seed, int(rows[0]))
        out.append(host.log_weights(fitted.model, fitted.guide, objective, data[rows], again)[:, :new])
    return np.concatenate(out, axis=1)


def fitted_normals(fitted: Fitted, data: Batch, chunk: int, seed: int) -> Walk:
    """Normals fitted to chains that start at the guide's draws."""
    host, kernel = fitted.program.ppl.host, _walker(fitted.program.ppl)
    out = []
    for rows, new in _blocks(len(data), _size(len(data), chunk // CHAINS)):
        some, again = data[rows], _again(seed + 1, int(rows[0]))
        drawn = host.latents(fitted.model, fitted.guide, some, CHAINS, again, np.zeros(len(some), bool))
        like = {name: np.asarray(z)[:1] for name, z in drawn.items() if name in fitted.latents}
        z = host.unconstrained(fitted.model, {name: drawn[name] for name in like}, some).astype(np.float64)
        normal, size = first_fit(z), np.full(len(some), kernel.step_size)
        for fit in range(FITS):
            arrays = {"start": normal.into(z), "mean": normal.mean, "scale": normal.scale, "step_size": size}
            y, score, size = host.on_real_line(
                fitted.model, like, some, explore, kernel, TRANSITIONS, again + fit, arrays
            )
            z = normal.out(y[-1].astype(np.float64))
            late = [x[TRANSITIONS // 2 :].reshape(-1, *z.shape[1:]).astype(np.float64) for x in (y, score)]
            draws, normal = normal.out(late[0]), next_fit(normal, *late)
        normal, factor = widened(normal, draws, CHAINS)
        size = size / factor
        out.append(Walk(normal, size, like).of(np.arange(new)))
    fits = zip(*(walk.normal for walk in out), strict=True)
    return Walk(
        Normal(*(np.concatenate(x) for x in fits)),
        np.concatenate([walk.step_size for walk in out]),
        {name: np.concatenate([walk.like[name] for walk in out], axis=1) for name in out[0].like},
    )


def _from_normal(fitted: Fitted, data: Batch, walk: Walk, num: int, steps: int, chunk: int, seed: int) -> np.ndarray:
    """Log weights of draws from the normals, annealed in so many steps, ``(K, N)``."""
    host, kernel, path = fitted.program.ppl.host, _walker(fitted.program.ppl), inverse_temperatures(steps)
    out = []
    for rows, new in _blocks(len(data), _size(len(data), chunk // num)):
        own, again = walk.of(rows), _again(seed + 2, int(rows[0]))
        start = np.random.default_rng(again).standard_normal((num, *own.normal.mean.shape))
        arrays = {**own.normal._asdict(), "start": start, "step_size": own.step_size}
        arrays |= {"betas": path[1:-1], "increments": np.diff(path)}
        weights = host.on_real_line(
            fitted.model, own.like, data[rows], annealed_log_weights, kernel, steps - 1, again, arrays
        )
        out.append(weights[:, :new])
    return np.concatenate(out, axis=1)
