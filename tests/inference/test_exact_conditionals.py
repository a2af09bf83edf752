"""Conditionals of linear-Gaussian data, by the defaults of systems and fits, against exact ones."""

import numpy as np
import pytest

from mmppl import Batch, Modality, models
from mmppl.data import LinearGaussian
from mmppl.inference import Fitted, fit, infer
from mmppl.models.common.families import own_family
from mmppl.nets.spec import factor_outputs
from mmppl.testing.exact_conditionals import LEVELS, against_the_truth, float32

DIMS = {"a": 3, "b": 2, "c": 4}
SMALL = {"latent_dim": 3, "hidden": 32}


def wrong(ppl, system, noise, *, epochs, **options):
    """The largest errors over subsets: of means in deviations, of covariances, and the mean one of coverage."""
    truth = LinearGaussian(2, DIMS, 0, noise)
    train = float32(truth.sample(2000, 1))
    program = getattr(models, system)({n: Modality((k,)) for n, k in DIMS.items()}, ppl=ppl, **SMALL, **options)
    fitted = fit(program, train, epochs=epochs, progress=False)
    found = against_the_truth(truth, fitted, 0, rows=100, num=400).values()
    cover = [abs(e[f"inside {level:.0%}"] - level) for e in found for level in LEVELS]
    return max(e["mean"] for e in found), max(e["covariance"] for e in found), np.mean(cover)


@pytest.mark.parametrize(("system", "noise", "epochs"), [("mvae", 5.0, 110), ("masked", 0.5, 160)])
def test_every_subset_by_default(ppl, system, noise, epochs):
    """In two thirds, or less, of the epochs that a fit takes by default."""
    mean, covariance, cover = wrong(ppl, system, noise, epochs=epochs)
    assert mean < 0.15
    assert covariance < 0.15
    assert cover < 0.02


def test_a_subset_knows_no_less_than_the_prior(ppl):
    """Also where encoders say nothing, with scales of 30: MoPoE's products have the prior as a factor."""
    rows = float32(LinearGaussian(2, DIMS, 0, 1.0).sample(8, 1))
    program = models.mopoe({n: Modality((k,)) for n, k in DIMS.items()}, ppl=ppl, latent_dim=2, hidden=4)
    weights = dict(fit(program, rows, epochs=1, progress=False).weights)
    last = [name for name, w in weights.items() if "encoder.layers" in name and w.shape == (factor_outputs(2),)]
    assert len(last) == len(DIMS)
    for name in last:
        weights[name] = np.array([0.0, 0.0, 30.0, 30.0, 0.0], np.float32)
    draws = infer(Fitted(program, weights), rows.only("a"), method="guide", num_samples=2000).draws["z"]
    np.testing.assert_allclose(np.asarray(draws).reshape(2000, -1, 2).std(0), 1.0, rtol=0.1)


def test_independent_coordinates_cannot(ppl):
    """So that the tests above are of correlations, and not of a problem that needs none."""
    mean, covariance, _ = wrong(ppl, "mvae", 0.5, family="normal", epochs=40)
    assert mean > 0.15 or covariance > 0.15


@pytest.mark.parametrize(
    ("latent_dim", "size", "family"), [(16, 3, "multivariate_normal"), (17, 3, "normal"), (2, 63, "normal")]
)
def test_the_family_goes_by_the_sizes_of_latent_and_data(ppl, latent_dim, size, family):
    modalities = {"a": Modality((size,)), "b": Modality((2,))}
    rng = np.random.default_rng(0)
    batch = Batch({n: rng.standard_normal((4, *m.shape)).astype(np.float32) for n, m in modalities.items()})
    for system in ("mvae", "mopoe", "mvtcae", "jmvae", "masked"):
        program = getattr(models, system)(modalities, ppl=ppl, latent_dim=latent_dim, hidden=4)
        fitted = fit(program, batch, epochs=1, progress=False)
        last = max(w.shape[0] for n, w in fitted.weights.items() if "encoder.layers" in n and n.endswith("bias"))
        assert program.learning_rate == (3e-3 if size == 3 else 1e-3)
        pooled = system == "masked" and family == "normal"
        wanted = latent_dim * (latent_dim + 3) // 2 if family != "normal" else 4 if pooled else max(2 * latent_dim, 4)
        assert last == wanted, system


def test_the_learning_rate_goes_by_the_system_and_is_what_is_given(ppl):
    vectors, picture = {"a": Modality((3,))}, {"a": Modality((1, 4, 4), kind="image")}
    assert models.mvae(vectors, ppl=ppl).learning_rate == 3e-3
    assert models.mvae(picture, ppl=ppl).learning_rate == 1e-3
    assert models.mld(vectors, ppl=ppl).learning_rate == 1e-3
    rows, out = Batch({"a": np.ones((8, 3), np.float32) * np.arange(8)[:, None]}), {}
    for given in (None, 3e-3, 1e-3):
        program = models.mvae(vectors, ppl=ppl, latent_dim=1, hidden=4)
        fitted = fit(program, rows, epochs=2, learning_rate=given, progress=False)
        out[given] = np.concatenate([w.reshape(-1) for _, w in sorted(fitted.weights.items())])
    assert (out[None] == out[3e-3]).all()
    assert (out[None] != out[1e-3]).any()


def test_a_small_table_has_correlations_their_rate_and_a_warm_up(ppl):
    numbers = {"body": Modality((4,))}
    table = {**numbers, "sex": Modality((), kind="category", categories=2)}
    wide = {**numbers, "who": Modality((), kind="category", categories=61)}
    made = [models.mvae(each, ppl=ppl) for each in (numbers, table, wide)]
    assert [program.learning_rate for program in made] == [3e-3, 3e-3, 1e-3]
    assert [getattr(program.objective.beta, "end", None) for program in made] == [None, 1.0, None]
    assert made[1].objective.beta.within(100).steps == 25
    assert models.mvae(table, ppl=ppl, beta=0.0).objective.beta == 0.0
    found = [own_family(None, 16, each, categories=True) for each in (numbers, table, wide)]
    assert found == ["multivariate_normal", "multivariate_normal", "normal"]
    assert own_family(None, 16, table) == "normal"  # of the others
