"""One call for every method: exact posteriors, what is known to fail, and bad input."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from mmppl import Batch, Modality
from mmppl.errors import DataError, InferenceError, OptionError, PosteriorWarning
from mmppl.inference import Posterior, Program, infer, refine

PATTERNS, COPIES = ("abc", "a", "bc", "c"), 64
# Data alike: each is an independent run of the same chains, so that errors need no theory.
METHODS = {
    "ula": {"step_size": 0.1},
    "mala": {},
    "random_walk": {},
    "mala, dense": {"method": "mala", "adapt_mass_matrix": True, "dense_mass": True},
    "hmc": {"num_steps": 4},
    "underdamped": {},
    "underdamped, fourth order": {"method": "underdamped", "integrator": "fourth_order"},
    "annealed": {},
    "tempered": {"replicas": 2, "hottest": 4.0},
    "importance": {},
    "psis": {},
    "refine": {"steps": 60},
}


@pytest.fixture
def rows(truth):
    """Four patterns of what is present, each many times."""
    few = truth.sample(len(PATTERNS), seed=5)
    few = few.with_present({m: np.array([m in p for p in PATTERNS]) for m in few.modalities})
    return few[np.repeat(np.arange(len(PATTERNS)), COPIES)]


def off(draws, wanted):
    """Standard errors, of independent data alike, of means of draws ``(chains, draws, 4, COPIES, *)``."""
    each = draws.mean((0, 1))
    return np.abs((each.mean(1) - wanted) / (each.std(1, ddof=1) / np.sqrt(COPIES))).max()


@pytest.mark.parametrize("name", METHODS)
def test_posteriors_are_exact_whatever_each_row_has(linear, truth, rows, name):
    options = {"method": name, **METHODS[name]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)  # one chain of few draws
        out = infer(linear(shift=0.3, widen=1.5), rows, num_chains=1, num_samples=100, num_warmup=150, **options)
    z = out["z"].reshape(1, 100, len(PATTERNS), COPIES, 2)
    mean, cov = truth.posterior(rows[::COPIES])
    centred = z - mean[:, None]
    assert off(centred, 0.0) < 4.0
    if name != "ula":  # its covariance is too wide, by what tests/mcmc/test_langevin.py says
        assert off(centred[..., :, None] * centred[..., None, :], cov) < 4.0


def test_bias_of_unadjusted_steps_vanishes_with_their_size(linear, truth, rows):
    precise = rows.only("a")[:COPIES]
    sizes, widths = (0.3, 0.05), []
    for s in sizes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PosteriorWarning)
            z = infer(linear(), precise, method="ula", step_size=s, num_chains=1, num_samples=200, num_warmup=50)["z"]
        eigen, basis = np.linalg.eigh(truth.posterior(precise)[1][0])
        along = ((z - truth.posterior(precise)[0]) @ basis)[0]
        # Along each axis of a normal the steps have the stationary variance v / (1 - s^2 / 4 v).
        expected = eigen / (1 - s**2 / (4 * eigen))
        each = (along**2).mean(0)
        assert (np.abs(each.mean(0) - expected) < 4 * each.std(0, ddof=1) / np.sqrt(COPIES)).all()
        widths.append((expected / eigen).max())
    assert widths[0] > 1.2
    assert widths[1] < 1.01


def test_data_do_not_depend_on_each_other(linear, rows):
    """64 data in one call have the draws of single calls with their own seeds."""
    data = rows[:: len(rows) // 64]
    sizes = {"method": "underdamped", "num_chains": 2, "num_samples": 8, "num_warmup": 8}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        every = infer(linear(), data, seed=range(100, 164), **sizes)["z"]
        for n in (0, 40, 63):
            alone = infer(linear(), data[n : n + 1], seed=[100 + n], **sizes)["z"]
            np.testing.assert_allclose(every[:, :, n], alone[:, :, 0], rtol=1e-6)
        other = infer(linear(), data[:1], seed=[999], **sizes)["z"]
    assert np.abs(other - every[:, :, :1]).min() > 1e-6
    assert len(np.unique(every[0, -1, :, 0])) == 64


def test_two_methods_are_compared_in_two_lines(linear, rows):
    few = rows[: 2 * COPIES : COPIES]
    for method in ("guide", "psis", "hmc", "nuts"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PosteriorWarning)  # chains are short
            out = infer(linear(), few, method=method, num_chains=2, num_samples=50, num_warmup=50)
        assert isinstance(out, Posterior)
        chains = 2 if method in ("hmc", "nuts") else 1
        assert out["z"].shape == (chains, 50, 2, 2)
        assert bool(out.r_hat) == out.chains == (chains == 2)
        if out.chains:
            assert {"lp", "acceptance_rate", "step_size", "diverging"} <= set(out.stats)
            assert out.r_hat["z"].shape == out.ess("tail")["z"].shape == (2, 2)
            assert not any("proposal" in problem or "diverge" in problem for problem in out.problems())


def test_chains_start_where_they_are_told(linear, rows):
    few, still = rows[::COPIES], {"method": "ula", "step_size": 1e-5, "num_samples": 1, "num_warmup": 0}
    at = np.arange(16.0).reshape(2, 4, 2)
    out = infer(linear(), few, init={"z": at}, num_chains=2, **still)["z"]
    np.testing.assert_allclose(out[:, 0], at, atol=1e-3)
    prior = infer(linear(), rows, init="prior", num_chains=1, **still)["z"]
    assert abs(prior.mean()) < 4 / np.sqrt(prior.size)
    assert abs(prior.var() - 1.0) < 4 * np.sqrt(2 / prior.size)


def test_a_guide_that_is_wrong_is_told_and_a_right_one_is_not(linear, rows):
    few = rows[::COPIES]
    with pytest.warns(PosteriorWarning, match="PSIS k is above 0.7 for 4 of 4 data") as told:
        bad = infer(linear(widen=0.02), few, method="psis", num_samples=1000)
    assert "method='hmc'" in str(told[0].message)
    assert (bad.pareto_k > 0.7).all()
    good = infer(linear(widen=1.2), few, method="psis", num_samples=1000)
    assert (good.pareto_k < 0.7).all()


def test_refinement_takes_away_what_is_wrong_with_the_guide(linear, truth, rows):
    mean = truth.posterior(rows)[0]
    wrong = linear(shift=0.5)
    sizes = {"num_samples": 20, "seed": 3}
    bias = [
        np.abs((refine(wrong, rows, steps=steps, **sizes)["z"] - mean).mean((0, 1, 2))).max() for steps in (0, 5, 60)
    ]
    assert bias[0] == pytest.approx(0.5, abs=0.05)
    assert bias[0] > bias[1] > bias[2]
    assert bias[2] < 0.05


def square(ppl, prior=3.0, likelihood=None):
    """z ~ N(0, 3^2), x ~ N(z^2, 0.3^2): for x = 9 the posterior has modes at -3 and 3, far apart."""
    host, dist = ppl.host, ppl.host.dist

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", dist.Normal(host.zeros(1), prior).to_event(1))
            loc = z * z if likelihood is None else likelihood(z)
            ppl.observe("x", dist.Normal(loc, 0.3).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch):
            host.sample("z", dist.Normal(0.0 * batch["x"], prior).to_event(1))

    return Program(model, guide, ppl.ELBO(), ppl, {"x": Modality((1,))})


NINE = Batch({"x": np.full((3, 1), 9.0)})


def test_chains_that_do_not_mix_say_so_and_replicas_mix(ppl, double):
    sizes = {"num_chains": 2, "num_samples": 50, "num_warmup": 50}
    start = {"z": np.array([-3.0, 3.0])[:, None, None] * np.ones((2, 3, 1))}
    with pytest.warns(PosteriorWarning, match=r"R-hat of 'z' is above 1.1 for 3 of 3 data .*method='tempered'"):
        stuck = infer(square(ppl), NINE, method="mala", init=start, **sizes)
    assert (stuck.r_hat["z"] > 1.5).all()
    still = replace(stuck, draws={"z": np.ones((2, 50, 3, 1)) * np.array([-3.0, 3.0])[:, None, None, None]})
    assert any("up to inf:" in problem for problem in still.problems())
    many = Batch({"x": np.full((30, 1), 9.0)})
    start = {"z": np.array([-3.0, 3.0])[:, None, None] * np.ones((2, 30, 1))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)  # for some of the 30 data chains are too short
        mixed = infer(
            square(ppl), many, method="tempered", init=start, replicas=4, hottest=300.0, **{**sizes, "num_samples": 400}
        )
    assert np.median(mixed.r_hat["z"]) < 1.1
    crossed = (np.diff(np.sign(mixed["z"]), axis=1) != 0).any((1, 3))
    assert crossed.mean() > 0.9


def steps_of(z):
    """A staircase: it changes with z, and has no slope."""
    return (z * 4.0).round() / 4.0


def test_a_likelihood_without_a_gradient_is_refused_by_kernels_that_follow_it(ppl, double):
    program = square(ppl, likelihood=steps_of)
    with pytest.raises(InferenceError, match="likelihood of site 'x' .* no gradient.*method='random_walk'"):
        infer(program, NINE, method="mala")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        out = infer(program, NINE, method="random_walk", num_chains=1, num_samples=50, num_warmup=50)
    assert np.isfinite(out["z"]).all()


def test_a_log_density_that_is_not_a_number_names_datum_and_site(ppl, double):
    bad = Batch({"x": np.array([[9.0], [9.0]])})

    def root(z):
        return (z - 100.0) ** 0.5

    with pytest.raises((DataError, InferenceError), match="site 'x' is not a number for datum 0|parameter loc"):
        infer(square(ppl, likelihood=root), bad, method="mala")


def test_a_step_that_rejects_everything_says_what_to_change(ppl, double):
    sizes = {"num_chains": 1, "num_samples": 10, "num_warmup": 0, "adapt_step_size": False}
    with pytest.raises(InferenceError, match="Every proposal of 'mala' was refused.*smaller step_size"):
        infer(square(ppl), NINE, method="mala", step_size=1e6, **sizes)


def test_bad_input(linear, rows):
    few, fitted = rows[::COPIES], linear()
    for options, message in (
        ({"method": "gibbs"}, "Unknown method 'gibbs'; expected one of guide, importance"),
        ({"method": "mala", "steps": 3}, r"Unknown options \['steps'\] of method 'mala'"),
        ({"method": "guide", "steps": 3}, "Method 'guide' takes no options"),
        ({"method": "refine", "kernel": "slice"}, "Unknown sampler 'slice'"),
        ({"method": "refine", "steps": -1}, "Expected steps >= 0; got -1"),
        ({"init": "zero"}, "Expected init 'guide', 'prior', or values by site; got 'zero'"),
        ({"init": {"w": np.zeros((4, 2))}}, r"Expected start values for the latent sites \['z'\]; got \['w'\]"),
        ({"init": {"z": np.zeros((3, 4, 2))}, "num_chains": 2}, r"\(2, 4, 2\) for 2 chains; got \(3, 4, 2\)"),
        ({"num_samples": 0}, "Expected num_samples >= 1"),
        ({"seed": [1, 2]}, "Expected one seed, or one for each of 4 data; got 2"),
        ({"method": "nuts", "seed": range(4), "num_samples": 1}, "moves all data together"),
    ):
        with pytest.raises(OptionError, match=message):
            infer(fitted, few, **options)
    out = infer(fitted, few, method="guide", num_samples=5)
    with pytest.raises(OptionError, match=r"Expected a latent site among \['z'\]; got 'w'"):
        out["w"]
    with pytest.raises(DataError, match="Expected chains of one length"):
        Posterior(fitted, few, "mala", {"z": np.zeros((2, 5, 4, 2)), "w": np.zeros((2, 6, 4, 1))})
