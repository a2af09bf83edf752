"""The published systems as programs: their contract, on either host."""

import inspect
import re

import numpy as np
import pytest

from mmppl import models
from mmppl.batch import Batch, Modality
from mmppl.data import load
from mmppl.errors import ModalityError, OptionError
from mmppl.inference import Fitted, Program, fit, generate, log_likelihood
from mmppl.models.catalogue import settings

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=256, num_test=50)
TRAIN = LINEAR.train
# Few epochs leave residuals above the noise that the data are known to have.
pytestmark = pytest.mark.filterwarnings("ignore:Expected residuals:mmppl.errors.TrainingWarning")
SCORES = ("mld", "mld_inpaint", "mld_uni", "mt_diffusion", "sbm")


@pytest.mark.parametrize("name", sorted(models.SYSTEMS.keys() - {"ivae"}))
def test_contract_of_a_system(small, ppl, name):
    program = small(name, LINEAR.modalities, seed=4)
    assert isinstance(program, Program)
    assert (program.name, program.ppl) == (name, ppl)
    assert program.options["hidden"] == 8  # what was asked for, for the run folder
    assert dict(program.modalities) == LINEAR.modalities
    assert set(program.options) <= set(settings(name))
    fitted = fit(
        program,
        TRAIN,
        epochs=40 if "prior" in [s.name for s in program.stages] else 8,
        batch_size=64,
        learning_rate=1e-2,
        progress=False,
    )
    backbone = [r["loss"] for r in fitted.history if r["stage"] in ("joint", "backbone", "autoencoders")]
    assert backbone[-1] < backbone[0] - 0.1  # of data that are standardised from the start
    # The names of the run folder: a net for each modality and role, and an energy where there is one.
    heads = {weight.split(".layers")[0] for weight in fitted.weights} - {"energy.chains"}
    expected = {f"{m}.{role}" for m in "ab" for role in ("encoder", "decoder")}
    more = {"ebm": {"energy"}} | dict.fromkeys(SCORES, {"prior.score", "prior.loc", "prior.scale"})
    private = {f"{m}.{part}" for m in "ab" for part in ("private", "auxiliary")}
    learned = {f"{m}.private_prior.{part}" for m in "ab" for part in ("loc", "scale", "logits")} | {"energy"}
    more |= {"jmvae": {"encoder", "a.features", "b.features"}, "mmvae_plus": private, "ebm_plus": private | learned}
    more |= {"nexus": {"nexus"} | {f"{m}.{part}" for m in "ab" for part in ("message", "nexus")}}
    assert heads == expected | more.get(name, set())
    out = generate(fitted, TRAIN[:3].only("a"), 2)
    assert {m: x.shape for m, x in out.items()} == {"a": (2, 3, 3), "b": (2, 3, 2)}


@pytest.mark.parametrize("name", ["mvae", "mmvae", "mopoe", "mvtcae", "jmvae"])
def test_every_modality_is_decoded_from_the_latent_and_every_one_tells_of_it(small, ppl, name):
    program = small(name, LINEAR.modalities)
    weights = ppl.host.Trainer(program, TRAIN[:2], seed=0, learning_rate=1.0, clip=None, ema=0.0).weights()
    fitted, batch = Fitted(program, weights), TRAIN[:3]
    z = ppl.host.zeros(1, 3, 2)
    log_lik = [ppl.host.scores(fitted.model, {"z": at}, batch)[0] for at in (z, z + 1.0)]
    assert log_lik[0].keys() == {"a", "b"}
    for m in "ab":
        assert np.all(np.asarray(log_lik[0][m]) != np.asarray(log_lik[1][m])), m
    nothing = np.zeros(3, bool)
    answers = [ppl.host.latents(fitted.model, fitted.guide, batch.only(m), 1, 0, nothing)["z"] for m in "ab"]
    assert np.all(np.asarray(answers[0]) != np.asarray(answers[1]))


def test_make_is_the_function(ppl):
    program = models.make("mvae", LINEAR.modalities, ppl=ppl, latent_dim=3, hidden=4)
    assert program.name == "mvae"
    assert program.options == {"latent_dim": 3, "hidden": 4}
    with pytest.raises(OptionError, match=r"Unknown model 'gan'; expected one of \['ebm', 'ebm_plus', 'ivae', "):
        models.make("gan", LINEAR.modalities, ppl=ppl)


@pytest.mark.parametrize("name", sorted(models.SYSTEMS))
def test_bad_options(ppl, name):
    make = models.SYSTEMS[name]
    with pytest.raises(OptionError, match=rf"Unknown options \['latent'\] of '{name}'; it has \['latent_dim', "):
        make(LINEAR.modalities, ppl=ppl, latent=3)
    with pytest.raises(ModalityError, match=f"'{name}' needs at least one modality; got none"):
        make({}, ppl=ppl)
    with pytest.raises(OptionError, match="Expected ppl to be the module mmppl.numpyro or mmppl.pyro; got 'numpyro'"):
        make(LINEAR.modalities, ppl="numpyro")
    if "particles" in settings(name):
        with pytest.raises(OptionError, match="Expected particles >= [12]"):
            make(LINEAR.modalities, ppl=ppl, particles=0)


