"""Ready-made likelihoods: their formulas through a program, what they learn, and what they refuse."""

import numpy as np
import pytest
from scipy import special, stats

from mmppl import Batch, Modality, models
from mmppl.errors import DataError, ModalityError
from mmppl.inference import Fitted, fit, generate
from mmppl.likelihoods import LIKELIHOODS
from mmppl.nets.layers import SCALE_FLOOR, SCALE_RATE

RNG = np.random.default_rng(0)
OUT = np.array([0.7, -0.4, 1.1])  # what a decoder answers, whatever z is
GATE = np.array([0.3, -1.2, 0.2])
REAL = RNG.standard_normal((6, 3))
UNIT = RNG.uniform(0.05, 0.95, (6, 3))
BINARY = np.round(UNIT)
LEVELS = np.array([[0, 1, 255], [100, 254, 128], [255, 0, 3], [9, 99, 200], [0, 255, 254], [30, 60, 90]]) / 255
COUNTS = RNG.poisson(2.0, (6, 3)).astype(float) * (RNG.random((6, 3)) < 0.7)
MEAN, RATE = special.expit(OUT), np.exp(OUT)


def negative_binomial(x, s):
    """Mean e^o and variance m + m^2 / s."""
    return stats.nbinom.logpmf(x, s, s / (s + RATE))


def inflated(x, log_prob):
    zero = special.expit(GATE)
    return np.log(np.where(x == 0, zero, 0.0) + (1.0 - zero) * np.exp(log_prob))


def discretized(x, s):
    """Mass between the midpoints about a level, tails at the ends."""
    low, high = x - 0.5 / 255, x + 0.5 / 255
    low, high = np.where(x <= 0, -np.inf, low), np.where(x >= 1, np.inf, high)
    upper = stats.logistic.sf(low, OUT, s) - stats.logistic.sf(high, OUT, s)
    lower = stats.logistic.cdf(high, OUT, s) - stats.logistic.cdf(low, OUT, s)
    return np.log(np.where(low > OUT, upper, lower))


EXACT = {
    "normal": (REAL, lambda x, s: stats.norm.logpdf(x, OUT, s)),
    "laplace": (REAL, lambda x, s: stats.laplace.logpdf(x, OUT, s)),
    "discretized_logistic": (LEVELS, discretized),
    "bernoulli": (BINARY, lambda x, s: stats.bernoulli.logpmf(x, MEAN)),
    "beta": (UNIT, lambda x, s: stats.beta.logpdf(x, s * MEAN, s * (1.0 - MEAN))),
    "poisson": (COUNTS, lambda x, s: stats.poisson.logpmf(x, RATE)),
    "negative_binomial": (COUNTS, negative_binomial),
    "zero_inflated_poisson": (COUNTS, lambda x, s: inflated(x, stats.poisson.logpmf(x, RATE))),
    "zero_inflated_negative_binomial": (COUNTS, lambda x, s: inflated(x, negative_binomial(x, s))),
}
SCALES = {"discretized_logistic": 0.15, "normal": 0.6, "laplace": 0.8, "beta": 4.0, "negative_binomial": 2.5}
SCALES["zero_inflated_negative_binomial"] = 1.7
DATA = Batch({name: x.astype(np.float32) for name, (x, _) in EXACT.items()})


def test_every_likelihood_is_tried():
    # Those with factors have test_low_rank.
    own = {name for name, each in LIKELIHOODS.items() if each.factors} | {"discretized_logistic_mixture"}
    assert set(EXACT) | {"categorical"} | own == set(LIKELIHOODS)


def constant(fitted, scale=None):
    """The same program with decoders that answer OUT (and GATE) for every z, and these learned scales."""
    weights = dict(fitted.weights)
    for name, value in fitted.weights.items():
        modality, last = name.partition(".decoder.")[0], name.endswith("layers.5.bias")
        if ".decoder." in name and not name.endswith(("centre", "spread")):
            both = np.concatenate([OUT, GATE])[: value.shape[0]] if last else 0.0
            weights[name] = np.broadcast_to(both, value.shape).astype(np.float32)
            if value.shape == (3,) and name.endswith("weight"):
                weights[name] = (np.log(scale[modality] - SCALE_FLOOR) / SCALE_RATE).astype(np.float32)
    return Fitted(fitted.program, weights)


def scores(fitted, batch):
    host = fitted.program.ppl.host
    return host.scores(fitted.model, {"z": host.zeros(1, len(batch), 2)}, batch)[0]


def test_modalities_are_scored_by_their_formulas(ppl):
    """Likelihoods chosen in the call; some scales are fixed, others learned, one number for each coordinate."""
    learned = ("laplace", "beta", "zero_inflated_negative_binomial")
    names = {name: name for name in EXACT}
    scale = {name: "learned" if name in learned else value for name, value in SCALES.items()}
    plain = {name: Modality((3,)) for name in names}
    program = models.mopoe(plain, ppl=ppl, latent_dim=2, hidden=4, likelihood=names, scale=scale)
    assert program.modalities["beta"].likelihood == "beta"
    program = program.with_objective(ppl.ELBO())
    start = ppl.host.Trainer(program, DATA, seed=0, learning_rate=1.0, clip=None, ema=0.0).weights()
    each = {name: value * (np.array([0.5, 1.0, 2.0]) if name in learned else 1.0) for name, value in SCALES.items()}
    fitted = constant(Fitted(program, start), each)
    got = scores(fitted, DATA)
    for name, (x, log_prob) in EXACT.items():
        wanted = log_prob(np.float32(x).astype(float), each.get(name, 1.0)).sum(-1)
        np.testing.assert_allclose(got[name][0], wanted, rtol=2e-5, atol=1e-5, err_msg=name)
    mean = {"normal": OUT, "beta": MEAN, "zero_inflated_negative_binomial": (1.0 - special.expit(GATE)) * RATE}
    draws, means = generate(fitted, DATA[:1].only(), 3000), generate(fitted, DATA[:1].only(), 1, mean=True)
    for name, wanted in mean.items():
        np.testing.assert_allclose(means[name][0, 0], wanted, rtol=1e-4, err_msg=name)
        error = draws[name][:, 0].std(0) / np.sqrt(3000)
        assert (np.abs(draws[name][:, 0].mean(0) - wanted) < 4.5 * error).all(), name


