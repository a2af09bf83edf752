"""Two-stage programs: autoencoders, then a score of their latents."""

import sys

import numpy as np
import pytest

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.data import load
from mmppl.errors import ModalityError, OptionError
from mmppl.inference import find_subspaces, fit, generate, log_likelihood, to_arviz
from mmppl.models.common.score_registry import solver_of
from mmppl.priors import Blocks, MultiTimeScoreMatching, ScoreModel
from mmppl.sde import VE, SubVP
from mmppl.sde.solvers import AnnealedLangevin, DPMSolver

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=512, num_test=100)
SIZES = {"a": 2, "b": 1}


@pytest.fixture
def learned(learn):
    """A joint score learned from latents."""

    def learned(z, steps, *, present=None, **learning):
        options = ScoreModel(Blocks.of(SIZES), MultiTimeScoreMatching(**learning), DPMSolver(20))
        return learn("JointScore", options, z, steps, present=present)

    return learned


COV = np.array([[1.0, 0.3, 0.7], [0.3, 1.0, -0.3], [0.7, -0.3, 1.0]])


def test_a_learned_score_has_the_moments_of_a_gaussian(ppl_driver, learned):
    z = np.random.default_rng(0).standard_normal((600, 3)) @ np.linalg.cholesky(COV).T
    prior = learned(z, 300, p_marginal=0.2)
    draws = ppl_driver.sample(prior, (3000,), seed=1)
    np.testing.assert_allclose(np.cov(draws.T), COV, atol=0.2)
    assert np.all(np.abs(draws.mean(0)) < 0.3)
    given = prior.conditional({"b": ppl_driver.array(np.full((3000, 1), 1.2, "float32"))})
    draws = ppl_driver.sample(given, (), seed=2)
    mean, cov = 1.2 * COV[:2, 2], COV[:2, :2] - np.outer(COV[:2, 2], COV[:2, 2])
    np.testing.assert_allclose(draws[:, :2].mean(0), mean, atol=0.3)
    np.testing.assert_allclose(np.cov(draws[:, :2].T), cov, atol=0.2)
    marginal = prior.marginal({"a": ppl_driver.array(np.ones(3000, bool)), "b": ppl_driver.array(np.zeros(3000, bool))})
    draws = ppl_driver.sample(marginal, (), seed=3)
    np.testing.assert_allclose(np.cov(draws[:, :2].T), COV[:2, :2], atol=0.2)
    assert np.all(draws[:, 2] == 0.0)


# Diffusions are the same mathematics on both hosts, see tests/parity; derivatives of the network are the host's own.
OTHERS = [
    pytest.param("numpyro", {"sde": VE(0.01, 20.0)}, id="numpyro-ve"),
    pytest.param("pyro", {"sde": SubVP()}, id="pyro-sub_vp"),
    pytest.param("numpyro", {"loss": "sliced"}, id="numpyro-sliced"),
    pytest.param("pyro", {"loss": "sliced"}, id="pyro-sliced"),
]


@pytest.mark.parametrize(("ppl", "learning"), OTHERS, indirect=["ppl"])
def test_a_score_is_learned_in_other_ways(ppl_driver, learned, learning):
    z = np.random.default_rng(0).standard_normal((600, 3)) @ np.linalg.cholesky(COV).T
    prior = learned(z, 300, **learning)
    draws = ppl_driver.sample(prior, (3000,), seed=1)
    np.testing.assert_allclose(np.cov(draws.T), COV, atol=0.2)
    assert np.all(np.abs(draws.mean(0)) < 0.3)


@pytest.mark.parametrize("ppl", ["numpyro"], indirect=True)
def test_learning_with_missing_blocks(ppl_driver, learned):
    """Half of the rows lack a block, and what is in its place is noise."""
    rng = np.random.default_rng(4)
    z = rng.standard_normal((800, 3)) @ np.linalg.cholesky(COV).T
    missing = np.arange(800) % 4
    present = {"a": missing != 1, "b": missing != 2}
    z[~present["a"], :2], z[~present["b"], 2] = 50.0, -50.0
    prior = learned(z, 300, present=present)
    given = prior.conditional({"b": ppl_driver.array(np.full((3000, 1), 1.2, "float32"))})
    np.testing.assert_allclose(ppl_driver.sample(given, (), seed=2)[:, :2].mean(0), 1.2 * COV[:2, 2], atol=0.3)


