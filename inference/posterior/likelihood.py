"""Log likelihoods of each datum, with an error where the method's own diagnosis holds."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.errors import OptionError
from mmppl.inference.posterior.evidence import CHOSEN, DRAWS, Estimates, How, estimates, why_no_chains
from mmppl.inference.posterior.trust import LIMIT_K, share_above, trusted_k
from mmppl.inference.training.example import example
from mmppl.inference.training.fitted import Fitted
from mmppl.priors import LogNormalizer

__all__ = ["LogLikelihood", "log_likelihood", "log_normalizer"]

METHODS = ("importance", "normal", "annealed", "auto", "bound")


class LogLikelihood(NamedTuple):
    """Log likelihoods of N data.

    Arguments:
        value: Estimates, in nats, ``(N,)``.
        error: Their standard errors, those of log Z and of rounding included, ``(N,)``; NaN where k is above 0.7, or
            where log Z has no error. Of a prior whose density is an integration, what that is off by is not in it.
        pareto_k: PSIS k of each datum's weights; above 0.7 an estimate is not to be trusted, ``(N,)``.
        mean: Mean over data.
        mean_error: Standard error of the mean as an estimate of its exact value for these data; the error of log Z is
            shared by all of them. NaN unless :attr:`trusted`, and where log Z has no error.
        method: The method that gave each of them, ``(N,)``.
    """

    value: np.ndarray
    error: np.ndarray
    pareto_k: np.ndarray
    mean: float
    mean_error: float
    method: np.ndarray

    def __repr__(self) -> str:
        bad = f"{100 * self.share_above:.0f}% of the data have k above {LIMIT_K}"
        value = f"mean {self.mean:.6g} nats"
        said = f"{value} ± {self.mean_error:.2g}" if self.trusted else f"{value}, not to be trusted"
        instead = "; method='auto' may do" if self.share_above and set(self.method) == {"importance"} else ""
        return f"LogLikelihood of {len(self.value)} data: {said}; {bad}{instead}"

    @property
    def share_above(self) -> float:
        """The share of data whose k is above 0.7."""
        return share_above(self.pareto_k)

    @property
    def trusted(self) -> bool:
        """True if the mean may be reported with an error; see :func:`~mmppl.inference.posterior.trust.trusted_k`."""
        return trusted_k(self.share_above)


@checked(data=ANYTHING, num=at_least(2), steps=at_least(1), chunk=at_least(1))
def log_likelihood(
    fitted: Fitted,
    data: Batch,
    *,
    method: str = "importance",
    num: int | None = None,
    steps: int = 20,
    given: Sequence[str] = (),
    seed: int = 0,
    chunk: int = 8192,
) -> LogLikelihood:
    r"""Estimates the log likelihood of what is present, by importance sampling from the guide.

    .. math:: \log p(x_P) \approx \log \frac{1}{K} \sum_k \frac{p(x_P, z_k)}{q(z_k \mid x_P)}, \qquad
        z_k \sim q(z \mid x_P)

    ================  ================================================================================================
    method            where the draws are from, and what a datum costs
    ================  ================================================================================================
    ``"importance"``  the guide: K = 1,000 evaluations of the model
    ``"normal"``      a normal on the real line, fitted to 32 short HMC chains and their scores, or one at each mode
                      that chains have come to while the posterior was tempered, and for one draw in eight a broad one:
                      16,000 gradients, and K = 1,000 evaluations; see
                      :mod:`~mmppl.inference.posterior.normal_fit`
    ``"annealed"``    these normals, and from them to the posterior through ``steps`` tempered densities, by transitions
                      of HMC: five gradients more for each of K = 128 draws and each step; see
                      :func:`~mmppl.inference.posterior.annealing.annealed_log_weights`
    ``"auto"``        of these the first whose PSIS k is at most 0.7, for each datum; where none is, the one whose k is
                      least. Where latents have no chains, the guide alone
    ================  ================================================================================================

    The weights of all of them have the likelihood as their mean, whether or not the chains have got anywhere: what
    spoils them is a heavy tail, which k tells. Of a posterior that is normal the second is exact from any guide. What k
    cannot tell of is a narrow mode that no draw has met: its share of the likelihood is missing.

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
        method: ``"importance"``, ``"normal"``, ``"annealed"``, ``"auto"`` or ``"bound"``.
        num: K; by default as above, and 64 of a bound. With ``"auto"`` that of draws from the guide and the normal.
        steps: Tempered densities J, with ``"annealed"`` and ``"auto"``.
        given: Modalities conditioned on.
        seed: Random seed.
        chunk: Most draws times rows at once.

    Raises:
        OptionError: If ``num`` is less than 2, the method is unknown, or the program cannot serve it: its encoders are
            deterministic, it has no bound, or chains are asked for of latents that are discrete, lie outside the plate
            or have an ODE's density.

    References:
        | Pareto smoothed importance sampling (Vehtari et al., 2024), https://arxiv.org/abs/1507.02646
        | Annealed importance sampling (Neal, 2001), https://arxiv.org/abs/physics/9803008

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit
        >>> data = load("linear_gaussian")
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train[:256], epochs=1, progress=False)
        >>> log_likelihood(fitted, data.test[:4], num=50, method="importance").value.shape
        (4,)
    """
    if method not in METHODS:
        raise OptionError(f"Unknown method '{method}'; expected one of {', '.join(METHODS)}.")
    if method != "bound":
        fitted.program.need_density()
    wanted: tuple[str, ...] = (method,)
    if method not in ("bound", "importance"):
        why = why_no_chains(fitted)
        if method == "auto":
            wanted = CHOSEN if why is None else CHOSEN[:1]
        elif why is not None:
            raise OptionError(f"Expected method='importance' of '{fitted.program.name}', {why}; got '{method}'.")
    if method == "bound":
        fitted = _bounding(fitted, given)
    draws = DRAWS if num is None else DRAWS | dict.fromkeys((wanted if wanted != CHOSEN else CHOSEN[:2]), num)
    how = How(wanted, draws, steps, chunk)
    data = fitted.program.taken(data).validate(fitted.program.modalities)
    found = estimates(fitted, data, how, seed)
    if method == "bound":
        return _pack(found, 0.0)
    if given:
        return _pack(_less(found, _of_given(fitted, data.only(*given), how, seed)), 0.0)
    z = log_normalizer(fitted, seed=seed)
    return _pack(found._replace(value=found.value - z.value), z.error)


@checked()
def log_normalizer(fitted: Fitted, *, seed: int = 0) -> LogNormalizer:
    r"""Log Z of the program's priors, summed where there are several; 0 without error for normalised priors.

    .. math:: \log Z = \log \int e^{f(z)} p_0(z) \, dz

    by annealed importance sampling from the base :math:`p_0` to the energy-tilted prior.

    Arguments:
        fitted: A fitted program.
        seed: Random seed.

    Returns:
        The value with its standard error, in nats, and the effective sample size of its weights.
    """
    host = fitted.program.ppl.host
    total = LogNormalizer(0.0, 0.0, np.inf)
    for prior in host.find_prior(
        fitted.model, example(fitted.program.modalities, covariates=fitted.program.covariates)
    ).values():
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


def _of_given(fitted: Fitted, known: Batch, how: How, seed: int) -> Estimates:
    """Estimates of what is given; log Z alone where nothing is."""
    z = log_normalizer(fitted, seed=seed)
    rows, num = np.asarray(known.observed()), len(known)
    method = np.full(num, how.methods[0], object)
    found = Estimates(np.full(num, z.value), np.full(num, z.error), np.full(num, -np.inf), method)
    if rows.any():
        own = estimates(fitted, known[np.flatnonzero(rows)], how, seed + 1)
        for every, part in zip(found, own, strict=True):
            every[rows] = part
    return found


def _less(first: Estimates, second: Estimates) -> Estimates:
    """The difference of two, by the later of their methods."""
    later = [max(pair, key=METHODS.index) for pair in zip(first.method, second.method, strict=True)]
    return Estimates(
        first.value - second.value,
        np.hypot(first.error, second.error),
        np.maximum(first.pareto_k, second.pareto_k),
        np.array(later, object),
    )


def _pack(found: Estimates, shared: float) -> LogLikelihood:
    value, error, k, method = found
    # The few data that a trusted mean lets pass count with the errors that their weights tell.
    mean_error = (
        float(np.hypot(np.sqrt((error**2).sum()) / len(error), shared)) if trusted_k(share_above(k)) else np.nan
    )
    own = np.where(k <= LIMIT_K, np.hypot(error, shared), np.nan)
    return LogLikelihood(value, own, k, float(value.mean()), mean_error, method)
