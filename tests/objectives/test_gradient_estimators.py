"""Every estimator of a bound's gradient has the mean of the plain reparametrised one: long averages on either host.

Rows of a batch are copies of one datum, so that each is a replicate; the replicates of several seeds tell the error.
"""

import numpy as np
import pytest

from mmppl import Batch
from mmppl._backend import get_backend
from mmppl.errors import ObjectiveError

ROWS, SEEDS = 4000, 8
BATCH = Batch({"a": np.full((ROWS, 1), 1.0), "b": np.full((ROWS, 1), -0.5)})


class Experts:
    """One latent, experts far from each other, and a latent of each modality's own where asked for."""

    start = {"loc_a": 0.9, "loc_b": -0.8, "log_scale": -0.3}
    private = {"own": 0.2, "aux": -0.4}

    def __init__(self, d, posterior, private=False):
        self.d, self.posterior, self.several = d, posterior, private

    def params(self):
        return {n: np.array(x) for n, x in {**self.start, **(self.private if self.several else {})}.items()}

    def model(self, batch):
        d = self.d
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))
            for m in batch.modalities:
                mean = z
                if self.several:
                    mean = z + 0.8 * d.ppl.sample(f"{m}.w", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))
                d.mm.observe(m, d.dist.Normal(mean, 0.5).to_event(1), batch)
            if self.several:  # latents of modalities that are not scored are latents all the same
                for m in set("ab") - set(batch.modalities):
                    d.ppl.sample(f"{m}.w", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))

    def guide(self, batch):
        d, p = self.d, {n: self.d.ppl.param(n, self.d.array(x)) for n, x in self.params().items()}
        xp, one = get_backend(batch["a"]).xp, batch["a"] * 0.0 + 1.0
        experts = {"a": (p["loc_a"] * one, xp.exp(p["log_scale"]) * one), "b": (p["loc_b"] * one, 0.5 * one)}
        with d.mm.plate(batch):
            d.ppl.sample("z", getattr(d.mm, self.posterior)(experts, batch.present))
            for m in "ab" if self.several else ():
                here = batch.present[m][..., None]
                loc = xp.where(here, p["own"] * one, 0.0 * one)
                scale = xp.where(here, 0.6 * one, xp.exp(p["aux"]) * one)
                d.ppl.sample(f"{m}.w", d.dist.Normal(loc, scale).to_event(1))


class Hierarchy(Experts):
    """Two latents, the second drawn given the first, in the guide by a function of it; and one of all data."""

    start = {"loc": 0.5, "slope": 0.7, "log_scale": -0.4, "common": 0.3}

    def __init__(self, d, common=False):
        self.d, self.common, self.several = d, common, False

    def model(self, batch):
        d, shift = self.d, 0.0
        if self.common:
            shift = d.ppl.sample("g", d.dist.Normal(d.array(np.array(0.0)), 0.02))
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))
            w = d.ppl.sample("w", d.dist.Normal(0.9 * z, 0.7).to_event(1))
            for m in batch.modalities:
                d.mm.observe(m, d.dist.Normal(w + shift, 0.5).to_event(1), batch)

    def guide(self, batch):
        d, p = self.d, {n: self.d.ppl.param(n, self.d.array(x)) for n, x in self.params().items()}
        xp, one, shift = get_backend(batch["a"]).xp, batch["a"] * 0.0 + 1.0, 0.0
        if self.common:
            shift = d.ppl.sample("g", d.dist.Normal(0.1 * p["common"], 0.02))
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(p["loc"] * one + shift, 0.8).to_event(1))
            d.ppl.sample("w", d.dist.Normal(xp.tanh(p["slope"] * z), xp.exp(p["log_scale"])).to_event(1))


