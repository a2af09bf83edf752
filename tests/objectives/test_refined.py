"""MCMC inference in training, against exact gradients and posteriors."""

import numpy as np
import pytest

from mmppl import Batch
from mmppl.data import LinearGaussian
from mmppl.errors import ObjectiveError, OptionError
from mmppl.testing.contract import close
from mmppl.testing.objective import SPOILT, LinearProgram

TRUTH = LinearGaussian(1, {"a": 2, "b": 1}, seed=3, noise=0.7)
PRESENT = {"a": np.array([1, 1, 0, 1, 1], bool), "b": np.array([1, 0, 1, 1, 1], bool)}
BATCH = Batch(TRUTH.sample(5, 4).values, PRESENT)


@pytest.mark.parametrize("row", ["ELBO", "MMVAE"])
def test_the_bound_is_the_guides_own(d, row):
    """By ``encoder="bound"`` the guide has the gradient of the objective within, at the same draws."""
    program = LinearProgram(d, TRUTH)
    inner = getattr(d.mm, row)(beta=0.7, weights={"a": 0.5})
    plain = d.stepper(inner, program.model, program.guide)(BATCH, 0, SPOILT)
    out = d.stepper(d.mm.Refined(inner, steps=4), program.model, program.guide)(BATCH, 0, SPOILT)
    for name, wanted in plain.grads.items():
        close(out.grads[name], wanted)
    assert set(out.record) == set(plain.record)


def test_the_model_climbs_its_log_evidence_whatever_the_guide(d):
    """A location of the latent and one of the data, under a guide that is far off; the plain bound's gradient is too.

    Log p(x) is normal with mean a + b and variance 1 + s^2.
    """
    x, noise = np.array([[1.5], [-0.4]]), 0.7
    start = {"a": np.array(0.3), "b": np.array(-0.2)}

    def model(batch):
        a, b = (d.ppl.param(name, d.array(start[name])) for name in "ab")
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(a * d.array(np.ones(1)), 1.0).to_event(1))
            d.mm.observe("x", d.dist.Normal(z + b, noise).to_event(1), batch)

    def guide(batch):
        with d.mm.plate(batch):
            d.ppl.sample("z", d.dist.Normal(0.0 * batch["x"] + 2.0, 0.3).to_event(1))

    inner = d.mm.ELBO(4000, average=True)
    refined = d.mm.Refined(inner, steps=60, step_size=0.8, adjusted=True)
    found, plain = (d.stepper(objective, model, guide)(Batch({"x": x}), 1).grads for objective in (refined, inner))
    exact = -(x - 0.1).sum() / (1.0 + noise**2)
    for name in "ab":
        assert float(found[name]) == pytest.approx(exact, abs=0.06)
        assert abs(float(plain[name]) - exact) > 0.5


def test_an_amortised_guide_learns_the_posterior(d):
    program = LinearProgram(d, TRUTH)
    program.start = SPOILT
    objective = d.mm.Refined(d.mm.ELBO(40, average=True), steps=8, step_size=0.7, adjusted=True, encoder="amortised")
    _, params = d.fit(objective, program.model, program.guide, BATCH, steps=250, rate=0.02)
    assert abs(float(params["spoil"][0])) < 0.06
    assert abs(float(params["widen"])) < 0.08


def test_the_record_is_of_the_last_position(d):
    """With an exact guide, and steps that hardly move, log p(x, z) - log q(z) is the evidence everywhere."""
    program = LinearProgram(d, TRUTH)
    out = d.stepper(d.mm.Refined(d.mm.ELBO(), steps=1, step_size=1e-9), program.model, program.guide)(BATCH, 0)
    log_lik = sum(float(out.record[f"log_lik.{name}"]) * PRESENT[name].mean() for name in "ab")
    close(log_lik - out.record["kl"], TRUTH.evidence(BATCH).mean(), rtol=1e-6)
    close(out.record["loss"], out.loss / 5)
    assert out.record["loss"] > -log_lik


def test_bad_input(d):
    mm = d.mm
    with pytest.raises(OptionError, match="an objective to refine; got float"):
        mm.Refined(1.0)
    with pytest.raises(OptionError, match="encoder among"):
        mm.Refined(mm.ELBO(), encoder="both")
    with pytest.raises(ObjectiveError, match="averaged particles"):
        mm.Refined(mm.ELBO(4))
    with pytest.raises(ObjectiveError, match="latents that all count; got MMVAEPlus"):
        mm.Refined(mm.MMVAEPlus())
    with pytest.raises(OptionError, match="steps >= 1"):
        mm.Refined(mm.ELBO(), steps=0)
    program = LinearProgram(d, TRUTH)
    with pytest.raises(ObjectiveError, match="whose reference is the prior; got those of MVTCAE"):
        d.stepper(mm.Refined(mm.MVTCAE()), program.model, program.guide)(BATCH, 0)
