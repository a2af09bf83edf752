"""A training step of Pyro's SVI with our objective, and the same step written by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO

import mmppl.pyro as mm
from benchmarks import by_hand_pyro, by_hand_torch
from benchmarks.programs import BATCH, LATENT, Setting, declare

__all__ = ["competitors"]

RATE = 1e-3


def competitors(kind: str) -> dict[str, Callable[[], object]]:
    """One training step each, by name; each has networks and a parameter store of its own.

    * ``ours``: Pyro's SVI with our objective and Pyro's Adam, which holds one optimiser for each parameter;
    * ``by hand``: the same SVI and Adam with a program and a loss in bare Pyro;
    * ``host``: the same SVI and Adam with Pyro's own ``Trace_ELBO`` on our program (for the ELBO alone);
    * ``ours in a loop``: a torch loop with our objective's loss and one ``torch.optim.Adam``;
    * ``formula in a loop``: the same loop with the loss as a formula in torch: no program, no distribution, no trace.
    """
    _same_loss(kind, declare(mm, kind))
    ours = declare(mm, kind)
    steps = {
        "ours": _svi(ours.model, ours.guide, ours.objective, ours.batch),
        "by hand": _svi(*_bare(declare(mm, kind)), ours.batch.values),
        "ours in a loop": _loop(declare(mm, kind), None),
        "formula in a loop": _loop(declare(mm, kind), getattr(by_hand_torch, kind.lower())),
    }
    if kind == "ELBO":
        host = declare(mm, kind)
        steps["host"] = _svi(host.model, host.guide, Trace_ELBO(), host.batch)
    return steps


def _bare(setting: Setting) -> tuple[Callable, ...]:
    return getattr(by_hand_pyro, setting.kind.lower())(setting.nets, setting.modalities, LATENT)


def _svi(model: Callable, guide: Callable, loss: Any, data: Any) -> Callable[[], object]:
    """A step of Pyro's SVI."""
    store = {"params": {}, "constraints": {}}
    svi = SVI(model, guide, pyro.optim.Adam({"lr": RATE}), loss)

    def step():
        with pyro.get_param_store().scope(store):
            return svi.step(data)

    return step


def _loop(setting: Setting, formula: Callable | None) -> Callable[[], object]:
    """A step of a torch loop with our objective, or with a formula for the loss."""
    optimiser = torch.optim.Adam([p for net in setting.nets.values() for p in net.parameters()], RATE)
    store = {"params": {}, "constraints": {}}

    def step():
        optimiser.zero_grad()
        if formula:
            loss = formula(setting.nets, setting.modalities, setting.batch.values, _noise(setting))
        else:
            with pyro.get_param_store().scope(store):
                loss = setting.objective.differentiable_loss(setting.model, setting.guide, setting.batch)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def _noise(setting: Setting) -> torch.Tensor:
    if setting.kind == "ELBO":
        return torch.randn(BATCH, LATENT)
    return torch.distributions.Laplace(0.0, 1.0).sample((len(setting.modalities), BATCH, LATENT))


def _same_loss(kind: str, setting: Setting) -> None:
    """Stops unless every loss and its gradients equal the formula's for the same draws."""
    model, guide, loss = _bare(setting)
    rivals = {
        "ours": (setting.model, setting.guide, setting.objective.differentiable_loss, setting.batch),
        "by hand": (model, guide, loss, setting.batch.values),
    }
    if kind == "ELBO":
        rivals["host"] = (setting.model, setting.guide, Trace_ELBO().differentiable_loss, setting.batch)
    params = [p for net in setting.nets.values() for p in net.parameters()]
    experts = [setting.nets[f"{m}.encoder"](setting.batch[m]) for m in setting.modalities]
    loc, scale = (torch.stack(parts).detach() for parts in zip(*experts, strict=True))
    for rival_model, rival_guide, rival, data in rivals.values():
        drawn: list[torch.Tensor] = []

        def spy(*args, drawn=drawn, rival_guide=rival_guide):
            trace = poutine.trace(rival_guide).get_trace(*args)
            drawn.append(trace.nodes["z"]["value"].detach())

        with pyro.get_param_store().scope(), torch.random.fork_rng():
            value = rival(rival_model, spy, data)
        z = drawn[0].reshape(-1, BATCH, LATENT)
        if kind == "MMVAE":
            noise = (z - loc) / scale
        else:
            total = 1.0 + (scale**-2).sum(0)
            noise = (z[0] - (loc * scale**-2).sum(0) / total) * total.sqrt()
        formula = getattr(by_hand_torch, kind.lower())(setting.nets, setting.modalities, setting.batch.values, noise)
        np.testing.assert_allclose(value.item(), formula.item(), rtol=1e-5)
        grads, wanted = torch.autograd.grad(value, params), torch.autograd.grad(formula, params)
        largest = max(g.abs().max().item() for g in wanted)
        for a, b in zip(grads, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * largest)
