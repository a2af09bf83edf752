"""Energy-tilted priors over bases of every make: the learning gradient knows all that a base and an energy rest on."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import optimize, special, stats

from mmppl import Batch
from mmppl.errors import OptionError
from mmppl.priors import LangevinChains

LOC, SCALE = np.array([0.3, -0.2]), np.array([0.8, 1.3])
TRIL = np.array([[1.0, 0.0], [0.4, 0.7]])
NORMAL = {"loc": LOC, "scale": SCALE}
MIXTURE = {"loc": np.array([[0.3, -0.2], [-0.5, 1.0]]), "scale": np.array([[0.8, 1.3], [0.6, 0.9]])}
THETA = {"theta": np.array([0.5, -0.4])}
DATA = np.random.default_rng(0).normal(size=(5, 2))
CHAINS = np.random.default_rng(1).normal(size=(64, 2))
FEW = LangevinChains(number=64, steps=2, draw_steps=2)


def tools(d):
    """What the two hosts name in ways of their own."""
    if d.name == "numpyro":
        import jax
        import jax.numpy as xp
        from numpyro.distributions import transforms

        class Function(transforms.Transform):
            domain = codomain = d.dist.constraints.real

            def __init__(self, there, back, log_slope):
                self.there, self.back, self.log_slope = there, back, log_slope

            def __call__(self, x):
                return self.there(x)

            def _inverse(self, y):
                return self.back(y)

            def log_abs_det_jacobian(self, x, y, intermediates=None):
                return self.log_slope + 0.0 * x

            def tree_flatten(self):
                return (), ((), vars(self))

        return SimpleNamespace(
            xp=xp,
            zeros=xp.zeros(2),
            softmax=jax.nn.softmax,
            transforms=transforms,
            affine=transforms,
            function=Function,
        )
    import torch as xp
    from pyro.distributions import transforms

    class Function(transforms.Transform):
        domain = codomain = d.dist.constraints.real
        bijective = True

        def __init__(self, there, back, log_slope):
            super().__init__()
            self.there, self._inverse, self.log_slope = there, back, log_slope

        def _call(self, x):
            return self.there(x)

        def log_abs_det_jacobian(self, x, y):
            return self.log_slope + 0.0 * x

    return SimpleNamespace(
        xp=xp,
        zeros=xp.zeros(2),
        softmax=lambda x: xp.softmax(x, -1),
        transforms=transforms,
        affine=xp.distributions.transforms,
        function=Function,
    )


def standard(d, t):
    return d.dist.Normal(t.zeros, 1.0 + t.zeros)


def function(d, t, p):
    """A transform whose parameters are known to its functions alone."""
    loc, scale = p["loc"], p["scale"]
    shift = t.function(lambda x: loc + scale * x, lambda y: (y - loc) / scale, t.xp.log(scale))
    return d.dist.TransformedDistribution(standard(d, t), [shift]).to_event(1)


def two_transforms(d, t, p):
    parts = [
        t.transforms.LowerCholeskyAffine(p["loc"], p["tril"]),
        t.transforms.LowerCholeskyAffine(p["more"], p["tril"]),
    ]
    return d.dist.TransformedDistribution(d.dist.Normal(t.zeros, p["scale"]).to_event(1), parts)


def mixture(d, p, **weights):
    return d.dist.MixtureSameFamily(
        d.dist.Categorical(**weights), d.dist.Normal(p["loc"], p["scale"]).to_event(1), validate_args=False
    )


def made_from_another(d, t, p):
    """Parameters that are themselves made from a parameter, one of them from the other."""
    scale = t.xp.exp(p["scale"])
    return d.dist.Normal(p["loc"] * scale, scale * t.xp.exp(0.1 * scale)).to_event(1)


def nested(d, t, p):
    base = d.dist.Normal(p["loc"], p["scale"]).to_event(1)
    return d.mm.EnergyTilted(base, lambda z: (p["slope"] * t.xp.cos(z)).sum(-1), FEW)


WEIGHTED = {**MIXTURE, "weights": np.array([0.3, 0.7])}
VECTOR = {"loc": LOC, "tril": TRIL}
COVARIANCE = {"loc": LOC, "cov": TRIL @ TRIL.T}
BASES = {
    "normal": (lambda d, t, p: d.dist.Normal(p["loc"], p["scale"]).to_event(1), NORMAL),
    "made from another": (made_from_another, NORMAL),
    "affine transform": (
        lambda d, t, p: d.dist.TransformedDistribution(
            standard(d, t), [t.affine.AffineTransform(p["loc"], p["scale"])]
        ).to_event(1),
        NORMAL,
    ),
    "two transforms": (two_transforms, {**NORMAL, "tril": TRIL, "more": LOC[::-1].copy()}),
    "function as transform": (function, NORMAL),
    "mixture by probabilities": (lambda d, t, p: mixture(d, p, probs=p["weights"]), WEIGHTED),
    "mixture by a softmax": (lambda d, t, p: mixture(d, p, probs=t.softmax(p["weights"])), WEIGHTED),
    "mixture by logits": (lambda d, t, p: mixture(d, p, logits=p["weights"]), WEIGHTED),
    "scale_tril": (lambda d, t, p: d.dist.MultivariateNormal(p["loc"], scale_tril=p["tril"]), VECTOR),
    "covariance": (lambda d, t, p: d.dist.MultivariateNormal(p["loc"], covariance_matrix=p["cov"]), COVARIANCE),
    "precision": (lambda d, t, p: d.dist.MultivariateNormal(p["loc"], precision_matrix=p["cov"]), COVARIANCE),
    "low rank": (
        lambda d, t, p: d.dist.LowRankMultivariateNormal(p["loc"], p["factor"], p["scale"]),
        {**NORMAL, "factor": TRIL[:, :1] + 0.3},
    ),
    "Student": (lambda d, t, p: d.dist.MultivariateStudentT(6.0, p["loc"], p["tril"]), VECTOR),
    "expanded": (
        lambda d, t, p: d.dist.Normal(p["loc"], p["scale"]).expand((2,)).to_event(1),
        {"loc": np.array(0.3), "scale": np.array(1.2)},
    ),
    "masked": (lambda d, t, p: d.dist.Normal(p["loc"], p["scale"]).to_event(1).mask(t.zeros[0] == 0.0), NORMAL),
    "Gaussian mixture": (lambda d, t, p: d.mm.GaussianMixture(p["loc"], p["scale"], p["weights"]), WEIGHTED),
    "smoothed Laplace": (lambda d, t, p: d.mm.SmoothedLaplace(p["loc"], p["scale"]).to_event(1), NORMAL),
    "tilted": (nested, {**NORMAL, "slope": LOC}),
}


def energy(t, p):
    """A function that closes over its parameter."""
    return lambda z: (p["theta"] * t.xp.sin(z)).sum(-1) - 0.5 * (z**2).sum(-1)


def log_density(d, t, base, p, z):
    """The unnormalised log density, by the host's own base."""
    return energy(t, p)(z) + base(d, t, p).log_prob(z)


