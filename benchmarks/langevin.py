"""How many training steps a second an energy-tilted prior allows: 30 Langevin steps on 256 chains in each of them.

The energy has two hidden layers of 64; the step is an Adam update of the energy alone, from posterior draws given.
"""

from collections.abc import Callable
from types import ModuleType

import jax
import numpy as np
import optax
import pyro
import torch
from numpyro.infer import SVI
from pyro.infer import SVI as PyroSVI

import mmppl.numpyro
import mmppl.pyro
from mmppl.batch import Batch
from mmppl.nets import energy

__all__ = ["numpyro_step", "pyro_step"]

ROWS, LATENT, HIDDEN, CHAINS, STEPS = 128, 16, 64, 256, 30


def _declare(ppl: ModuleType) -> tuple[Callable, Callable, Batch]:
    """A prior with an energy; the guide returns the data as the latents, so the energy is all that learns."""
    net = ppl.host.build_all({"energy": energy(LATENT, (HIDDEN, HIDDEN))}, 0)["energy"]
    chains = ppl.LangevinChains(number=CHAINS, steps=STEPS)
    dist, sample = ppl.host.dist, ppl.host.sample

    def model(batch):
        base = dist.Laplace(ppl.host.zeros(LATENT), 1.0).to_event(1)
        prior = ppl.EnergyTilted(base, ppl.net("energy", net), chains)
        with ppl.plate(batch):
            sample("z", prior)

    def guide(batch):
        with ppl.plate(batch):
            sample("z", dist.Normal(batch["x"], 0.1).to_event(1))

    values = np.random.default_rng(0).normal(size=(ROWS, LATENT)).astype("float32")
    return model, guide, ppl.as_batch(Batch({"x": values}))


def numpyro_step() -> Callable[[], object]:
    """One step of NumPyro's SVI."""
    model, guide, batch = _declare(mmppl.numpyro)
    svi = SVI(model, guide, optax.adam(1e-3), mmppl.numpyro.ELBO(score=()))
    state = svi.init(jax.random.key(0), batch)
    update = jax.jit(svi.update)

    def step():
        nonlocal state
        state, loss = update(state, batch)
        return jax.block_until_ready(loss)

    return step


def pyro_step() -> Callable[[], object]:
    """One step of Pyro's SVI."""
    model, guide, batch = _declare(mmppl.pyro)
    store: dict = {"params": {}, "constraints": {}}
    svi = PyroSVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), mmppl.pyro.ELBO(score=()))

    def step():
        with pyro.get_param_store().scope(store), torch.random.fork_rng():
            return svi.step(batch)

    return step
