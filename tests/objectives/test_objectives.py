"""Objectives of either host, against formulas written out in numpy and exact answers."""

import numpy as np
import pytest
from scipy import special, stats

from mmppl import Batch
from mmppl._backend import get_backend
from mmppl.aggregation import all_subsets
from mmppl.data import LinearGaussian
from mmppl.errors import ObjectiveError, OptionError
from mmppl.testing.contract import close, within_error
from mmppl.testing.objective import SPOILT, LinearProgram
from mmppl.testing.replay import replay as replay_noise
from mmppl.testing.replay import replayed

TRUTH = LinearGaussian(1, {"a": 2, "b": 1, "c": 2}, seed=3, noise=0.7)
PRESENT = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1]], dtype=bool)
BATCH = Batch(TRUTH.sample(5, 4).values, {name: PRESENT[:, i] for i, name in enumerate("abc")})
WEIGHTS = {"a": 2.0, "c": 0.3}


@pytest.fixture
def replay(d, monkeypatch):
    replay_noise(monkeypatch, get_backend(d.array(np.zeros(1))))


def expert(name):
    """Location and scale of an expert for each row, spoilt, and its exact precision."""
    weight = TRUTH.weight[name][:, 0] / TRUTH.noise[name]
    precision = weight @ weight
    residual = np.where(BATCH.present[name][:, None], BATCH[name], 0.0) - TRUTH.bias[name]
    return residual @ (weight / TRUTH.noise[name]) / precision + 0.3, precision**-0.5 * np.exp(0.4)


def encoded(subset):
    """Mean and scale of q_S, ``(N,)``, for subsets ``(N, 3)``."""
    precision, pull = np.ones(5), np.zeros(5)
    for i, name in enumerate("abc"):
        loc, scale = expert(name)
        precision = precision + subset[:, i] / scale**2
        pull = pull + subset[:, i] * loc / scale**2
    return pull / precision, precision**-0.5


def table(row, strata="all"):
    """E, T (T, N, 3), w (T, N) of a row of the table, written out."""
    singles = np.eye(3, dtype=bool)
    if row == "ELBO":
        return PRESENT[None], PRESENT[None], np.ones((1, 5))
    if row == "MVAE":
        fixed = np.broadcast_to(singles[:, None], (3, 5, 3))
        encode = np.concatenate([PRESENT[None], fixed])
        return encode, encode, (~encode | PRESENT).all(-1) * 1.0
    subsets = singles if row == "MMVAE" else all_subsets(3)
    encode = np.broadcast_to(subsets[:, None], (len(subsets), 5, 3))
    valid = (~encode | PRESENT).all(-1)
    weight = valid / valid.sum(0)
    if strata == "one":
        first = (replayed("uniform", (5,)) < weight.cumsum(0)) & valid
        chosen = encode[first.argmax(0), np.arange(5)]
        return chosen[None], PRESENT[None], np.ones((1, 5))
    return encode, np.broadcast_to(PRESENT, encode.shape), weight


def by_hand(row, particles, *, density="own", beta=1.0, average=False, weights=None, strata="all"):
    """The loss of a row of the table, in plain numpy, and the mean of log q - log p."""
    encode, score, w = table(row, strata)
    terms = len(encode)
    noise = replayed("normal", (particles, terms, 5))
    q = [encoded(e & PRESENT) for e in encode]
    loc, scale = np.stack([m for m, _ in q]), np.stack([s for _, s in q])
    z = loc + scale * noise
    log_q = stats.norm.logpdf(z, loc, scale)
    if density == "mixture":
        shares, components = w, q
        if strata == "one":
            every, _, shares = table(row)
            components = [encoded(e & PRESENT) for e in every]
        across = np.stack([stats.norm.logpdf(z, m, s) for m, s in components], axis=-1)
        share = np.moveaxis(shares / shares.sum(0), 0, -1)
        log_q = special.logsumexp(across, axis=-1, b=np.broadcast_to(share, across.shape))
    log_w = beta * (stats.norm.logpdf(z) - log_q)
    for i, name in enumerate("abc"):
        mean = z[..., None] * TRUTH.weight[name][:, 0] + TRUTH.bias[name]
        x = np.where(BATCH.present[name][:, None], BATCH[name], 0.0)
        lik = stats.norm.logpdf(x, mean, TRUTH.noise[name]).sum(-1)
        log_w = log_w + (weights or {}).get(name, 1.0) * (score[..., i] & PRESENT[:, i]) * lik
    bound = log_w.mean(0) if average else special.logsumexp(log_w, axis=0) - np.log(particles)
    kl = ((log_q - stats.norm.logpdf(z)).mean(0) * w / w.sum(0)).sum(0).mean()
    return -(w * bound).sum(), kl


