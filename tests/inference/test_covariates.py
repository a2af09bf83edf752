"""Programs that condition on covariates: closed forms, counterfactuals, size factors, every system."""

import numpy as np
import pandas
import pytest
from scipy import stats

from mmppl import load as load_run
from mmppl import models
from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.covariates import Covariate
from mmppl.data import from_pandas
from mmppl.errors import DataError, OptionError, RunError
from mmppl.inference import Fitted, Program, fit, generate, infer, log_likelihood
from mmppl.models.catalogue import SYSTEMS
from mmppl.models.common.coders import Coders, Conditions

KNOWN = {"age": Covariate(), "site": Covariate("category", names=("north", "south"))}
EFFECT = {"a": np.array([[0.5, -1.0], [0.0, 0.0], [2.0, 1.0]]), "b": np.array([[0.3], [0.0], [-1.5]])}
SHAPES = {"a": Modality((2,)), "b": Modality((1,))}
NOISE = 0.6
CONDITIONAL = [name for name in SYSTEMS if name != "mt_diffusion"]
# NumPyro compiles for long: there one of those that share their parts stands for the others.
DISTINCT = ("jmvae", "mmvae_plus", "nexus", "masked", "ivae", "ebm", "mld")
BOTH = [("pyro", name) for name in CONDITIONAL] + [("numpyro", name) for name in DISTINCT]


def drawn(num, seed=0):
    """Rows of a linear-Gaussian model whose covariates move what is seen, beside one latent that does not."""
    rng = np.random.default_rng(seed)
    age, site = rng.normal(50.0, 10.0, num), np.array(["north", "south"])[rng.integers(2, size=num)]
    z, c = rng.normal(size=(num, 1)), np.stack([(age - 50.0) / 10.0, site == "north", site == "south"], axis=1)
    values = {
        m: z @ np.ones((1, e.shape[1])) + c @ e + NOISE * rng.normal(size=(num, e.shape[1])) for m, e in EFFECT.items()
    }
    return Batch({m: x.astype("f") for m, x in values.items()}, covariates={"age": age, "site": site})


def exact(ppl):
    """The program that drew them, with its exact posterior; covariates as programs take them, ages in years."""
    host, dist, backend = ppl.host, ppl.host.dist, get_backend(ppl.host.zeros(1))
    effect = {m: backend.asarray(e, host.zeros(1)) for m, e in EFFECT.items()}

    def moved(batch, m):
        xp, age = backend.xp, batch.covariates["age"]
        c = xp.concat([((age - 50.0) / 10.0)[..., None], batch.covariates["site"]], axis=-1)
        return c @ effect[m]

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", dist.Normal(host.zeros(1), 1.0).to_event(1))
            for m in batch.modalities:
                ppl.observe(m, dist.Normal(z + moved(batch, m), NOISE).to_event(1), batch)

    def guide(batch):
        precision, pull = 1.0, 0.0
        for m in batch.modalities:
            here = batch.present[m][..., None] * 1.0
            precision = precision + here * EFFECT[m].shape[1] / NOISE**2
            pull = pull + here * (batch[m] - moved(batch, m)).sum(-1)[..., None] / NOISE**2
        with ppl.plate(batch):
            host.sample("z", dist.Normal(pull / precision, precision**-0.5).to_event(1))

    return Fitted(Program(model, guide, ppl.ELBO(), ppl, SHAPES, covariates=KNOWN), {})


def truth(rows):
    """Effects of the covariates of rows by modality, and joint mean and covariance of a and b."""
    c = np.stack(
        [(rows.covariates["age"] - 50.0) / 10.0, *(rows.covariates["site"] == s for s in ("north", "south"))], 1
    )
    means = {m: c @ e for m, e in EFFECT.items()}
    return means, np.concatenate(list(means.values()), axis=1), np.ones((3, 3)) + NOISE**2 * np.eye(3)


