"""Importance-weighted likelihoods, each with its error and a PSIS k."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.data import blocks
from mmppl.data.arrays import taken
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.inference.posterior.trust import LIMIT_K, share_above, trusted_k
from mmppl.inference.threads import unwarned
from mmppl.inference.training.fitted import Fitted, example
from mmppl.memory import asked_by
from mmppl.numerics import log_mean_exp
from mmppl.priors import LogNormalizer

# Draws of each datum by default, by method.
DRAWS = {"importance": 1000, "annealed": 64, "bound": 64}

__all__ = ["LogLikelihood", "log_likelihood", "log_normalizer"]


class LogLikelihood(NamedTuple):
    """Log likelihoods of N data.

    Arguments:
        value: Estimates, in nats, ``(N,)``.
        error: Their standard errors, that of log Z included, ``(N,)``; NaN where k is above 0.7, or where log Z has no
            error. Of a prior whose density is an integration, what that is off by is not in it.
        pareto_k: PSIS k of each datum's weights; above 0.7 an estimate is not to be trusted, ``(N,)``.
        mean: Mean over data.
        mean_error: Standard error of the mean as an estimate of its exact value for these data; the error of log Z is
            shared by all of them. NaN unless :attr:`trusted`, and where log Z has no error.
    """

    value: np.ndarray
    error: np.ndarray
    pareto_k: np.ndarray
    mean: float
    mean_error: float

    def __repr__(self) -> str:
        bad = f"{100 * self.share_above:.0f}% of the data have k above {LIMIT_K}"
        value = f"mean {self.mean:.4g} nats"
        said = f"{value} ± {self.mean_error:.2g}" if self.trusted else f"{value}, not to be trusted"
        return f"LogLikelihood of {len(self.value)} data: {said}; {bad}"

    @property
    def share_above(self) -> float:
        """The share of data whose k is above 0.7."""
        return share_above(self.pareto_k)

    @property
    def trusted(self) -> bool:
        """True if the mean may be told with an error; see :func:`~mmppl.inference.posterior.trust.trusted_k`."""
        return trusted_k(self.share_above)


@checked(data=ANYTHING, num=at_least(2), steps=at_least(1), chunk=at_least(1))
def log_likelihood(
    fitted: Fitted,
    data: Batch,
    *,
    method: str = "importance",
    num: int | None = None,
    steps: int = 200,
    given: Sequence[str] = (),
    seed: int = 0,
    chunk: int = 8192,
) -> LogLikelihood:
    r"""Estimates the log likelihood of what is present, by importance sampling from the guide.

    .. math:: \log p(x_P) \approx \log \frac{1}{K} \sum_k \frac{p(x_P, z_k)}{q(z_k \mid x_P)}, \qquad
        z_k \sim q(z \mid x_P)

    With ``method="annealed"`` each draw is first walked from the guide to the posterior through tempered densities
    between them, by Hamiltonian transitions; see
    :func:`~mmppl.inference.posterior.annealing.annealed_log_weights`. It is trusted where plain weights are not, and
    takes about ten gradients of the model for each draw and step.

    With ``method="bound"`` it is no estimate but a lower bound, that of a diffusion in the space of the data, the mean
    of K random ones of a datum; it takes two evaluations of the network for each, where a density takes an integration.

    Latents outside the plate of the data are drawn from the guide, which stands for their posterior g: then it is
    the posterior predictive :math:`\log \mathbb{E}_{q(g)}\, p(x_P \mid g)` of each datum. With ``given`` = S it is
    the conditional :math:`\log p(x_{P \setminus S} \mid x_S) = \log p(x_P) - \log p(x_S)`, both weighted. An
    energy-tilted prior's log Z is estimated by annealed importance sampling and taken off; in the conditional it
    cancels.

    Arguments:
        fitted: A fitted program.
        data: The data; modalities may be missing.
        method: ``"importance"``, ``"annealed"`` or ``"bound"``.
        num: K; by default 1,000, or 64 annealed or of a bound.
        steps: Tempered densities, with ``"annealed"``.
        given: Modalities conditioned on.
        seed: Random seed.
        chunk: Most draws times rows at once.

    Raises:
        OptionError: If ``num`` is less than 2, the method is unknown, or the program cannot serve it: its encoders are
            deterministic, it has no bound, or its latents are annealed that lie outside the plate or have an ODE's
            density.

    References:
        | Pareto smoothed importance sampling (Vehtari et al., 2024), https://arxiv.org/abs/1507.02646
    """
    if method not in DRAWS:
        raise OptionError(f"Unknown method '{method}'; expected one of {', '.join(DRAWS)}.")
    num = DRAWS[method] if num is None else num
    if method != "bound":
        fitted.program.need_density()
    if method == "annealed":
        fitted.rows_alone("Annealed importance sampling")
        if fitted.program.ode_density:
            raise OptionError(
                f"Expected method='importance' of '{fitted.program.name}', whose prior's density takes an integration "
                "at every step; got 'annealed'."
            )
    if method == "bound":
        fitted = _bounding(fitted, given)
    how = (method, num, steps, chunk)
    data = taken(data, fitted.program.modalities).validate(fitted.program.modalities)
    weights = _log_weights(fitted, data, how, seed)
    if method == "bound":
        deviation = weights.std(axis=0, ddof=1) / np.sqrt(num)
        return _pack(weights.mean(axis=0), deviation, np.full(weights.shape[1], -np.inf), 0.0)
    value, error, pareto_k = _summarise(weights)
    if given:
        known = data.only(*given)
        rows = np.asarray(known.observed())
        other = np.zeros_like(weights)
        if rows.any():
            other[:, rows] = _log_weights(fitted, known[np.flatnonzero(rows)], how, seed + 1)
        second, second_error, second_k = _summarise(other)
        if not rows.all():
            z = log_normalizer(fitted, seed=seed)
            second[~rows], second_error[~rows], second_k[~rows] = z.value, z.error, -np.inf
        value, error = value - second, np.hypot(error, second_error)
        return _pack(value, error, np.maximum(pareto_k, second_k), 0.0)
    z = log_normalizer(fitted, seed=seed)
    return _pack(value - z.value, error, pareto_k, z.error)


@checked()
def log_normalizer(fitted: Fitted, *, seed: int = 0) -> LogNormalizer:
    """Log Z of the program's priors, summed where there are several; 0 without error for normalised priors."""
    host = fitted.program.ppl.host
    total = LogNormalizer(0.0, 0.0, np.inf)
    for prior in host.find_prior(fitted.model, example(fitted.program.modalities)).values():
        z = host.log_normalizer(prior, seed)
        total = LogNormalizer(total.value + z.value, float(np.hypot(total.error, z.error)), min(total.ess, z.ess))
    return total