@pytest.mark.parametrize("name", BASES)
def test_gradient_is_that_at_the_data_less_that_at_the_chains(d, name, monkeypatch):
    """To rounding, and whatever the chains are."""
    monkeypatch.setattr(LangevinChains, "run", lambda self, *args, **kwargs: (d.array(CHAINS), None))
    base, params = BASES[name]
    params, t = {**params, **THETA}, tools(d)
    x, z = d.array(DATA), d.array(CHAINS)

    def tilted(p):
        return d.mm.EnergyTilted(base(d, t, p), energy(t, p), FEW).log_prob(x).sum()

    def contrast(p):
        return log_density(d, t, base, p, x).sum() - len(DATA) * log_density(d, t, base, p, z).mean()

    got, wanted = (d.value_and_grad(f, params, 0)[1] for f in (tilted, contrast))
    for key in params:
        assert np.abs(wanted[key]).max() > 1e-3, key
        np.testing.assert_allclose(got[key], wanted[key], rtol=1e-8, atol=1e-10, err_msg=key)


AXIS = np.linspace(-8.0, 8.0, 201)
GRID = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1).reshape(-1, 2)
AREA = (AXIS[1] - AXIS[0]) ** 2
LONG = LangevinChains(number=1000, steps=40, step_size=0.9, adjusted=True, draw_steps=80)
LEARNED = ["two transforms", "function as transform", "mixture by probabilities", "covariance"]