CASES = {
    "elbo": ("ELBO", 1, {}),
    "elbo, beta, weights": ("ELBO", 1, {"beta": 0.4, "weights": WEIGHTS}),
    "elbo, 3, average": ("ELBO", 3, {"average": True}),
    "iwae, 3, beta": ("ELBO", 3, {"beta": 2.0}),
    "iwae, 3, dreg": ("ELBO", 3, {"gradient": "dreg"}),
    "mvae": ("MVAE", 1, {"random": 0}),
    "mvae, 3, stl": ("MVAE", 3, {"random": 0, "gradient": "stl"}),
    "mmvae": ("MMVAE", 1, {}),
    "mmvae, 3": ("MMVAE", 3, {"weights": WEIGHTS}),
    "mmvae, own": ("MMVAE", 3, {"density": "own"}),
    "mmvae, one stratum": ("MMVAE", 1, {"strata": "one"}),
    "mmvae, one stratum, 3": ("MMVAE", 3, {"strata": "one", "gradient": "dreg"}),
    "mopoe": ("MoPoE", 1, {}),
    "mopoe, 3": ("MoPoE", 3, {"beta": 0.7}),
    "mopoe, 3, mixture": ("MoPoE", 3, {"density": "mixture"}),
    "mopoe, one stratum": ("MoPoE", 1, {"strata": "one"}),
    "mopoe, one stratum, 3, mixture": ("MoPoE", 3, {"strata": "one", "density": "mixture"}),
    "mopoe, 3, mixture, average": ("MoPoE", 3, {"density": "mixture", "average": True, "gradient": "stl"}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_row_of_the_table_is_its_formula(d, replay, case):
    row, particles, options = CASES[case]
    program = LinearProgram(d, TRUTH)
    out = d.stepper(getattr(d.mm, row)(particles, **options), program.model, program.guide)(BATCH, 0, SPOILT)
    options = {k: v for k, v in options.items() if k not in ("gradient", "random")}
    if row == "MMVAE":
        options = {"density": "mixture", **options}
    loss, kl = by_hand(row, particles, **options)
    close(out.loss, loss)
    close(out.record["kl"], kl)
    close(out.record["loss"], loss / 5)
    assert set(out.record) == {"loss", "kl", "log_lik.a", "log_lik.b", "log_lik.c"}


@pytest.mark.parametrize("row", ["ELBO", "MVAE"])
def test_sticking_the_landing_has_no_variance_at_the_exact_posterior(d, row):
    """Every term scores what it encodes, so each draw alone has a gradient of zero."""
    program = LinearProgram(d, TRUTH)
    model, guide = program.model, program.encoders()
    stl, plain = (
        d.stepper(getattr(d.mm, row)(gradient=gradient), model, guide)(BATCH, 0) for gradient in ("stl", "standard")
    )
    assert stl.grads.keys() == plain.grads.keys()
    assert {name.partition(".layers")[0] for name in stl.grads} == {"a.encoder", "b.encoder", "c.encoder"}
    for name in stl.grads:
        assert np.abs(stl.grads[name]).max() < 1e-9, name
        assert np.abs(plain.grads[name]).max() > 1e-3, name


def test_latents_outside_the_plate_count_once(d):
    """A latent of all data: the standard and the STL loss of the same draw are one number."""

    def model(batch):
        common = d.ppl.sample("common", d.dist.Normal(d.array(np.array(0.5)), 2.0))
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(2)), 1.0).to_event(1))
            d.mm.observe("a", d.dist.Normal(z + common, 1.0).to_event(1), batch)

    def guide(batch):
        d.ppl.sample("common", d.dist.Normal(d.ppl.param("loc", d.array(np.array(0.2))), 0.3))
        with d.mm.plate(batch):
            d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(2)), 0.5).to_event(1))

    batch = BATCH.select("a")
    plain, stl = (d.stepper(d.mm.ELBO(gradient=g), model, guide)(batch, 0).loss for g in ("standard", "stl"))
    close(plain, stl)
    assert {"outside"} == set(d.stepper(d.mm.ELBO(2), model, guide)(batch, 0).record) - {"loss", "kl", "log_lik.a"}