class Uneven(Hierarchy):
    """The same with the second latent scaled, masked, or in a plate of views of which some are seen."""

    start = {"loc": 0.5, "slope": 0.7, "log_scale": -0.4}

    def __init__(self, d, within, views=0):
        super().__init__(d)
        self.within, self.views = within, views

    def second(self, mean, scale):
        """A latent of each row, or the sum of one of each view."""
        d = self.d
        if d.name == "pyro":
            from pyro import poutine as handlers
        else:
            from numpyro import handlers
        with self.within(d, handlers):
            if self.views:
                mean = mean + d.array(np.zeros((self.views, 1, 1)))
            w = d.ppl.sample("w", d.dist.Normal(mean, scale).to_event(1))
        return w.sum(-3) if self.views else w

    def model(self, batch):
        d = self.d
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))
            w = self.second(0.9 * z, 0.7)
            for m in batch.modalities:
                d.mm.observe(m, d.dist.Normal(w, 0.5).to_event(1), batch)

    def guide(self, batch):
        d, p = self.d, {n: self.d.ppl.param(n, self.d.array(x)) for n, x in self.params().items()}
        xp, one = get_backend(batch["a"]).xp, batch["a"] * 0.0 + 1.0
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(p["loc"] * one, 0.8).to_event(1))
            self.second(xp.tanh(p["slope"] * z), xp.exp(p["log_scale"]))


UNEVEN = {
    "scaled": (lambda d, handlers: handlers.scale(scale=0.25), 0),
    "masked": (lambda d, handlers: handlers.mask(mask=False), 0),
    "of some views": (lambda d, handlers: d.ppl.plate("views", 6, subsample_size=2, dim=-2), 2),
}
CASES = {
    **{
        f"a latent {name}, dreg": (lambda d, of=of: Uneven(d, *of), "ELBO", 4, {"gradient": "dreg"})
        for name, of in UNEVEN.items()
    },
    "a latent scaled, stl": (lambda d: Uneven(d, *UNEVEN["scaled"]), "ELBO", 1, {"gradient": "stl"}),
    "IWAE, dreg": (lambda d: Experts(d, "Product"), "ELBO", 8, {"gradient": "dreg"}),
    "IWAE, beta 0.4, dreg": (lambda d: Experts(d, "Product"), "ELBO", 6, {"gradient": "dreg", "beta": 0.4}),
    "IWAE, beta 2, stl": (lambda d: Experts(d, "Product"), "ELBO", 4, {"gradient": "stl", "beta": 2.0}),
    "averaged, stl": (lambda d: Experts(d, "Product"), "ELBO", 4, {"gradient": "stl", "average": True}),
    "averaged, free bits, score": (
        lambda d: Experts(d, "MixtureOfExperts"),
        "ELBO",
        4,
        {"gradient": "score", "average": True, "free_bits": 0.1, "beta": 3.0},
    ),
    "mixture within, dreg": (lambda d: Experts(d, "MixtureOfExperts"), "ELBO", 4, {"gradient": "dreg"}),
    "MMVAE, stl": (lambda d: Experts(d, "MixtureOfExperts"), "MMVAE", 1, {"gradient": "stl"}),
    "MMVAE, dreg": (lambda d: Experts(d, "MixtureOfExperts"), "MMVAE", 6, {"gradient": "dreg"}),
    "MMVAE, one stratum, dreg": (
        lambda d: Experts(d, "MixtureOfExperts"),
        "MMVAE",
        6,
        {"gradient": "dreg", "strata": "one", "beta": 1.5},
    ),
    "MMVAE+, dreg": (lambda d: Experts(d, "MixtureOfExperts", True), "MMVAEPlus", 6, {"gradient": "dreg"}),
    "MMVAE+, stl": (lambda d: Experts(d, "MixtureOfExperts", True), "MMVAEPlus", 1, {"gradient": "stl"}),
    "MoPoE, mixture, dreg": (
        lambda d: Experts(d, "Product"),
        "MoPoE",
        4,
        {"gradient": "dreg", "density": "mixture"},
    ),
    "masked, dreg": (lambda d: Experts(d, "Product"), "Masked", 4, {"gradient": "dreg"}),
    "JMVAE, importance, dreg": (
        lambda d: Experts(d, "Product"),
        "JMVAE",
        4,
        {"gradient": "dreg", "average": False, "alpha": 0.6},
    ),
    "MVTCAE, stl": (lambda d: Experts(d, "Product"), "MVTCAE", 4, {"gradient": "stl"}),
    "hierarchy, stl": (Hierarchy, "ELBO", 1, {"gradient": "stl"}),
    "hierarchy, dreg": (Hierarchy, "ELBO", 6, {"gradient": "dreg"}),
    "hierarchy and a common latent, dreg": (lambda d: Hierarchy(d, True), "ELBO", 4, {"gradient": "dreg"}),
}


