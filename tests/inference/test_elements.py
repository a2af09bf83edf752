"""Single elements that are missing: what is observed alone counts, and what is not can change nothing."""

from dataclasses import replace

import numpy as np
import pytest

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.data import hide
from mmppl.errors import ModalityError, ObjectiveError
from mmppl.inference import Fitted, Program, fit, generate, log_likelihood
from mmppl.inference.training.leakage import check_no_leakage
from mmppl.likelihoods import LIKELIHOODS

SETTINGS = {"epochs": 1, "batch_size": 16, "progress": False}


@pytest.fixture
def exact(ppl, double, truth):
    """The linear-Gaussian model by hand, with the exact posterior given the elements that are there as the guide."""
    host, dist, backend = ppl.host, ppl.host.dist, get_backend(ppl.host.zeros(1))
    weight = {m: backend.asarray(w) for m, w in truth.weight.items()}
    bias = {m: backend.asarray(b) for m, b in truth.bias.items()}
    origin, eye = backend.asarray(np.zeros(truth.latent_dim)), backend.asarray(np.eye(truth.latent_dim))

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", dist.Normal(origin, 1.0).to_event(1))
            for m in batch.modalities:
                ppl.observe(m, dist.Normal(z @ weight[m].T + bias[m], truth.noise[m]).to_event(1), batch)

    def guide(batch):
        precision, pull = eye, origin
        for m in batch.modalities:
            there = batch.present[m][..., None]
            there = there & batch.elements[m] if m in batch.elements else there & (batch[m] == batch[m])
            scaled = weight[m] / truth.noise[m] ** 2
            precision = precision + (there[..., None, :] * scaled.T) @ weight[m]
            pull = pull + (there * (batch[m] - bias[m])) @ scaled
        loc = backend.xp.linalg.solve(precision, pull[..., None])[..., 0]
        with ppl.plate(batch):
            host.sample("z", dist.MultivariateNormal(loc, precision_matrix=precision))

    modalities = {m: Modality(v.shape, scale=v.scale, partial=m != "c") for m, v in truth.modalities.items()}
    return Fitted(Program(model, guide, ppl.ELBO(), ppl, modalities), {})


@pytest.fixture
def rows(truth):
    """Rows of which 40% of single values are missing, and some modalities."""
    batch = hide(hide(truth.sample(6, 4), 0.2), 0.4, elements=True, seed=1)
    return batch.with_present({"c": np.arange(6) % 3 > 0}).validate(truth_modalities(truth), allow_empty_rows=True)


def truth_modalities(truth):
    return {m: Modality(v.shape, scale=v.scale, partial=m != "c") for m, v in truth.modalities.items()}


def test_evidence_and_posterior_are_the_closed_form_s(exact, truth, rows):
    """With the exact posterior as the guide every weight p(x, z) / q(z) is the evidence, whatever z is."""
    assert (rows.present["a"] & ~rows.whole("a")).any()
    found = log_likelihood(exact, rows, num=5)
    np.testing.assert_allclose(found.value, truth.evidence(rows), atol=1e-6)
    mean, cov = truth.posterior(rows)
    gone = truth.posterior(Batch(rows.values, {m: np.asarray(mask) for m, mask in rows.present.items()}))[0]
    assert np.abs(gone - mean).max() > 0.1  # zeros taken for values would give another one
    host = exact.program.ppl.host
    drawn = host.latents(exact.model, exact.guide, rows, 4000, 0, np.zeros(6, bool))["z"]
    drawn = np.asarray(drawn)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5 * np.sqrt(cov.max() / 4000))


@pytest.mark.parametrize("objective", ["ELBO", "Masked"])
def test_bounds_with_exact_posteriors_are_the_evidence(exact, truth, rows, objective):
    """Also of an objective that asks about several subsets at once, which share one array of elements."""
    ppl = exact.program.ppl
    rows = rows[np.flatnonzero(rows.observed())]
    fitted = Fitted(exact.program.with_objective(getattr(ppl, objective)(particles=2)), {})
    weights = ppl.host.log_weights(fitted.model, fitted.guide, fitted.program.objective, rows, 0)
    if objective == "ELBO":
        np.testing.assert_allclose(weights, np.broadcast_to(truth.evidence(rows), weights.shape), atol=1e-6)
    loss = losses(ppl, fitted, rows)
    assert loss == pytest.approx(-truth.evidence(rows).sum(), abs=1e-6)