# Bases with bounds, some of which move with a parameter; data inside, and a grid of (0, 1)^2 that the bounds stretch.
INSIDE = np.random.default_rng(2).uniform(0.2, 1.0, (5, 2))
CELLS = (np.arange(300) + 0.5) / 300
UNIT = np.stack(np.meshgrid(CELLS, CELLS, indexing="ij"), axis=-1).reshape(-1, 2)
BOUNDED = {
    "uniform": (lambda d, t, p: d.dist.Uniform(t.zeros, p["high"]).to_event(1), {"high": np.array([1.5, 2.5])}),
    "half normal": (lambda d, t, p: d.dist.HalfNormal(p["scale"]).to_event(1), {"scale": SCALE}),
    "log normal": (
        lambda d, t, p: d.dist.LogNormal(p["loc"], p["scale"]).to_event(1),
        {"loc": LOC, "scale": 0.5 * SCALE},
    ),
    "beta": (lambda d, t, p: d.dist.Beta(p["a"], p["b"]).to_event(1), {"a": SCALE + 1.0, "b": SCALE + 1.5}),
    "mixture of betas": (
        lambda d, t, p: d.dist.MixtureSameFamily(
            d.dist.Categorical(probs=p["weights"]), d.dist.Beta(p["a"], 2.0).to_event(1), validate_args=False
        ),
        {"a": np.array([[1.8, 2.5], [3.0, 1.5]]), "weights": np.array([0.3, 0.7])},
    ),
}

UNITS = ("beta", "mixture of betas")


@pytest.mark.parametrize("name", BOUNDED)
def test_learning_gradient_of_a_base_with_bounds_is_that_of_quadrature(d, name):
    """Chains stay inside, and log Z counts what crosses a bound that moves with a parameter."""
    base, params = BOUNDED[name]
    params, t = {**params, **THETA}, tools(d)
    x, cells = d.array(INSIDE), d.array(UNIT)

    def waves(p):
        return lambda z: (p["theta"] * t.xp.sin(z)).sum(-1)

    def tilted(p, zero):
        return d.mm.EnergyTilted(base(d, t, p), waves(p), LONG).log_prob(x + zero).mean()

    def log_density(p, z):
        return waves(p)(z) + base(d, t, p).log_prob(z)

    def exact(p):
        highest = {"uniform": p.get("high"), **dict.fromkeys(UNITS, 1.0 + t.zeros)}.get(name, 8.0 + t.zeros)
        values = t.xp.exp(log_density(p, cells * highest)).sum() / len(UNIT)
        return log_density(p, x).mean() - t.xp.log(values * highest[0] * highest[1])

    wanted = d.value_and_grad(exact, params, 0)[1]
    for key, grad in d.repeat_grad(tilted, params, np.zeros((16, 1))).items():
        error = grad.std(0, ddof=1) / 4.0
        assert (error < 0.03).all(), key
        assert (np.abs(grad.mean(0) - wanted[key]) < 4.5 * error + 2e-3).all(), (key, grad.mean(0), wanted[key], error)
    p = {key: d.array(value) for key, value in params.items()}
    draws = d.sample(d.call(lambda: d.mm.EnergyTilted(base(d, t, p), waves(p), LONG), 0), (200,), 0)
    assert (draws > 0.0).all()
    if name in ("uniform", *UNITS):
        assert (draws < params.get("high", 1.0)).all()


def test_bases_without_a_map_to_the_real_line_are_refused(d):
    t = tools(d)
    with pytest.raises(OptionError, match="Expected a base with a density, .* got discrete values"):
        d.call(lambda: d.mm.EnergyTilted(d.dist.Poisson(1.0 + t.zeros).to_event(1), lambda z: z.sum(-1), FEW), 0)
    if d.name == "numpyro":
        return  # whose mixtures refuse components that have bounds of their own
    parts = d.dist.Uniform(d.array(np.zeros((2, 2))), d.array(np.array([[1.0, 1.0], [2.0, 2.0]]))).to_event(1)
    mixed = d.dist.MixtureSameFamily(d.dist.Categorical(probs=d.array(np.array([0.5, 0.5]))), parts)
    with pytest.raises(OptionError, match="got a mixture of components that have each their own"):
        d.sample(d.call(lambda: d.mm.EnergyTilted(mixed, lambda z: z.sum(-1), FEW), 0), (2,), 0)


@pytest.mark.parametrize("name", LEARNED)
def test_learning_gradient_is_that_of_quadrature(d, name):
    base, params = BASES[name]
    params, t = {**params, **THETA}, tools(d)
    x, grid = d.array(DATA), d.array(GRID)

    def tilted(p, zero):
        return d.mm.EnergyTilted(base(d, t, p), energy(t, p), LONG).log_prob(x + zero).mean()

    def exact(p):
        log_z = t.xp.log(t.xp.exp(log_density(d, t, base, p, grid)).sum() * AREA)
        return log_density(d, t, base, p, x).mean() - log_z

    wanted = d.value_and_grad(exact, params, 0)[1]
    for key, grad in d.repeat_grad(tilted, params, np.zeros((16, 1))).items():
        error = grad.std(0, ddof=1) / 4.0
        assert (error < 0.03).all(), key
        assert (np.abs(grad.mean(0) - wanted[key]) < 4.5 * error + 1e-3).all(), (key, grad.mean(0), wanted[key], error)