def test_a_guide_must_draw_every_latent(d):
    program = LinearProgram(d, TRUTH)

    def guide(batch):
        with d.mm.plate(batch):
            d.ppl.sample("other", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))

    with pytest.raises(ObjectiveError, match=r"The guide does not draw the latents \['z'\] of the model"):
        d.stepper(d.mm.ELBO(), program.model, guide)(BATCH, 0)


def test_more_than_32_subsets_are_sampled_not_enumerated(d):
    present = np.ones((400, 6), bool)
    present[200:, 3:] = False
    names = "abcdef"
    batch = Batch({n: np.zeros((400, 1)) for n in names}, {n: present[:, i] for i, n in enumerate(names)})
    batch, like = d.mm.as_batch(batch), d.array(np.zeros(()))
    backend = get_backend(like)
    terms = d.mm.MoPoE().terms(backend, batch, backend.rng(0), like)
    encode, weight = d.numpy(terms.encode), d.numpy(terms.weight)
    assert encode.shape == (32, 400, 6)
    close(weight, np.full((32, 400), 1 / 32))
    assert encode.any(-1).all()
    assert not (encode & ~present).any()
    assert (encode[:, 0] != encode[:, 1]).any()
    # Uniform over the non-empty subsets of what is present.
    codes = encode[:, :200] @ (1 << np.arange(6))
    assert stats.chisquare(np.bincount(codes.ravel(), minlength=64)[1:]).pvalue > 1e-3
    codes = encode[:, 200:, :3] @ (1 << np.arange(3))
    assert stats.chisquare(np.bincount(codes.ravel(), minlength=8)[1:]).pvalue > 1e-3
    assert d.numpy(d.mm.MoPoE().terms(backend, batch.select(*"abcde"), None, like).encode).shape[0] == 31


def test_random_subsets_of_mvae_are_terms_of_their_own(d):
    like = d.array(np.zeros(()))
    backend = get_backend(like)
    terms = d.mm.MVAE(random=2).terms(backend, d.mm.as_batch(BATCH), backend.rng(0), like)
    encode = d.numpy(terms.encode)
    assert encode.shape == (6, 5, 3)
    np.testing.assert_array_equal(encode, d.numpy(terms.score))
    assert not (encode[4:] & ~PRESENT).any()
    close(d.numpy(terms.weight)[4:], np.ones((2, 5)))


@pytest.mark.parametrize("row", ["MMVAE", "MoPoE"])
def test_one_stratum_has_the_mean_of_all(d, row):
    program = LinearProgram(d, TRUTH)
    losses = []
    for strata in ("one", "all"):
        step = d.stepper(getattr(d.mm, row)(strata=strata), program.model, program.guide)
        losses.append(np.array([step(BATCH, seed, SPOILT).loss for seed in range(150)]))
    within_error(losses[0] - losses[1])


def test_a_row_with_nothing_present_adds_nothing(d):
    present = {name: np.append(PRESENT[:, i], False) for i, name in enumerate("abc")}
    values = {name: np.concatenate([x, np.full((1, x.shape[1]), np.nan)]) for name, x in BATCH.values.items()}
    program = LinearProgram(d, TRUTH)
    for row, options in (("ELBO", {}), ("MoPoE", {"particles": 2, "density": "mixture"})):
        step = d.stepper(getattr(d.mm, row)(**options), program.model, program.guide)
        out = step(Batch(values, present), 0)
        assert np.isfinite(out.loss), row
        assert all(np.isfinite(grad).all() for grad in out.grads.values()), row
        assert all(np.isfinite(list(out.record.values()))), row
        if row == "ELBO":
            close(out.loss, -TRUTH.evidence(BATCH).sum())


