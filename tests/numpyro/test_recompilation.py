"""A training step is compiled once, whatever is missing from the next batch."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import SVI

import mmppl.numpyro as mm
from mmppl import Batch, Modality
from mmppl.inference import Program, fit
from mmppl.nets import MLP, Energy, LocScale

NAMES = ("a", "b")
ENCODERS = {name: mm.build(LocScale(MLP((3,), (4,), hidden=(4,))), i) for i, name in enumerate(NAMES)}
DECODERS = {name: mm.build(MLP((2,), (3,), hidden=(4,)), 5 + i) for i, name in enumerate(NAMES)}
ENERGY = mm.build(Energy(2, hidden=(4,)), 9)


def model(batch):
    base = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
    prior = mm.EnergyTilted(base, mm.net("energy", ENERGY), mm.LangevinChains(number=8, steps=3, buffer=16))
    with mm.plate(batch):
        z = numpyro.sample("z", prior)
        for name in batch.modalities:
            mm.observe(name, dist.Normal(mm.net(f"{name}.decoder", DECODERS[name])(z), 1.0).to_event(1), batch)


def guide(batch):
    experts = {name: mm.net(f"{name}.encoder", ENCODERS[name])(batch[name]) for name in batch.modalities}
    with mm.plate(batch):
        numpyro.sample("z", mm.MixtureOfProducts(experts, batch.present))


@pytest.mark.parametrize("objective", [mm.ELBO(), mm.MoPoE(2, density="mixture")], ids=["elbo", "mopoe"])
def test_a_step_compiles_once(objective):
    rng = np.random.default_rng(0)
    svi = SVI(model, guide, numpyro.optim.Adam(1e-3), objective)

    def batch():
        values = {name: rng.normal(size=(5, 3)).astype(np.float32) for name in NAMES}
        return mm.as_batch(Batch(values, {name: rng.random(5) < 0.7 for name in NAMES}))

    traces = []

    @jax.jit
    def update(state, batch):
        traces.append(len(batch))
        return svi.update(state, batch)

    state = svi.init(jax.random.key(0), batch())
    for _ in range(4):
        state, loss = update(state, batch())
        assert np.isfinite(loss)
    assert traces == [5]


@pytest.mark.parametrize("labels", [np.arange(20) % 3, np.array([*"abcde"] * 4)], ids=["numbers", "texts"])
def test_a_step_of_fit_compiles_once_whatever_the_labels(labels):
    traces = []

    def labelled(batch):
        traces.append(batch.label)
        model(batch)

    values = {name: np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32) for name in NAMES}
    modalities = {name: Modality((3,)) for name in NAMES}
    once = []
    for epochs in (1, 3):
        traces.clear()
        program = Program(labelled, guide, mm.ELBO(), mm, modalities)
        fit(program, Batch(values, label=labels), epochs=epochs, batch_size=5, progress=False)
        once.append(len(traces))
    assert once[1] <= once[0]  # what the first fit traced serves the second in part
    assert all((label is None) == (labels.dtype.kind == "U") for label in traces)
