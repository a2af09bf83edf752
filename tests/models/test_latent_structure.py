"""Systems with several latents or several encoders: what their guides look at, and NEXUS's published objective."""

import numpy as np
import pytest
from scipy import special, stats

from mmppl import models
from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.data import load, minibatches
from mmppl.diagnostics import evaluate
from mmppl.errors import ModalityError, ObjectiveError, OptionError
from mmppl.inference import Fitted, fit, generate, log_likelihood, to_arviz
from mmppl.inference.training.leakage import check_no_leakage
from mmppl.metrics import frechet
from mmppl.models.nexus import drop_messages
from mmppl.testing.replay import replay, replayed

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=64, num_test=10)
STILL = {"learning_rate": 1e-30, "progress": False}


def untrained(ppl, name, **options):
    """A system with its initial weights."""
    program = models.make(name, LINEAR.modalities, ppl=ppl, **{"latent_dim": 2, "hidden": 8, **options})
    return fit(program, LINEAR.train, epochs=len(program.stages), batch_size=64, **STILL)


def latents(fitted, batch, num=1):
    """Draws of the guide with a fixed seed."""
    hidden = fitted.program.ppl.host.latents(fitted.model, fitted.guide, batch, num, 0, np.zeros(len(batch), bool))
    return {site: np.asarray(z) for site, z in hidden.items()}


def scaled(fitted, start):
    """The same, with the weights whose names begin so three times as large."""
    weights = {n: 3.0 * w + 0.1 if n.startswith(start) else w for n, w in fitted.weights.items()}
    return Fitted(fitted.program, weights)


@pytest.fixture
def torch_face():
    import mmppl.pyro

    return mmppl.pyro


@pytest.mark.pyro
@pytest.mark.parametrize("name", ["jmvae", "mmjsd", "mvtcae", "mmvae_plus", "nexus"])
def test_guides_answer_from_what_is_present(torch_face, name):
    fitted = untrained(torch_face, name)
    check_no_leakage(fitted, LINEAR.train)
    # They do answer from that: other values, other latents.
    batch = LINEAR.test[:4].only("a")
    other = Batch({**batch.values, "a": batch["a"] + 1.0}, batch.present)
    assert np.abs(latents(fitted, batch)["z"] - latents(fitted, other)["z"]).min() > 0


@pytest.mark.pyro
@pytest.mark.parametrize("name", ["jmvae", "mmjsd", "mmvae_plus", "nexus"])
def test_guides_have_the_density_of_their_draws(torch_face, name):
    """Likelihoods weighted by the guide are those of draws from the prior, whatever is hidden."""
    sizes = {"nexus": {"local_dim": 2}, "mmvae_plus": {"private_dim": 2}}
    fitted, host = untrained(torch_face, name, **sizes.get(name, {})), torch_face.host
    present = {"a": np.array([True, True, False, True]), "b": np.array([True, False, True, True])}
    batch = Batch({m: 0.3 * x for m, x in LINEAR.test[:4].values.items()}, present)
    value = log_likelihood(fitted, batch, num=4000)
    assert (value.pareto_k < 0.9).all()
    hidden = host.latents(fitted.model, fitted.guide, batch, 20_000, 1, np.ones(4, bool))
    log_lik = sum(host.scores(fitted.model, hidden, batch)[0].values())
    direct = special.logsumexp(log_lik, axis=0) - np.log(20_000)
    known = value.pareto_k < 0.7  # else there is no error that is to be trusted
    assert known.sum() >= 3
    error = np.hypot(value.error, np.exp(log_lik - direct).std(0) / np.sqrt(20_000))[known]
    assert (error < 0.1).all()
    assert (np.abs(value.value - direct)[known] < 4.5 * error).all()
    assert (np.abs(value.value - direct) < 0.3).all()