def test_bad_options_of_one_system(ppl):
    with pytest.raises(OptionError, match="Expected schedule 'staged' or 'joint'; got 'both'"):
        models.ebm(LINEAR.modalities, ppl=ppl, schedule="both")
    with pytest.raises(OptionError, match="Expected refine >= 1 with encoder='amortised'"):
        models.ebm(LINEAR.modalities, ppl=ppl, encoder="amortised")
    with pytest.raises(OptionError, match="Expected strata 'all' or 'one'; got 'two'"):
        models.mmvae(LINEAR.modalities, ppl=ppl, strata="two")
    assert models.mopoe(LINEAR.modalities, ppl=ppl, strata="one").objective.strata == "one"
    for option, message in {
        "solver": "Unknown solver 'x'; expected one of",
        "net": "Unknown score network 'x'; expected one of",
        "autoencoder": "Expected an autoencoder among",
        "predict": "Expected predict among",
        "ratio": r"Expected ratio among \('linear', .*; got 'x'",
    }.items():
        with pytest.raises(OptionError, match=message):
            models.mld(LINEAR.modalities, ppl=ppl, **{option: "x"})
    with pytest.raises(OptionError, match=r"Expected sde among .*; got 'x'"):
        models.sbm(LINEAR.modalities, ppl=ppl, sde="x")
    with pytest.raises(OptionError, match="Expected a loss among"):
        models.sbm(LINEAR.modalities, ppl=ppl, loss="x")
    with pytest.raises(OptionError, match="Expected ratio among"):
        models.ebm(LINEAR.modalities, ppl=ppl, ratio="x")
    with pytest.raises(OptionError, match="latent noise > 0"):
        models.mld(LINEAR.modalities, ppl=ppl, noise=0.0)


@pytest.mark.parametrize(
    ("name", "prior"),
    [("mvae", "vamp"), ("mmvae", "flow"), *((name, "vamp") for name in ("jmvae", "mvtcae", "mmvae_plus", "nexus"))],
)
def test_learned_priors_of_a_system(small, ppl, name, prior, tmp_path):
    modalities = {**LINEAR.modalities, "t": Modality((3,), kind="tokens", vocabulary=5)}
    words = np.random.default_rng(0).integers(0, 5, (64, 3))
    data = Batch({**TRAIN[:64].values, "t": words})
    program = small(name, modalities, prior=prior, components=3).with_objective(ppl.ELBO())
    start = ppl.host.Trainer(program.fresh(0), data[:2], seed=0, learning_rate=1.0, clip=None, ema=0.0).weights()
    fitted = fit(program, data, epochs=6, batch_size=32, learning_rate=1e-2, progress=False, out=tmp_path / "run")
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    own = [n for n in fitted.weights if n.startswith("prior.")]
    moved = {n for n in own if not np.allclose(start[n], fitted.weights[n])}
    if prior == "vamp":
        assert moved == {"prior.pseudo.a", "prior.pseudo.b"}  # a text has no gradient, and is absent
        assert fitted.weights["prior.pseudo.a"].shape == (3, 3)
    else:
        assert moved
        assert all(n.startswith("prior.flow.") for n in own)
    assert generate(fitted, data[:3].only(), 2)["t"].shape == (2, 3, 3)  # from the prior


def test_prior_by_parameters_or_by_a_function(small, ppl):
    def prior():
        return ppl.EnergyTilted(ppl.host.dist.Normal(ppl.host.zeros(2), 2.0).to_event(1))

    mixture = small("mopoe", LINEAR.modalities, prior="gaussian_mixture", components=3)
    weights = ppl.host.Trainer(mixture, TRAIN[:2], seed=0, learning_rate=1.0, clip=None, ema=0.0).weights()
    shapes = {n: w.shape for n, w in weights.items() if n.startswith("prior.")}
    assert shapes == {"prior.loc": (3, 2), "prior.scale": (3, 2), "prior.logits": (3,)}
    program = small("mopoe", LINEAR.modalities, prior=prior)
    fitted = Fitted(program, {n: w for n, w in weights.items() if not n.startswith("prior.")})
    np.testing.assert_allclose(
        ppl.host.scores(fitted.model, {"z": ppl.host.zeros(1, 2, 2)}, TRAIN[:2])[1],
        np.full((1, 2), -2.0 * np.log(2.0) - np.log(2.0 * np.pi)),
        rtol=1e-5,
    )
    with pytest.raises(OptionError, match=r"options that a run folder can hold; got functions for \['prior'\]"):
        fit(program, TRAIN, epochs=1, out="never", progress=False)