def losses(ppl, fitted, rows):
    batch, objective = ppl.as_batch(rows), fitted.program.objective
    if ppl.host.NAME == "pyro":
        return float(objective.loss(fitted.model, fitted.guide, batch))
    import jax

    return float(objective.loss(jax.random.key(0), {}, fitted.model, fitted.guide, batch))


def test_generation_fills_single_elements_given_all_the_rest(exact, truth, rows):
    made = generate(exact, rows, 4000, want=["a"], seed=1)["a"]
    there = rows.there("a")
    assert (made[:, there] == rows["a"][there]).all()
    mean, cov = truth.posterior(rows)
    wanted = mean @ truth.weight["a"].T + truth.bias["a"]
    spread = np.sqrt(np.einsum("id,nde,ie->ni", truth.weight["a"], cov, truth.weight["a"]) + truth.noise["a"] ** 2)
    off = (np.abs(made.mean(0) - wanted) / spread)[~there]
    assert off.max() < 5 / np.sqrt(4000)
    assert np.abs(made.std(0) / spread - 1)[~there].max() < 0.06


def pictured(likelihood):
    """A modality with the likelihood and values that it scores."""
    rng, need = np.random.default_rng(0), LIKELIHOODS[likelihood].values
    if likelihood == "categorical":
        return Modality((4,), kind="tokens", vocabulary=5, partial=True), rng.integers(0, 5, (6, 4))
    x = {"counts": rng.poisson(2.0, (6, 4)), "real": rng.normal(size=(6, 4))}.get(need, rng.uniform(0.1, 0.9, (6, 4)))
    scale = "learned" if LIKELIHOODS[likelihood].scaled else None
    return Modality((4,), likelihood=likelihood, scale=scale, partial=True), x.astype("float32")


# Those with factors have elements that depend on each other: test_low_rank has their marginal densities.
INDEPENDENT = [name for name, likelihood in LIKELIHOODS.items() if not likelihood.factors]


@pytest.mark.parametrize("likelihood", INDEPENDENT)
def test_every_likelihood_scores_what_is_observed(ppl, likelihood):
    modality, x = pictured(likelihood)
    there = np.random.default_rng(1).random((6, 4)) < 0.5
    batch = Batch({"x": x}, {"x": there})
    host, backend = ppl.host, get_backend(ppl.host.zeros(1))
    number = {"categorical": 20}.get(likelihood, 4 * modality.scoring.outputs)
    map_ = backend.asarray(np.random.default_rng(2).normal(size=(2, number)).astype("float32"))

    def scored(z):
        out = z @ map_
        out = out.reshape(*out.shape[:-1], 4, 5) if modality.ids else out
        return ppl.likelihood(modality, (out, host.zeros(4) + 0.7) if modality.learns_scale else out)

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", host.dist.Normal(host.zeros(2), 1.0).to_event(1))
            ppl.observe("x", scored(z), batch)

    z = np.random.default_rng(3).normal(size=(1, 6, 2)).astype("float32")
    found = host.scores(model, {"z": z}, batch)[0]["x"][0]
    each = backend.to_numpy(scored(backend.asarray(z[0])).base_dist.log_prob(backend.asarray(x)))
    np.testing.assert_allclose(found, np.where(there, each, 0.0).sum(-1), rtol=1e-5, atol=1e-5)
    values, reached = host.log_densities(model, {"z": z}, batch, True)
    assert np.isfinite(values["x"]).all()
    assert reached["x"]


