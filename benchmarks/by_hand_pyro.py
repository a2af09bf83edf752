"""The losses of :mod:`benchmarks.programs` written by hand in bare Pyro, everything present.

A program in Pyro's own words and a loss made of its traces, as Pyro's documentation teaches it ("Customizing SVI
objectives and training loops").
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

__all__ = ["elbo", "mmvae"]


def mmvae(nets: Mapping[str, Any], modalities: Mapping[str, Any], latent_dim: int) -> tuple[Callable, ...]:
    """Model, guide and loss: a draw from each expert, a stratum each, scored by the density of the mixture."""

    def plates(values):
        rows = pyro.plate("rows", len(next(iter(values.values()))), dim=-1)
        return pyro.plate("strata", len(modalities), dim=-2), rows

    def model(values):
        use = {name: pyro.module(f"{name}.decoder", nets[f"{name}.decoder"]) for name in modalities}
        strata, rows = plates(values)
        with strata, rows:
            z = pyro.sample("z", dist.Laplace(torch.zeros(latent_dim), 1.0).to_event(1))
            observe(use, modalities, values, z)

    def guide(values):
        loc, scale = encode(nets, modalities, values)
        strata, rows = plates(values)
        with strata, rows:
            pyro.sample("z", dist.Laplace(loc, scale).to_event(1))

    def loss(model, guide, values):
        log_joint, q = traced(model, guide, values)
        across = q["fn"].log_prob(q["value"][:, None])
        log_q = torch.logsumexp(across, 1) - math.log(len(modalities))
        return -(log_joint - log_q).mean(0).sum()

    return model, guide, loss


def elbo(nets: Mapping[str, Any], modalities: Mapping[str, Any], latent_dim: int) -> tuple[Callable, ...]:
    """Model, guide and loss: a product of normal experts and the standard normal density."""

    def model(values):
        use = {name: pyro.module(f"{name}.decoder", nets[f"{name}.decoder"]) for name in modalities}
        with pyro.plate("rows", len(next(iter(values.values())))):
            z = pyro.sample("z", dist.Normal(torch.zeros(latent_dim), 1.0).to_event(1))
            observe(use, modalities, values, z)

    def guide(values):
        loc, scale = encode(nets, modalities, values)
        precision = 1.0 / scale**2
        total = 1.0 + precision.sum(0)
        with pyro.plate("rows", len(loc[0])):
            pyro.sample("z", dist.Normal((precision * loc).sum(0) / total, 1.0 / total.sqrt()).to_event(1))

    def loss(model, guide, values):
        log_joint, q = traced(model, guide, values)
        return -(log_joint - q["fn"].log_prob(q["value"])).sum()

    return model, guide, loss


def encode(nets: Mapping[str, Any], modalities: Mapping[str, Any], values: Mapping[str, Any]) -> tuple:
    """The experts side by side: locations and scales, ``(M, N, D)``."""
    experts = [pyro.module(f"{name}.encoder", nets[f"{name}.encoder"])(values[name]) for name in modalities]
    loc, scale = zip(*experts, strict=True)
    return torch.stack(loc), torch.stack(scale)


def observe(decoders: Mapping[str, Any], modalities: Mapping[str, Any], values: Mapping[str, Any], z: Any) -> None:
    """Scores every modality."""
    for name, modality in modalities.items():
        output = decoders[name](z)
        if modality.kind == "tokens":
            likelihood = dist.Categorical(logits=output)
        else:
            likelihood = dist.Laplace(output, modality.scale)
        pyro.sample(name, likelihood.to_event(len(modality.shape)), obs=values[name])


def traced(model: Callable, guide: Callable, values: Mapping[str, Any]) -> tuple[torch.Tensor, dict]:
    """Log p(x, z) of each datum (and stratum), and the guide's site of z."""
    guide_trace = poutine.trace(guide).get_trace(values)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(values)
    log_joint = 0.0
    for name in ("z", *values):
        site = model_trace.nodes[name]
        log_joint = log_joint + site["fn"].log_prob(site["value"])
    return log_joint, guide_trace.nodes["z"]
