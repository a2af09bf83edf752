"""Five linear-Gaussian modalities: the exact posterior of every subset is learned from random ones."""

import numpy as np
import pytest

from mmppl import Batch
from mmppl._backend import get_backend
from mmppl.aggregation import all_subsets
from mmppl.data import LinearGaussian
from mmppl.inference import Program, fit
from mmppl.nets import MLP, DeepSets, SetTransformer

NAMES = "abcde"
TRUTH = LinearGaussian(1, {n: 2 + i % 2 for i, n in enumerate(NAMES)}, seed=1, noise=1.2)
SETS = {
    "deep sets": DeepSets(8, 1, width=16, depth=1),
    "set transformer": SetTransformer(8, 1, width=16, heads=2, depth=1),
}
STEPS, ROWS = {"deep sets": 300, "set transformer": 900}, 64
# The hosts take the same steps (tests/parity), so each is asked about one of the two.
CASES = [("pyro", "deep sets"), ("numpyro", "set transformer")]


def rows(num, seed):
    return Batch({n: x.astype(np.float32) for n, x in TRUTH.sample(num, seed).values.items()})


@pytest.mark.parametrize(("ppl", "pool"), CASES, indirect=["ppl"])
def test_the_posterior_of_every_subset_is_recovered(ppl, pool):
    host, dist = ppl.host, ppl.host.dist
    backend = get_backend(host.zeros(1))
    specs = {n: MLP((k,), (8,), ()) for n, k in TRUTH.dims.items()}
    nets = host.build_all({**specs, "pool": SETS[pool]}, 0)
    weight = {n: backend.asarray(w[:, 0].astype("f")) for n, w in TRUTH.weight.items()}
    bias = {n: backend.asarray(b.astype("f")) for n, b in TRUTH.bias.items()}

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", dist.Normal(host.zeros(1), 1.0).to_event(1))
            for n in batch.modalities:
                ppl.observe(n, dist.Normal(z * weight[n] + bias[n], TRUTH.noise[n]).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch):
            features = {n: ppl.net(f"{n}.encoder", nets[n])(batch[n]) for n in batch.modalities}
            host.sample("z", ppl.Pooled(features, batch.present, ppl.net("pool", nets["pool"])))

    program = Program(model, guide, ppl.Masked(gradient="stl"), ppl, TRUTH.modalities)
    settings = {"epochs": 1, "batch_size": ROWS, "learning_rate": 1e-2, "schedule": "constant", "ema": 0.98}
    fitted = fit(program, rows(STEPS[pool] * ROWS, 1), **settings, progress=False)
    # All subsets of each of the same few rows, the empty one too, in one batch.
    subsets = np.concatenate([np.zeros((1, 5), bool), all_subsets(5)])
    test = rows(50, 2)[np.tile(np.arange(50), 32)]
    seen = test.with_present({n: np.repeat(subsets[:, i], 50) for i, n in enumerate(NAMES)})
    draws = np.asarray(host.latents(fitted.model, fitted.guide, seen, 400, 0, np.zeros(len(seen), bool))["z"])
    loc, scale = draws[..., 0].mean(0), draws[..., 0].std(0)
    mean, cov = TRUTH.posterior(seen)
    exact = cov[:, 0, 0] ** 0.5
    nats = np.log(exact / scale) + (scale**2 + (loc - mean[:, 0]) ** 2) / (2 * exact**2) - 0.5
    worst = nats.reshape(32, 50).mean(1)
    assert worst.max() < 0.1, dict(zip(map(tuple, subsets.astype(int)), worst, strict=True))
