"""Estimates of the evidence of each datum, method by method, from log weights and their diagnosis."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mmppl.batch import Batch
from mmppl.inference.host import PPL
from mmppl.inference.posterior.annealing import annealed_log_weights, broad_draws, explore, inverse_temperatures
from mmppl.inference.posterior.normal_fit import Normal, first_fit, modes, next_fit, widened
from mmppl.inference.posterior.psis import FEWEST, pareto_k
from mmppl.inference.posterior.trust import LIMIT_K
from mmppl.inference.training.fitted import Fitted
from mmppl.memory import asked_by
from mmppl.numerics import log_mean_exp

__all__ = ["CHOSEN", "DRAWS", "Estimates", "How", "estimates", "fitted_normals", "summarise", "why_no_chains"]

# Methods in the order of what they cost, and draws of each datum by default.
CHOSEN = ("importance", "normal", "annealed")
DRAWS = {"importance": 1000, "normal": 1000, "annealed": 128, "bound": 64}
# The chains of a fit, and transitions before each, of which the later half count. The power of the posterior that is
# first explored lets chains cross to modes of which the guide knows nothing; they cool down before the later fits.
CHAINS, TRANSITIONS, HOTTEST = 32, 20, 0.01
POWERS = (np.full(TRANSITIONS, HOTTEST), np.geomspace(HOTTEST, 1.0, TRANSITIONS), *3 * (np.ones(TRANSITIONS),))
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
class NormalFits:
    """Normals fitted to the posteriors of N data on the real line.

    Arguments:
        normal: The fits.
        centers: Of as many normals in their coordinates, one where each chain's mode is, ``(C, N, D)``.
        broad: Those of a power of the posteriors, which are wider.
        step_size: What the chains have learned in their coordinates, ``(N,)``.
        like: One draw of the latents, which says their shapes, ``(1, N, *event)`` by site.
    """

    normal: Normal
    centers: np.ndarray
    broad: Normal
    step_size: np.ndarray
    like: Mapping[str, Any]

    def of(self, rows: np.ndarray) -> "NormalFits":
        """Those of some of the data, by number."""
        return NormalFits(
            Normal(*(x[rows] for x in self.normal)),
            self.centers[:, rows],
            Normal(*(x[rows] for x in self.broad)),
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
    left, fits, fitted_rows = np.arange(num), None, np.arange(num)
    for method in how.methods:
        if not left.size:
            break
        with asked_by(f"log_likelihood, {how.draws[method]} draws of {len(left)} rows (num, chunk)"):
            if method in ("normal", "annealed"):
                if fits is None:
                    fits, fitted_rows = fitted_normals(fitted, data[left], how.chunk, seed), left
                own = fits.of(np.searchsorted(fitted_rows, left))
                steps = how.steps if method == "annealed" else 1
                weights, near = _from_normal(fitted, data[left], own, how.draws[method], steps, how.chunk, seed)
                new = summarise(weights, near, method)
            else:
                weights = _from_guide(fitted, data[left], how.draws[method], how.chunk, seed)
                new = summarise(weights, None, method)
        # The first method stands where k is no number, and a later one where its own is less.
        better = (new.pareto_k < found.pareto_k[left]) | (method == how.methods[0])
        for every, part in zip(found, new, strict=True):
            every[left[better]] = part[better]
        left = left[~(found.pareto_k[left] <= LIMIT_K)]
    return found


def summarise(log_weight: np.ndarray, log_near: np.ndarray | None, method: str) -> Estimates:
    r"""Log mean of weights ``(K, N)``, its standard error by the delta method and rounding, and their PSIS k.

    With draws of a mixture q, one of whose parts has the density :math:`q_0`, the mean of :math:`q_0 / q` is known to
    be one, which makes it a control variate: what the number of draws of the other part does to the mean is taken off.

    References:
        | Safe and effective importance sampling (Owen & Zhou, 2000), section 4
        | https://doi.org/10.1080/01621459.2000.10473909

    Arguments:
        log_weight: Log weights, ``(K, N)``.
        log_near: :math:`\log q_0 / q` of the draws, ``(K, N)``; None without a mixture.
        method: Name of the method.
    """
    rounding = np.finfo(log_weight.dtype).eps
    log_weight = log_weight.astype(np.float64)
    root, methods = np.sqrt(len(log_weight)), np.full(log_weight.shape[1], method, object)
    if method == "bound":
        k = np.full(log_weight.shape[1], -np.inf)
        return Estimates(log_weight.mean(axis=0), log_weight.std(axis=0, ddof=1) / root, k, methods)
    value = log_mean_exp(log_weight)
    some = np.isfinite(value)  # where no draw has any weight the value is -inf, and its error infinite
    weight, fitted_slopes = np.exp(log_weight - np.where(some, value, 0.0)), 0
    if log_near is not None and len(weight) >= FEWEST:
        fitted_slopes, control = 1, np.exp(log_near.astype(np.float64)) - 1.0
        rest = control - control.mean(axis=0)
        slope = (rest * weight).sum(axis=0) / np.maximum((rest * rest).sum(axis=0), np.finfo(float).tiny)
        left = weight - slope * control
        # Few draws with heavy tails may leave nothing; their k says that they are not to be trusted.
        weight = np.where(left.mean(axis=0) > 0.0, left, weight)
    mean = np.where(some, weight.mean(axis=0), 1.0)
    value, error = value + np.log(mean), weight.std(axis=0, ddof=1 + fitted_slopes) / mean / root
    # Weights that differ by rounding alone have a tail of noise.
    with np.errstate(invalid="ignore"):
        spread = log_weight.max(axis=0) - np.median(log_weight, axis=0)
    flat = spread <= ROUNDINGS * rounding * np.maximum(np.abs(value), 1.0)
    k = np.where(flat & (len(log_weight) >= FEWEST), -np.inf, pareto_k(log_weight))
    return Estimates(value, np.hypot(error, rounding * np.abs(value)), k, methods)


@cache
def _kernel_of(ppl: PPL) -> Any:
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


def fitted_normals(fitted: Fitted, data: Batch, chunk: int, seed: int) -> NormalFits:
    """Normals fitted to chains that start at the guide's draws, and of a power of the posterior at first."""
    host, kernel = fitted.program.ppl.host, _kernel_of(fitted.program.ppl)
    out = []
    for rows, new in _blocks(len(data), _size(len(data), chunk // CHAINS)):
        some, again = data[rows], _again(seed + 1, int(rows[0]))
        drawn = host.latents(fitted.model, fitted.guide, some, CHAINS, again, np.zeros(len(some), bool))
        like = {name: np.asarray(z)[:1] for name, z in drawn.items() if name in fitted.latents}
        z = host.unconstrained(fitted.model, {name: drawn[name] for name in like}, some).astype(np.float64)
        normal, size = first_fit(z), np.full(len(some), kernel.step_size)
        for fit, powers in enumerate(POWERS):
            arrays = {"start": normal.into(z), "mean": normal.mean, "scale": normal.scale, "step_size": size}
            arrays["powers"] = powers
            y, score, size = host.on_real_line(
                fitted.model, like, some, explore, kernel, TRANSITIONS, again + fit, arrays
            )
            z = normal.out(y[-1].astype(np.float64))
            late = [x[TRANSITIONS // 2 :].astype(np.float64) for x in (y, score)]
            last, flat = normal, [x.reshape(-1, *z.shape[1:]) for x in late]
            normal = next_fit(last, *flat)
            if fit == 0:
                broad = widened(normal, last.out(flat[0]), CHAINS)
        found = modes(last, *late)
        fits = NormalFits(found.normal, found.centers, broad, size * found.narrower, like)
        out.append(fits.of(np.arange(new)))
    return NormalFits(
        _joined([fits.normal for fits in out]),
        np.concatenate([fits.centers for fits in out], axis=1),
        _joined([fits.broad for fits in out]),
        np.concatenate([fits.step_size for fits in out]),
        {name: np.concatenate([fits.like[name] for fits in out], axis=1) for name in out[0].like},
    )


def _joined(normals: list[Normal]) -> Normal:
    """Normals of blocks of data as those of all."""
    return Normal(*map(np.concatenate, zip(*normals, strict=True)))


def _from_normal(
    fitted: Fitted, data: Batch, fits: NormalFits, num: int, steps: int, chunk: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log weights of draws from the normals, annealed in so many steps, and log q_0 / q of the draws, ``(K, N)``."""
    host, kernel, path = fitted.program.ppl.host, _kernel_of(fitted.program.ppl), inverse_temperatures(steps)
    out = []
    for rows, new in _blocks(len(data), _size(len(data), chunk // num)):
        own, again = fits.of(rows), _again(seed + 2, int(rows[0]))
        rng = np.random.default_rng(again)
        eps, few = rng.standard_normal((num, *own.normal.mean.shape)), broad_draws(num)
        # As many draws of every mode as can be; which have one more is left to chance.
        chains = rng.permutation(len(own.centers))[np.arange(num - few) % len(own.centers)]
        start = np.concatenate([own.normal.into(own.broad.out(eps[:few])), own.centers[chains] + eps[few:]])
        arrays = {**own.normal._asdict(), "start": start, "step_size": own.step_size, "centers": own.centers}
        arrays |= {"center": own.normal.into(own.broad.mean), "path": path}
        arrays["whiten"] = np.tril(np.linalg.solve(own.broad.scale, own.normal.scale))
        found = host.on_real_line(
            fitted.model, own.like, data[rows], annealed_log_weights, kernel, steps - 1, again, arrays
        )
        out.append([x[:, :new] for x in found])
    log_weight, log_near = (np.concatenate(x, axis=1) for x in zip(*out, strict=True))
    return log_weight, log_near
