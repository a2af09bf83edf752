"""Objectives of published systems, against their formulas written out with scipy on the same draws, on either host."""

from importlib import import_module

import numpy as np
import pytest
from scipy import special, stats
from scipy.linalg import block_diag

from mmppl import Batch
from mmppl._backend import get_backend
from mmppl.data import LinearGaussian
from mmppl.errors import ObjectiveError, OptionError
from mmppl.testing import driver
from mmppl.testing.replay import replay, replayed

NAMES, N = "abc", 5
TRUTH = LinearGaussian(1, {"a": 2, "b": 1, "c": 2}, seed=3, noise=0.7)
PRESENT = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1]], dtype=bool)
BATCH = Batch(
    {name: x.astype(np.float64) for name, x in TRUTH.sample(N, 4).values.items()},
    {name: PRESENT[:, i] for i, name in enumerate(NAMES)},
)
COUNT = PRESENT.sum(1)
X = {n: np.where(BATCH.present[n][:, None], BATCH[n], 0.0) for n in NAMES}
PULL = {"a": np.array([0.5, -0.2]), "b": np.array([0.9]), "c": np.array([-0.4, 0.3])}
SCALE = {"a": 0.6, "b": 0.9, "c": 0.5}
PRIVATE = {"a": 0.4, "b": -0.7, "c": 1.1}
LOC = {n: X[n] @ PULL[n] for n in NAMES}


@pytest.fixture
def noise(d, monkeypatch):
    replay(monkeypatch, get_backend(d.array(np.zeros(1))))


def program(d, kind):
    """One shared latent, for ``"plus"`` a private one of each modality too; the guide aggregates as ``kind`` says."""
    ppl, mm, normal = d.ppl, d.mm, d.dist.Normal

    def model(batch):
        with mm.plate(batch):
            z = ppl.sample("z", normal(d.array(np.zeros(1)), 1.0).to_event(1))
            for n in batch.modalities:
                mean = z * d.array(TRUTH.weight[n][:, 0]) + d.array(TRUTH.bias[n])
                if kind == "plus":
                    mean = mean + PRIVATE[n] * ppl.sample(f"{n}.w", normal(d.array(np.full(1, 0.2)), 0.8).to_event(1))
                mm.observe(n, normal(mean, TRUTH.noise[n]).to_event(1), batch)

    def guide(batch):
        xp = get_backend(batch["a"]).xp
        loc = {n: (batch[n] @ d.array(PULL[n]))[..., None] for n in batch.modalities}
        experts = {n: (m, SCALE[n] + 0.0 * m) for n, m in loc.items()}
        present, aggregate = dict(batch.present), getattr(mm, AGGREGATIONS[kind])
        several = sum(xp.astype(mask, loc["a"].dtype) for mask in present.values()) > 1.5
        if kind in ("GeometricMean", "mixture"):
            experts["prior"] = (0.0 * loc["a"], 1.0 + 0.0 * loc["a"])
            present["prior"] = several
        options = {"prior_expert": False} if kind == "Product" else {}
        with mm.plate(batch):
            ppl.sample("z", aggregate(experts, present, **options))
            if kind == "plus":
                for n, (m, scale) in experts.items():
                    # Where the modality is hidden this is the standard normal density: the auxiliary prior.
                    ppl.sample(f"{n}.w", mm.MixtureOfExperts({n: (2.0 * m, 0.5 * scale)}, {n: batch.present[n]}))

    return model, guide


AGGREGATIONS = {
    "Product": "Product",
    "GeometricMean": "GeometricMean",
    "mixture": "MixtureOfExperts",
    "plus": "MixtureOfExperts",
}


def log_lik(z, n, w=0.0):
    """Log p(x_n | z, w), 0 where absent, for z of shape (*, N)."""
    mean = z[..., None] * TRUTH.weight[n][:, 0] + TRUTH.bias[n] + PRIVATE[n] * np.asarray(w)[..., None]
    return PRESENT[:, NAMES.index(n)] * stats.norm.logpdf(X[n], mean, TRUTH.noise[n]).sum(-1)