@pytest.mark.parametrize("ppl", ["pyro"], indirect=True)
def test_a_mixture_has_the_right_component_for_every_subset(ppl_driver, learned):
    rng = np.random.default_rng(5)
    means = np.array([[1.2, 1.2, 1.2], [-1.2, 1.2, -1.2], [1.2, -1.2, -0.2]])
    which = rng.integers(0, 3, 600)
    z = means[which] + 0.15 * rng.standard_normal((600, 3))
    prior = learned(z, 350)

    def nearest(draws):
        return np.linalg.norm(draws[:, None] - means, axis=-1)

    joint = nearest(ppl_driver.sample(prior, (1000,), seed=1))
    assert np.mean(joint.min(-1) < 0.7) > 0.9
    np.testing.assert_allclose(np.bincount(joint.argmin(-1), minlength=3) / 1000, 1 / 3, atol=0.1)
    for component, mean in enumerate(means):
        for name, part in {"a": slice(0, 2), "b": slice(2, 3)}.items():
            value = ppl_driver.array(np.tile(mean[part], (300, 1)).astype("float32"))
            found = nearest(ppl_driver.sample(prior.conditional({name: value}), (), seed=2))
            assert np.mean(found.argmin(-1) == component) > 0.95, (component, name)


def test_autoencoders_are_trained_alone(small, ppl):
    settings = {"epochs": 10, "batch_size": 64, "learning_rate": 1e-2, "progress": False}
    for kind in {"numpyro": ("vae",), "pyro": ("ae", "rae")}[ppl.host.NAME]:
        program = small("mld", LINEAR.modalities, autoencoder=kind, latent_dim=3)
        assert [stage.name for stage in program.stages] == ["autoencoders", "prior"]
        fitted = fit(program, LINEAR.train, **settings)
        first = [r for r in fitted.history if r["stage"] == "autoencoders"]
        assert first[-1]["log_lik.a"] > first[0]["log_lik.a"]
        alone = small("mld", {"a": LINEAR.modalities["a"]}, autoencoder=kind, latent_dim=3)
        heads = {n.split(".layers")[0] for n in fit(alone, LINEAR.train.select("a"), **settings).weights}
        assert heads == {"a.encoder", "a.decoder", "prior.loc", "prior.scale", "prior.score"}


def test_statistics_are_of_the_whole_training_set_and_in_the_weights(small, ppl):
    program = small("mld", LINEAR.modalities, latent_dim=3)
    fitted = fit(program, LINEAR.train, epochs=5, batch_size=64, learning_rate=1e-2, progress=False)
    full = ppl.host.latents(fitted.model, fitted.guide, LINEAR.train, 1, 0, np.zeros(len(LINEAR.train), bool))
    z = get_backend(full["z"]).to_numpy(full["z"])[0]
    np.testing.assert_allclose(z.mean(0), fitted.weights["prior.loc"], atol=1e-4)
    np.testing.assert_allclose(z.std(0), fitted.weights["prior.scale"], rtol=1e-4)


def test_a_score_of_variational_latents_is_learned_from_draws(small, ppl):
    """Codes are locations and scales side by side; what the score sees, and is standardised by, are draws of them.

    Locations have no spread here: the spread of all is that of the draws.
    """
    stage = small("sbm", LINEAR.modalities, latent_dim=3).stages[1]
    code = np.concatenate([np.full((4000, 3), 1.5), np.tile([0.5, 1.0, 2.0], (4000, 1))], axis=1).astype("float32")
    codes = Batch({"a": code, "b": code})
    settled = stage.initialize(codes)
    np.testing.assert_allclose(settled["prior.loc"], 1.5, atol=0.12)
    np.testing.assert_allclose(settled["prior.scale"], [0.5, 1.0, 2.0] * 2, rtol=0.06)
    steps = [ppl.host.latents(stage.model, stage.guide, codes, 1, k, np.zeros(4000, bool))["z"] for k in (0, 1)]
    z = np.concatenate([get_backend(z).to_numpy(z) for z in steps])
    assert z.shape == (2, 4000, 6)
    assert np.corrcoef(np.moveaxis(z, -1, 0).reshape(12, -1))[np.triu_indices(12, 1)].max() < 0.06
    np.testing.assert_allclose(z.mean((0, 1)), 1.5, atol=0.12)
    np.testing.assert_allclose(z.std((0, 1)), [0.5, 1.0, 2.0] * 2, rtol=0.06)


