"""The algebra of bounds: from log densities per datum to a loss and its record."""

from typing import Any, NamedTuple

import numpy as np

from mmppl._backend import Backend, get_backend
from mmppl.numerics import log_mean_exp

Array = Any

__all__ = ["Ingredients", "bound_and_record", "gradient_of", "shares"]


class Ingredients(NamedTuple):
    """Ingredients of a bound, of K particles, T terms and N rows.

    Arguments:
        log_lik: log p(x_m | z) by modality, ``(K, T, N)``.
        masks: Factor on a modality where it is scored, 0 elsewhere, ``(T, N)``.
        log_ratio: log r - log q, summed over the references by their shares, ``(K, T, N)``.
        log_own: Log density of the draws in what they were drawn from, ``(K, T, N)``.
        weights: Factors on modalities, floats.
        joint: Weights of terms whose particles belong together, ``(T, N)``; None where terms stand alone.
        outside: log p - log q of what lies outside the plate of the data, a scalar; None where nothing does.
        scale: Factor of that plate, total over batch size.
        astray: Modalities that lie outside it.
    """

    log_lik: dict[str, Array]
    masks: dict[str, Array]
    log_ratio: Array
    log_own: Array
    weights: dict[str, float]
    joint: Array | None = None
    outside: Array | None = None
    scale: Any = 1.0
    astray: tuple[str, ...] = ()

    def log_weights(self, beta: Any) -> Array:
        """Log p(x_T | z) + beta (log r - log q), ``(K, T, N)``; summed over the terms where they are joint."""
        total = _times(beta, self.log_ratio)
        for name, value in self.log_lik.items():
            total = total + _times(self.weights.get(name, 1.0), self.masks[name] * value)
        return self.joined(total)

    def joined(self, x: Array) -> Array:
        """The weighted sum of ``(K, T, N)`` over terms that are joint, ``(K, 1, N)``; as it is where none are."""
        if self.joint is None:
            return x
        xp = get_backend(x).xp
        return xp.sum(xp.where(self.joint > 0, self.joint * x, xp.zeros_like(x)), axis=1, keepdims=True)

    def normalised_weights(self, backend: Backend, beta: Any) -> Array:
        """The importance weights over the particles of each datum, ``(K, T, N)``."""
        return backend.xp.exp(backend.log_softmax(self.log_weights(beta), axis=0))

    def free(self, backend: Backend, bits: float) -> "Ingredients":
        """The ingredients with free bits: a divergence below ``bits`` nats counts as that much."""
        xp = backend.xp
        mean = xp.mean(self.log_ratio, axis=0, keepdims=True)
        return self._replace(log_ratio=xp.broadcast_to(xp.clip(mean, max=-bits), self.log_ratio.shape))

    def of_the_others(self, backend: Backend, bits: float) -> "Ingredients":
        """Means over the other particles, for each, with the free bits of :meth:`free`."""

        def mean(x: Array) -> Array:
            return (backend.xp.sum(x, axis=0, keepdims=True) - x) / (x.shape[0] - 1)

        log_ratio = mean(self.log_ratio)
        log_ratio = backend.xp.clip(log_ratio, max=-bits) if bits else log_ratio
        return self._replace(log_lik={name: mean(x) for name, x in self.log_lik.items()}, log_ratio=log_ratio)


def bound_and_record(
    backend: Backend, objective: Any, terms: Any, parts: Ingredients, beta: Any
) -> tuple[Array, dict[str, Array]]:
    """The loss, summed over data, and a record of means per datum.

    The record holds ``loss`` (per datum), ``log_lik.<modality>`` (per datum that has it), ``kl``, the mean of
    log q - log r, and ``outside``, the share of a datum in log p - log q of what lies outside the plate of the data.
    """
    xp = backend.xp
    held = parts.free(backend, objective.free_bits) if objective.free_bits else parts
    log_w = held.log_weights(beta)
    average = objective.average or log_w.shape[0] == 1
    if average:
        bound = log_w[0, ...] if log_w.shape[0] == 1 else xp.mean(log_w, axis=0)
    else:
        bound = log_mean_exp(log_w)
    if objective.gradient == "dreg":
        share = backend.stop_gradient(parts.normalised_weights(backend, beta))
        bound = backend.stop_gradient(bound) + gradient_of(backend, xp.sum(share * log_w, axis=0))
    elif objective.gradient == "score":
        signal = log_w if log_w.shape[0] == 1 else bound - _without(backend, parts, log_w, objective, beta)
        signal = backend.stop_gradient(signal)
        bound = bound + gradient_of(backend, xp.sum(signal * parts.joined(parts.log_own), axis=0))
    weight = terms.weight
    factor = weight if parts.joint is None else xp.astype(xp.any(weight > 0, axis=0, keepdims=True), weight.dtype)
    # A term of weight zero must not touch the loss even if its bound is not finite.
    bound = xp.where(factor > 0, bound, xp.zeros_like(bound))
    per_datum = xp.sum(factor * bound, axis=0)
    loss = -xp.sum(parts.scale * per_datum)
    stop_gradient = backend.stop_gradient
    share = shares(weight)
    record = {
        "loss": -xp.mean(stop_gradient(per_datum)),
        "kl": -xp.mean(xp.sum(share * xp.mean(stop_gradient(parts.log_ratio), axis=0), axis=0)),
    }
    if parts.outside is not None:
        loss = loss - parts.outside
        # A number per datum has its share of what all data have in common.
        record["outside"] = stop_gradient(parts.outside) / (parts.scale * per_datum.shape[0])
        record["loss"] = record["loss"] - record["outside"]
    for name, value in parts.log_lik.items():
        scored = share * parts.masks[name]
        number = xp.sum(scored)
        value = xp.sum(scored * xp.mean(stop_gradient(value), axis=0))
        record[f"log_lik.{name}"] = value / xp.where(number > 0, number, xp.ones_like(number))
    return loss, record


def shares(weight: Array) -> Array:
    """Weights of terms ``(T, N)`` as shares of each datum's sum; 0 where no term counts."""
    xp = get_backend(weight).xp
    total = xp.sum(weight, axis=0)
    return weight / xp.where(total > 0, total, xp.ones_like(total))


def _times(factor: Any, x: Array) -> Array:
    """A product, which most often need not be computed."""
    return x if isinstance(factor, float) and factor == 1.0 else factor * x


def gradient_of(backend: Backend, x: Array) -> Array:
    """Zero, with the gradient of ``x``."""
    return x - backend.stop_gradient(x)


def _without(backend: Backend, parts: Ingredients, log_w: Array, objective: Any, beta: Any) -> Array:
    r"""The bound as the other draws make it, for each draw, ``(K, T, N)``.

    It leaves the draw out, so that taken off the factor of the draw's score it does not bias the gradient: for averaged
    particles the bound of the others, for the importance-weighted bound that bound with the draw's weight replaced by
    their geometric mean (VIMCO).
    """
    xp, num = backend.xp, log_w.shape[0]
    if objective.average:
        return parts.of_the_others(backend, objective.free_bits).log_weights(beta)
    others = (xp.sum(log_w, axis=0, keepdims=True) - log_w) / (num - 1)
    same = backend.asarray(np.eye(num), like=log_w)[:, :, None, None] > 0.5
    replaced = xp.where(same, others[:, None, ...], log_w[None, ...])
    return log_mean_exp(replaced, axis=1)