def evidence(loc=0.0, scale=1.0, without=None, private=None):
    """Exact log evidence of each row with z ~ N(loc, scale^2) and, if any, normal private latents by (mean, scale)."""
    out, loc = np.zeros(N), loc + np.zeros(N)
    for row in range(N):
        has = [n for n in NAMES if BATCH.present[n][row] and n != without]
        if not has:
            continue
        weight = np.concatenate([TRUTH.weight[n][:, 0] for n in has])
        shift, spread = zip(*(private[n] if private else (0.0, 0.0) for n in has), strict=True)
        mean = [TRUTH.bias[n] + PRIVATE[n] * m for n, m in zip(has, shift, strict=True)]
        own = [
            TRUTH.noise[n] ** 2 * np.eye(len(TRUTH.bias[n])) + (PRIVATE[n] * s) ** 2
            for n, s in zip(has, spread, strict=True)
        ]
        marginal = stats.multivariate_normal(
            np.concatenate(mean) + weight * loc[row], scale**2 * np.outer(weight, weight) + block_diag(*own)
        )
        out[row] = marginal.logpdf(np.concatenate([X[n][row] for n in has]))
    return out


def product(subset, power=1.0, prior=0.0):
    """Location and scale of the product of the experts in subsets (N, 3) to a power, times the prior to another."""
    precision = power * sum(subset[:, i] / SCALE[n] ** 2 for i, n in enumerate(NAMES)) + prior
    pull = power * sum(subset[:, i] * LOC[n] / SCALE[n] ** 2 for i, n in enumerate(NAMES))
    return pull / precision, precision**-0.5


def draws(particles, terms):
    """The noise that the objectives are given."""
    return replayed("normal", (particles, terms, N))


def jmvae(particles, alpha, beta=1.0):
    loc, scale = product(PRESENT)
    z = loc + scale * draws(particles, 1)[:, 0]
    log_q = stats.norm.logpdf(z, loc, scale)
    bound = sum(log_lik(z, n) for n in NAMES) - beta * (log_q - stats.norm.logpdf(z))
    for i, n in enumerate(NAMES):
        bound -= beta * alpha * PRESENT[:, i] * (log_q - stats.norm.logpdf(z, LOC[n], SCALE[n]))
    return bound.mean(0).sum()


def mvtcae(particles, alpha, beta=1.0):
    loc, scale = product(PRESENT)
    z = loc + scale * draws(particles, 1)[:, 0]
    log_q = stats.norm.logpdf(z, loc, scale)
    bound = (COUNT - alpha) / COUNT * sum(log_lik(z, n) for n in NAMES)
    bound -= beta * (1 - alpha) * (log_q - stats.norm.logpdf(z))
    for i, n in enumerate(NAMES):
        bound -= beta * alpha / COUNT * PRESENT[:, i] * (log_q - stats.norm.logpdf(z, LOC[n], SCALE[n]))
    return (special.logsumexp(bound, axis=0) - np.log(particles)).sum()


def mmjsd(particles, dynamic, beta=1.0):
    """Every distribution in turn, the prior last: reconstructions, and the divergence from the dynamic prior."""
    noise, share = draws(particles, 4), 1.0 / (COUNT + 1)
    q = [(LOC[n], SCALE[n]) for n in NAMES] + [(0.0, 1.0)]
    speaks = np.concatenate([PRESENT.T, np.ones((1, N), bool)])

    def log_dynamic(z):
        if dynamic == "geometric":
            return stats.norm.logpdf(z, *product(PRESENT, share, share))
        parts = np.stack([stats.norm.logpdf(z, *pair) for pair in q])
        return special.logsumexp(parts, axis=0, b=(speaks * share)[:, None])

    total, elbo = np.zeros(N), np.zeros(N)
    for i, (loc, scale) in enumerate(q):
        z = loc + scale * noise[:, i]
        log_q = stats.norm.logpdf(z, loc, scale)
        rec = sum(log_lik(z, n) for n in NAMES) / COUNT if i < 3 else 0.0
        total += speaks[i] * (rec - beta * share * (log_q - log_dynamic(z))).mean(0)
        if i < 3:
            elbo += speaks[i] * (rec - beta * (log_q - stats.norm.logpdf(z))).mean(0)
    return np.where(COUNT > 1, total, elbo).sum()


