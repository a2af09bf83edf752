"""The losses of :mod:`benchmarks.programs` written by hand in JAX, everything present."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["elbo", "mmvae"]


def mmvae(nets: Mapping[str, Any], modalities: Mapping[str, Any], values: Mapping[str, Any], noise: Any) -> Any:
    """Noise is standard Laplace, ``(M, N, D)``, a stratum for each expert."""
    experts = [nets[f"{name}.encoder"](values[name]) for name in modalities]
    loc, scale = (jnp.stack(parts) for parts in zip(*experts, strict=True))
    z = loc + scale * noise
    across = jnp.sum(-jnp.abs((z[:, None] - loc) / scale) - jnp.log(2.0 * scale), -1)
    log_q = jax.scipy.special.logsumexp(across, axis=1) - math.log(len(modalities))
    log_prior = jnp.sum(-jnp.abs(z) - math.log(2.0), -1)
    bound = log_prior - log_q + log_likelihood(nets, modalities, values, z)
    return -jnp.sum(jnp.mean(bound, 0))


def elbo(nets: Mapping[str, Any], modalities: Mapping[str, Any], values: Mapping[str, Any], noise: Any) -> Any:
    """Noise is standard normal, ``(N, D)``."""
    experts = [nets[f"{name}.encoder"](values[name]) for name in modalities]
    loc, scale = (jnp.stack(parts) for parts in zip(*experts, strict=True))
    precision = 1.0 / scale**2
    total = 1.0 + jnp.sum(precision, 0)
    z = jnp.sum(precision * loc, 0) / total + noise / jnp.sqrt(total)
    log_ratio = jnp.sum(-0.5 * z**2 + 0.5 * noise**2 - 0.5 * jnp.log(total), -1)
    return -jnp.sum(log_ratio + log_likelihood(nets, modalities, values, z))


def log_likelihood(nets: Mapping[str, Any], modalities: Mapping[str, Any], values: Mapping[str, Any], z: Any) -> Any:
    """Of latents ``(*, N, D)``, summed over modalities: ``(*, N)``."""
    total = 0.0
    for name, modality in modalities.items():
        output, value = nets[f"{name}.decoder"](z), values[name]
        if modality.kind == "tokens":
            logits = jax.nn.log_softmax(output)
            chosen = jnp.broadcast_to(value, logits.shape[:-1])[..., None]
            terms = jnp.take_along_axis(logits, chosen, -1)[..., 0]
        else:
            terms = -jnp.abs(output - value) / modality.scale - math.log(2.0 * modality.scale)
        total = total + jnp.sum(terms, tuple(range(z.ndim - 1, terms.ndim)))
    return total