def test_elements_that_are_not_independent_are_refused(ppl):
    host, dist = ppl.host, ppl.host.dist
    batch = ppl.as_batch(Batch({"x": np.ones((3, 2), "float32")}, {"x": np.eye(3, 2) > 0}))

    def model(batch):
        with ppl.plate(batch):
            scale = get_backend(host.zeros(1)).xp.eye(2)
            ppl.observe("x", dist.MultivariateNormal(host.zeros(2), scale_tril=scale), batch)

    with pytest.raises(
        ModalityError, match=r"'x': expected a likelihood of independent elements, .* MultivariateNormal"
    ):
        host.places(model, batch)


SPECS = {
    "a": Modality((3,)),
    "b": Modality((2,), likelihood="beta"),
    "pix": Modality((1, 4, 4), kind="image"),
    "rna": Modality((3,), kind="counts"),
    "text": Modality((4,), kind="tokens", vocabulary=5),
    "pet": Modality((), kind="category", categories=3),
}


def many(num=32, seed=0, junk=None):
    """Rows of every kind of which 30% of values are hidden; ``junk`` is what stands there."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(num, 1))
    values = {
        "a": (100 + 10 * z * [1.0, -1.0, 2.0] + rng.normal(size=(num, 3))).astype("float32"),
        "b": rng.uniform(0.1, 0.9, (num, 2)).astype("float32"),
        "pix": rng.random((num, 1, 4, 4), dtype="float32"),
        "rna": rng.poisson(np.exp(z + [0.0, 1.0, 2.0])),
        "text": rng.integers(0, 5, (num, 4)),
        "pet": rng.integers(0, 3, num),
    }
    seen = hide(Batch(values), 0.3, elements=True, seed=seed)
    if junk is not None:
        values = {
            n: np.where(seen.there(n), x, np.asarray(junk if x.dtype.kind == "f" else 1, x.dtype))
            for n, x in values.items()
        }
    return Batch(values, seen.masks)


@pytest.mark.parametrize(
    ("system", "names"), [("mvae", tuple(SPECS)), ("mmvae_plus", ("a", "text")), ("mld", ("a", "rna"))]
)
def test_a_system_is_fitted_to_what_is_observed_bit_for_bit(small, system, names):
    """Data that lack elements make the encoders see which; what stands where they lack is in no weight and no draw."""

    def rows(*args, **how):
        batch = many(*args, **how).select(*names)
        return batch[np.flatnonzero(batch.observed())]

    program = small(system, {n: SPECS[n] for n in names})
    runs = [fit(program, rows(junk=junk), **{**SETTINGS, "epochs": len(program.stages)}) for junk in (None, 1e30)]
    partial = [n for n, m in runs[0].program.modalities.items() if m.partial]
    assert partial == [n for n in names if n != "pet"]
    assert all(np.array_equal(w, runs[1].weights[name]) for name, w in runs[0].weights.items())
    check_no_leakage(runs[0], rows())
    centre = next(w for n, w in runs[0].weights.items() if n.startswith("a.encoder") and n.endswith("centre"))
    np.testing.assert_allclose(centre, np.ma.array(many()["a"], mask=~many().there("a")).mean(0), rtol=1e-5)
    given = [rows(8, 1, junk) for junk in (None, -1e30)]
    made, again = (generate(runs[0], r, 2, seed=3) for r in given)
    for name, x in made.items():
        assert np.array_equal(x, again[name]), name
        there = given[0].there(name)
        assert (x[:, there] == given[0][name][there]).all()
        assert name != "a" or (x[0] != x[1])[~there].any()


def test_an_encoder_sees_which_elements_there_are(small):
    """A value that is 0 in fact is another thing than one that is missing."""
    fitted = fit(small("mvae", {"a": SPECS["a"]}), many().select("a")[:16], **SETTINGS)
    zero, host = np.zeros((1, 3), "float32"), fitted.program.ppl.host
    drawn = [
        np.asarray(
            host.latents(fitted.model, fitted.guide, Batch({"a": zero}, {"a": there}), 1, 0, np.zeros(1, bool))["z"]
        )
        for there in (np.array([[True, True, True]]), np.array([[True, True, False]]))
    ]
    assert (drawn[0] != drawn[1]).any()


def test_a_program_fitted_to_whole_data_says_what_partial_ones_need(small):
    whole = Batch({"a": many()["a"]})
    fitted = fit(small("mvae", {"a": SPECS["a"]}), whole, **SETTINGS)
    assert not fitted.program.modalities["a"].partial
    with pytest.raises(ModalityError, match=r"expected whole events, .* Declare Modality\(..., partial=True\)"):
        generate(fitted, many().select("a"))


def test_a_guide_that_looks_at_the_elements_of_what_is_hidden_is_refused(ppl):
    host = ppl.host

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", host.dist.Normal(host.zeros(3), 1.0).to_event(1))
            for m in batch.modalities:
                ppl.observe(m, host.dist.Normal(z, 1.0).to_event(1), batch)

    def guide(batch):
        loc = host.param("loc", host.zeros(3))
        with ppl.plate(batch):
            host.sample("z", host.dist.Normal(loc + batch.elements["a"] * 1.0, 1.0).to_event(1))

    modalities = {m: Modality((3,), partial=True) for m in "ab"}
    there = np.random.default_rng(0).random((16, 3)) < 0.7
    there[:, 0] = True
    data = Batch({m: np.ones((16, 3), "float32") for m in "ab"}, dict.fromkeys("ab", there))
    with pytest.raises(ObjectiveError, match="draws that change with 'a' where it is hidden"):
        fit(Program(model, guide, ppl.MVAE(), ppl, modalities), data, **SETTINGS)


def test_a_place_without_any_value_is_named(small):
    data = many().select("a")
    there = data.there("a") & np.array([True, False, True])
    data = data.with_present({"a": there})
    with pytest.warns(UserWarning, match=r"Modality 'a' has no value in the training data at \[1\]: nothing can be"):
        fitted = fit(small("mvae", {"a": SPECS["a"]}), data[np.flatnonzero(data.observed())], **SETTINGS)
    assert all(np.isfinite(w).all() for w in fitted.weights.values())


def test_observed_data_and_coverage_are_of_what_is_observed(exact, truth):
    from mmppl.diagnostics import coverage
    from mmppl.inference import to_arviz

    rows = hide(truth.sample(200, 5), 0.4, elements=True, seed=2).validate(all_partial(truth))
    exact = Fitted(replace(exact.program, modalities=all_partial(truth)), {})
    found = coverage(exact, rows, num=100, levels=(0.5, 0.8))
    assert not found.off()
    seen = to_arviz(exact, rows[:3], kernel=None, num_samples=4, num_predictive=2, num_prior=0)["observed_data"][
        "a"
    ].values
    np.testing.assert_array_equal(np.isnan(seen), ~rows[:3].there("a"))


def all_partial(truth):
    return {m: Modality(v.shape, scale=v.scale, partial=True) for m, v in truth.modalities.items()}


def test_the_held_out_loss_counts_the_elements_that_are_there(ppl):
    """The latent says nothing of x ~ N(c, 1), so that the bound is the density of what is observed, without noise."""
    host = ppl.host

    def model(batch):
        c = host.param("c", host.zeros(1))
        with ppl.plate(batch):
            host.sample("z", host.dist.Normal(host.zeros(1), 1.0).to_event(1))
            ppl.observe("x", host.dist.Normal(c + host.zeros(3), 1.0).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch):
            host.sample("z", host.dist.Normal(host.zeros(1), 1.0).to_event(1))

    program = Program(model, guide, ppl.ELBO(), ppl, {"x": Modality((3,), scale=1.0, partial=True)})
    there = np.array([[True, True, False], [True, False, False], [True, True, True], [False, True, True]])
    x = np.full((4, 3), 3.0, np.float32)
    held = Batch({"x": x}, {"x": there})
    fitted = fit(program, held, validation=held, epochs=1, batch_size=4, learning_rate=1e-30, progress=False)
    exact = there.sum() / 4 * (4.5 + 0.5 * np.log(2 * np.pi))
    assert fitted.history[0]["loss"] == pytest.approx(exact, rel=1e-5)
    assert fitted.history[0]["validation.loss"] == pytest.approx(exact, rel=1e-5)
