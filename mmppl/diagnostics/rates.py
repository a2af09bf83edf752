"""Rates and distortions: what a bound pays for its code, and what the code is worth."""

from dataclasses import replace
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.errors import DataError, OptionError
from mmppl.inference import Fitted
from mmppl.inference.posterior.likelihood import log_normalizer
from mmppl.metrics import Estimate

__all__ = ["RateDistortion", "law", "rate_distortion"]

MOST = 32  # subsets; with more modalities than this lets enumerate they are drawn


class RateDistortion(NamedTuple):
    r"""Four numbers in nats, each a mean over data with its standard error.

    Arguments:
        reconstruction: :math:`-D = \mathbb{E}\,\mathbb{E}_{q(z \mid x)} \log p(x \mid z)`.
        rate: :math:`R = \mathbb{E}\,\mathrm{KL}(q(z \mid x) \| p(z))`.
        cross_prediction: :math:`-D^c = \mathbb{E}\,\mathbb{E}_{q(z \mid x_S)} \log p(x_{\setminus S} \mid z)`, S from
            :math:`\rho`.
        cross_rate: :math:`\mathbb{E}\,\mathrm{KL}(q(z \mid x) \| q(z \mid x_S))`, S from :math:`\rho`.
    """

    reconstruction: Estimate
    rate: Estimate
    cross_prediction: Estimate
    cross_rate: Estimate


@checked(batch=ANYTHING, num=at_least(1))
def rate_distortion(fitted: Fitted, batch: Batch, *, num: int = 16, seed: int = 0) -> RateDistortion:
    r"""Reconstruction and rate of the guide given everything; prediction and rate across subsets.

    .. math:: H - D \le I(X; Z) \le R

    with H the entropy of the data; and :math:`R` is all of the information where the guide's average is the prior. S
    has a size uniform on 0, ..., M, as in :class:`~mmppl.inference.objectives.Masked`, so that the empty and the full
    set count; up to 32 subsets are enumerated, else 32 are drawn. Under a diffusion every draw takes integrations.

    References:
        | Hirt et al. (2024), section 2, https://arxiv.org/abs/2309.00380
        | Fixing a Broken ELBO (Alemi et al., 2018), https://arxiv.org/abs/1711.00464

    Arguments:
        fitted: A fitted program.
        batch: Data, N rows; those that lack a modality are left out.
        num: Draws of the guide for each datum and subset.
        seed: Random seed.

    Raises:
        OptionError: If ``num`` is less than 1, or the program's encoders are deterministic.
        DataError: If fewer than two rows have all modalities.
    """
    if num < 1:
        raise OptionError(f"Expected num >= 1; got {num}.")
    fitted.program.need_density()
    fitted.rows_alone("Rates and distortions")
    batch = fitted.program.observed(batch)
    whole = np.flatnonzero(np.all([np.asarray(mask) for mask in batch.present.values()], axis=0))
    if len(whole) < 2:
        raise DataError(f"Expected at least two rows with all modalities; got {len(whole)}.")
    rows, host, none = batch[whole], fitted.program.ppl.host, np.zeros(len(whole), bool)
    z = host.latents(fitted.model, fitted.guide, rows, num, seed, none)
    log_lik, log_prior = host.scores(fitted.model, z, rows)
    log_q = host.guide_log_prob(fitted.guide, z, rows)
    log_z = log_normalizer(fitted, seed=seed)
    prediction, cross = np.zeros(log_q.shape), np.zeros(log_q.shape)
    for i, (subset, weight) in enumerate(law(rows.modalities, seed)):
        seen, rest = rows.only(*subset), [name for name in rows.modalities if name not in subset]
        cross += weight * (log_q - host.guide_log_prob(fitted.guide, z, seen))
        if rest:
            own = host.latents(fitted.model, fitted.guide, seen, num, seed + 1 + i, none)
            scores = host.scores(fitted.model, own, rows, prior=False)[0]
            prediction += weight * sum(scores[name] for name in rest)
    every = (sum(log_lik.values()), log_q - log_prior + log_z.value, prediction, cross)
    found = RateDistortion(*(Estimate.of(np.asarray(value)) for value in every))
    # All data share one log Z, so that their number does not shrink its error.
    rate = replace(found.rate, error=float(np.hypot(found.rate.error, log_z.error)))
    return found._replace(rate=rate)


def law(names: tuple[str, ...], seed: int) -> list[tuple[tuple[str, ...], float]]:
    """Subsets with their probabilities, the size being uniform."""
    total = len(names)
    if 2**total <= MOST:
        sizes = range(total + 1)
        return [(s, 1.0 / ((total + 1) * comb(total, k))) for k in sizes for s in combinations(names, k)]
    rng = np.random.default_rng(seed)
    subsets = rng.random((MOST, total)) < rng.random((MOST, 1))
    return [(tuple(n for n, own in zip(names, row, strict=True) if own), 1.0 / MOST) for row in subsets]
