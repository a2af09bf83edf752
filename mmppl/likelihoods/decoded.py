"""The likelihood of a modality given what its decoder returns."""

import math
from typing import Any

from mmppl._backend import get_backend
from mmppl.likelihoods import logistic_mixture
from mmppl.modality import Modality

__all__ = ["likelihood"]

# The least of a Beta distribution's two concentrations, which single precision would round to 0.
TINY = 1e-6


def likelihood(host: Any, modality: Modality, output: Any) -> Any:
    """p(x_m | z) from what the decoder returns, as an event of the modality's shape; formulas are the modality's.

    Arguments:
        host: The host's module, which has its distributions.
        modality: The modality.
        output: What its decoder returns: an array, or it and a scale, or these and factors.
    """
    dist, name, event = host.dist, str(modality.likelihood), len(modality.shape)
    if modality.ids:
        if modality.padding is None:
            return dist.Categorical(logits=output).to_event(event)
        return host.PaddedCategorical(output, modality.padding).to_event(event)
    if modality.scoring.factors:
        return host.LowRankNormal(*output, event_dim=event, unit=modality.scoring.values == "unit")
    output, scale = output if modality.learns_scale else (output, modality.scale)
    if name == "discretized_logistic":
        return host.DiscretizedLogistic(output, scale).to_event(event)
    if name in ("normal", "laplace"):
        return host.loc_scale(name, output, scale).to_event(event)
    if name == "bernoulli":
        # Images in shades of grey are scored too.
        return dist.Bernoulli(logits=output, validate_args=False).to_event(event)
    backend = get_backend(output)
    if name == "beta":
        log_mean, log_rest = -backend.softplus(-output), -backend.softplus(output)
        return dist.Beta(*(scale * backend.xp.exp(x) + TINY for x in (log_mean, log_rest))).to_event(event)
    number = modality.scoring.outputs
    parts = [output[_part(i, modality)] for i in range(number)] if number > 1 else [output]
    if name == "discretized_logistic_mixture":
        logits, loc, s = logistic_mixture.components(parts)
        fn = dist.MixtureSameFamily(dist.Categorical(logits=logits), host.DiscretizedLogistic(loc, s))
        return fn.to_event(event)
    if name.endswith("poisson"):
        fn = dist.Poisson(backend.xp.exp(parts[0]))
    else:
        log_scale = math.log(scale) if isinstance(scale, float | int) else backend.xp.log(scale)
        fn = dist.NegativeBinomial(scale, logits=parts[0] - log_scale)
    if len(parts) > 1:
        fn = dist.ZeroInflatedDistribution(fn, gate_logits=parts[1])
    return fn.to_event(event)


def _part(i: int, modality: Modality) -> tuple:
    """Slice of the i-th outputs of a decoder: behind each other on the first axis of the event."""
    size, *rest = modality.shape
    return (..., slice(i * size, (i + 1) * size), *[slice(None)] * len(rest))