def test_wrong_options_are_refused(d):
    mm = d.mm
    with pytest.raises(OptionError, match="Expected particles >= 1; got 0"):
        mm.ELBO(0)
    with pytest.raises(OptionError, match="Expected gradient among .*; got 'reinforce'"):
        mm.ELBO(gradient="reinforce")
    with pytest.raises(OptionError, match="Expected density among .*; got 'theirs'"):
        mm.MoPoE(density="theirs")
    with pytest.raises(OptionError, match="Expected strata 'all' or 'one'; got 'two'"):
        mm.MMVAE(strata="two")
    with pytest.raises(OptionError, match="Expected random >= 0; got -1"):
        mm.MVAE(random=-1)
    with pytest.raises(ObjectiveError, match="DReG is an estimator of the importance-weighted bound"):
        mm.ELBO(gradient="dreg")
    with pytest.raises(ObjectiveError, match="DReG is an estimator of the importance-weighted bound"):
        mm.ELBO(3, average=True, gradient="dreg")
    program = LinearProgram(d, TRUTH)
    with pytest.raises(OptionError, match=r"weights name \['q'\], but the batch has \['a', 'b', 'c'\]"):
        d.stepper(mm.ELBO(weights={"q": 1.0}), program.model, program.guide)(BATCH, 0)


def test_a_fit_with_missing_modalities_recovers_the_evidence_of_the_full_fit(d):
    """Loadings and offsets learned by the host's SVI, with the exact posterior of the current parameters as guide."""
    truth = LinearGaussian(1, {"a": 3, "b": 3, "c": 3}, seed=1, noise=0.6)
    full, test = truth.sample(800, 1), truth.sample(400, 2)
    mask = np.random.default_rng(0).random((800, 3)) < 0.7
    mask[:, 0] |= ~mask.any(1)
    missing = Batch(full.values, {name: mask[:, i] for i, name in enumerate("abc")})

    def loadings(name):
        start = {"weight": np.full(3, 0.5), "bias": np.zeros(3)}
        return [d.ppl.param(f"{name}.{key}", d.array(value)) for key, value in start.items()]

    def model(batch):
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))
            for name in batch.modalities:
                weight, bias = loadings(name)
                d.mm.observe(name, d.dist.Normal(z * weight + bias, 0.6).to_event(1), batch)

    def guide(batch):
        experts = {}
        for name in batch.modalities:
            weight, bias = loadings(name)
            precision = (weight * weight).sum() / 0.36 + 1e-6
            mean = ((batch[name] - bias) * weight).sum(-1)[..., None] / 0.36 / precision
            experts[name] = (mean, precision**-0.5 + 0.0 * mean)
        with d.mm.plate(batch):
            d.ppl.sample("z", d.mm.Product(experts, batch.present))

    reached = []
    for batch in (full, missing):
        _, params = d.fit(d.mm.ELBO(), model, guide, batch, steps=120, rate=0.06)
        learned = LinearGaussian(1, truth.dims, noise=0.6)
        learned.weight = {name: params[f"{name}.weight"][:, None] for name in "abc"}
        learned.bias = {name: params[f"{name}.bias"] for name in "abc"}
        reached.append(learned.evidence(test).mean())
    assert abs(reached[1] / reached[0] - 1.0) < 0.01
    assert abs(reached[0] / truth.evidence(test).mean() - 1.0) < 0.01


def test_mvae_decodes_what_a_term_scores(d):
    """Of T = 1 + 3 + 1 terms a modality is in three: all, itself, and the random one. It is decoded for these alone.

    A program that does not ask which modalities are wanted has the same loss, and decodes more.
    """
    decoded = []

    def model_of(names):
        def model(batch):
            with d.mm.plate(batch):
                z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))
                for name in names or batch.modalities:
                    decoded.append((name, tuple(z.shape[:-2])))
                    mean = z * d.array(TRUTH.weight[name][:, 0]) + d.array(TRUTH.bias[name])
                    d.mm.observe(name, d.dist.Normal(mean, TRUTH.noise[name]).to_event(1), batch)

        return model

    guide = LinearProgram(d, TRUTH).guide
    out = d.stepper(d.mm.MVAE(2), model_of(None), guide)(BATCH, 0)
    # The program is looked at before, without terms and with some of any number.
    before = {(name, axes) for name in "abc" for axes in ((), (2, 2), (11, 13))}
    assert set(decoded) - before == {(name, (2, 3)) for name in "abc"}
    other = d.stepper(d.mm.MVAE(2), model_of("abc"), guide)(BATCH, 0)
    close(other.loss, out.loss)
    for name in out.record:
        close(other.record[name], out.record[name])