def _bounding(fitted: Fitted, given: Sequence[str]) -> Fitted:
    """The program of the bound."""
    program = fitted.program
    if program.bound is None or given:
        raise OptionError(
            f"Expected a diffusion of all modalities in the space of the data, and nothing given, for method='bound'; "
            f"got '{program.name}' given {list(given)}. Take method='importance'."
        )
    model, guide = program.bound
    return replace(fitted, program=replace(program, model=model, guide=guide))


@cache
def _walker(ppl: PPL) -> Any:
    """One kernel for all calls, so that a host compiles its steps once."""
    return ppl.HMC(None, num_steps=4, step_size=0.375)


@cache
def _bound(ppl: PPL, num: int) -> Any:
    """One objective for all calls, so that a host compiles its weights once."""
    return ppl.ELBO(particles=num, average=True)  # so that each particle has its own latents outside the plate


def _log_weights(fitted: Fitted, data: Batch, how: tuple[str, int, int, int], seed: int) -> np.ndarray:
    method, num, steps, chunk = how
    host = fitted.program.ppl.host
    objective = _bound(fitted.program.ppl, num)
    size = min(max(1, chunk // num), len(data))
    out = []
    for number, rows in enumerate(blocks(data, size)):
        again = int(np.random.SeedSequence([seed, number * size]).generate_state(1)[0])
        with asked_by(f"log_likelihood, {num} draws of {len(rows)} rows (num, chunk)"):
            if method == "annealed":
                hidden = host.latents(fitted.model, fitted.guide, rows, num, again, np.zeros(len(rows), bool))
                hidden = {n: z for n, z in hidden.items() if n in fitted.latents}
                kernel = _walker(fitted.program.ppl)
                weights = host.anneal(fitted.model, fitted.guide, hidden, rows, kernel, steps, again + 1)
            else:
                weights = host.log_weights(fitted.model, fitted.guide, objective, rows, again)
        out.append(weights.astype(np.float64))
    return np.concatenate(out, axis=1)[:, : len(data)]


def _summarise(log_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log mean, its delta-method standard error and PSIS k of weights ``(K, N)``."""
    value = log_mean_exp(log_weight)
    error = np.exp(log_weight - value).std(axis=0, ddof=1) / np.sqrt(len(log_weight))
    return value, error, pareto_k(log_weight)


def pareto_k(log_weight: np.ndarray) -> np.ndarray:
    """PSIS k for each datum of log weights ``(K, N)``; -inf where the tail is flat, inf for fewer than 25 weights."""
    number = len(log_weight)
    if number < 25:
        return np.full(log_weight.shape[1], np.inf)
    tail = np.sort(log_weight, axis=0)[-int(np.ceil(min(number / 5, 3 * np.sqrt(number)))) :]
    varied = np.ptp(tail, axis=0) > 1e-9
    out = np.full(log_weight.shape[1], -np.inf)
    if varied.any():
        out[varied] = _psis(log_weight[:, varied].T)[1]
    return out


def smooth(log_weight: np.ndarray) -> np.ndarray:
    """Log weights ``(K, N)`` with their largest replaced by a Pareto tail; as they are where the tail is flat."""
    varied = np.isfinite(pareto_k(log_weight))
    out = log_weight - log_weight.max(axis=0)
    if varied.any():
        out = np.where(varied, 0.0, out)
        out[:, varied] = _psis(log_weight[:, varied].T)[0].T
    return out


def _psis(log_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed log weights and k of log weights ``(N, K)``."""
    with unwarned():
        try:
            from arviz import psislw
        except ImportError:
            # ArviZ 1.x keeps it among its array functions, and takes log likelihoods: minus log weights.
            from arviz_stats.base import array_stats

            smoothed, k = array_stats.psislw(-log_weight, axis=-1)
        else:
            smoothed, k = psislw(log_weight)
        return np.asarray(smoothed), np.asarray(k)


def _pack(value: np.ndarray, error: np.ndarray, k: np.ndarray, shared: float) -> LogLikelihood:
    # The few data that a trusted mean lets pass count with the errors that their weights tell.
    mean_error = (
        float(np.hypot(np.sqrt((error**2).sum()) / len(error), shared)) if trusted_k(share_above(k)) else np.nan
    )
    own = np.where(k <= LIMIT_K, np.hypot(error, shared), np.nan)
    return LogLikelihood(value, own, k, float(value.mean()), mean_error)