def mmvae_plus(particles, beta=1.0):
    noise, total = draws(particles, 3), 0.0
    for i, m in enumerate(NAMES):
        z = LOC[m] + SCALE[m] * noise[:, i]
        parts = np.stack([stats.norm.logpdf(z, LOC[n], SCALE[n]) for n in NAMES])
        log_mix = special.logsumexp(parts, axis=0, b=(PRESENT / COUNT[:, None]).T[:, None])
        own = 2.0 * LOC[m], 0.5 * SCALE[m]
        w = {n: noise[:, i] if n != m else own[0] + own[1] * noise[:, i] for n in NAMES}
        log_w = sum(log_lik(z, n, w[n]) for n in NAMES)
        log_w = log_w + beta * (stats.norm.logpdf(z) - log_mix)
        log_w = log_w + beta * (stats.norm.logpdf(w[m], 0.2, 0.8) - stats.norm.logpdf(w[m], *own))
        total += PRESENT[:, i] / COUNT * (special.logsumexp(log_w, axis=0) - np.log(particles))
    return total.sum()


CASES = {
    "JMVAE": ("JMVAE", 1, {"alpha": 0.3, "beta": 0.6}, "Product", lambda: jmvae(1, 0.3, 0.6)),
    "MVTCAE": ("MVTCAE", 1, {"beta": 2.5}, "Product", lambda: mvtcae(1, 5 / 6, 2.5)),
    "MVTCAE, 3": ("MVTCAE", 3, {"alpha": 0.4}, "Product", lambda: mvtcae(3, 0.4)),
    "mmJSD, geometric, 3": ("MMJSD", 3, {"beta": 0.4}, "GeometricMean", lambda: mmjsd(3, "geometric", 0.4)),
    "mmJSD, arithmetic": ("MMJSD", 1, {}, "mixture", lambda: mmjsd(1, "arithmetic")),
    "MMVAE+, 3": ("MMVAEPlus", 3, {"gradient": "dreg", "beta": 2.5}, "plus", lambda: mmvae_plus(3, 2.5)),
}


@pytest.mark.parametrize("case", CASES)
def test_each_objective_is_its_published_formula(d, noise, case):
    row, particles, options, kind, formula = CASES[case]
    out = d.stepper(getattr(d.mm, row)(particles, **options), *program(d, kind))(BATCH, 0)
    np.testing.assert_allclose(-out.loss, formula(), rtol=1e-7)
    assert np.isfinite(list(out.record.values())).all()


def test_bounds_are_below_what_theory_says(monkeypatch):
    """Of the formulas above, with fresh noise."""
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(evidence(), TRUTH.evidence(BATCH), rtol=1e-6)
    monkeypatch.setitem(globals(), "draws", lambda particles, terms: rng.standard_normal((particles, terms, N)))

    def mean(formula):
        values = np.array([formula() for _ in range(300)])
        return values.mean() + 4.0 * values.std() / np.sqrt(300)

    own, auxiliary = (0.2, 0.8), (0.0, 1.0)
    plus = [evidence(private={n: own if n == m else auxiliary for n in NAMES}) for m in NAMES]
    plus = (PRESENT.T / COUNT * np.stack(plus)).sum()
    conditional = [evidence(LOC[m], SCALE[m], without=m) for m in NAMES]
    conditional = (PRESENT.T / COUNT * np.stack(conditional)).sum()
    for particles in (1, 5):
        assert mean(lambda k=particles: jmvae(k, 0.3)) < evidence().sum()
        assert mean(lambda k=particles: mvtcae(k, 0.4)) < 0.6 * evidence().sum() + 0.4 * conditional
        assert mean(lambda k=particles: mmvae_plus(k)) < plus
    # mmJSD is no bound of the evidence: where data are far from the prior, its dynamic prior goes with them.
    far = {n: X[n] * 0.0 + TRUTH.weight[n][:, 0] * 10.0 + TRUTH.bias[n] for n in NAMES}
    monkeypatch.setitem(globals(), "X", far)
    monkeypatch.setitem(globals(), "LOC", dict.fromkeys(NAMES, np.full(N, 10.0)))
    monkeypatch.setitem(globals(), "SCALE", dict.fromkeys(NAMES, 1.0))
    values = np.array([mmjsd(5, "geometric") for _ in range(100)])
    assert values.mean() > evidence().sum() + 0.4 * values.std()


