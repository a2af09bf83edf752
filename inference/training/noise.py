r"""Scales of noise by cells that are held out of a fit, where single elements are missing.

A bound is greatest at noise that tells elements which the guide has seen. What it has not seen is told worse, by what
guide and decoder err: of 240 rows, of which 30% of the values were missing, 80% intervals of these held 73 to 78%. So a
few cells of each modality are held out of all of the fit, and in the end the covariance of its noise is multiplied by
the :math:`c^2` under which they are likeliest given all else of their rows. With :math:`\mu_i` and :math:`u_i`, mean
and variance of :math:`\mathbb{E}[x_i \mid z, x_S]` over the guide's z, and
:math:`v_i = \operatorname{Var}[x_i \mid z, x_S]`,

.. math:: \max_c\ \sum_i \log \mathcal{N}(x_i; \mu_i, u_i + c^2 v_i) + \log \mathcal{N}(\log c^2; m, \tau^2)

The prior keeps few cells from saying much: first of the cells of all modalities together with m = 0 and
:math:`\tau = 1/2`, then of each with what came of all as its m, and :math:`\tau = 1/4`. Without a prior, and where all
of the variance is noise, :math:`c^2` is the mean of :math:`(x_i - \mu_i)^2 / v_i`: the optimal scale of the first
paper, of data that were held out as in the second.

References:
    | Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021)
    | https://arxiv.org/abs/2006.13202
    | Recalibration of Aleatoric and Epistemic Regression Uncertainty in Medical Imaging (Laves et al., 2021)
    | https://arxiv.org/abs/2104.12376
"""

from collections.abc import Mapping

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.data.hiding import hide
from mmppl.inference.generate import generate
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.program import Program
from mmppl.likelihoods import low_rank
from mmppl.nets import decoder
from mmppl.nets.layers import FACTOR_RATE, SCALE_FLOOR, SCALE_RATE, Factors, Scale, Standardize

__all__ = ["hold_out_cells", "log_ratio", "with_noise_of_cells"]

# Share of a modality's cells that is held out, and at most so many: a thousand tell a scale to 2%.
SHARE, MOST = 0.1, 1000
# Deviations of log c^2: of what all modalities have in common about 0, and of each about that.
COMMON, OWN = 0.5, 0.25
# Draws of the guide for each row, rows of a block, and steps of Fisher's scoring, of which few are needed.
DRAWS, BLOCK, STEPS = 32, 128, 50


def hold_out_cells(program: Program, rows: Batch, seed: int) -> Batch | None:
    """The rows without a tenth of the cells, 1,000 at most, of each modality that lacks single elements; None of none.

    Of modalities that have a normal likelihood with learned noise alone, and of published systems, whose guides have a
    density.

    Arguments:
        program: The program.
        rows: All rows.
        seed: Random seed.
    """
    if program.rebuild is None or not program.density or program.ode_density:
        return None
    less = {}
    for name, modality in program.modalities.items():
        if not _is_judged(modality) or name not in rows.values:
            continue
        own = np.flatnonzero(np.asarray(rows.present[name]))
        there = np.asarray(rows.there(name)).copy()
        number, most = there.sum(), (there[own].sum(1) - 1).sum()  # each row keeps one
        rate = min(SHARE * number, MOST, most / 2) / max(number, 1)
        if round(rate * number):
            part = Batch({name: np.asarray(rows[name])[own]}, {name: there[own]})
            there[own] = hide(part, rate, elements=True, seed=seed).there(name)
            less[name] = there
    return rows.with_present(less) if less else None


