"""A training step of ``mt_diffusion`` and the same step in a loop by hand: ``python -m benchmarks.mt_steps [HOST]``.

Ink of polydigits and its label, the same network, Adam with an annealed rate, averaged weights; steps take turns, and
processor time is counted. Losses of both are compared first. Writes benchmarks/results/mt_steps.
"""

import argparse
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import HOSTS, stamp
from benchmarks.timing import duration, interleave, ratio
from mmppl import Batch, models
from mmppl.data import load, minibatches, with_labels
from mmppl.nets import ImageTransformer, ImageUNet
from mmppl.priors import Blocks, SharedSpace

WIDTH, DEPTH, RATE, EMA, ROWS, STEPS = 128, 4, 1e-3, 0.995, 128, 10_000
CONDITIONAL, MARGINAL, WEIGHT, SPREAD = 0.8, 0.1, 25.6, 0.34 / 255
PIXELS, CLASSES, E2 = 256, 10, float(np.exp(2.0))
COMMON = (PIXELS, CLASSES), (1, 16, 16), (0,)
NETS = {
    "dit": ImageTransformer(*COMMON, ("output",) * 2, WIDTH // 2, depth=DEPTH),
    "unet": ImageUNet(*COMMON, ("middle",) * 2, WIDTH // 8),
}
ROUNDS, CHECKED = 40, 12
KEPT = Path("benchmarks/results/mt_steps")


def main() -> None:
    """Prints and keeps a row for each host and network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hosts", nargs="*", default=HOSTS)
    KEPT.mkdir(parents=True, exist_ok=True)
    for host in parser.parse_args().hosts:
        for net in NETS:
            row = {**measured(host, net), "stamp": stamp()}
            (KEPT / f"{net}_{host}.json").write_text(json.dumps(row))
            print(host, net, row, flush=True)


def measured(host: str, net: str) -> dict[str, float]:
    """Milliseconds of a step, and the ratio, of a host and a network."""
    digits = with_labels(load("polydigits")).train.select("ink", "label")
    steps, losses = {"ours": ours(host, net, digits), "by hand": BY_HAND[host](net, digits)}, {}
    for name, step in steps.items():
        losses[name] = np.mean([step() for _ in range(CHECKED)])
    np.testing.assert_allclose(losses["ours"], losses["by hand"], rtol=0.03)
    times = interleave(steps, ROUNDS)
    found = ratio(times, "ours", "by hand", 1.1)
    milliseconds = {name: duration(times, name).value for name in times}
    return {**milliseconds, "ratio": found.value, "low": found.low, "high": found.high}


def ours(host: str, net: str, digits: Batch) -> Callable[[], float]:
    """A step of a fit: what is called for each batch of an epoch."""
    ppl = import_module(f"mmppl.{host}")
    learning = {"p_conditional": CONDITIONAL, "p_marginal": MARGINAL, "head_weight": WEIGHT / PIXELS}
    modalities = {name: with_labels(load("polydigits")).modalities[name] for name in ("ink", "label")}
    how = {"space": "data", "net": net, "width": WIDTH, "depth": DEPTH, "ema": EMA, "solver": "flow", "steps": 30}
    program = models.make("mt_diffusion", modalities, ppl=ppl, **how, **learning).fresh(0)
    trainer = ppl.host.Trainer(program, digits[:ROWS], seed=0, learning_rate=RATE, clip=None, ema=0.0)
    stage = program.stages[-1]
    trainer.begin(stage, STEPS, "cosine")
    seen = trainer.encode(stage.encode, digits, ROWS)
    trainer.assign(stage.initialize(seen))
    batches = endless(seen)

    def step() -> float:
        return trainer.step(next(batches))[1]["loss"]

    return step


def endless(rows: Batch) -> Any:
    """Batches, epoch after epoch."""
    epoch = 0
    while True:
        yield from minibatches(rows, ROWS, seed=0, epoch=epoch)
        epoch += 1


def _constants(digits: Batch) -> tuple[np.ndarray, float, float]:
    """How a label joins the image, ``(10, 256)``, and the units of pixels."""
    joins = SharedSpace(Blocks.of({"ink": PIXELS, "label": CLASSES})).shift(np.eye(CLASSES, PIXELS + CLASSES, PIXELS))
    ink = np.asarray(digits["ink"], dtype=np.float64)
    return joins[:, :PIXELS].astype("float32"), float(ink.mean()), float((ink.var() + SPREAD**2) ** 0.5)


def _pyro(net: str, digits: Batch) -> Callable[[], float]:
    import torch
    from torch.nn import functional

    import mmppl.pyro as mm

    module = mm.build(NETS[net], 0)
    params = list(module.parameters())
    average = [p.detach().clone() for p in params]
    adam = torch.optim.Adam(params, RATE, fused=True)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(adam, STEPS)
    joins, loc, scale = _constants(digits)
    joins, batches = torch.as_tensor(joins), endless(digits)

    def step() -> float:
        rows = next(batches)
        ink, label = torch.as_tensor(rows["ink"]).flatten(1), torch.as_tensor(rows["label"]).long()
        number = len(ink)
        z = (ink + SPREAD * torch.randn_like(ink) - loc) / scale
        hot = functional.one_hot(label, CLASSES).float()
        hidden = (torch.rand(number, 1) < MARGINAL) & (torch.rand(number, 1) < 0.5)
        known = (torch.rand(number, 1) < CONDITIONAL) & (torch.rand(number, 1) < 0.5) & ~hidden
        angle, noise = 0.5 * np.pi * torch.rand(number, 1), torch.randn_like(z)
        b = torch.log1p(E2 * torch.tan(angle) ** 2).clamp(max=10.05)
        t = 2.0 * b / (torch.sqrt(0.01 + 39.8 * b) + 0.1)
        a, sigma = torch.exp(-0.5 * b), torch.sqrt(-torch.expm1(-b))
        there = a * z + a * (1.0 - a) * ((hot * ~hidden) @ joins) + sigma * noise
        code = torch.where(hidden, -1.0, torch.where(known, 0.0, t))
        out = module(torch.cat([there, hot * known, t, code], 1))
        error = ((noise - sigma * there) / a - out[:, :PIXELS]).square().sum(1)
        read = functional.cross_entropy(out[:, PIXELS : PIXELS + CLASSES], label, reduction="none")
        loss = (error + WEIGHT * read * (~known & ~hidden)[:, 0]).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        rate.step()
        torch._foreach_lerp_(average, [p.detach() for p in params], 1.0 - EMA)
        return loss.item()

    return step


def _numpyro(net: str, digits: Batch) -> Callable[[], float]:
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax

    import mmppl.numpyro as mm

    params, static = eqx.partition(mm.build(NETS[net], 0), eqx.is_inexact_array)
    adam = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))
    joins, loc, scale = _constants(digits)
    batches = endless(digits)

    def loss(params: Any, key: Any, ink: Any, label: Any) -> Any:
        keys, number = jax.random.split(key, 7), len(ink)
        ink = ink.reshape(number, PIXELS)
        z = (ink + SPREAD * jax.random.normal(keys[0], ink.shape) - loc) / scale
        hot = jax.nn.one_hot(label, CLASSES)
        first, second, third, fourth, uniform = (jax.random.uniform(k, (number, 1)) for k in keys[1:6])
        hidden = (first < MARGINAL) & (second < 0.5)
        known = (third < CONDITIONAL) & (fourth < 0.5) & ~hidden
        noise = jax.random.normal(keys[6], z.shape)
        b = jnp.minimum(jnp.log1p(E2 * jnp.tan(0.5 * np.pi * uniform) ** 2), 10.05)
        t = 2.0 * b / (jnp.sqrt(0.01 + 39.8 * b) + 0.1)
        a, sigma = jnp.exp(-0.5 * b), jnp.sqrt(-jnp.expm1(-b))
        there = a * z + a * (1.0 - a) * ((hot * ~hidden) @ joins) + sigma * noise
        code = jnp.where(hidden, -1.0, jnp.where(known, 0.0, t))
        out = eqx.combine(params, static)(jnp.concatenate([there, hot * known, t, code], 1))
        error = jnp.sum(((noise - sigma * there) / a - out[:, :PIXELS]) ** 2, 1)
        read = optax.softmax_cross_entropy_with_integer_labels(out[:, PIXELS : PIXELS + CLASSES], label)
        return jnp.mean(error + WEIGHT * read * (~known & ~hidden)[:, 0])

    @jax.jit
    def update(params: Any, average: Any, moments: Any, key: Any, ink: Any, label: Any) -> tuple:
        key, now = jax.random.split(key)
        value, grads = jax.value_and_grad(loss)(params, now, ink, label)
        change, moments = adam.update(grads, moments, params)
        params = optax.apply_updates(params, change)
        average = jax.tree.map(lambda a, p: EMA * a + (1.0 - EMA) * p, average, params)
        return params, average, moments, key, value

    state = (params, params, adam.init(params), jax.random.key(0))

    def step() -> float:
        nonlocal state
        rows = next(batches)
        *state, value = update(*state, np.asarray(rows["ink"]), np.asarray(rows["label"]))
        return float(value)

    return step


BY_HAND = {"pyro": _pyro, "numpyro": _numpyro}


if __name__ == "__main__":
    main()
