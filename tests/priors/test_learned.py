"""Learned priors as host distributions: their contract, their formulas, and the hosts' own inference under them."""

import importlib
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax, logsumexp

from mmppl.errors import HostError, OptionError
from mmppl.priors import LangevinChains
from mmppl.testing import PriorContract, driver

LOC = np.array([[-1.0, 0.5], [1.2, -0.4], [0.0, 1.5]])
SCALE = np.array([[0.4, 0.9], [0.7, 0.5], [0.3, 0.6]])
LOGITS = np.array([0.3, -0.5, 0.1])
MIXTURE = {"loc": LOC, "scale": SCALE, "logits": LOGITS}
PRESENT = np.array([[True, True], [True, False], [False, True]])
CHAINS = LangevinChains(number=2000, steps=60, step_size=0.4, adjusted=True)
HOSTS = ["numpyro", "pyro"]


@cache
def flow(host):
    return importlib.import_module(f"mmppl.{host}").spline_flow(2, layers=2, hidden=4, bins=3, seed=1)


def bend(host, module, bias=None):
    """The last bias of a flow's first coupling: as it is, or in its place the one given."""
    if host == "numpyro":
        import equinox as eqx

        def where(f):
            return f.bijection.bijection.bijection.bijections[0].conditioner.layers[-1].bias

        return where(module) if bias is None else eqx.tree_at(where, module, bias)
    import torch

    last = module.transform.transforms[0].hyper[-1]
    if bias is None:
        return last.bias.detach().numpy()
    last.bias = bias if isinstance(bias, torch.nn.Parameter) else torch.nn.Parameter(bias)
    return module


def double_flow(host):
    """The flow in double precision."""
    if host == "pyro":
        return importlib.import_module("copy").deepcopy(flow(host)).double()
    import equinox as eqx
    import jax

    return jax.tree.map(lambda x: x.astype(float) if eqx.is_inexact_array(x) else x, flow(host))


def mixture(d, params):
    return d.mm.GaussianMixture(params["loc"], params["scale"], params["logits"])


def vamp(d, params):
    """Two experts for each of three pseudo-inputs, of which one may be absent."""
    experts = {m: (params["loc"] * sign, params["scale"]) for m, sign in (("a", 1.0), ("b", -0.5))}
    present = {m: d.array(PRESENT[:, i]) for i, m in enumerate("ab")}
    return d.mm.VampPrior(d.mm.Product(experts, present, family="normal"))


def spline(d, params):
    return d.mm.NormalizingFlow(bend(d.name, double_flow(d.name), params["bias"]))


def energy(z):
    return 1.2 * z[..., 0] - 0.8 * z[..., 1]


PRIORS = {
    "GaussianMixture": (mixture, MIXTURE),
    "VampPrior": (vamp, {"loc": LOC, "scale": SCALE}),
    "NormalizingFlow": (spline, None),
}


class Learned(PriorContract):
    dim = 2

    @pytest.fixture(autouse=True)
    def choose(self, case):
        self.constructor, params = case
        self.params = {"bias": np.array(bend(self.host, flow(self.host)), np.float64)} if params is None else params

    def prior(self, params):
        return self.constructor(self.driver, params)


@pytest.mark.parametrize("case", PRIORS.values(), ids=PRIORS)
class TestNumPyro(Learned):
    host = "numpyro"


@pytest.mark.pyro
@pytest.mark.parametrize("case", PRIORS.values(), ids=PRIORS)
class TestPyro(Learned):
    host = "pyro"


@contextmanager
def doubled(host):
    d = driver(host)
    with d.double():
        yield d


def arrays(d, params):
    return {name: d.array(value) for name, value in params.items()}


Z = np.random.default_rng(1).normal(size=(4, 3, 2))


@pytest.mark.parametrize("host", HOSTS)
def test_a_gaussian_mixture_is_its_formula(host):
    with doubled(host) as d:
        got = d.log_prob(mixture(d, arrays(d, MIXTURE)), Z)
        equal = d.log_prob(d.mm.GaussianMixture(d.array(LOC), 0.5), Z)
    parts = stats.norm.logpdf(Z[..., None, :], LOC, SCALE).sum(-1)
    np.testing.assert_allclose(got, logsumexp(parts + log_softmax(LOGITS), -1), rtol=1e-10)
    parts = stats.norm.logpdf(Z[..., None, :], LOC, 0.5).sum(-1)
    np.testing.assert_allclose(equal, logsumexp(parts, -1) - np.log(3), rtol=1e-10)