def test_autoencoders_of_ones_own_stay_as_they_are(small, ppl):
    """MLD*: one modality brings an encoder and a decoder, the other is trained."""
    from mmppl import nets

    spec = {"encoder": nets.MLP((3,), (3,), ()), "decoder": nets.MLP((3,), (3,), ())}
    bring = {part: ppl.host.build_all({part: s}, 5)[part] for part, s in spec.items()}
    coders = {"a": (bring["encoder"], bring["decoder"])}
    settings = {"epochs": 4, "batch_size": 64, "learning_rate": 1e-2, "progress": False}
    program = small("mld", LINEAR.modalities, latent_dim=3, coders=coders)
    fitted = fit(program, LINEAR.train, **settings)
    first = [r for r in fitted.history if r["stage"] == "autoencoders"]
    assert "log_lik.b" in first[0]
    assert "log_lik.a" not in first[0]
    fresh = {part: ppl.host.build_all({part: s}, 5)[part] for part, s in spec.items()}
    from importlib import import_module

    module = import_module({"numpyro": "mmppl.nets.equinox", "pyro": "mmppl.nets.torch"}[ppl.host.NAME])
    for part, net in fresh.items():
        for name, weight in module.state(net).items():
            assert np.array_equal(fitted.weights[f"a.{part}.{name}"], weight), (part, name)
    assert np.isfinite(generate(fitted, LINEAR.test[:5].only("b"))["a"]).all()
    alone = small("mld", {"a": LINEAR.modalities["a"]}, latent_dim=3, coders=coders)
    assert [stage.name for stage in alone.stages] == ["prior"]
    with pytest.raises(ModalityError, match=r"coders for modalities among \['a', 'b'\]; got \['c'\]"):
        small("mld", LINEAR.modalities, coders={"c": coders["a"]})
    with pytest.raises(OptionError, match=r"a run folder can hold; got functions for \['coders'\]"):
        fit(alone, LINEAR.train.select("a"), out="unused", **settings)


@pytest.mark.filterwarnings("ignore:Expected residuals:mmppl.errors.TrainingWarning")  # few epochs
@pytest.mark.parametrize("name", ["mld", "ebm"])
def test_a_reduction_is_found_between_the_stages(small, ppl, name, monkeypatch):
    """Three latents, of which the truth has two: not all is kept, and what is not is standard normal."""
    module, asked = sys.modules["mmppl.models.common.whitening_params"], []

    def spied(*args, learning, **more):
        asked.append(learning.net)
        return find_subspaces(*args, learning=learning, **more)

    monkeypatch.setattr(module, "find_subspaces", spied)
    own = {"steps": 25, "ratio": "linear"} if name == "mld" else {"chains": 32, "buffer": 0, "steps": 5, "beta": 1.0}
    program = small(name, LINEAR.modalities, latent_dim=3, reduce=0.1 if name == "mld" else 1.0, **own)
    settings = {"epochs": 30, "batch_size": 64, "learning_rate": 1e-2, "schedule": "constant", "progress": False}
    fitted = fit(program, LINEAR.train, **settings)
    assert asked == ["linear" if name == "mld" else "free"]
    kept = fitted.weights["prior.kept"]
    assert 0 < kept.sum() < len(kept) == (6 if name == "mld" else 3)
    turn = fitted.weights["prior.matrix"]
    np.testing.assert_allclose(turn @ fitted.weights["prior.inverse_matrix"], np.eye(len(turn)), atol=1e-4)
    made = generate(fitted, LINEAR.test.only("a"), seed=1)
    assert np.array_equal(made["a"][0], LINEAR.test["a"])
    assert np.isfinite(made["b"]).all()
    z = np.asarray(
        ppl.host.latents(fitted.model, fitted.guide, LINEAR.test, 40, 0, np.ones(len(LINEAR.test), bool))["z"]
    )
    y = (z.reshape(-1, len(kept)) - fitted.weights["prior.loc"]) @ turn.T
    np.testing.assert_allclose(y[:, kept == 0].std(0), 1.0, atol=0.1)
    with pytest.raises(OptionError, match="frozen encoders"):
        small("ebm", LINEAR.modalities, reduce=0.1, schedule="joint")


