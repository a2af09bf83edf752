"""Centre and spread of the training data, for networks that see data and give them in their units."""

from collections.abc import Mapping

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.covariates import Covariate
from mmppl.warn import warn

__all__ = ["standardization"]

CENTRE, SPREAD = "centre", "spread"
COVARIATES = "covariates."


def standardization(
    data: Batch,
    modalities: Mapping[str, Modality],
    weights: Mapping[str, np.ndarray],
    covariates: Mapping[str, Covariate] | None = None,
) -> dict[str, np.ndarray]:
    r"""Values of the arrays of a program's networks that standardise data, of what is observed.

    Of a network ``<modality>.<part>``, centre and spread are mean and standard deviation of each coordinate of a
    vector and each channel of an image, of :math:`\log(1 + x)` for counts. A decoder of counts has the log of their
    mean as its centre. A constant coordinate has a spread of 1, one without a value a mean of 0 too. Networks that have
    been given other values than 0 and 1, as those that come fitted, keep them.

    Arguments:
        data: The training data.
        modalities: What each modality is, by name.
        weights: The program's weights by public name.
        covariates: What is known of every row: the network ``covariates`` has the numbers in their order, then the
            logarithms of size factors. Those of counts are taken off them before the mean of a decoder.
    """
    out: dict[str, np.ndarray] = {}
    constant: dict[str, list[int]] = {}
    lacking: dict[str, list[int]] = {}
    known = covariates or {}
    for name, value in weights.items():
        network, _, kind = name.rpartition(".")
        if known and network.startswith(COVARIATES) and kind in (CENTRE, SPREAD) and not _is_set(network, weights):
            x = _numbers(data, known)
            spread = x.std(0)
            flat = spread <= 1e-7 * np.abs(x.mean(0))
            out[name] = x.mean(0) if kind == CENTRE else np.where(flat, 1.0, spread)
            continue
        owners = [m for m in modalities if name.startswith(f"{m}.")]
        if kind not in (CENTRE, SPREAD) or not owners or _is_set(network, weights):
            continue
        owner = max(owners, key=len)
        rows = np.flatnonzero(np.asarray(data.present[owner]))
        x = np.asarray(data[owner], np.float64)[rows]
        if owner in data.elements:
            x = np.ma.array(x, mask=~np.asarray(data.there(owner))[rows])  # missing elements are left out of means
        modality = modalities[owner]
        if not len(x):
            continue
        if modality.scoring.values == "counts" and network.removeprefix(f"{owner}.").startswith("decoder."):
            if kind == CENTRE:
                # Half a count over all rows where there is none at all.
                size = _size(data, known, owner)[rows]
                share = x.mean(0) if (size == 1.0).all() else _rates(x, size)
                log_mean = np.log(np.maximum(np.ma.filled(share, 0.0), 0.5 / size.sum()))
                rest = value.size - log_mean.size
                out[name] = np.concatenate([log_mean.reshape(-1), np.zeros(rest)]).reshape(value.shape)
            continue
        x = np.log1p(x) if modality.scoring.values == "counts" else x
        axes = (0, *range(2, x.ndim)) if modality.kind == "image" else (0,)
        nowhere = np.ma.getmaskarray(x).all(axes)
        mean, spread = np.ma.filled(x.mean(axes), 0.0), np.ma.filled(x.std(axes), 1.0)
        flat = (spread <= 1e-7 * np.abs(mean)) & ~nowhere
        constant |= {owner: np.flatnonzero(flat).tolist()} if flat.any() else {}
        lacking |= {owner: np.flatnonzero(nowhere).tolist()} if nowhere.any() else {}
        out[name] = (mean if kind == CENTRE else np.where(flat, 1.0, spread)).reshape(value.shape)
    for found, what in ((constant, "is constant"), (lacking, "has no value")):
        for owner, places in found.items():
            warn(
                f"Modality '{owner}' {what} in the training data at {places[:5]}"
                f"{' and others' if len(places) > 5 else ''}: nothing can be learned there. Leave these out.",
            )
    return {name: np.asarray(value, np.float32) for name, value in out.items()}


def _numbers(data: Batch, known: Mapping[str, Covariate]) -> np.ndarray:
    """Numbers ``(N, C)`` of covariates, then logarithms of size factors."""
    values = {name: np.asarray(data.covariates[name], np.float64) for name in known}
    numbers = [values[name] for name, what in known.items() if what.kind == "number"]
    return np.stack([*numbers, *(np.log(values[n]) for n, c in known.items() if c.kind == "size_factor")], axis=1)


def _rates(x: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Counts for each unit of size, of rows ``(N, *event)`` of sizes ``(N,)``, over what is there."""
    there = ~np.ma.getmaskarray(x)
    size = np.broadcast_to(size.reshape(-1, *[1] * (x.ndim - 1)), x.shape)
    return x.sum(0) / np.maximum(np.where(there, size, 0.0).sum(0), 1e-30)


def _size(data: Batch, known: Mapping[str, Covariate], modality: str) -> np.ndarray:
    """Product of the size factors of a modality's counts, ``(N,)``."""
    out = np.ones(len(data))
    for name, what in known.items():
        if what.kind == "size_factor" and what.modality in (None, modality):
            out = out * np.asarray(data.covariates[name], np.float64)
    return out


def _is_set(network: str, weights: Mapping[str, np.ndarray]) -> bool:
    """Tells whether a layer has values already."""
    return bool(np.any(weights[f"{network}.{CENTRE}"] != 0.0) or np.any(weights[f"{network}.{SPREAD}"] != 1.0))