@pytest.mark.parametrize("host", HOSTS)
def test_a_vamp_prior_is_the_mean_of_its_posteriors(host):
    """Products of experts with the standard prior, written out; a hidden expert counts for nothing."""
    with doubled(host) as d:
        got = d.log_prob(vamp(d, arrays(d, {"loc": LOC, "scale": SCALE})), Z)
        weighted = d.log_prob(d.mm.VampPrior(d.dist.Laplace(d.array(LOC), 0.5).to_event(1), d.array(LOGITS)), Z)
    weight = PRESENT[..., None] / SCALE[:, None, :] ** 2
    precision = 1.0 + weight.sum(1)
    mean = (weight * np.stack([LOC, -0.5 * LOC], 1)).sum(1) / precision
    parts = stats.norm.logpdf(Z[..., None, :], mean, precision**-0.5).sum(-1)
    np.testing.assert_allclose(got, logsumexp(parts, -1) - np.log(3), rtol=1e-10)
    parts = stats.laplace.logpdf(Z[..., None, :], LOC, 0.5).sum(-1)
    np.testing.assert_allclose(weighted, logsumexp(parts + log_softmax(LOGITS), -1), rtol=1e-10)


@pytest.mark.parametrize("host", HOSTS)
def test_a_flow_has_mass_one(host):
    axis = np.linspace(-8.0, 8.0, 241)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    with doubled(host) as d:
        density = np.exp(d.log_prob(spline(d, {"bias": d.array(np.array(bend(host, flow(host)), float) + 0.5)}), grid))
    assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=1e-3)
    assert np.abs(density - np.exp(stats.norm.logpdf(grid).sum(-1))).max() > 0.01  # it is bent


# Wide enough for chains to cross from one component to the next.
WIDE = {"loc": 0.4 * LOC, "scale": SCALE + 0.4, "logits": LOGITS}
TILTED = [("numpyro", mixture, WIDE), ("pyro", mixture, WIDE), ("pyro", spline, None)]


@pytest.mark.parametrize(("host", "base", "params"), TILTED, ids=lambda x: getattr(x, "__name__", None))
def test_log_z_of_a_tilted_prior_knows_the_parameters_of_its_base(host, base, params):
    """The mean learning gradient under the base, weighted to the tilted density, is zero only with that of log Z."""
    params = {"bias": np.array(bend(host, flow(host)), np.float64)} if params is None else params
    with doubled(host) as d:
        z = d.sample(base(d, arrays(d, params)), (4000,), 1)
        weight = np.exp(np.asarray(energy(z)))
        weight = d.array(weight / weight.sum())

        def total(tilt):
            def f(p, tilt=tilt):
                fn = d.mm.EnergyTilted(base(d, p), energy, CHAINS) if tilt else base(d, p)
                # The zero that carries the gradient of log Z is added to every datum, here with weights of sum one.
                return (weight * fn.log_prob(d.array(z))).sum()

            return d.value_and_grad(f, params, 0)[1]

        with_z, without = total(True), total(False)
    for name in params:
        assert np.abs(with_z[name]).max() < 0.3 * np.abs(without[name]).max()


@pytest.mark.parametrize("host", HOSTS)
def test_weights_of_one_seed_fit_the_flow_of_another(host):
    """The order of coordinates is no weight: were it drawn with them, loading weights would change the density."""
    d = driver(host)
    one, two = (d.mm.spline_flow(4, layers=3, hidden=4, bins=3, seed=seed) for seed in (1, 2))
    z = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    wanted = d.log_prob(d.mm.NormalizingFlow(one), z)
    assert np.abs(d.log_prob(d.mm.NormalizingFlow(two), z) - wanted).max() > 0.01
    if host == "pyro":
        two.load_state_dict(dict(one.named_parameters()), strict=False)
    else:
        import equinox as eqx

        two = eqx.combine(eqx.filter(one, eqx.is_inexact_array), two)
    np.testing.assert_array_equal(d.log_prob(d.mm.NormalizingFlow(two), z), wanted)