def test_encoders_rest_while_the_score_learns(small):
    program = small("mld", LINEAR.modalities)
    settings = {"batch_size": 64, "learning_rate": 1e-2, "progress": False, "seed": 1}
    # A quarter of the epochs is the autoencoders': two of eight, and of nine.
    few, many = (fit(program, LINEAR.train, epochs=n, **settings).weights for n in (8, 9))
    coders = [n for n in few if "coder" in n]
    assert coders
    assert all(np.array_equal(few[n], many[n]) for n in coders)
    assert any(not np.array_equal(few[n], many[n]) for n in few if n.startswith("prior.score"))


def test_generating_from_any_subset(small):
    program = small("mld", LINEAR.modalities, solver="heun", steps=10)
    fitted = fit(program, LINEAR.train, epochs=5, batch_size=64, learning_rate=1e-2, progress=False)
    given = LINEAR.test[:4].with_present({"a": np.array([True, True, False, False]), "b": np.arange(4) % 2 == 0})
    out = generate(fitted, given, 3)
    for name, x in out.items():
        mask = given.present[name]
        assert x.shape == (3, 4, *LINEAR.modalities[name].shape)
        assert np.all(x[:, mask] == given[name][mask])
        assert np.all(np.isfinite(x))
        assert np.all(np.ptp(x[:, ~mask], axis=0) > 0.0)


@pytest.mark.parametrize(
    ("solver", "fifty", "many"),
    [("dpm", 50, 410), ("heun", 49, 409), ("euler", 50, 410), ("ancestral", 50, 410), ("corrector", 49, 409)]
    + [("repaint", 10, 410), ("langevin", 41, 401)],
)
def test_steps_are_evaluations_of_the_network(solver, fifty, many):
    assert [solver_of(solver, steps).evaluations for steps in (50, 410)] == [fifty, many]
    if solver == "langevin":
        with pytest.raises(OptionError, match="Expected at least 21 steps, which are evaluations .* got 20"):
            solver_of(solver, 20)


def test_another_solver_takes_the_same_weights(small):
    fitted = fit(small("mld", LINEAR.modalities), LINEAR.train, epochs=5, batch_size=64, progress=False)
    other = fitted.with_options(solver="flow", steps=12)
    assert other.weights is fitted.weights
    assert other.program.options["solver"] == "flow"
    assert generate(other, num=2)["a"].shape == (2, 3)
    with pytest.raises(OptionError, match="Unknown solver 'x'"):
        fitted.with_options(solver="x")


def spied(run, seen):
    def spy(self, backend, sde, *args):
        seen.append((self.levels, type(sde)))
        return run(self, backend, sde, *args)

    return spy


def test_a_ladder_of_noise_levels_is_two_options(small, monkeypatch):
    seen = []
    monkeypatch.setattr(AnnealedLangevin, "run", spied(AnnealedLangevin.run, seen))
    program = small("sbm", LINEAR.modalities, sde="ve", solver="langevin", steps=101)
    fitted = fit(program, LINEAR.train, epochs=2, progress=False)
    made = generate(fitted, LINEAR.test[:6].only("b"), seed=1)
    assert np.array_equal(made["b"][0], LINEAR.test["b"][:6])
    assert np.isfinite(made["a"]).all()
    assert set(seen) == {(10, VE)}


def test_conditionals_by_particles_take_the_same_weights(small):
    fitted = fit(small("sbm", LINEAR.modalities), LINEAR.train, epochs=2, batch_size=64, progress=False)
    given = LINEAR.test[:6].only("b")
    made = generate(fitted.with_options(particles=4), given, seed=1)
    assert np.array_equal(made["b"][0], given["b"])
    assert np.isfinite(made["a"]).all()
    assert not np.array_equal(made["a"], generate(fitted, given, seed=1)["a"])
    with pytest.raises(OptionError, match="particles >= 2"):
        small("sbm", LINEAR.modalities, particles=1)