@pytest.mark.pyro
@pytest.mark.parametrize("name", ["jmvae", "mmjsd", "mvtcae", "mmvae_plus", "nexus", "ebm_plus"])
def test_everything_can_be_asked_of_them(torch_face, name):
    sizes = {"energy_hidden": 8, "chains": 16, "buffer": 64, "steps": 3} if name == "ebm_plus" else {}
    program = models.make(name, LINEAR.modalities, ppl=torch_face, latent_dim=2, hidden=8, **sizes)
    fitted, batch = fit(program, LINEAR.train, epochs=2, batch_size=64, progress=False), LINEAR.test[:3]
    assert {m: x.shape for m, x in generate(fitted, num=2).items()} == {"a": (2, 3), "b": (2, 2)}
    found = evaluate(fitted, LINEAR, num=20, likelihood_rows=5, particles=30)
    assert np.isfinite(found["log_likelihood"]["value"])
    assert np.isfinite(log_likelihood(fitted, batch, num=30, given=["a"]).value).all()
    idata = to_arviz(fitted, batch, num_chains=2, num_samples=8, num_warmup=8, num_predictive=2)
    sites = {"mmvae_plus": {"z", "a.w", "b.w"}, "nexus": {"z", "a.z", "b.z"}, "ebm_plus": {"z", "a.w", "b.w"}}
    assert set(idata["posterior"].data_vars) == sites.get(name, {"z"})


@pytest.mark.pyro
def test_likelihoods_under_a_diffusion_are_for_those_who_ask(torch_face):
    sizes = {"latent_dim": 2, "hidden": 8, "width": 8, "depth": 1, "steps": 5}
    program = models.make("sbm", LINEAR.modalities, ppl=torch_face, **sizes)
    fitted = fit(program, LINEAR.train, epochs=2, batch_size=64, progress=False)
    found = evaluate(fitted, LINEAR, num=20)
    assert found["log_likelihood"] is None
    assert "every draw takes an integration; evaluate(likelihood_rows=...)" in found["no_likelihood"]
    assert "likelihood_rows is 0" in evaluate(fitted, LINEAR, num=20, likelihood_rows=0)["no_likelihood"]
    found = evaluate(fitted, LINEAR, num=20, prediction_rows=0, likelihood_rows=1, particles=2)
    assert np.isfinite(found["log_likelihood"]["value"])
    assert found["no_likelihood"] is None
    assert found["prediction"] is None


@pytest.mark.pyro
def test_frechet_distances_by_ones_own_features(torch_face):
    """Of data without labels too, whose classifiers there are none of."""
    program = models.make("mvtcae", LINEAR.modalities, ppl=torch_face, latent_dim=2, hidden=8)
    fitted = fit(program, LINEAR.train, epochs=1, batch_size=64, progress=False)
    found = evaluate(fitted, LINEAR, features={"a": lambda x: 2.0 * x}, num=50, likelihood_rows=2, particles=10)
    drawn = generate(fitted, num=50, mean=True)["a"]
    np.testing.assert_allclose(found["frechet"]["means"]["a"], 4.0 * frechet(drawn, LINEAR.test["a"][:50]), rtol=1e-9)
    assert set(found["frechet"]["draws"]) == set(found["frechet"]["means"]) == {"a"}
    assert found["coherence"] is None
    with pytest.raises(ModalityError, match="Expected features of modalities among .* got 'ink'"):
        evaluate(fitted, LINEAR, features={"ink": np.asarray})


@pytest.mark.pyro
def test_jmvae_has_a_joint_and_single_encoders(torch_face):
    fitted, both = untrained(torch_face, "jmvae"), LINEAR.test[:5]
    for batch, looks, ignores in ((both, "encoder", "a.encoder"), (both.only("a"), "a.encoder", "encoder")):
        z = latents(fitted, batch)["z"]
        np.testing.assert_array_equal(latents(scaled(fitted, f"{ignores}."), batch)["z"], z)
        assert np.abs(latents(scaled(fitted, f"{looks}."), batch)["z"] - z).min() > 0