@pytest.mark.parametrize("name", ["two transforms", "mixture by probabilities", "Student", "smoothed Laplace"])
def test_draws_and_normaliser_are_those_of_quadrature(d, name):
    base, params = BASES[name]
    t = tools(d)
    p = {key: d.array(value) for key, value in {**params, **THETA}.items()}
    prior = d.call(lambda: d.mm.EnergyTilted(base(d, t, p), energy(t, p), LONG), 0)
    values = d.numpy(log_density(d, t, base, p, d.array(GRID)))
    log_z = special.logsumexp(values) + np.log(AREA)
    weight = np.exp(values - special.logsumexp(values))
    if d.name == "numpyro":
        import jax

        got = prior.log_normalizer(jax.random.key(0), 4000, 40)
    else:
        got = d.call(lambda: prior.log_normalizer(4000, 40), 0)
    assert 0.0 < got.error < 0.02
    assert abs(got.value - log_z) < 4.0 * got.error
    draws = d.sample(prior, (4000,), 0)
    for g in (lambda z: z, np.tanh, np.cos, lambda z: z[..., :1] * z[..., 1:]):
        exact, drawn = (weight[:, None] * g(GRID)).sum(0), g(draws)
        assert (np.abs(drawn.mean(0) - exact) < 4.5 * drawn.std(0) / np.sqrt(len(drawn))).all()


LINE = np.linspace(-9.0, 9.0, 1801)


def most_likely(x, log_base, start):
    """The parameters of the base whose tilt by -z^2/2 makes x likeliest, by quadrature."""

    def loss(p):
        log_z = special.logsumexp(log_base(LINE, p) - 0.5 * LINE**2) + np.log(LINE[1] - LINE[0])
        return log_z - log_base(x, p).mean()

    return optimize.minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-9}).x


def learn(d, x, base, energy):
    def model(batch):
        prior = d.mm.EnergyTilted(base(), energy, LangevinChains(number=400, steps=15, step_size=0.8, adjusted=True))
        with d.ppl.plate("rows", len(x)):
            d.ppl.sample("z", prior, obs=batch["x"])

    batch = Batch({"x": x[:, None]})
    return d.fit(d.ppl.infer.Trace_ELBO(), model, lambda batch: None, batch, steps=160, rate=0.03)[1]


def test_the_hosts_own_elbo_learns_the_likeliest_transform(d):
    x = 1.5 + 0.5 * np.random.default_rng(2).normal(size=200)
    t = tools(d)

    def base():
        loc = d.ppl.param("loc", d.array(np.array([1.0])))
        return d.dist.TransformedDistribution(
            d.dist.Normal(t.zeros[:1], 1.0), [t.affine.AffineTransform(loc, 1.0)]
        ).to_event(1)

    loc = learn(d, x, base, lambda z: -0.5 * z[..., 0] ** 2)["loc"]
    (wanted,) = most_likely(x, lambda z, p: stats.norm.logpdf(z, p[0]), [1.0])
    np.testing.assert_allclose(wanted, 2.0 * x.mean(), atol=1e-3)
    np.testing.assert_allclose(loc, wanted, atol=0.1)


def test_the_hosts_own_elbo_learns_the_likeliest_mixture(d):
    rng = np.random.default_rng(3)
    x = np.where(rng.uniform(size=200) < 0.3, -1.5, 1.5) + 0.6 * rng.normal(size=200)

    def base():
        loc = d.ppl.param("loc", d.array(np.array([-2.0])))
        weights = d.ppl.param("weights", d.array(np.array([0.5, 0.5])), constraint=d.dist.constraints.simplex)
        parts = d.dist.Normal(tools(d).xp.stack([loc, loc + 6.0]), 1.0).to_event(1)
        return d.dist.MixtureSameFamily(d.dist.Categorical(probs=weights), parts)

    def log_base(z, p):
        parts = stats.norm.logpdf(z[:, None], p[0] + np.array([0.0, 6.0]))
        return special.logsumexp(parts, -1, b=[special.expit(p[1]), special.expit(-p[1])])

    wanted = most_likely(x, log_base, [-2.0, 0.0])
    params = learn(d, x, base, lambda z: -0.5 * z[..., 0] ** 2)
    np.testing.assert_allclose(params["loc"], wanted[0], atol=0.15)
    np.testing.assert_allclose(params["weights"][0], special.expit(wanted[1]), atol=0.03)