def long_average(d, objective, program):
    """Mean gradient of a datum and its standard error, by parameter."""
    step = d.stepper(objective, program.model, program.guide)
    grads = [step(BATCH, seed, program.params()).grads for seed in range(SEEDS)]
    every = {name: np.stack([g[name] for g in grads]) / ROWS for name in grads[0]}
    return {name: (x.mean(0), x.std(0, ddof=1) / np.sqrt(SEEDS)) for name, x in every.items()}


@pytest.mark.parametrize("case", CASES)
def test_estimators_have_the_mean_of_the_reparametrised_gradient(d, case):
    make, name, particles, options = CASES[case]
    program = make(d)
    plain = {k: v for k, v in options.items() if k != "gradient"}
    expected = long_average(d, getattr(d.mm, name)(particles, **plain), program)
    found = long_average(d, getattr(d.mm, name)(particles, **options), program)
    assert found.keys() == expected.keys() >= program.params().keys() - {"common"}
    for param, (mean, error) in expected.items():
        other, own_error = found[param]
        assert abs(mean - other) < 6.0 * np.hypot(error, own_error) + 1e-9, (param, mean, other, error, own_error)


def test_sticking_the_landing_is_the_doubly_reparametrised_gradient_with_importance_weights(d):
    program = Experts(d, "Product")
    stl, dreg = (
        d.stepper(d.mm.ELBO(4, gradient=g), program.model, program.guide)(BATCH[:5], 0, program.params())
        for g in ("stl", "dreg")
    )
    for name, grad in stl.grads.items():
        np.testing.assert_array_equal(grad, dreg.grads[name])


def test_sticking_the_landing_is_refused_with_free_bits(d):
    with pytest.raises(ObjectiveError, match="biased with free bits"):
        d.mm.ELBO(gradient="stl", free_bits=0.5)


@pytest.mark.parametrize("spread", ["Delta", "masked Delta"])
def test_values_with_no_spread_have_the_gradient_of_the_plain_estimator_alone(d, spread):
    """DReG would multiply it by 1 / K, and the score function by 0."""

    def model(batch):
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))
            d.mm.observe("a", d.dist.Normal(z, 1.0).to_event(1), batch)

    def guide(batch):
        loc = d.ppl.param("loc", d.array(np.array(0.3)))
        point = d.dist.Delta(loc + 0.0 * batch["a"])
        with d.mm.plate(batch):
            d.ppl.sample("z", (point if spread == "Delta" else point.mask(True)).to_event(1))

    batch, start = Batch({"a": np.ones((3, 1))}), {"loc": np.array(0.3)}
    found = d.stepper(d.mm.ELBO(4), model, guide)(batch, 0, start).grads["loc"]
    np.testing.assert_allclose(found, 3 * (0.3 + 0.3 - 1.0), rtol=1e-6)  # of z^2 / 2 + (z - 1)^2 / 2
    for gradient in ("dreg", "stl", "score"):
        with pytest.raises(ObjectiveError, match=r"Latents \['z'\] are values with no spread"):
            d.stepper(d.mm.ELBO(4, gradient=gradient), model, guide)(batch, 0, start)
