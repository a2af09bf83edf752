"""Centre and spread of the training data, for networks that see data and give them in their units."""

import warnings
from collections.abc import Mapping

import numpy as np

from mmppl.batch import Batch, Modality

__all__ = ["standardization"]

CENTRE, SPREAD = "centre", "spread"


def standardization(
    data: Batch, modalities: Mapping[str, Modality], weights: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    r"""Values of the arrays of a program's networks that standardise data, of the rows that are present.

    Of a network ``<modality>.<part>``, centre and spread are mean and standard deviation of each coordinate of a
    vector and each channel of an image, of :math:`\log(1 + x)` for counts. A decoder of counts has the log of their
    mean as its centre. A constant coordinate has a spread of 1. Networks that have been given other values than 0 and
    1, as those that come fitted, keep them.

    Arguments:
        data: The training data.
        modalities: What each modality is, by name.
        weights: The program's weights by public name.
    """
    out: dict[str, np.ndarray] = {}
    constant: dict[str, list[int]] = {}
    for name, value in weights.items():
        network, _, kind = name.rpartition(".")
        owners = [m for m in modalities if name.startswith(f"{m}.")]
        if kind not in (CENTRE, SPREAD) or not owners or _is_set(network, weights):
            continue
        owner = max(owners, key=len)
        x = np.asarray(data[owner], np.float64)[np.flatnonzero(np.asarray(data.present[owner]))]
        modality = modalities[owner]
        if not len(x):
            continue
        if modality.scoring.values == "counts" and network.removeprefix(f"{owner}.").startswith("decoder."):
            if kind == CENTRE:
                # Half a count over all rows where there is none at all.
                log_mean = np.log(np.maximum(x.mean(0), 0.5 / len(x)))
                rest = value.size - log_mean.size
                out[name] = np.concatenate([log_mean.reshape(-1), np.zeros(rest)]).reshape(value.shape)
            continue
        x = np.log1p(x) if modality.scoring.values == "counts" else x
        axes = (0, *range(2, x.ndim)) if modality.kind == "image" else (0,)
        mean, spread = x.mean(axes), x.std(axes)
        still = spread <= 1e-7 * np.abs(mean)
        constant |= {owner: np.flatnonzero(still).tolist()} if still.any() else {}
        out[name] = (mean if kind == CENTRE else np.where(still, 1.0, spread)).reshape(value.shape)
    for owner, places in constant.items():
        warnings.warn(
            f"Modality '{owner}' is constant in the training data at {places[:5]}"
            f"{' and others' if len(places) > 5 else ''}: nothing can be learned there. Leave these out.",
            stacklevel=3,
        )
    return {name: np.asarray(value, np.float32) for name, value in out.items()}


def _is_set(network: str, weights: Mapping[str, np.ndarray]) -> bool:
    """Tells whether a layer has values already."""
    return bool(np.any(weights[f"{network}.{CENTRE}"] != 0.0) or np.any(weights[f"{network}.{SPREAD}"] != 1.0))
