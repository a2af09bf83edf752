"""A training step of Pyro's SVI with our objective, and the same step written by hand."""

from collections.abc import Callable

import numpy as np
import pyro
import torch
from pyro.infer import SVI

import mmppl.pyro as mm
from benchmarks import by_hand_torch
from benchmarks.programs import BATCH, LATENT, Setting, declare
from mmppl.pyro.objectives import Evaluation

__all__ = ["competitors"]

RATE = 1e-3


def competitors(kind: str) -> dict[str, Callable[[], object]]:
    """One training step each, by name; each has networks and a parameter store of its own.

    ``ours`` and ``by hand in SVI`` are Pyro's SVI with Pyro's Adam, which holds one optimiser for each parameter, and
    either our objective or a hand-written loss; ``ours in a loop`` and ``by hand in a loop`` are a torch loop with one
    ``torch.optim.Adam``.
    """
    _same_loss(kind, declare(mm, kind))
    return {
        "ours": _svi(declare(mm, kind), None),
        "by hand in SVI": _svi(declare(mm, kind), kind),
        "ours in a loop": _loop(declare(mm, kind), None),
        "by hand in a loop": _loop(declare(mm, kind), kind),
    }


def _svi(setting: Setting, kind: str | None) -> Callable[[], object]:
    """A step of SVI with our objective, or with the loss of ``kind`` written by hand."""

    def loss(model, guide, batch):
        nets = {name: pyro.module(name, net) for name, net in setting.nets.items()}
        return _by_hand(kind, nets, setting)

    store = {"params": {}, "constraints": {}}
    svi = SVI(setting.model, setting.guide, pyro.optim.Adam({"lr": RATE}), loss if kind else setting.objective)

    def step():
        with pyro.get_param_store().scope(store):
            return svi.step(setting.batch)

    return step


def _loop(setting: Setting, kind: str | None) -> Callable[[], object]:
    """A step of a torch loop with our objective, or with the loss of ``kind`` written by hand."""
    optimiser = torch.optim.Adam([p for net in setting.nets.values() for p in net.parameters()], RATE)
    store = {"params": {}, "constraints": {}}

    def step():
        optimiser.zero_grad()
        if kind:
            loss = _by_hand(kind, setting.nets, setting)
        else:
            with pyro.get_param_store().scope(store):
                loss = setting.objective.differentiable_loss(setting.model, setting.guide, setting.batch)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def _by_hand(kind: str, nets: dict, setting: Setting) -> torch.Tensor:
    if kind == "MMVAE":
        zero, one = torch.zeros(()), torch.ones(())
        noise = torch.distributions.Laplace(zero, one, validate_args=False).sample(
            (len(setting.modalities), BATCH, LATENT)
        )
        return by_hand_torch.mmvae(nets, setting.modalities, setting.batch.values, noise)
    return by_hand_torch.elbo(nets, setting.modalities, setting.batch.values, torch.randn(BATCH, LATENT))


def _same_loss(kind: str, setting: Setting) -> None:
    """Stops unless both losses and their gradients are equal for the same draws."""
    params = [p for net in setting.nets.values() for p in net.parameters()]
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        torch.manual_seed(0)
        ours = setting.objective.differentiable_loss(setting.model, setting.guide, setting.batch)
        # The latents as the objective drew them, and the noise that the hand-written loss needs to draw the same.
        torch.manual_seed(0)
        run = Evaluation(setting.model, setting.guide, setting.batch)
        masks = setting.objective.terms(run.backend, setting.batch, None, run.like).encode
        with torch.no_grad():
            z = run.draw(masks, 1).latents["z"][0]
            experts = [setting.nets[f"{m}.encoder"](setting.batch[m]) for m in setting.modalities]
            loc, scale = (torch.stack(parts) for parts in zip(*experts, strict=True))
    if kind == "MMVAE":
        noise = (z - loc) / scale
        theirs = by_hand_torch.mmvae(setting.nets, setting.modalities, setting.batch.values, noise)
    else:
        total = 1.0 + (scale**-2).sum(0)
        noise = (z[0] - (loc * scale**-2).sum(0) / total) * total.sqrt()
        theirs = by_hand_torch.elbo(setting.nets, setting.modalities, setting.batch.values, noise)
    np.testing.assert_allclose(ours.item(), theirs.item(), rtol=1e-5)
    grads, grads2 = torch.autograd.grad(ours, params), torch.autograd.grad(theirs, params)
    largest = max(g.abs().max().item() for g in grads)
    for a, b in zip(grads, grads2, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * largest)