def test_learned_scales_are_learned_and_hidden_values_harmless(ppl):
    """Training stays finite where every modality is missing in some row, though 0 is outside a Beta's support."""
    names = ("normal", "beta", "zero_inflated_negative_binomial")
    modalities = {n: Modality((3,), likelihood=n, scale="learned") for n in names}
    modalities["image"] = Modality((1, 2, 2), kind="image", likelihood="laplace", scale="learned")
    values: dict = {n: DATA[n] for n in names} | {
        "image": UNIT[:, :2].repeat(2, 1).reshape(6, 1, 2, 2).astype(np.float32)
    }
    present = {n: np.arange(6) != i for i, n in enumerate(values)}
    program = models.mvae(modalities, ppl=ppl, latent_dim=2, hidden=4).with_objective(ppl.ELBO())
    fitted = fit(program, Batch(values, present), epochs=30, learning_rate=1e-2, progress=False)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    for name in values:
        shape = (1, 1, 1) if name == "image" else (3,)
        (scale,) = (
            w
            for n, w in fitted.weights.items()
            if n.startswith(f"{name}.decoder.") and w.shape == shape and n.endswith("weight")
        )
        assert (scale != 0.0).all(), name  # 0 at first, which is the scale of the data where these are normal


def test_tokens_with_padding(ppl):
    """Each place that is not padding has a softmax over the other tokens; padding counts for nothing."""
    modality = Modality((4,), kind="tokens", vocabulary=5, padding=2)
    text = np.array([[0, 1, 2, 2], [3, 4, 0, 2], [2, 2, 2, 2]])
    program = models.mvae({"t": modality}, ppl=ppl, latent_dim=2, hidden=8)
    fitted = fit(program, Batch({"t": text}), epochs=2, progress=False)
    assert all(np.isfinite(w).all() for w in fitted.weights.values())
    logits = np.array([0.5, -0.3, 3.0, 0.1, 0.9])
    weights = {n: np.zeros_like(w) if ".decoder." in n else w for n, w in fitted.weights.items()}
    last = max(n for n in weights if ".decoder." in n and weights[n].shape == (5,) and n.endswith("bias"))
    weights[last] = logits.astype(np.float32)
    fitted = Fitted(fitted.program, weights)
    kept = np.array([0, 1, 3, 4])
    log_prob = np.full(5, 0.0)
    log_prob[kept] = special.log_softmax(logits[kept])
    np.testing.assert_allclose(scores(fitted, Batch({"t": text}))["t"][0], log_prob[text].sum(-1), rtol=1e-5)
    draws = generate(fitted, Batch({"t": text}).only(), 500)["t"]
    share = np.bincount(draws.ravel(), minlength=5) / draws.size
    assert share[2] == 0.0
    np.testing.assert_allclose(share[kept], np.exp(log_prob[kept]), atol=0.03)


def test_weights_of_modalities(ppl):
    plain = {"a": Modality((3,)), "b": Modality((3,), weight=2.0)}
    for weight, wanted in (({}, {"b": 2.0}), ({"a": 3.0, "b": 1.0}, {"a": 3.0})):
        program = models.mvae(plain, ppl=ppl, latent_dim=2, hidden=4, weight=weight)
        assert dict(program.objective.weights) == wanted
        assert program.rebuild(1).objective.weights == program.objective.weights


def test_bad_scoring(ppl):
    plain, make = {"a": Modality((3,))}, models.mvae
    with pytest.raises(ModalityError, match="Expected a likelihood among normal, laplace, .*; got 'cauchy'"):
        make(plain, ppl=ppl, likelihood={"a": "cauchy"})
    with pytest.raises(
        ModalityError, match=r"Expected likelihood= for modalities among \['a'\] or kinds among .*; got \['rna'\]"
    ):
        make(plain, ppl=ppl, likelihood={"rna": "poisson"})
    assert make(plain, ppl=ppl, scale=2.0).modalities["a"].scale == 2.0
    with pytest.raises(ModalityError, match="Expected a scale > 0, 'learned' or 'heteroscedastic'; got -1.0"):
        make(plain, ppl=ppl, scale={"a": -1.0})
    with pytest.raises(ModalityError, match="Expected a weight >= 0; got -2.0"):
        make(plain, ppl=ppl, weight={"a": -2.0})
    for name, wanted in {
        "poisson": "counts",
        "beta": r"values inside \(0, 1\)",
        "bernoulli": r"values in \[0, 1\]",
    }.items():
        program = make(plain, ppl=ppl, latent_dim=2, hidden=4, likelihood={"a": name})
        bad = Batch({"a": np.array([[0.5, 0.5, 0.5], [1.5, -0.1, 0.5]], "f")})
        rows = "0, 1" if name == "poisson" else "1"
        message = f"Modality 'a': expected {wanted}.* for likelihood '{name}'; got others where present, in rows {rows}"
        with pytest.raises(DataError, match=message):
            fit(program, bad, epochs=1, progress=False)