def test_bad_priors(ppl):
    with pytest.raises(OptionError, match="Expected a prior among .*'flow'.*, or a function.*; got 'cauchy'"):
        models.mopoe(LINEAR.modalities, ppl=ppl, prior="cauchy")
    with pytest.raises(OptionError, match="Expected components >= 1; got 0"):
        models.mvae(LINEAR.modalities, ppl=ppl, prior="vamp", components=0)
    with pytest.raises(OptionError, match="Expected a modality that is neither a text nor a category"):
        models.mmvae({"t": Modality((3,), kind="tokens", vocabulary=5)}, ppl=ppl, prior="vamp")


def test_mopoe_decodes_all_subsets_where_they_are_few(ppl):
    for number, strata in ((4, "all"), (5, "one")):
        kinds = {f"m{i}": Modality((2,)) for i in range(number)}
        assert models.mopoe(kinds, ppl=ppl, latent_dim=2, hidden=4).objective.strata == strata
        assert models.mopoe(kinds, ppl=ppl, latent_dim=2, hidden=4, strata="all").objective.strata == "all"


@pytest.mark.parametrize("encoder", ["bound", "amortised"])
def test_ebm_learns_from_refined_draws(small, encoder):
    """Both stages do, and what they climb rises."""
    program = small("ebm", LINEAR.modalities, refine=3, encoder=encoder)
    assert [stage.objective for stage in program.stages] == [None, program.objective]
    fitted = fit(program, LINEAR.train, epochs=20, batch_size=64, learning_rate=1e-2, progress=False)
    first = [record["loss"] for record in fitted.history if record["stage"] == "backbone"]
    assert first[-1] < first[0]
    assert all(np.isfinite(record["loss"]) for record in fitted.history)
    assert any(weight.any() for name, weight in fitted.weights.items() if name.startswith("energy"))


def test_untilted_ebm_is_the_backbone(small):
    """The same program with f = 0: one stage, no energy, and likelihoods without a log Z."""
    flat, tilted = (small("ebm", LINEAR.modalities, tilt=tilt) for tilt in (False, True))
    assert [s.name for s in flat.stages] == ["joint"]
    assert [s.name for s in tilted.stages] == ["backbone", "energy"]
    fitted = fit(flat, TRAIN, epochs=2, batch_size=64, seed=3, progress=False)
    assert not any(name.startswith("energy") for name in fitted.weights)
    # Two epochs of the other program's backbone, with one of its energy after them, leave the same weights.
    other = fit(tilted, TRAIN, epochs=3, batch_size=64, seed=3, progress=False)
    assert [r["stage"] for r in other.history] == ["backbone", "backbone", "energy"]
    moved = [n for n, w in fitted.weights.items() if not np.allclose(w, other.weights[n], rtol=1e-4, atol=1e-5)]
    assert moved == []
    first, again = (log_likelihood(fitted, TRAIN[:3], num=10, seed=0) for _ in range(2))
    np.testing.assert_array_equal(first.value, again.value)


def test_modalities_are_scored_as_they_say(ppl):
    """Every likelihood by name, against its formula, through the program itself."""
    modalities = {
        "n": Modality((2,), scale=0.5),
        "l": Modality((2,), likelihood="laplace", scale=0.75),
        "b": Modality((1, 4, 4), kind="image", likelihood="bernoulli"),
        "t": Modality((3,), kind="tokens", vocabulary=5),
    }
    rng = np.random.default_rng(0)
    batch = Batch(
        {
            "n": rng.standard_normal((2, 2)).astype("f"),
            "l": rng.standard_normal((2, 2)).astype("f"),
            "b": (rng.random((2, 1, 4, 4)) < 0.5).astype("f"),
            "t": rng.integers(0, 5, (2, 3)),
        }
    )
    program = models.mvae(modalities, ppl=ppl, latent_dim=2, hidden=4)
    start = fit(program, batch, epochs=1, learning_rate=1e-30, progress=False)
    zeroed = {n: np.zeros_like(w) if ".decoder." in n else w for n, w in start.weights.items()}
    fitted = Fitted(start.program, zeroed)  # every decoder answers 0, whatever z is
    log_lik, _ = ppl.host.scores(fitted.model, {"z": ppl.host.zeros(1, 2, 2)}, batch)
    normal = (-0.5 * (batch["n"] / 0.5) ** 2 - 0.5 * np.log(2 * np.pi) - np.log(0.5)).sum(-1)
    laplace = (-np.abs(batch["l"]) / 0.75 - np.log(1.5)).sum(-1)
    exact = {"n": normal, "l": laplace, "b": np.full(2, 16 * np.log(0.5)), "t": np.full(2, 3 * np.log(0.2))}
    for name, value in exact.items():
        np.testing.assert_allclose(log_lik[name][0], value, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(models.SYSTEMS))
def test_help_tells_every_option(name):
    """Also those that systems share, in the place of the line that stands for them."""
    system = models.SYSTEMS[name]
    own = list(inspect.signature(system).parameters)
    told = re.findall(
        r"^    (\w+): ", inspect.getdoc(system).partition("Arguments:")[2].partition("Raises:")[0], re.MULTILINE
    )
    assert sorted(told) == sorted(own)