@pytest.mark.pyro
def test_private_latents_of_hidden_modalities(torch_face):
    """From the prior, or with the learned scales, which have the mean 1; those of present ones from the encoder."""
    fitted = untrained(torch_face, "mmvae_plus", private_dim=3)
    logits = np.array([0.5, -1.0, 0.2], np.float32)
    weights = {**fitted.weights, "b.auxiliary": logits}
    batch = LINEAR.test[:50].only("a")
    wanted = {"prior": np.ones(3), "auxiliary": 3.0 * special.softmax(logits)}
    for where, scale in wanted.items():
        program = fitted.program.rebuild(0, hidden_private=where)
        drawn = latents(Fitted(program, weights), batch, 400)
        size = np.abs(drawn["b.w"]).mean((0, 1))  # of Laplace draws the scale
        np.testing.assert_allclose(size, scale, rtol=0.05)
        np.testing.assert_array_equal(drawn["a.w"], latents(Fitted(program, fitted.weights), batch, 400)["a.w"])


@pytest.mark.pyro
def test_normalised_scales_have_the_mean_one(torch_face):
    """Of the shared and of the private posterior, in proportion to those that are free, with the same weights."""
    fitted = untrained(torch_face, "mmvae_plus", latent_dim=3, private_dim=3)
    batch = Batch({"a": 10.0 * LINEAR.test["a"][:4], "b": LINEAR.test["b"][:4]}).only("a")
    even = Fitted(fitted.program.rebuild(0, scales="normalised"), fitted.weights)
    free, normalised = (latents(f, batch, 20_000) for f in (fitted, even))
    for site in ("z", "a.w"):
        scale, own = (np.abs(z - np.median(z, 0)).mean(0) for z in (free[site], normalised[site]))
        np.testing.assert_allclose(own, scale / scale.mean(-1, keepdims=True), rtol=0.04)
        assert np.abs(scale.mean(-1) - 1.0).max() > 0.05
    with pytest.raises(OptionError, match=r"Expected scales among \('free', 'normalised'\); got 'even'"):
        models.mmvae_plus(LINEAR.modalities, ppl=torch_face, scales="even")


def test_private_posteriors_learn_what_modalities_do_not_share(ppl):
    """Of b given a half the coordinates vary as one, with the variance 1.01, and half hardly do."""
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(2, 256, 1))
    values = {"a": np.tile(shared, 2), "b": shared * [1.0, 1.0, 0.0, 0.0] + own * [0.0, 0.0, 1.0, 1.0]}
    data = Batch({name: (x + 0.1 * rng.normal(size=x.shape)).astype(np.float32) for name, x in values.items()})
    modalities = {"a": Modality((2,), scale=0.1), "b": Modality((4,), scale=0.1)}
    sizes = {"latent_dim": 2, "private_dim": 1, "hidden": 16, "beta": 1.0, "tilt": False}
    program = models.ebm_plus(modalities, ppl=ppl, cross_private="posterior", **sizes)
    fitted = fit(program, data, epochs=100, batch_size=64, learning_rate=3e-2, progress=False)
    drawn = np.asarray(generate(fitted, data[:50].only("a"), want=["b"], num=200, seed=0)["b"])
    covariance = np.mean([np.cov(drawn[:, i].T) for i in range(50)], axis=0)
    assert 0.6 < covariance[2, 3] < 1.2
    np.testing.assert_allclose(covariance[[2, 3], [2, 3]] - covariance[2, 3], 0.01, atol=0.01)
    assert covariance[0, 0] < 0.1


def test_messages_are_dropped_uniformly():
    rng = np.random.default_rng(0)
    present = np.ones((20_000, 4), bool)
    present[10_000:, 2:] = False
    names = "abcd"
    batch = Batch({n: np.zeros((20_000, 1)) for n in names}, {n: present[:, i] for i, n in enumerate(names)})
    keep = drop_messages(batch, rng, 0.6, np.zeros(()))
    keep = np.stack([keep[n] for n in names], -1)
    assert not (keep & ~present).any()
    assert keep.any(-1).all()
    lost = (present & ~keep).sum(-1)
    np.testing.assert_allclose(np.bincount(lost[:10_000]) / 1e4, [0.4, 0.2, 0.2, 0.2], atol=0.02)
    np.testing.assert_allclose(np.bincount(lost[10_000:]) / 1e4, [0.4, 0.6], atol=0.02)
    np.testing.assert_allclose(keep[:10_000].mean(0), np.full(4, 0.7), atol=0.02)


