"""The algebra of bounds: from log densities per datum to a loss and its record."""

import math
from typing import Any, NamedTuple

from mmppl._backend import Backend

Array = Any

__all__ = ["Ingredients", "bound_and_record"]


class Ingredients(NamedTuple):
    """What a bound is made of; K particles, T terms, N rows.

    Arguments:
        log_lik: log p(x_m | z) by modality, ``(K, T, N)``.
        masks: 1.0 where a modality is scored, ``(T, N)``.
        log_r: log density of the reference, ``(K, T, N)``.
        log_q: log density of the guide, ``(K, T, N)``.
        weights: Factors on modalities, floats.
    """

    log_lik: dict[str, Array]
    masks: dict[str, Array]
    log_r: Array
    log_q: Array
    weights: dict[str, float]

    def log_weights(self, beta: float) -> Array:
        """Log p(x_T | z) + beta (log r - log q), ``(K, T, N)``."""
        total = beta * (self.log_r - self.log_q)
        for name, value in self.log_lik.items():
            total = total + self.weights.get(name, 1.0) * (self.masks[name] * value)
        return total

    def normalised_weights(self, backend: Backend, beta: float) -> Array:
        """The importance weights over the particles of each datum, ``(K, T, N)``."""
        return backend.xp.exp(backend.log_softmax(self.log_weights(beta), axis=0))


def bound_and_record(
    backend: Backend, objective: Any, terms: Any, parts: Ingredients, scale: Any
) -> tuple[Array, dict[str, Array]]:
    """The loss, summed over data, and a record of means per datum.

    The record holds ``loss`` (per datum), ``log_lik.<modality>`` (per datum that has it), and ``kl``, the mean of
    log q - log r.
    """
    xp = backend.xp
    log_w = parts.log_weights(objective.beta)
    if objective.average:
        bound = xp.mean(log_w, axis=0)
    elif objective.gradient == "dreg":
        share = backend.stop_gradient(parts.normalised_weights(backend, objective.beta))
        value = backend.stop_gradient(backend.logsumexp(log_w, axis=0) - math.log(log_w.shape[0]))
        surrogate = xp.sum(share * log_w, axis=0)
        bound = value + (surrogate - backend.stop_gradient(surrogate))
    elif log_w.shape[0] == 1:
        bound = log_w[0, ...]
    else:
        bound = backend.logsumexp(log_w, axis=0) - math.log(log_w.shape[0])
    weight = terms.weight
    # A term of weight zero must not touch the loss even if its bound is not finite.
    bound = xp.where(weight > 0, bound, xp.zeros_like(bound))
    per_datum = xp.sum(weight * bound, axis=0)
    loss = -xp.sum(scale * per_datum)
    still = backend.stop_gradient
    total = xp.sum(weight, axis=0)
    share = weight / xp.where(total > 0, total, xp.ones_like(total))
    record = {
        "loss": -xp.mean(still(per_datum)),
        "kl": xp.mean(xp.sum(share * _particle_mean(parts, xp, still), axis=0)),
    }
    for name, value in parts.log_lik.items():
        scored = share * parts.masks[name]
        number = xp.sum(scored)
        value = xp.sum(scored * still(xp.mean(value, axis=0)))
        record[f"log_lik.{name}"] = value / xp.where(number > 0, number, xp.ones_like(number))
    return loss, record


def _particle_mean(parts: Ingredients, xp: Any, still: Any) -> Array:
    return xp.mean(still(parts.log_q) - still(parts.log_r), axis=0)