def test_evidence_and_posterior_given_covariates(ppl):
    rows = drawn(20)
    _, mean, cov = truth(rows)
    x = np.concatenate([rows["a"], rows["b"]], axis=1)
    expected = stats.multivariate_normal(np.zeros(3), cov).logpdf(x - mean)
    fitted = exact(ppl)
    np.testing.assert_allclose(log_likelihood(fitted, rows, num=20).value, expected, atol=1e-4)
    alone = rows.only("a")
    posterior = infer(fitted, alone, method="hmc", num_chains=2, num_samples=200, num_warmup=100)
    precision = 1.0 + 2.0 / NOISE**2
    exact_mean = (rows["a"] - mean[:, :2]).sum(1) / NOISE**2 / precision
    np.testing.assert_allclose(posterior["z"].mean((0, 1))[:, 0], exact_mean, atol=0.25 * precision**-0.5)
    # Names of classes and their codes are one.
    coded = rows.with_covariates({**rows.covariates, "site": np.eye(2)[(rows.covariates["site"] == "south") * 1]})
    np.testing.assert_array_equal(log_likelihood(fitted, coded, num=5).value, log_likelihood(fitted, rows, num=5).value)


def test_counterfactuals_of_closed_form(ppl):
    rows, fitted = drawn(12, seed=4), exact(ppl)
    assert set(rows.covariates["site"]) == {"north", "south"}
    means, mean, _ = truth(rows)
    precision = 1.0 + 2.0 / NOISE**2
    z = ((rows["a"] - mean[:, :2]).sum(1) / NOISE**2 / precision)[:, None]
    south = np.array([0.0, 0.0, 1.0])
    shift = {
        m: (south - np.stack([0 * z[:, 0], *(rows.covariates["site"] == s for s in KNOWN["site"].names)], 1)) @ e
        for m, e in EFFECT.items()
    }
    found = generate(fitted, rows.only("a"), num=4000, covariates={"site": "south"}, mean=True)
    for m in SHAPES:  # what is observed too, and the ages are their own
        np.testing.assert_allclose(found[m].mean(0), z + means[m] + shift[m], atol=0.05)
    kept = generate(fitted, rows.only("a"), num=3)
    np.testing.assert_array_equal(kept["a"], np.broadcast_to(rows["a"], kept["a"].shape))
    prior = generate(fitted, num=4000, covariates={"site": "north", "age": 60.0})
    np.testing.assert_allclose(prior["a"].mean(0), [0.5, -1.0], atol=0.1)
    ages = np.linspace(30.0, 70.0, 2000)
    prior = generate(fitted, num=2000, covariates={"site": np.repeat(["north", "south"], 1000), "age": ages})
    slope = np.polyfit(ages, prior["a"][:, 1] - 1.0 * (np.arange(2000) >= 1000), 1)[0]
    assert abs(slope + 0.1) < 0.01


def gap(fitted, rows):
    """Difference of the two sites of the same rows, by modality: mean over draws and rows."""
    north, south = (generate(fitted, rows, num=20, covariates={"site": s}, mean=True) for s in ("north", "south"))
    return {m: (south[m] - north[m]).mean((0, 1)) for m in SHAPES}


def test_a_fit_learns_the_effect_that_one_without_cannot(ppl):
    train, test = drawn(1500, seed=1), drawn(200, seed=2)
    settings = {"epochs": 25, "batch_size": 75, "learning_rate": 1e-2, "progress": False}
    options = {"ppl": ppl, "latent_dim": 2, "hidden": 16, "scale": NOISE}
    given = fit(models.mvae(SHAPES, covariates=KNOWN, **options), train, **settings)
    plain = fit(models.mvae(SHAPES, **options), train, **settings)
    _, mean, cov = truth(test)
    x = np.concatenate([test["a"], test["b"]], axis=1)
    best = stats.multivariate_normal(np.zeros(3), cov).logpdf(x - mean).mean()
    found = [log_likelihood(fitted, test, num=200).value.mean() for fitted in (given, plain)]
    assert best - 0.25 < found[0] < best + 0.05
    assert found[1] < best - 0.5
    for m, difference in gap(given, test).items():
        np.testing.assert_allclose(difference, EFFECT[m][2], atol=0.3)
    with pytest.raises(OptionError, match="Expected no covariates, which .* does not condition on; got"):
        generate(plain, test, covariates={"site": "north"})
    # Numbers are standardised by the training data.
    centre, spread = (given.weights[f"covariates.layers.0.{part}"] for part in ("centre", "spread"))
    np.testing.assert_allclose(
        [centre[0], spread[0]], [train.covariates["age"].mean(), train.covariates["age"].std()], rtol=1e-5
    )