def log_ratio(cells: np.ndarray, mean: float, deviation: float) -> float:
    r"""The :math:`\log c^2` of cells, by Fisher's scoring, under a normal prior of it.

    Arguments:
        cells: :math:`(x_i - \mu_i)^2`, :math:`u_i` and :math:`v_i`, ``(3, n)``.
        mean: Mean m of the prior.
        deviation: Deviation :math:`\tau` of the prior.

    Example:
        >>> cells = np.array([[4.0], [0.0], [1.0]]) * np.ones(10**6)
        >>> round(float(log_ratio(cells, 0.0, 0.5) / np.log(4.0)), 3)
        1.0
    """
    squares, among, noise = cells
    log = mean
    for _ in range(STEPS):
        total = among + np.exp(log) * noise
        share = 1.0 - among / total
        slope = 0.5 * np.sum(share * (squares / total - 1.0)) - (log - mean) / deviation**2
        log += float(np.clip(slope / (0.5 * np.sum(share**2) + 1.0 / deviation**2), -1.0, 1.0))
    return log


def with_noise_of_cells(fitted: Fitted, less: Batch, rows: Batch, seed: int) -> dict[str, np.ndarray]:
    """Weights of the noise that cells held out are likeliest under, by name.

    Arguments:
        fitted: The program with the weights of a fit to ``less``.
        less: What the fit was given.
        rows: The same with the cells that were held out.
        seed: Random seed, of the guide's draws.
    """
    judged = [n for n, m in fitted.program.modalities.items() if _is_judged(m) and n in rows.values]
    held = {n: np.asarray(rows.there(n)) & ~np.asarray(less.there(n)) for n in judged}
    own = np.flatnonzero(np.any([cells.any(1) for cells in held.values()], axis=0))
    # Blocks of one size, as a host compiles for each.
    blocks = -(-len(own) // BLOCK)
    own = own[: len(own) - len(own) % blocks]
    size = len(own) // blocks
    means = generate(fitted, less[own], DRAWS, want=judged, mean=True, seed=seed, chunk=DRAWS * size)
    found, parts = {}, {}
    for name in judged:
        cells, layers = held[name][own], _names(name, fitted.program.modalities[name])
        if not cells.any() or any(n not in fitted.weights for n in layers.values()):  # a decoder of another kind
            continue
        parts[name] = {n: (layer, fitted.weights[n]) for layer, n in layers.items()}
        told = means[name].astype(np.float64)
        squares = (np.asarray(rows[name], np.float64)[own] - told.mean(0)) ** 2
        noise = _variances(dict(parts[name].values()), np.asarray(less.there(name))[own])
        found[name] = np.stack([squares, (1 + 1 / DRAWS) * told.var(0, ddof=1), noise])[:, cells]
    common = log_ratio(np.concatenate([*found.values()], axis=1), 0.0, COMMON) if found else 0.0
    out: dict[str, np.ndarray] = {}
    for name, cells in found.items():
        log_c = 0.5 * log_ratio(cells, common, OWN)
        for weight, (layer, value) in parts[name].items():
            if layer is not Standardize:
                new = value + log_c / SCALE_RATE if layer is Scale else value * np.exp(log_c)
                out[weight] = new.astype(value.dtype)
    return out


def _is_judged(modality: Modality) -> bool:
    likelihoods = ("normal", "low_rank_normal")
    return (
        modality.kind == "vector"
        and modality.partial
        and modality.scale == "learned"
        and modality.likelihood in likelihoods
    )


def _names(name: str, modality: Modality) -> dict[type, str]:
    """Names of the weights of a decoder's noise, and of the deviations that it is in units of, by layer."""
    kinds = {Scale: "weight", Factors: "weight", Standardize: "spread"}
    layers = enumerate(decoder(modality, 1).layers())
    return {type(x): f"{name}.decoder.layers.{i}.{kinds[type(x)]}" for i, x in layers if type(x) in kinds}


def _variances(parts: Mapping[type, np.ndarray], there: np.ndarray) -> np.ndarray:
    """Variances of values given the latent and those observed beside them, ``(N, D)``, by the weights of the noise."""
    wide = {part: np.asarray(x, np.float64) for part, x in parts.items()}
    scale = (np.exp(SCALE_RATE * wide[Scale]) + SCALE_FLOOR) * wide[Standardize]
    if Factors not in wide:
        return np.broadcast_to(scale**2, there.shape)
    return low_rank.variance(scale, FACTOR_RATE * wide[Factors] * wide[Standardize], there)