def test_likelihoods_need_encoders_with_a_density(small):
    settings = {"epochs": 5, "batch_size": 64, "progress": False}
    with pytest.raises(OptionError, match="'mld' has deterministic encoders"):
        log_likelihood(fit(small("mld", LINEAR.modalities), LINEAR.train, **settings), LINEAR.test[:2], num=4)
    fitted = fit(small("sbm", LINEAR.modalities, latent_dim=1), LINEAR.train, **settings)
    out = log_likelihood(fitted, LINEAR.test[:2], num=30)
    assert np.all(np.isfinite(out.value))
    assert np.all(out.error > 0.0)


def test_the_posterior_in_arviz_is_the_guides_draws(small):
    fitted = fit(small("mld", LINEAR.modalities), LINEAR.train, epochs=5, batch_size=64, progress=False)
    idata = to_arviz(fitted, LINEAR.test[:3].only("a"), num_samples=7)
    posterior = idata["posterior"]
    assert posterior["z"].shape == (1, 7, 3, 4)
    assert posterior.attrs["independent_draws"] == 1
    assert np.ptp(posterior["z"].to_numpy()[..., :2], axis=1).max() == 0.0  # encoded
    assert np.ptp(posterior["z"].to_numpy()[..., 2:], axis=1).min() > 0.0  # drawn
    assert idata["posterior_predictive"]["b"].shape == (1, 7, 3, 2)
    assert idata["log_likelihood"]["joint"].shape == (1, 7, 3)  # of what is there
    assert np.all(np.isfinite(idata["log_likelihood"]["joint"].to_numpy()))


def test_the_prior_needs_its_first_stage(small):
    with pytest.raises(OptionError, match="at least 2 epochs, one for each stage"):
        fit(small("mld", LINEAR.modalities), LINEAR.train, epochs=1, progress=False)


def test_guidance_by_pairs_is_a_third_stage(small, ppl):
    """Three modalities that say the same: one of four corners of a square."""
    pairs = {"numpyro": "shared", "pyro": "per_pair"}[ppl.host.NAME]
    rng = np.random.default_rng(8)
    corner = 2.0 * rng.integers(0, 2, (512, 2)) - 1.0
    train = Batch({n: (corner + 0.1 * rng.standard_normal((512, 2))).astype("float32") for n in "abc"})
    modalities = {n: Modality((2,), likelihood="normal", scale=0.1) for n in "abc"}
    options = {"guidance": 1.0, "pairs": pairs, "width": 16, "solver": "ancestral", "steps": 30, "autoencoder": "ae"}
    fitted = fit(
        small("sbm", modalities, **options), train, epochs=120, batch_size=64, learning_rate=1e-2, progress=False
    )
    assert [r["stage"] for r in fitted.history][-1] == "guidance"
    losses = [r["loss"] for r in fitted.history if r["stage"] == "guidance"]
    assert losses[-1] < 0.97 * 2.0 * np.log(2.0)  # nothing learned is 2 log 2
    strong = fitted.with_options(**{**options, "guidance": 2.0})
    weak = fitted.with_options(**{**options, "guidance": 1e-6})
    given = train[:200].only("a")
    right = [
        np.mean(np.sign(generate(f, given, 10, want=["b"], mean=True)["b"]) == np.sign(given["a"]))
        for f in (weak, strong)
    ]
    assert right[1] > right[0] + 0.03


@pytest.mark.parametrize(
    ("ppl", "name"), [("numpyro", "mld_uni"), ("pyro", "mld_uni"), ("pyro", "mld_inpaint")], indirect=["ppl"]
)
def test_every_system_can_be_guided(small, name):
    """By its own marginals where conditions are clean, by energies of pairs where they are replaced."""
    program = small(name, LINEAR.modalities, guidance=2.0, solver="dpm", ema=0.0)
    assert [s.name for s in program.stages][2:] == (["guidance"] if name == "mld_inpaint" else [])
    fitted = fit(program, LINEAR.train, epochs=4, batch_size=64, learning_rate=1e-2, progress=False)
    given = LINEAR.test[:6].only("a")
    strong, weak = (
        generate(fitted.with_options(**{**program.options, "guidance": w}), given)["b"] for w in (9.0, 1e-6)
    )
    assert np.isfinite(strong).all()
    assert np.abs(strong - weak).max() > 1e-4  # rounding is below 1e-5