@pytest.mark.parametrize(("ppl", "name"), BOTH, indirect=["ppl"])
def test_every_system_takes_them(ppl, name, tmp_path):
    shapes = dict(SHAPES)
    rows, options = drawn(60), {"latent_dim": 2, "hidden": 8}
    if name == "ivae":
        shapes["label"] = Modality((), kind="category", categories=2)
        rows = Batch({**rows.values, "label": (rows["a"][:, 0] > 0).astype(np.int64)}, covariates=rows.covariates)
    options |= {"local_dim": 2, "message_dim": 4} if name == "nexus" else {}
    options |= {"width": 16, "depth": 1, "steps": 4} if name in ("mld", "mld_uni", "mld_inpaint", "sbm") else {}
    options |= {"steps": 2, "chains": 8, "buffer": 16} if name.startswith("ebm") else {}
    program = SYSTEMS[name](shapes, ppl=ppl, covariates=KNOWN, **options)
    assert program.covariates == KNOWN
    fitted = fit(program, rows, epochs=3, batch_size=30, progress=False)
    fitted.save(tmp_path / "run")
    again = load_run(tmp_path / "run")
    assert again.program.covariates == KNOWN
    under = {"site": "south", "age": 40.0}
    own, other = (generate(f, rows[:4], num=2, covariates=under, seed=3) for f in (fitted, again))
    assert all(np.isfinite(x).all() for x in own.values())
    np.testing.assert_array_equal(own["a"], other["a"])
    # Decoders hear of the site.
    north = generate(fitted, rows[:4], num=2, covariates={**under, "site": "north"}, seed=3)
    assert np.abs(north["a"] - own["a"]).min() > 0
    with pytest.raises(DataError, match="the rows lack \\['age', 'site'\\]"):
        generate(fitted, rows[:4].with_covariates({}))
    with pytest.raises(DataError, match="the rows lack"):
        generate(fitted, num=2)


