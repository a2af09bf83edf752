"""MT-Diffusion: learned by the host's own SVI, and as a system."""

import sys
from importlib import import_module

import numpy as np
import pytest

from mmppl.batch import Modality
from mmppl.data import load
from mmppl.errors import ModalityError, OptionError
from mmppl.inference import fit, generate
from mmppl.nets import ResidualScore
from mmppl.priors import Blocks, Bump, MultiTaskLoss, MultiTaskModel, SharedSpace
from mmppl.sde.solvers import Ancestral

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=512, num_test=100)
SIZES = {"a": 2, "b": 1}
COV = np.array([[1.0, 0.3, 0.7], [0.3, 1.0, -0.3], [0.7, -0.3, 1.0]])


@pytest.fixture
def learned(learn):
    """A multi-task diffusion learned from latents."""

    def learned(z, steps, *, present=None, **learning):
        space = SharedSpace(Blocks.of(SIZES), strength=0.5)
        options = MultiTaskModel(space, MultiTaskLoss(**learning), solver=Ancestral(150))
        return learn("MultiTask", options, z, steps, outputs=6, present=present)

    return learned


def test_learned_moments_of_a_gaussian(ppl_driver, learned):
    """By a network that is told on one host, and by the pull of heads on the other."""
    p_conditional = {"numpyro": 0.5, "pyro": 0.0}[ppl_driver.name]
    z = np.random.default_rng(0).standard_normal((1200, 3)) @ np.linalg.cholesky(COV).T
    prior = learned(z, 500, p_conditional=p_conditional, weight=1.0)
    draws = ppl_driver.sample(prior, (3000,), seed=1)
    np.testing.assert_allclose(np.cov(draws.T), COV, atol=0.2)
    assert np.all(np.abs(draws.mean(0)) < 0.3)
    given = prior.conditional({"b": ppl_driver.array(np.full((3000, 1), 1.2, "float32"))})
    draws = ppl_driver.sample(given, (), seed=2)
    np.testing.assert_allclose(draws[:, :2].mean(0), 1.2 * COV[:2, 2], atol=0.3)
    wanted = COV[:2, :2] - np.outer(COV[:2, 2], COV[:2, 2])
    np.testing.assert_allclose(np.cov(draws[:, :2].T), wanted, atol=0.2)
    a = np.array([1.0, -0.5], "float32")
    draws = ppl_driver.sample(prior.conditional({"a": ppl_driver.array(np.tile(a, (3000, 1)))}), (), seed=3)
    gain = np.linalg.solve(COV[:2, :2], COV[:2, 2])
    assert draws[:, 2].mean() == pytest.approx(a @ gain, abs=0.2)
    assert draws[:, 2].var() == pytest.approx(1.0 - COV[:2, 2] @ gain, abs=0.15)


@pytest.mark.parametrize("ppl", ["pyro"], indirect=True)
def test_learning_with_missing_blocks(ppl_driver, learned):
    """Rows without the primary block teach nothing, rows without the other teach it alone; what lies there is noise."""
    z = np.random.default_rng(4).standard_normal((1200, 3)) @ np.linalg.cholesky(COV).T
    missing = np.arange(1200) % 4
    present = {"a": missing != 1, "b": missing != 2}
    z[~present["a"], :2], z[~present["b"], 2] = 50.0, -50.0
    prior = learned(z, 350, present=present, weight=1.0)
    given = prior.conditional({"b": ppl_driver.array(np.full((3000, 1), 1.2, "float32"))})
    np.testing.assert_allclose(ppl_driver.sample(given, (), seed=2)[:, :2].mean(0), 1.2 * COV[:2, 2], atol=0.3)


@pytest.mark.parametrize("options", [{"p_conditional": 0.0, "solver": "flow"}, {"primary": "b", "predict": "noise"}])
def test_every_pattern_is_generated(small, ppl, options):
    program = small("mt_diffusion", LINEAR.modalities, latent_dim=3, steps=8, **options)
    fitted = fit(program, LINEAR.train, epochs=6, batch_size=64, learning_rate=1e-2, progress=False)
    rows = LINEAR.test[:4]
    out = generate(fitted, rows.with_present({"a": np.arange(4) % 2 == 0, "b": np.arange(4) < 2}), 3)
    for name in "ab":
        assert np.isfinite(out[name]).all()
        seen = rows.with_present({"a": np.arange(4) % 2 == 0, "b": np.arange(4) < 2}).present[name]
        assert np.array_equal(out[name][:, seen], np.tile(rows[name][seen], (3, 1, 1)))


@pytest.fixture
def parts(monkeypatch):
    """What the last program was made of."""
    seen = {}
    module = sys.modules[import_module("mmppl.models.catalogue").mt_diffusion.__module__]
    make = module.two_stages
    monkeypatch.setattr(module, "two_stages", lambda *args, **own: seen.update(own) or make(*args, **own))
    return seen


def test_options_reach_the_model(small, parts):
    own = {
        "primary": "b",
        "strength": 0.3,
        "head_weight": 0.2,
        "p_conditional": 0.4,
        "p_marginal": 0.6,
        "p_single": 0.1,
        "time_sampling": "cosine",
    }
    small("mt_diffusion", LINEAR.modalities, **own, predict="noise", guidance=2.0, steps=7, width=12, depth=3)
    score = parts["score"]
    assert (score.space.primary, score.space.strength, score.guidance) == ("b", Bump(0.3), 2.0)
    assert score.learning == MultiTaskLoss(0.2, 0.4, 0.6, 0.1, predict="noise", time_sampling="cosine")
    assert (type(score.solver), score.solver.evaluations) == (Ancestral, 7)
    assert parts["net"] == ResidualScore((2, 2), 12, 3, outputs=8)


def test_times_are_uniform_but_for_images_in_their_own_space(small, parts):
    image = {"a": Modality((1, 4, 4), kind="image"), "b": LINEAR.modalities["b"]}

    def sampling(modalities, **own):
        small("mt_diffusion", modalities, width=8, depth=1, **own)
        return parts["score"].learning.time_sampling

    assert sampling(LINEAR.modalities) == sampling(LINEAR.modalities, space="data") == "uniform"
    assert sampling(image) == sampling(image, space="data", primary="b") == "uniform"
    assert sampling(image, space="data") == "cosine"
    assert sampling(image, space="data", predict="noise") == "uniform"


def test_what_it_cannot_do_is_said(small):
    with pytest.raises(ModalityError, match=r"a primary one among them; got \['a', 'b'\] and 'c'"):
        small("mt_diffusion", LINEAR.modalities, primary="c")
    with pytest.raises(ModalityError, match="two modalities or more"):
        small("mt_diffusion", {"a": LINEAR.modalities["a"]})
    with pytest.raises(
        OptionError, match="Expected net among .* and reduce=None, as the network has heads; got 'tokens'"
    ):
        small("mt_diffusion", LINEAR.modalities, net="tokens")
    with pytest.raises(OptionError, match="Expected time_sampling among .*uniform.*cosine.*; got 'importance'"):
        small("mt_diffusion", LINEAR.modalities, time_sampling="importance")
    with pytest.raises(OptionError, match="by name 'ancestral', 'heun' or 'flow'.* got DPMSolver"):
        small("mt_diffusion", LINEAR.modalities, solver="dpm")
