"""The project's own classes keep the contracts that third parties subclass."""

from functools import cache

import numpy as np
import pytest

from mmppl._backend import get_backend
from mmppl.nets import DeepSets, SetTransformer
from mmppl.priors import LangevinChains
from mmppl.testing import AggregationContract, ObjectiveContract, PriorContract, driver

SHORT = LangevinChains(number=500, steps=60, step_size=0.7, adjusted=True, draw_steps=60)


class OnBothHosts:
    """A contract's host is a parameter here, not an attribute."""

    def setup_method(self):
        """The fixture below starts the driver."""

    def teardown_method(self):
        """The fixture below ends it."""

    @pytest.fixture(autouse=True, params=["numpyro", "pyro"])
    def drive(self, request):
        self.host = request.param
        self.driver = driver(self.host)
        with self.driver.double():
            yield


def energy(z):
    return 1.5 * z[..., 0] - 0.5 * (z[..., 0] - z[..., 1]) ** 2


def normal(d, params):
    return d.dist.Normal(d.array(np.zeros(2)), params["scale"]).to_event(1)


def laplace(d, params):
    return d.dist.Laplace(params["loc"], d.array(np.array([0.5, 1.5]))).to_event(1)


def smoothed(d, params):
    return d.mm.SmoothedLaplace(params["loc"], params["scale"], 0.3).to_event(1)


SCALE, LOC = {"scale": np.array([0.6, 1.3])}, {"loc": np.array([0.3, -0.4])}
PRIORS = {
    "Normal": (normal, SCALE),
    "Laplace": (laplace, LOC),
    "SmoothedLaplace": (smoothed, SCALE | LOC),
    "EnergyTilted, no energy": (lambda d, params: d.mm.EnergyTilted(normal(d, params)), SCALE),
    "EnergyTilted Normal": (lambda d, params: d.mm.EnergyTilted(normal(d, params), energy, SHORT), SCALE),
    "EnergyTilted SmoothedLaplace": (
        lambda d, params: d.mm.EnergyTilted(smoothed(d, params), energy, SHORT),
        SCALE | LOC,
    ),
}


@pytest.mark.parametrize("case", PRIORS.values(), ids=PRIORS)
class TestPrior(OnBothHosts, PriorContract):
    dim = 2

    @pytest.fixture(autouse=True)
    def choose(self, case):
        self.constructor, self.params = case

    def prior(self, params):
        return self.constructor(self.driver, params)


AGGREGATIONS = {
    f"{name}, {family}": (name, {"family": family, **options})
    for family in ("normal", "laplace")
    for name, options in (("Product", {}), ("MixtureOfExperts", {}), ("MixtureOfProducts", {"prior_expert": True}))
} | {
    "Product without prior": ("Product", {"prior_expert": False}),
    "MixtureOfProducts": ("MixtureOfProducts", {}),
    "GeometricMean, laplace": ("GeometricMean", {"family": "laplace"}),
}


@pytest.mark.parametrize("case", AGGREGATIONS.values(), ids=AGGREGATIONS)
class TestAggregation(OnBothHosts, AggregationContract):
    @pytest.fixture(autouse=True)
    def choose(self, case):
        self.case = case

    def posterior(self, experts, present):
        name, options = self.case
        return getattr(self.driver.mm, name)(experts, present, **options)


POOLED = {
    "deep sets": (DeepSets, {}, {}),
    "deep sets, laplace, prior": (DeepSets, {}, {"family": "laplace", "empty": "prior"}),
    "deep sets, mixture": (DeepSets, {"components": 3}, {}),
    "set transformer": (SetTransformer, {"heads": 2}, {}),
    "set transformer, mixture, prior": (SetTransformer, {"heads": 2, "components": 2}, {"empty": "prior"}),
}


@pytest.mark.parametrize("case", POOLED.values(), ids=POOLED)
class TestPooled(OnBothHosts, AggregationContract):
    @pytest.fixture(autouse=True)
    def choose(self, case):
        self.case = case

    def posterior(self, experts, present):
        spec, sizes, options = self.case
        features = {name: get_backend(*pair).xp.concat(pair, axis=-1) for name, pair in experts.items()}
        dim = features["a"].shape[-1]
        net = built(self.host, spec(dim, dim // 2, width=8, depth=1, **sizes))
        return self.driver.mm.Pooled(features, present, net, **options)


@cache
def built(host, spec):
    """The network of a host."""
    if host == "pyro":
        from mmppl.nets.torch import build

        return build(spec, 3, "float64")
    import equinox as eqx

    from mmppl.nets.equinox import build

    return eqx.filter_jit(build(spec, 3, "float64"))  # operation by operation it takes seconds


class TestELBO(OnBothHosts, ObjectiveContract):
    def objective(self, particles):
        return self.driver.mm.ELBO(particles)


class TestSticking(OnBothHosts, ObjectiveContract):
    def objective(self, particles):
        return self.driver.mm.ELBO(particles, gradient="stl")


class TestMVAE(OnBothHosts, ObjectiveContract):
    def objective(self, particles):
        return self.driver.mm.MVAE(particles, random=0)

    def bound(self, truth, batch):
        return truth.evidence(batch) + sum(truth.evidence(batch.only(name)) for name in batch.modalities)


class TestMMVAE(OnBothHosts, ObjectiveContract):
    exact = False

    def objective(self, particles):
        return self.driver.mm.MMVAE(particles)


class TestMoPoE(OnBothHosts, ObjectiveContract):
    exact = False

    def objective(self, particles):
        return self.driver.mm.MoPoE(particles)


class TestMVTCAE(OnBothHosts, ObjectiveContract):
    def objective(self, particles):
        return self.driver.mm.MVTCAE(particles, alpha=0.6)

    def bound(self, truth, batch):
        number = sum(batch.present[name] * 1.0 for name in batch.modalities)
        return truth.evidence(batch) - 0.6 / number * sum(truth.evidence(batch.only(name)) for name in batch.modalities)


class TestMasked(OnBothHosts, ObjectiveContract):
    def objective(self, particles):
        return self.driver.mm.Masked(particles)
