"""Centre and spread of the training data, for networks that see data and give them in their units."""

from collections.abc import Mapping

import numpy as np

from mmppl.inference.training.moments import Statistics
from mmppl.warn import warn

__all__ = ["standardization"]

CENTRE, SPREAD = "centre", "spread"
COVARIATES = "covariates."


def standardization(statistics: Statistics, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    r"""Values of the arrays of a program's networks that standardise data, of what is observed.

    Of a network ``<modality>.<part>``, centre and spread are mean and standard deviation of each coordinate of a
    vector and each channel of an image, of :math:`\log(1 + x)` for counts. A decoder of counts has the log of their
    mean as its centre. A constant coordinate has a spread of 1, one without a value a mean of 0 too. Networks that have
    been given other values than 0 and 1, as those that come fitted, keep them.

    Arguments:
        statistics: Those of the training data. The network ``covariates`` has the numbers in their order, then the
            logarithms of size factors; those of counts are taken off them before the mean of a decoder.
        weights: The program's weights by public name.
    """
    modalities = statistics.modalities
    out: dict[str, np.ndarray] = {}
    constant: dict[str, list[int]] = {}
    lacking: dict[str, list[int]] = {}
    for name, value in weights.items():
        network, _, kind = name.rpartition(".")
        if (
            statistics.known
            and network.startswith(COVARIATES)
            and kind in (CENTRE, SPREAD)
            and not _is_set(network, weights)
        ):
            numbers = statistics.covariates
            flat = numbers.deviation <= 1e-7 * np.abs(numbers.mean)
            out[name] = numbers.mean if kind == CENTRE else np.where(flat, 1.0, numbers.deviation)
            continue
        owners = [m for m in modalities if name.startswith(f"{m}.")]
        if kind not in (CENTRE, SPREAD) or not owners or _is_set(network, weights):
            continue
        owner = max(owners, key=len)
        counts = modalities[owner].scoring.values == "counts"
        found = statistics.values(owner)
        if not found.number.any():
            continue
        if counts and network.removeprefix(f"{owner}.").startswith("decoder."):
            if kind == CENTRE:
                # Half a count over all rows where there is none at all.
                rates, size = statistics.rates(owner)
                log_mean = np.log(np.maximum(rates, 0.5 / size))
                rest = value.size - log_mean.size
                out[name] = np.concatenate([log_mean.reshape(-1), np.zeros(rest)]).reshape(value.shape)
            continue
        found = statistics.logs(owner) if counts else found
        nowhere = found.number == 0
        mean, spread = found.mean, np.where(nowhere, 1.0, found.deviation)
        flat = (spread <= 1e-7 * np.abs(mean)) & ~nowhere
        constant |= {owner: np.flatnonzero(flat).tolist()} if flat.any() else {}
        lacking |= {owner: np.flatnonzero(nowhere).tolist()} if nowhere.any() else {}
        out[name] = (mean if kind == CENTRE else np.where(flat, 1.0, spread)).reshape(value.shape)
    for places, what in ((constant, "is constant"), (lacking, "has no value")):
        for owner, where in places.items():
            warn(
                f"Modality '{owner}' {what} in the training data at {where[:5]}"
                f"{' and others' if len(where) > 5 else ''}: nothing can be learned there. Leave these out.",
            )
    return {name: np.asarray(value, np.float32) for name, value in out.items()}


def _is_set(network: str, weights: Mapping[str, np.ndarray]) -> bool:
    """Tells whether a layer has values already."""
    return bool(np.any(weights[f"{network}.{CENTRE}"] != 0.0) or np.any(weights[f"{network}.{SPREAD}"] != 1.0))