@pytest.mark.parametrize("host", HOSTS)
def test_bad_input(host):
    d = driver(host)
    mm, a = d.mm, lambda *shape: d.array(np.ones(shape, np.float32))
    with pytest.raises(OptionError, match=r"Expected loc of shape \(\*, K, D\).*got \(3,\)"):
        mm.GaussianMixture(a(3), 1.0)
    with pytest.raises(OptionError, match=r"Expected scale of shape \(3, 2\).*got \(4,\)"):
        mm.GaussianMixture(a(3, 2), a(4))
    with pytest.raises(OptionError, match=r"Expected logits of shape \(\*, 3\), one for each mean; got \(2,\)"):
        mm.GaussianMixture(a(3, 2), 1.0, a(2))
    with pytest.raises(OptionError, match=r"Expected a posterior with batch shape \(K,\).*got \(\) and \(2,\)"):
        mm.VampPrior(d.dist.Normal(a(2), 1.0).to_event(1))
    with pytest.raises(OptionError, match=r"Expected logits of shape \(\*, 3\), one for each pseudo-input; got \(2,\)"):
        mm.VampPrior(d.dist.Normal(a(3, 2), 1.0).to_event(1), a(2))
    with pytest.raises(OptionError, match=r"Expected dim >= 2, for a coupling needs two halves; got 1"):
        mm.spline_flow(1)
    with pytest.raises(OptionError, match=r"Expected layers >= 2; got 0"):
        mm.spline_flow(2, layers=0)
    with pytest.raises(OptionError, match=r"Expected a (FlowJAX flow|flow of Zuko).*Use mm.spline_flow\(D\)"):
        mm.NormalizingFlow(len)


@pytest.mark.parametrize("host", HOSTS)
def test_a_missing_library_names_its_extra(host, monkeypatch):
    mm = driver(host).mm
    for name in ("flowjax.bijections", "flowjax.flows", "zuko"):
        monkeypatch.setitem(importlib.sys.modules, name, None)
    with pytest.raises(HostError, match=rf"run: pip install 'mmppl\[{host}\]'"):
        mm.spline_flow(2)


def exact_moments(params):
    """Mean and standard deviation of a mixture of Gaussians."""
    weight = np.exp(log_softmax(params["logits"]))[:, None]
    mean = (weight * params["loc"]).sum(0)
    return mean, np.sqrt((weight * (params["loc"] ** 2 + params["scale"] ** 2)).sum(0) - mean**2)


def nuts(d, model):
    """Draws of z by the host's NUTS, ``(200, 2)``."""
    if d.name == "numpyro":
        import jax
        from numpyro.infer import MCMC, NUTS

        mcmc = MCMC(NUTS(model), num_warmup=100, num_samples=200, progress_bar=False)
        mcmc.run(jax.random.key(0))
        return np.asarray(mcmc.get_samples()["z"])
    from pyro.infer import MCMC, NUTS

    def run():
        mcmc = MCMC(NUTS(model, max_tree_depth=3), num_samples=200, warmup_steps=50, disable_progbar=True)
        mcmc.run()
        return mcmc.get_samples()["z"]

    return d.numpy(d.call(run, 0))


def predictive(d, model, num):
    """Draws of z by the host's Predictive."""
    if d.name == "numpyro":
        import jax
        from numpyro.infer import Predictive

        return np.asarray(Predictive(model, num_samples=num)(jax.random.key(0))["z"])
    from pyro.infer import Predictive

    return d.numpy(d.call(lambda: Predictive(model, num_samples=num)()["z"], 0))


@pytest.mark.pyro
def test_nuts_has_the_moments_of_a_mixture():
    with doubled("pyro") as d:
        chain = nuts(d, lambda: d.ppl.sample("z", mixture(d, arrays(d, WIDE))))
        size = d.effective_size(chain[None])
    mean, spread = exact_moments(WIDE)
    assert (np.abs(chain.mean(0) - mean) < 4.0 * spread / np.sqrt(size)).all()


@pytest.mark.parametrize("host", HOSTS)
def test_predictive_draws_each_row_of_a_plate_anew(host):
    with doubled(host) as d:

        def rows():
            with d.ppl.plate("rows", 3):
                d.ppl.sample("z", mixture(d, arrays(d, WIDE)))

        draws = predictive(d, rows, 700)
    mean, spread = exact_moments(WIDE)
    assert draws.shape == (700, 3, 2)
    assert (np.abs(draws.mean((0, 1)) - mean) < 4.0 * spread / np.sqrt(2100)).all()
    np.testing.assert_allclose(draws.std((0, 1)), spread, rtol=0.1)
    assert np.abs(np.corrcoef(draws[..., 0].T)[np.triu_indices(3, 1)]).max() < 0.15


def test_nuts_samples_a_flow():
    with doubled("numpyro") as d:
        bias = {"bias": d.array(np.array(bend("numpyro", flow("numpyro")), np.float64) + 0.5)}
        fn = spline(d, bias)
        chain, draws = nuts(d, lambda: d.ppl.sample("z", fn)), d.sample(fn, (4000,), 0)
        size = d.effective_size(chain[None])
    error = draws.std(0) * np.sqrt(1.0 / size + 1.0 / len(draws))
    assert (np.abs(chain.mean(0) - draws.mean(0)) < 4.0 * error).all()