@pytest.mark.pyro
def test_without_private_latents_mmvae_plus_is_mmvae():
    d = driver("pyro")
    with d.double():
        model, guide = program(d, "mixture")
        first, second = (d.stepper(row(2), model, guide)(BATCH, 0) for row in (d.mm.MMVAE, d.mm.MMVAEPlus))
    assert first.loss == second.loss


@pytest.mark.parametrize(
    ("host", "row", "private"),
    [("pyro", "MMVAE", False), ("pyro", "MMVAEPlus", True), ("numpyro", "MMVAEPlus", True)],
)
def test_an_energy_of_zero_changes_no_bit(host, row, private):
    """``ebm`` is then mmvae, and ``ebm_plus`` mmvae_plus: losses and gradients."""
    d = driver(host)
    mm, ppl, dist = d.mm, d.ppl, d.dist

    def declare(tilted):
        def model(batch):
            prior = dist.Laplace(d.array(np.zeros(2)), 1.0).to_event(1)
            with mm.plate(batch):
                z = ppl.sample("z", mm.EnergyTilted(prior, lambda z: 0.0 * z[..., 0]) if tilted else prior)
                for n in batch.modalities:
                    w = ppl.sample(f"{n}.w", dist.Laplace(d.array(np.zeros(1)), 1.0).to_event(1)) if private else 0.0
                    mm.observe(n, dist.Normal(z[..., :1] + w + 0.0 * batch[n], 1.0).to_event(1), batch)

        def guide(batch):
            shift, scale = (ppl.param(name, d.array(np.array([x]))) for name, x in (("shift", 0.3), ("scale", 0.8)))
            with mm.plate(batch):
                experts = {n: (batch[n][..., :1] * scale + d.array(np.zeros(2)), scale) for n in batch.modalities}
                ppl.sample("z", mm.MixtureOfExperts(experts, batch.present, family="laplace"))
                for n in batch.modalities if private else ():
                    w = {n: (batch[n][..., :1] + shift, scale)}
                    ppl.sample(f"{n}.w", mm.MixtureOfExperts(w, {n: batch.present[n]}, family="laplace"))

        return d.stepper(getattr(mm, row)(2), model, guide)(BATCH, 0)

    with d.double():
        plain, tilted = declare(False), declare(True)
    assert plain.loss == tilted.loss
    assert plain.record == tilted.record
    assert plain.grads.keys() == tilted.grads.keys()
    for name, grad in plain.grads.items():
        assert np.abs(grad).max() > 0 or not private, name
        assert grad.tobytes() == tilted.grads[name].tobytes(), name


def test_free_bits_are_of_each_datum(d, noise):
    out = d.stepper(d.mm.ELBO(3, average=True, free_bits=0.9, beta=0.5), *program(d, "Product"))(BATCH, 0)
    loc, scale = product(PRESENT)
    z = loc + scale * draws(3, 1)[:, 0]
    divergence = (stats.norm.logpdf(z, loc, scale) - stats.norm.logpdf(z)).mean(0)
    assert (divergence < 0.9).any()
    assert (divergence > 0.9).any()
    bound = sum(log_lik(z, n) for n in NAMES).mean(0) - 0.5 * np.maximum(divergence, 0.9)
    np.testing.assert_allclose(-out.loss, bound.sum(), rtol=1e-7)
    np.testing.assert_allclose(out.record["kl"], divergence.mean(), rtol=1e-7)