def test_features_are_standardised_numbers_and_codes(ppl, host):
    known = {**KNOWN, "size": Covariate("size_factor"), "dose": Covariate()}
    coders = Coders(ppl, SHAPES, Conditions(known))
    coders.build({}, 0)
    rows = Batch(
        {"a": np.ones((2, 2), "f"), "b": np.ones((2, 1), "f")},
        covariates={"age": [3.0, 4.0], "site": np.eye(2)[[1, 0]], "size": [1.0, np.e], "dose": [5.0, 6.0]},
    )
    batch = ppl.as_batch(rows)
    seen = host.call(lambda: [coders.features(batch, decoded=decoded) for decoded in (False, True)], 0)
    encoded, decoded = map(host.numpy, seen)
    np.testing.assert_allclose(encoded, [[3, 5, 0, 0, 1], [4, 6, 1, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(decoded, [[3, 5, 0, 1], [4, 6, 1, 0]], atol=1e-6)


@pytest.mark.parametrize(
    "likelihood",
    ["poisson", "negative_binomial", "zero_inflated_poisson", "zero_inflated_negative_binomial"],
)
def test_size_factors_multiply_rates(ppl, likelihood):
    rng = np.random.default_rng(0)
    sizes = rng.uniform(0.5, 4.0, 80)
    values = {"rna": rng.poisson(3.0 * sizes[:, None], (80, 3)), "x": rng.normal(size=(80, 2)).astype("f")}
    rows = Batch(values, covariates={"size": sizes, "other": np.full(80, 2.0)})
    shapes = {"rna": Modality((3,), kind="counts", likelihood=likelihood), "x": Modality((2,))}
    known = {"size": Covariate("size_factor"), "other": Covariate("size_factor", modality="rna")}
    program = models.mvae(shapes, ppl=ppl, latent_dim=2, hidden=8, covariates=known)
    fitted = fit(program, rows, epochs=2, batch_size=40, progress=False)
    one, two = (
        generate(fitted, rows[:5], num=3, mean=True, covariates={"size": s, "other": o}, seed=1)
        for s, o in ((1.0, 1.0), (2.0, 3.0))
    )
    np.testing.assert_allclose(two["rna"], 6.0 * one["rna"], rtol=1e-4)
    np.testing.assert_array_equal(two["x"], one["x"])
    # The decoder begins at the counts for each unit of size.
    centre = next(v for n, v in fitted.weights.items() if n.startswith("rna.decoder.") and n.endswith("centre"))
    rates = np.log(values["rna"].sum(0) / (2.0 * sizes).sum())
    np.testing.assert_allclose(centre[:3], rates, rtol=1e-5)
    np.testing.assert_array_equal(centre[3:], 0.0)


def test_offsets_bring_back_the_rates(ppl):
    """Rows of different sizes and one rate: with the offset draws of size 1 have that rate, without they cannot."""
    rng = np.random.default_rng(3)
    sizes = np.exp(rng.normal(0.0, 1.0, 800))
    rows = Batch({"rna": rng.poisson(4.0 * sizes[:, None], (800, 2))}, covariates={"size": sizes})
    shapes = {"rna": Modality((2,), kind="counts", likelihood="poisson")}
    program = models.mvae(shapes, ppl=ppl, latent_dim=1, hidden=8, covariates={"size": Covariate("size_factor")})
    fitted = fit(program, rows, epochs=15, batch_size=100, learning_rate=3e-3, progress=False)
    for size in (1.0, 10.0):
        found = generate(fitted, num=400, mean=True, covariates={"size": size})["rna"].mean(0)
        np.testing.assert_allclose(found, 4.0 * size, rtol=0.1)


def test_runs_resume_with_the_same_covariates(ppl, tmp_path):
    rows = drawn(60)
    program = models.mvae(SHAPES, ppl=ppl, latent_dim=1, hidden=8, covariates=KNOWN)
    settings = {"epochs": 4, "batch_size": 30, "progress": False, "validation": 0.2}

    class Stop:
        def on_epoch(self, event):
            if event.epoch == 2:
                raise KeyboardInterrupt

    whole = fit(program, rows, **settings)
    with pytest.raises(KeyboardInterrupt):
        fit(program, rows, out=tmp_path / "run", callbacks=[Stop()], **settings)
    other = rows.with_covariates({**rows.covariates, "age": rows.covariates["age"] + 1.0})
    with pytest.raises(RunError, match="other covariates"):
        fit(program, other, out=tmp_path / "run", resume=True, **settings)
    resumed = fit(program, rows, out=tmp_path / "run", resume=True, **settings)
    for name, value in whole.weights.items():
        np.testing.assert_array_equal(value, resumed.weights[name])


def test_what_cannot_be_conditioned_is_refused(ppl):
    with pytest.raises(OptionError, match="Expected another prior than 'vamp' with covariates"):
        models.mvae(SHAPES, ppl=ppl, prior="vamp", covariates=KNOWN)
    with pytest.raises(OptionError, match="Unknown options \\['covariates'\\] of 'mt_diffusion'"):
        models.mt_diffusion(SHAPES, ppl=ppl, covariates=KNOWN)
    coders = {"a": (lambda x: x, lambda z: z)}
    with pytest.raises(OptionError, match="Expected covariates without coders"):
        models.mld(SHAPES, ppl=ppl, coders=coders, covariates=KNOWN)


def test_an_unknown_class_at_prediction(ppl):
    frame = pandas.DataFrame({"x": np.linspace(0.1, 0.9, 20), "site": ["n", "s"] * 10})
    data = from_pandas(frame, covariates=["site"])
    program = models.mvae(data.modalities, ppl=ppl, latent_dim=1, hidden=4, covariates=data.covariates)
    fitted = fit(program, data.train, epochs=1, progress=False)
    later = from_pandas(frame.assign(site="w"), modalities=data.modalities, covariates=fitted.program.covariates)
    for call in (lambda: generate(fitted, later.test), lambda: log_likelihood(fitted, later.test)):
        with pytest.raises(DataError, match="Covariate 'site': expected a class among n, s; got 'w', in row 0"):
            call()


def test_a_covariate_may_be_called_batch(ppl, tmp_path):
    """As single-cell data call theirs: covariates are no sites, and the plate of that name is not in their way."""
    rows = Batch(dict(drawn(12).values), covariates={"batch": np.array(["x", "y"] * 6)})
    known = {"batch": Covariate("category", names=("x", "y"))}
    fitted = fit(models.mvae(SHAPES, ppl=ppl, latent_dim=1, hidden=4, covariates=known), rows, epochs=1, progress=False)
    fitted.save(tmp_path / "run")
    x, y = (generate(fitted, num=3, covariates={"batch": site})["a"] for site in ("x", "y"))
    assert (x != y).all()
    np.testing.assert_array_equal(generate(load_run(tmp_path / "run"), num=3, covariates={"batch": "y"})["a"], y)
