"""The losses of :mod:`benchmarks.programs` written by hand in torch, everything present."""

import math
from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["elbo", "mmvae"]


def mmvae(nets: Mapping[str, Any], modalities: Mapping[str, Any], values: Mapping[str, Any], noise: Any) -> Any:
    """Noise is standard Laplace, ``(M, N, D)``, a stratum for each expert."""
    experts = [nets[f"{name}.encoder"](values[name]) for name in modalities]
    loc, scale = (torch.stack(parts) for parts in zip(*experts, strict=True))
    z = loc + scale * noise
    across = (-((z[:, None] - loc) / scale).abs() - (2.0 * scale).log()).sum(-1)
    log_q = torch.logsumexp(across, 1) - math.log(len(modalities))
    log_prior = (-z.abs() - math.log(2.0)).sum(-1)
    bound = log_prior - log_q + log_likelihood(nets, modalities, values, z)
    return -bound.mean(0).sum()


def elbo(nets: Mapping[str, Any], modalities: Mapping[str, Any], values: Mapping[str, Any], noise: Any) -> Any:
    """Noise is standard normal, ``(N, D)``."""
    experts = [nets[f"{name}.encoder"](values[name]) for name in modalities]
    loc, scale = (torch.stack(parts) for parts in zip(*experts, strict=True))
    precision = 1.0 / scale**2
    total = 1.0 + precision.sum(0)
    z = (precision * loc).sum(0) / total + noise / total.sqrt()
    log_ratio = (-0.5 * z**2 + 0.5 * noise**2 - 0.5 * total.log()).sum(-1)
    return -(log_ratio + log_likelihood(nets, modalities, values, z)).sum()


def log_likelihood(nets: Mapping[str, Any], modalities: Mapping[str, Any], values: Mapping[str, Any], z: Any) -> Any:
    """Of latents ``(*, N, D)``, summed over modalities: ``(*, N)``."""
    total = 0.0
    for name, modality in modalities.items():
        output, value = nets[f"{name}.decoder"](z), values[name]
        if modality.kind == "tokens":
            logits = output.log_softmax(-1)
            chosen = value.expand(logits.shape[:-1])[..., None]
            terms = logits.gather(-1, chosen)[..., 0]
        else:
            terms = -(output - value).abs() / modality.scale - math.log(2.0 * modality.scale)
        total = total + terms.sum(tuple(range(z.ndim - 1, terms.ndim)))
    return total
