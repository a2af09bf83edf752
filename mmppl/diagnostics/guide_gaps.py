"""Guide gaps: PSIS k for each datum under each observed subset, and the gaps of the guide's bound."""

from typing import NamedTuple

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.diagnostics.best_normal import BestNormal
from mmppl.inference import Fitted
from mmppl.inference.posterior.importance import weighted
from mmppl.inference.posterior.likelihood import log_normalizer
from mmppl.numerics import log_mean_exp

__all__ = ["Gaps", "gaps", "guide_k", "subsets_of"]

MOST = 3  # with more modalities not every subset is tried


def subsets_of(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The observed subsets to try: all of them for up to three modalities, else one, all but one, and all.

    Example:
        >>> subsets_of(("a", "b"))
        [('a',), ('b',), ('a', 'b')]
    """
    if len(names) <= MOST:
        every = [tuple(n for i, n in enumerate(names) if code >> i & 1) for code in range(1, 1 << len(names))]
        return sorted(every, key=len)
    return [*((n,) for n in names), *(tuple(m for m in names if m != n) for n in names), names]


@checked(data=ANYTHING, num=at_least(1))
def guide_k(fitted: Fitted, data: Batch, *, num: int = 400, seed: int = 0) -> dict[tuple[str, ...], np.ndarray]:
    r"""PSIS k of the guide's weights :math:`p(x_S, z) / q(z \mid x_S)`, for each observed subset S and datum.

    Above 0.7 the guide is too far from that posterior to be corrected by weights; a large k under few subsets tells
    which of them the guide has not learned.

    Arguments:
        fitted: A fitted program.
        data: Data, N rows.
        num: Draws for each datum and subset.
        seed: Random seed.

    Returns:
        k by subset, ``(N,)``; NaN for data that lack one of the subset's modalities.

    References:
        | Pareto smoothed importance sampling (Vehtari et al., 2024), https://arxiv.org/abs/1507.02646
        | Yes, but did it work? Evaluating variational inference (Yao et al., 2018), https://arxiv.org/abs/1802.02538

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load
        >>> from mmppl.inference import fit
        >>> data = load("linear_gaussian", num_train=64, num_test=8)
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train, epochs=1, seed=0, progress=False)
        >>> guide_k(fitted, data.test[:3], num=50)["a", "b"].shape
        (3,)
    """
    out = {}
    data = fitted.program.observed(data)
    for subset in subsets_of(data.modalities):
        has = np.flatnonzero(np.all([np.asarray(data.present[n]) for n in subset], axis=0))
        k = np.full(len(data), np.nan)
        if has.size:
            # Rows are repeated, so that all subsets have one shape, and a host compiles once.
            rows = data[np.resize(has, len(data))].only(*subset)
            k[has] = weighted(fitted, rows, num, seed).pareto_k[: has.size]
        out[subset] = k
    return out


class Gaps(NamedTuple):
    r"""Gaps of the guide's bound for each of N data, in nats.

    Arguments:
        evidence: :math:`\log p(x_n)` by importance weights, ``(N,)``.
        guide: The ELBO of the guide, ``(N,)``.
        best: The ELBO of the best diagonal normal of that datum alone, ``(N,)``.
    """

    evidence: np.ndarray
    guide: np.ndarray
    best: np.ndarray

    @property
    def amortisation(self) -> np.ndarray:
        """Best normal less guide: lost by answering for all data with one network; below 0 for a richer guide."""
        return self.best - self.guide

    @property
    def approximation(self) -> np.ndarray:
        """Evidence less best normal: lost by a posterior that is a diagonal normal."""
        return self.evidence - self.best


@checked(data=ANYTHING, num=at_least(2), steps=at_least(1))
def gaps(fitted: Fitted, data: Batch, *, num: int = 400, steps: int = 300, seed: int = 0) -> Gaps:
    r"""Amortisation and approximation gap of the guide, for latents on the real line.

    .. math:: \log p(x) - L(q) = \big[ \log p(x) - L(q^*) \big] + \big[ L(q^*) - L(q) \big]

    with :math:`q^*` the best diagonal normal of each datum, found by stochastic gradients that start at the guide's
    draws.

    Arguments:
        fitted: A fitted program.
        data: Data, N rows.
        num: Draws for each datum.
        steps: Steps of the optimiser.
        seed: Random seed.

    References:
        | Inference suboptimality in variational autoencoders (Cremer, Li & Duvenaud, 2018)
        | https://arxiv.org/abs/1801.03558
    """
    fitted.rows_alone("The gap of the guide")
    data = fitted.program.observed(data)
    host = fitted.program.ppl.host
    log_z = log_normalizer(fitted, seed=seed).value
    found = weighted(fitted, data, num, seed)
    evidence = log_mean_exp(found.log_weight)
    few = {name: z[: min(num, 64)] for name, z in found.draws.items()}
    draws = {n: np.asarray(z) for n, z in host.refine(fitted.model, few, data, BestNormal(), steps, seed).items()}
    log_lik, log_prior = host.scores(fitted.model, draws, data)
    # The draws have the mean and the spread of the normal exactly, so its entropy is theirs.
    entropy = sum(
        (np.log(z.std(0)) + 0.5 * np.log(2.0 * np.pi * np.e)).reshape(len(data), -1).sum(-1) for z in draws.values()
    )
    best = (sum(log_lik.values()) + log_prior).mean(0) + entropy
    return Gaps(evidence - log_z, found.log_weight.mean(0) - log_z, best - log_z)