@pytest.mark.pyro
def test_the_upper_level_of_nexus_moves_no_lower_one(torch_face):
    """Whatever the upper level is worth, the VAEs below learn the same."""
    ends = []
    for gamma in (0.1, 5.0):
        program = models.nexus(LINEAR.modalities, ppl=torch_face, latent_dim=2, local_dim=3, hidden=8, gamma=gamma)
        ends.append(fit(program, LINEAR.train, epochs=2, batch_size=32, progress=False).weights)
    for name, weight in ends[0].items():
        below = name.split(".")[1] in ("encoder", "decoder")
        assert np.array_equal(weight, ends[1][name]) == below, name


def linear(weights, name, x):
    """A network whose hidden layers are none, or an MLP with GELU, by its weights, in the units of the data."""
    own = {n.removeprefix(f"{name}.layers.") for n in weights if n.startswith(f"{name}.layers.")}
    layers = sorted(int(n.split(".")[0]) for n in own if n.endswith("weight"))
    for i in (int(n.split(".")[0]) for n in own if n.endswith("centre")):
        centre, spread = (weights[f"{name}.layers.{i}.{part}"] for part in ("centre", "spread"))
        if i > layers[-1]:
            return centre + spread * linear({n: w for n, w in weights.items() if f".{i}." not in n}, name, x)
        x = (x - centre) / spread
    for place, i in enumerate(layers):
        if place:
            x = x * stats.norm.cdf(x)
        x = x @ weights[f"{name}.layers.{i}.weight"].T + weights[f"{name}.layers.{i}.bias"]
    return x


def loc_scale(weights, name, x):
    loc, raw = np.split(linear(weights, name, x), 2, axis=-1)
    return loc, np.logaddexp(0.0, raw + np.log(np.expm1(1.0))) + 1e-4


def test_nexus_is_trained_by_its_published_objective(ppl, monkeypatch):
    """Two levels, detached, with dropped messages: every divergence and likelihood written out with scipy."""
    replay(monkeypatch, get_backend(ppl.host.zeros(1)))
    backend = get_backend(ppl.host.zeros(1))

    def sample(self, key=None, sample_shape=()):
        shape = (*(key or ()), *self.batch_shape) if ppl.host.NAME == "pyro" else (*sample_shape, *self.batch_shape)
        return self.loc + self.scale * backend.asarray(replayed("normal", shape), like=self.loc)

    for method in ("sample", "rsample") if ppl.host.NAME == "pyro" else ("sample",):
        monkeypatch.setattr(ppl.host.dist.Normal, method, sample)
    options = {"local_dim": 3, "message_dim": 4, "gamma": 0.7, "beta": 0.6, "local_beta": 0.5, "dropout": 0.9}
    program = models.nexus(LINEAR.modalities, ppl=ppl, latent_dim=2, hidden=8, **options)
    present = {"a": np.arange(16) != 3, "b": np.arange(16) % 5 != 1}
    data = Batch(LINEAR.train[:16].values, present)
    fitted = fit(program, data, epochs=1, batch_size=16, **STILL)
    weights, (batch,) = fitted.weights, minibatches(data, 16, seed=0, epoch=0)
    total, messages, local = np.zeros(16), {}, {}
    for name, modality in LINEAR.modalities.items():
        shown = np.asarray(batch.present[name])
        loc, scale = loc_scale(weights, f"{name}.encoder", batch[name])
        local[name] = z = loc + scale * replayed("normal", (16, 3))
        divergence = (stats.norm.logpdf(z, loc, scale) - stats.norm.logpdf(z)).sum(-1)
        rec = stats.norm.logpdf(batch[name], linear(weights, f"{name}.decoder", z), modality.scale).sum(-1)
        total += shown * (rec - 0.6 * 0.5 * divergence)
        messages[name] = linear(weights, f"{name}.message", z)
    noise = replayed("uniform", (4, 16))
    lost = (noise[1] < 0.9) & batch.present["a"] & batch.present["b"]
    first = noise[2] < noise[3]  # of two, one goes: the one with the smaller noise
    keep = {"a": batch.present["a"] & ~(lost & first), "b": batch.present["b"] & ~(lost & ~first)}
    assert not all(keep["a"] | ~batch.present["a"])
    message = sum(keep[n][:, None] * messages[n] for n in "ab") / (keep["a"] * 1.0 + keep["b"])[:, None]
    loc, scale = loc_scale(weights, "nexus", message)
    z = loc + scale * replayed("normal", (16, 2))
    total -= 0.6 * (stats.norm.logpdf(z, loc, scale) - stats.norm.logpdf(z)).sum(-1)
    for name in "ab":
        top = stats.norm.logpdf(local[name], *loc_scale(weights, f"{name}.nexus", z)).sum(-1)
        total += 0.7 * batch.present[name] * top
    np.testing.assert_allclose(fitted.history[0]["loss"], -total.mean(), rtol=1e-5)