def test_what_an_objective_cannot_use_is_told(d):
    mm = d.mm
    for row in ("JMVAE", "MVTCAE", "MMJSD"):
        with pytest.raises(ObjectiveError, match=rf"{row} needs at least 2 modalities; got \['a'\]. Use ELBO"):
            d.stepper(getattr(mm, row)(), *program(d, "Product"))(BATCH.select("a"), 0)
        with pytest.raises(ObjectiveError, match=rf"{row} cannot use the private latents \['a.w', 'b.w', 'c.w'\]"):
            d.stepper(getattr(mm, row)(), *program(d, "plus"))(BATCH, 0)
    model, _ = program(d, "Product")
    with pytest.raises(ObjectiveError, match=r"The guide draws \['a.w', 'b.w', 'c.w'\], which are no latents of the"):
        d.stepper(mm.ELBO(), model, program(d, "plus")[1])(BATCH, 0)


def test_wrong_options_are_refused(d):
    mm = d.mm
    for make, message in {
        lambda: mm.JMVAE(0): "Expected particles >= 1; got 0",
        lambda: mm.MMVAEPlus(0): "Expected particles >= 1; got 0",
        lambda: mm.ELBO(beta=-0.5): r"Expected beta >= 0; got -0\.5",
        lambda: mm.ELBO(beta=float("nan")): "Expected beta to be a finite number or a function >= 0; got nan",
        lambda: mm.MoPoE(weights={"a": -1.0}): r"Expected weights >= 0; got \{'a': -1\.0\}",
        lambda: mm.JMVAE(alpha=-1.0): r"Expected alpha >= 0; got -1\.0",
        lambda: mm.MVTCAE(alpha=1.5): r"Expected alpha in \[0, 1\]; got 1\.5",
        lambda: mm.ELBO(free_bits=-1.0): "Expected free_bits >= 0; got -1",
        lambda: mm.WarmUp(0): "Expected steps >= 1; got 0",
        lambda: mm.WarmUp(5, end=-1.0): "Expected end >= 0; got -1.0",
    }.items():
        with pytest.raises(OptionError, match=message):
            make()
    with pytest.raises(ObjectiveError, match="Free bits are of a divergence.*pass average=True"):
        mm.ELBO(3, free_bits=0.5)


def test_a_schedule_of_the_hosts_svi(d, noise):
    """Beta at the step that is given; without one the objective says so."""
    objective = d.mm.ELBO(beta=d.mm.WarmUp(4))
    model, guide = program(d, "Product")
    with pytest.raises(ObjectiveError, match=r"beta is a function of the step.*svi\.update\(state, batch, step=i\)"):
        d.stepper(objective, model, guide)(BATCH, 0)
    loc, scale = product(PRESENT)
    z = loc + scale * draws(1, 1)[0, 0]
    rec = sum(log_lik(z, n) for n in NAMES)
    pull = stats.norm.logpdf(z) - stats.norm.logpdf(z, loc, scale)
    traced = []

    def counted(batch):
        traced.append(1)
        return guide(batch)

    loss_at = first_losses(d, objective, model, counted)
    counts = []
    for step, beta in ((0, 0.0), (1, 0.25), (9, 1.0)):
        np.testing.assert_allclose(loss_at(step), -(rec + beta * pull).sum(), rtol=1e-6)
        counts.append(len(traced))
    if d.name == "numpyro":
        assert counts[0] == counts[2]  # compiled once for every step


def first_losses(d, objective, model, guide):
    """The first loss of the host's own SVI, as a function of the step that it is told."""
    batch = d.mm.as_batch(BATCH)
    if d.name == "pyro":
        svi = import_module("pyro.infer").SVI(model, guide, d.ppl.optim.Adam({"lr": 0.1}), objective)
        return lambda step: svi.step(batch, step=step)
    jax = import_module("jax")
    svi = import_module("numpyro.infer").SVI(model, guide, d.ppl.optim.Adam(0.1), objective)
    start, update = jax.jit(svi.init)(jax.random.key(0), batch), jax.jit(svi.update)
    return lambda step: float(update(start, batch, step=step)[1])
