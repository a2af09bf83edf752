"""The energy-tilted prior of either host, against a grid."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from mmppl.errors import OptionError
from mmppl.priors import LangevinChains, LogNormalizer, smoothed_laplace
from mmppl.priors.energy.normalizer import summarise

PARAMS = {"theta": np.array([0.8, 1.5]), "scale": np.array([0.7, 1.2])}
ADJUSTED = LangevinChains(number=1000, steps=60, step_size=0.6, adjusted=True)
AXIS = np.linspace(-9.0, 9.0, 601)
GRID = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1)


def f(theta, z, sin):
    return theta[0] * z[..., 0] + sin(theta[1] * z[..., 1] + z[..., 0])


def grid_log_density(params):
    return f(params["theta"], GRID, np.sin) + stats.norm.logpdf(GRID, scale=params["scale"]).sum(-1)


def exact_log_z(params):
    return special.logsumexp(grid_log_density(params)) + 2.0 * np.log(AXIS[1] - AXIS[0])


def exact_moments(params):
    weight = np.exp(grid_log_density(params) - exact_log_z(params)) * (AXIS[1] - AXIS[0]) ** 2
    mean = (weight[..., None] * GRID).sum((0, 1))
    return mean, np.einsum("ij,ijk,ijl->kl", weight, GRID - mean, GRID - mean)


def exact_gradient(params, name):
    out = np.empty_like(params[name])
    for i in range(out.size):
        step = np.eye(out.size)[i] * 1e-5
        up, down = ({**params, name: params[name] + sign * step} for sign in (1, -1))
        out[i] = (exact_log_z(up) - exact_log_z(down)) / 2e-5
    return out


def tilt(d, theta):
    """The energy as a module of the host, with ``theta`` its parameter."""
    if d.name == "numpyro":
        import equinox as eqx
        import jax.numpy as jnp

        class Tilt(eqx.Module):
            theta: object

            def __call__(self, z):
                return f(self.theta, z, jnp.sin)

        return Tilt(theta)
    import torch

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = theta if isinstance(theta, torch.nn.Parameter) else torch.nn.Parameter(theta)

        def forward(self, z):
            return f(self.theta, z, torch.sin)

    return Module()


def prior(d, params, chains=ADJUSTED, energy=tilt):
    base = d.dist.Normal(d.array(np.zeros(2)), params["scale"]).to_event(1)
    return d.mm.EnergyTilted(base, energy(d, params["theta"]), chains)


def of_host(d, params=PARAMS):
    return {name: d.array(value) for name, value in params.items()}


@pytest.fixture
def runs(monkeypatch):
    """The shapes that chains start from."""
    shapes, run = [], LangevinChains.run

    def spy(self, backend, rng, log_density, start, *args, **kwargs):
        shapes.append(tuple(start.shape))
        return run(self, backend, rng, log_density, start, *args, **kwargs)

    monkeypatch.setattr(LangevinChains, "run", spy)
    return shapes


def test_learning_gradient_is_that_of_the_exact_normaliser(d):
    z = np.zeros((16, 1, 2))
    grads = d.repeat_grad(lambda params, z: prior(d, params).log_prob(z).sum(), PARAMS, z)
    at_zero = {"theta": np.array([0.0, 0.0]), "scale": -1.0 / PARAMS["scale"]}
    for name, grad in grads.items():
        log_z = at_zero[name] - grad
        error = log_z.std(0, ddof=1) / 4.0
        exact = exact_gradient(PARAMS, name)
        assert (error < 0.03).all()
        assert (np.abs(exact) > 6 * error).all()
        assert (np.abs(log_z.mean(0) - exact) < 4.5 * error).all(), (name, log_z.mean(0), exact, error)


def test_log_normalizer_is_within_its_error(d):
    if d.name == "numpyro":
        import jax

        got = prior(d, of_host(d)).log_normalizer(jax.random.key(0), 12_000, 60)
    else:
        got = d.call(lambda: prior(d, of_host(d)).log_normalizer(12_000, 60), 0)
    assert isinstance(got, LogNormalizer)
    assert 0.0 < got.error < 0.01
    assert 6000 < got.ess <= 12_000
    assert abs(got.value - exact_log_z(PARAMS)) < 3 * got.error


def test_samples_have_the_moments_of_the_grid(d):
    draws = d.sample(prior(d, of_host(d), LangevinChains(step_size=0.6, draw_steps=100)), (4000,), 1)
    mean, cov = exact_moments(PARAMS)
    assert (np.abs(draws.mean(0) - mean) < 4.5 * np.sqrt(np.diag(cov) / 4000)).all()
    np.testing.assert_allclose(np.cov(draws.T), cov, atol=0.06)


def test_without_an_energy_it_is_the_base_bit_for_bit(d):
    scale = d.array(PARAMS["scale"])
    base = d.dist.Normal(d.array(np.zeros(2)), scale).to_event(1)
    z = np.random.default_rng(0).normal(size=(5, 2))
    wanted = d.log_prob(base, z)
    for energy in (None, lambda z: 0.0 * z[..., 0]):
        assert d.log_prob(d.mm.EnergyTilted(base, energy), z).tobytes() == wanted.tobytes()
    bare = d.mm.EnergyTilted(base)
    assert d.sample(bare, (3,), 0).tobytes() == d.sample(base, (3,), 0).tobytes()


def test_value_takes_the_log_normaliser_that_is_known(d):
    energy = tilt(d, d.array(PARAMS["theta"]))
    base = d.dist.Normal(d.array(np.zeros(2)), d.array(PARAMS["scale"])).to_event(1)
    known = d.mm.EnergyTilted(base, energy, log_z=exact_log_z(PARAMS))
    density = np.exp(d.log_prob(known, GRID.reshape(-1, 2)))
    np.testing.assert_allclose(density.sum() * (AXIS[1] - AXIS[0]) ** 2, 1.0, rtol=1e-8)


def test_nothing_is_sampled_unless_parameters_ask_for_a_gradient(d, runs):
    params = of_host(d)
    d.log_prob(prior(d, params), np.zeros((5, 2)))
    d.value_and_grad(lambda at: prior(d, params).log_prob(at["z"]).sum(), {"z": np.zeros((5, 2))}, 0)
    assert runs == []
    d.value_and_grad(lambda p: prior(d, p).log_prob(d.array(np.zeros((5, 2)))).sum(), PARAMS, 0)
    assert runs == [(1000, 2)]


def test_a_plate_multiplies_the_gradient_not_the_chains(d, runs):
    short = LangevinChains(number=64, steps=3)

    def total(num):
        def of(params):
            def program():
                fn = prior(d, params, short)
                with d.ppl.plate("particles", 3, dim=-2), d.ppl.plate("rows", num):
                    return d.ppl.sample("z", fn, obs=d.array(np.zeros((3, num, 2))))

            if d.name == "numpyro":
                from numpyro.infer.util import log_density

                return log_density(program, (), {}, {})[0]
            from pyro import poutine

            return poutine.trace(program).get_trace().log_prob_sum()

        return d.value_and_grad(of, PARAMS, 0)[1]

    one, many = total(1), total(50)
    assert runs == [(64, 2), (64, 2)]
    for name in PARAMS:
        np.testing.assert_allclose(many[name], 50.0 * one[name], rtol=1e-8)


def test_a_masked_datum_pulls_no_gradient(d):
    keep = d.array(np.array([True, False, False]))

    def total(params):
        return prior(d, params, LangevinChains(number=64, steps=3)).expand((3,)).mask(keep).log_prob(zeros).sum()

    def alone(params):
        return prior(d, params, LangevinChains(number=64, steps=3)).log_prob(zeros[0])

    zeros = d.array(np.zeros((3, 2)))
    masked, single = (d.value_and_grad(g, PARAMS, 0)[1] for g in (total, alone))
    for name in PARAMS:
        np.testing.assert_allclose(masked[name], single[name], rtol=1e-8)


def test_a_function_that_closes_over_parameters_learns(d):
    def closure(d, theta):
        return lambda z: (z * theta).sum(-1)

    def value(params):
        return prior(d, params, energy=closure).log_prob(d.array(np.zeros(2)))

    _, grads = d.value_and_grad(value, PARAMS, 0)
    # log Z = (scale theta)^2 / 2.
    np.testing.assert_allclose(grads["theta"], -(PARAMS["scale"] ** 2) * PARAMS["theta"], atol=0.15)


def test_coordinates_that_the_energy_does_not_see_stay_as_in_the_base(d):
    """On a base N(loc, scale^2) and an energy -z^2 / 2 of the first coordinate alone."""
    kept = np.array([1.0, 0.0])
    params = {"loc": np.array([0.9, -0.6]), "scale": np.array([0.7, 1.2])}
    width = 1.0 + params["scale"] ** 2

    def tilted(p):
        base = d.dist.Normal(p["loc"], p["scale"]).to_event(1)
        return d.mm.EnergyTilted(base, lambda z: -0.5 * (z**2).sum(-1), ADJUSTED, kept=d.array(kept))

    def total(p, zero):
        return tilted(p).log_prob(p["loc"] + zero)

    log_z = -0.5 * (kept * (params["loc"] ** 2 / width + np.log(width))).sum()
    fn = d.call(lambda: tilted(of_host(d, params)), 0)
    if d.name == "numpyro":
        import jax

        got = fn.log_normalizer(jax.random.key(0), 4000, 40)
    else:
        got = d.call(lambda: fn.log_normalizer(4000, 40), 0)
    assert abs(got.value - log_z) < 4 * got.error
    draws = d.sample(d.call(lambda: tilted(of_host(d, params)), 0), (4000,), 0)
    mean = np.where(kept, params["loc"] / width, params["loc"])
    sd = np.where(kept, params["scale"] / np.sqrt(width), params["scale"])
    assert (np.abs(draws.mean(0) - mean) < 4.5 * sd / np.sqrt(4000)).all()
    np.testing.assert_allclose(draws.std(0), sd, rtol=0.05)
    # At the base's own location, log p is f - log scale - log Z up to a constant.
    loc, scale = params["loc"], params["scale"]
    exact = {
        "loc": kept * (loc / width - loc),
        "scale": -1.0 / scale + kept * (scale / width - scale * loc**2 / width**2),
    }
    for name, grad in d.repeat_grad(total, params, np.zeros((16, 1))).items():
        error = grad.std(0, ddof=1) / 4.0
        assert (error < 0.03).all()
        assert (np.abs(grad.mean(0) - exact[name]) < 4.5 * error).all(), (name, grad.mean(0), exact[name], error)


def test_a_base_with_a_batch_is_refused(d):
    base = d.dist.Normal(d.array(np.zeros((3, 2))), 1.0)
    with pytest.raises(OptionError, match=r"Expected a base with batch shape \(\) and event shape \(D,\); got .*to_ev"):
        d.mm.EnergyTilted(base)


def test_chains_out_of_range_are_refused():
    with pytest.raises(OptionError, match="Expected number >= 1; got 0 in LangevinChains"):
        LangevinChains(number=0)
    with pytest.raises(OptionError, match="Expected a buffer of at least number=256 chains; got 10"):
        LangevinChains(buffer=10)
    with pytest.raises(OptionError, match=r"Expected restart in \[0, 1\]; got 2"):
        LangevinChains(restart=2)


def test_error_of_the_log_normaliser_is_the_spread_over_runs():
    rng = np.random.default_rng(0)
    runs = [summarise(rng.normal(0.0, 0.5, 400)) for _ in range(400)]
    spread = np.std([run.value for run in runs])
    np.testing.assert_allclose(np.mean([run.error for run in runs]), spread, rtol=0.1)
    np.testing.assert_allclose(np.mean([run.value for run in runs]), 0.125, atol=4 * spread / 20)
    np.testing.assert_allclose(np.mean([run.ess for run in runs]) / 400, np.exp(-0.25), rtol=0.05)


@pytest.mark.parametrize(("scale", "delta"), [(1.0, 0.1), (0.4, 0.5), (2.0, 1e-3)])
def test_smoothed_laplace_is_a_density_with_its_own_quantiles(d, scale, delta):
    fn = d.mm.SmoothedLaplace(d.array(np.array(0.0)), d.array(np.array(scale)), delta)
    u = np.linspace(-40 * scale, 40 * scale, 400_001)
    density = np.exp(d.log_prob(fn, u))
    cumulative = integrate.cumulative_trapezoid(density, u, initial=0.0)
    np.testing.assert_allclose(cumulative[-1], 1.0, atol=1e-5)
    p = np.linspace(0.001, 0.999, 201)
    np.testing.assert_allclose(
        np.interp(smoothed_laplace.quantile(p, np.array(scale), delta), u, cumulative), p, atol=1e-5
    )
    draws = d.sample(fn, (4000,), 0)
    assert stats.kstest(draws, lambda x: np.interp(x, u, cumulative)).pvalue > 1e-3
    # Outside the core it is a Laplace density up to its mass; inside, its slope is continuous.
    far = np.array([2.0, 3.0]) * scale + delta
    np.testing.assert_allclose(np.diff(d.log_prob(fn, far)), -1.0, rtol=1e-10)
    eps = 1e-7 * delta
    inner, outer = (np.diff(d.log_prob(fn, delta + sign * np.array([0.0, eps]))) / (sign * eps) for sign in (-1, 1))
    np.testing.assert_allclose(inner, outer, rtol=1e-3)
