"""Any prior x any aggregation x any objective trains, and any kernel runs on any prior, on either host."""

from importlib import import_module

import numpy as np
import pytest
from scipy import special

from mmppl import Batch
from mmppl.nets import MLP, Energy, LocScale
from mmppl.priors import LangevinChains
from mmppl.testing import driver

DIMS = {"a": 3, "b": 2}
ENERGY = Energy(2, hidden=(8,), activation="tanh")
CHAINS = LangevinChains(number=32, steps=4, step_size=0.7, adjusted=True, draw_steps=20)
RNG = np.random.default_rng(0)
BATCH = Batch(
    {name: (RNG.normal(size=(8, size)) + 2.0).astype(np.float32) for name, size in DIMS.items()},
    {"a": np.arange(8) != 3, "b": np.arange(8) % 3 != 1},
)


def normal(d):
    return d.dist.Normal(d.array(np.zeros(2, np.float32)), 1.0).to_event(1)


def smoothed(d):
    return d.mm.SmoothedLaplace(d.array(np.zeros(2, np.float32)), 1.0).to_event(1)


PRIORS = {
    "Normal": lambda d, energy: normal(d),
    "Laplace": lambda d, energy: d.dist.Laplace(d.array(np.zeros(2, np.float32)), 1.0).to_event(1),
    "tilted Normal": lambda d, energy: d.mm.EnergyTilted(normal(d), energy(), CHAINS),
    "tilted SmoothedLaplace": lambda d, energy: d.mm.EnergyTilted(smoothed(d), energy(), CHAINS),
}
# The objective, and the sum of the weights of its terms over the rows.
OBJECTIVES = {
    "ELBO": (lambda mm: mm.ELBO(), 8),
    "ELBO, 3, dreg": (lambda mm: mm.ELBO(3, gradient="dreg"), 8),
    "MVAE": (lambda mm: mm.MVAE(random=0), 8 + 7 + 5),
    "MMVAE": (lambda mm: mm.MMVAE(), 8),
    "MoPoE": (lambda mm: mm.MoPoE(), 8),
}
SAMPLED = {
    "JMVAE": (lambda mm: mm.JMVAE(), 8),
    "MMJSD": (lambda mm: mm.MMJSD(), 8),
    "MMVAEPlus, 2, dreg": (lambda mm: mm.MMVAEPlus(2, gradient="dreg"), 8),
    "MVTCAE": (lambda mm: mm.MVTCAE(alpha=0.5), 8),
}
AGGREGATIONS = ("Product", "MixtureOfExperts", "MixtureOfProducts")
CELLS = [(prior, kind, "normal", objective) for prior in PRIORS for kind in AGGREGATIONS for objective in OBJECTIVES]
CELLS += [("Laplace", kind, "laplace", "ELBO") for kind in AGGREGATIONS]
# A Latin square of priors, aggregations and objectives on Pyro, and two cells on NumPyro, which compiles.
SAMPLED_CELLS = [
    (host, (prior, (*AGGREGATIONS, "GeometricMean")[i ^ j], "normal", objective))
    for i, prior in enumerate(PRIORS)
    for j, objective in enumerate(SAMPLED)
    for host in ("numpyro", "pyro")
    if host == "pyro" or (i, j) in ((0, 0), (3, 1))
]


@pytest.fixture(params=["numpyro", "pyro"], scope="module")
def d(request):
    return driver(request.param)


def program(d, prior, kind, family):
    encoders = {n: d.mm.build(LocScale(MLP((s,), (4,), hidden=(8,))), i) for i, (n, s) in enumerate(DIMS.items())}
    decoders = {n: d.mm.build(MLP((2,), (s,), hidden=(8,)), 5 + i) for i, (n, s) in enumerate(DIMS.items())}
    energy = d.mm.build(ENERGY, 9)

    def model(batch):
        fn = PRIORS[prior](d, lambda: d.mm.net("energy", energy))
        with d.mm.plate(batch):
            z = d.ppl.sample("z", fn)
            for name in batch.modalities:
                mean = d.mm.net(f"{name}.decoder", decoders[name])(z)
                d.mm.observe(name, d.dist.Normal(mean, 1.0).to_event(1), batch)

    def guide(batch):
        experts = {name: d.mm.net(f"{name}.encoder", encoders[name])(batch[name]) for name in batch.modalities}
        with d.mm.plate(batch):
            d.ppl.sample("z", getattr(d.mm, kind)(experts, batch.present, family=family))

    return model, guide


def log_z(d, prior, params):
    """log Z of the learned energy, from many draws of the base; 0 for a host's prior."""
    weights = {n.removeprefix("energy."): w for n, w in params.items() if n.startswith("energy.")}
    if not weights:
        return 0.0
    nets = import_module(f"mmppl.nets.{'equinox' if d.name == 'numpyro' else 'torch'}")
    base = (normal if prior == "tilted Normal" else smoothed)(d)
    draws = d.array(d.sample(base, (20_000,), 0))
    return special.logsumexp(d.numpy(nets.load(nets.build(ENERGY, 9), weights)(draws))) - np.log(20_000)


@pytest.mark.parametrize("cell", CELLS, ids=[", ".join(cell) for cell in CELLS])
def test_the_loss_of_each_cell_falls(d, cell):
    loss_falls(d, *cell)


@pytest.mark.parametrize(("host", "cell"), SAMPLED_CELLS, ids=[f"{h}, {', '.join(c)}" for h, c in SAMPLED_CELLS])
def test_the_loss_of_each_sampled_cell_falls(host, cell):
    loss_falls(driver(host), *cell)


def loss_falls(d, prior, kind, family, objective):
    make, weight = (OBJECTIVES | SAMPLED)[objective]
    losses, params = d.fit(make(d.mm), *program(d, prior, kind, family), BATCH, steps=20, rate=0.04)
    assert np.isfinite(losses).all()
    start = {f"energy.{name}": value for name, value in initial(d).items()} if "tilted" in prior else {}
    # A tilted prior's value leaves log Z out; without it a growing energy would look like a falling loss.
    first = losses[:3].mean() + weight * log_z(d, prior, start)
    last = losses[-3:].mean() + weight * log_z(d, prior, params)
    assert last < 0.9 * first


def initial(d):
    """The weights of the energy before training."""
    return import_module(f"mmppl.nets.{'equinox' if d.name == 'numpyro' else 'torch'}").state(d.mm.build(ENERGY, 9))


@pytest.mark.parametrize("kernel", ["MALA", "ULA", "NUTS"])
@pytest.mark.parametrize("prior", PRIORS)
def test_each_kernel_runs_on_each_prior(d, prior, kernel):
    model, _ = program(d, prior, "Product", "normal")
    infer = import_module(f"{d.name}.infer")
    made = infer.NUTS(model) if kernel == "NUTS" else getattr(d.mm, kernel)(model)
    batch = d.mm.as_batch(BATCH)
    if d.name == "numpyro":
        import jax

        mcmc = infer.MCMC(made, num_warmup=5, num_samples=10, progress_bar=False)
        mcmc.run(jax.random.key(0), batch)
    else:
        made.max_tree_depth = 3
        mcmc = infer.MCMC(made, num_samples=10, warmup_steps=5, disable_progbar=True)
        d.call(lambda: mcmc.run(batch), 0)
    z = d.numpy(mcmc.get_samples()["z"])
    assert z.shape == (10, 8, 2)
    assert np.isfinite(z).all()
    assert (z != z[0]).any((0, 2)).mean() > 0.5
