"""Same weights, same noise: the masked objective over sets of features agrees on the two hosts, with its gradients."""

import numpy as np

from mmppl import Batch
from mmppl._backend.jax import BACKEND as JAX
from mmppl._backend.torch import BACKEND as TORCH
from mmppl.nets import MLP, DeepSets, EquivariantDeepSets
from mmppl.testing import driver
from mmppl.testing.replay import replay

DIMS = {"a": 3, "b": 2}
RNG = np.random.default_rng(0)
BATCH = Batch(
    {name: RNG.normal(size=(6, size)).astype(np.float32) for name, size in DIMS.items()},
    {"a": np.array([1, 1, 0, 1, 1, 0], bool), "b": np.array([1, 0, 1, 1, 1, 1], bool)},
)
SPECS = {f"{n}.encoder": MLP((s,), (5,), hidden=()) for n, s in DIMS.items()}
SPECS |= {f"{n}.decoder": MLP((4,), (s,), hidden=(6,)) for n, s in DIMS.items()}
SPECS |= {
    "pool": DeepSets(5, 2, width=6, depth=1, components=2),
    "private": EquivariantDeepSets(5, 2, 2, width=6, depth=1),
}


def outcome(host):
    d = driver(host)
    nets = {name: d.mm.build(spec, i) for i, (name, spec) in enumerate(SPECS.items())}

    def net(name):
        return d.mm.net(name, nets[name])

    def model(batch):
        zero = d.array(np.zeros(2, np.float32))
        with d.mm.plate(batch, 60):
            z = d.ppl.sample("z", d.dist.Normal(zero, 1.0).to_event(1))
            for name in batch.modalities:
                own = d.ppl.sample(f"{name}.private", d.dist.Normal(zero, 1.0).to_event(1))
                code = (JAX if host == "numpyro" else TORCH).xp.concat([z, own], axis=-1)
                d.mm.observe(name, d.dist.Normal(net(f"{name}.decoder")(code), 0.7).to_event(1), batch)

    def guide(batch):
        features = {name: net(f"{name}.encoder")(batch[name]) for name in batch.modalities}
        with d.mm.plate(batch, 60):
            z = d.ppl.sample("z", d.mm.Pooled(features, batch.present, net("pool")))
            for name, fn in d.mm.private_posteriors(features, batch.present, net("private"), z).items():
                # A product of one expert draws the replayed noise.
                pair = {name: (fn.base_dist.loc, fn.base_dist.scale)}
                d.ppl.sample(f"{name}.private", d.mm.Product(pair, batch.present, prior_expert=False))

    return d.stepper(d.mm.Masked(2, gradient="stl", beta=0.5, weights={"b": 2.0}), model, guide)(BATCH, 0)


def test_losses_and_gradients_of_the_hosts_agree(monkeypatch):
    replay(monkeypatch, JAX)
    replay(monkeypatch, TORCH)
    ours, theirs = (outcome(host) for host in ("numpyro", "pyro"))
    np.testing.assert_allclose(ours.loss, theirs.loss, rtol=1e-5)
    assert ours.record.keys() == theirs.record.keys()
    for name, value in ours.record.items():
        np.testing.assert_allclose(value, theirs.record[name], rtol=1e-5, atol=1e-5, err_msg=name)
    assert ours.grads.keys() == theirs.grads.keys()
    assert {name.split(".layers")[0] for name in ours.grads} == set(SPECS)
    for name, grad in ours.grads.items():
        np.testing.assert_allclose(grad, theirs.grads[name], rtol=2e-4, atol=1e-4 * np.abs(grad).max(), err_msg=name)