def test_beta_warms_up_in_a_fit(ppl):
    """One step an epoch: beta is 0, 1/2, 1, 1 times its end."""
    program = models.mvae(LINEAR.modalities, ppl=ppl, latent_dim=2, hidden=8)
    program = program.with_objective(ppl.ELBO(beta=ppl.WarmUp(2, end=0.8)))
    history = fit(program, LINEAR.train, epochs=4, batch_size=64, **STILL).history
    for beta, line in zip((0.0, 0.4, 0.8, 0.8), history, strict=True):
        assert line["kl"] > 0.1
        wanted = beta * line["kl"] - line["log_lik.a"] - line["log_lik.b"]
        np.testing.assert_allclose(line["loss"], wanted, rtol=1e-5)


def test_bad_options_and_data_are_told_before_the_first_step(ppl):
    for name, options, message in (
        ("mmjsd", {"dynamic": "harmonic"}, r"Expected dynamic among \['geometric', 'arithmetic'\]; got 'harmonic'"),
        ("nexus", {"dropout": 1.5}, r"Expected dropout in \[0, 1\]; got 1\.5"),
        ("mmvae_plus", {"hidden_private": "x"}, "Expected hidden_private 'prior' or 'auxiliary'; got 'x'"),
        ("ebm_plus", {"private_dim": 0}, "Expected private_dim >= 1; got 0 in 'ebm_plus'"),
        ("ebm_plus", {"cross_private": "both"}, "Expected cross_private 'auxiliary' or 'posterior'; got 'both'"),
        ("ebm_plus", {"strata": "all"}, "Expected strata 'one' and gradient 'standard' with cross_private='posterior'"),
        ("ebm_plus", {"gradient": "dreg"}, "got 'one' and 'dreg'. Others go with cross_private='auxiliary'"),
        ("ebm_plus", {"schedule": "both"}, "Expected schedule 'staged' or 'joint'; got 'both'"),
        ("mvtcae", {"alpha": 2.0}, r"Expected alpha in \[0, 1\]; got 2\.0"),
        ("jmvae", {"beta": -1.0}, "Expected beta >= 0"),
    ):
        with pytest.raises(OptionError, match=message):
            models.make(name, LINEAR.modalities, ppl=ppl, **options)
    alone = {"x": Modality((2,))}
    for name, row in (("jmvae", "JMVAE"), ("mmjsd", "MMJSD"), ("mvtcae", "MVTCAE")):
        program = models.make(name, alone, ppl=ppl, latent_dim=2, hidden=4)
        with pytest.raises(ObjectiveError, match=rf"{row} needs at least 2 modalities; got \['x'\]"):
            fit(program, Batch({"x": np.zeros((4, 2), np.float32)}), epochs=1, progress=False)
