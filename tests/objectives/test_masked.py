"""The masked objective, against formulas written out here, exact posteriors and the statements of its theory."""

import numpy as np
import pytest
from scipy import special, stats

from mmppl import Batch
from mmppl._backend import get_backend
from mmppl.aggregation import Experts, Product
from mmppl.data import LinearGaussian
from mmppl.errors import ModalityError, ObjectiveError, OptionError
from mmppl.nets import MLP, LocScale
from mmppl.testing import driver
from mmppl.testing.contract import close, within_error
from mmppl.testing.objective import SPOILT, LinearProgram

TRUTH = LinearGaussian(1, {"a": 2, "b": 1, "c": 2}, seed=3, noise=0.7)
PRESENT = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1]], dtype=bool)
BATCH = Batch(TRUTH.sample(5, 4).values, {name: PRESENT[:, i] for i, name in enumerate("abc")})
TABLES = [(), ("a",), ("b", "c"), ("a", "b", "c")]


def replayed(kind, shape):
    """Noise that depends on its kind and size alone."""
    size = int(np.prod(shape))
    rng = np.random.default_rng([size, kind == "normal"])
    return (rng.standard_normal(size) if kind == "normal" else rng.random(size)).reshape(shape)


@pytest.fixture
def replay(d, monkeypatch):
    backend = get_backend(d.array(np.zeros(1)))
    for kind in ("normal", "uniform"):
        draw = lambda rng, shape, like, kind=kind: backend.asarray(replayed(kind, shape), like=like)  # noqa: E731
        monkeypatch.setattr(backend, kind, draw)


def encoded(subset, spoil=0.3, widen=0.4):
    """Mean and scale of q_S of the spoilt guide, ``(N,)``, for subsets ``(N, 3)``."""
    precision, pull = np.ones(5), np.zeros(5)
    for i, name in enumerate("abc"):
        weight = TRUTH.weight[name][:, 0] / TRUTH.noise[name]
        own = weight @ weight
        residual = np.where(BATCH.present[name][:, None], BATCH[name], 0.0) - TRUTH.bias[name]
        loc = residual @ (weight / TRUTH.noise[name]) / own + spoil
        own = own * np.exp(-2 * widen)
        precision, pull = precision + subset[:, i] * own, pull + subset[:, i] * own * loc
    return pull / precision, precision**-0.5


def log_lik(z):
    """Log p(x_m | z) of each modality, ``(*, N, 3)``."""
    out = []
    for name in "abc":
        x = np.where(BATCH.present[name][:, None], BATCH[name], 0.0)
        mean = z[..., None] * TRUTH.weight[name][:, 0] + TRUTH.bias[name]
        out.append(stats.norm.logpdf(x, mean, TRUTH.noise[name]).sum(-1))
    return np.stack(out, -1)


def drawn_subsets(law):
    """The subsets that the replayed noise draws."""
    if law == "uniform":
        return (replayed("uniform", (5, 3)) < replayed("uniform", (5, 1))) & PRESENT
    if law == "bernoulli":
        return (replayed("uniform", (5, 3)) < 0.5) & PRESENT
    rows = np.array([[n in subset for n in "abc"] for subset in TABLES])
    return rows[np.searchsorted(np.array([0.1, 0.5, 0.8, 1.0]), replayed("uniform", (5,)), side="right")] & PRESENT


LAW_TABLE = dict(zip(TABLES, [0.1, 0.4, 0.3, 0.2], strict=True))
CASES = {
    "masked": (1, "uniform", "masked", 1.0),
    "masked, bernoulli, beta": (1, "bernoulli", "masked", 0.4),
    "masked, table": (1, "table", "masked", 1.0),
    "masked, 3": (3, "uniform", "masked", 1.0),
    "masked, 3, beta": (3, "table", "masked", 2.0),
    "mixture": (1, "uniform", "mixture", 1.0),
    "mixture, 3": (3, "bernoulli", "mixture", 0.7),
    "tc": (1, "uniform", "tc", 0.5),
}


# NumPyro compiles each case, so it gets one of each bound; the hosts agree (tests/parity).
HOSTED = [("pyro", case) for case in CASES] + [("numpyro", case) for case in ("masked, 3, beta", "mixture, 3", "tc")]


@pytest.mark.parametrize(("d", "case"), HOSTED, indirect=["d"])
def test_every_bound_is_its_formula(d, replay, case):
    particles, law, bound, beta = CASES[case]
    program = LinearProgram(d, TRUTH)
    subsets = LAW_TABLE if law == "table" else law
    objective = d.mm.Masked(particles, subsets=subsets, bound=bound, beta=beta, weights={"a": 2.0})
    out = d.stepper(objective, program.model, program.guide)(BATCH, 0, SPOILT)
    subset = drawn_subsets(law)
    q_s, q_all = stats.norm(*encoded(subset)), stats.norm(*encoded(PRESENT))
    noise = replayed("normal", (particles, 2 if bound == "masked" else 1, 5))
    weight = np.array([2.0, 1.0, 1.0])

    def scored(z, who):
        return (weight * who * log_lik(z)).sum(-1)

    if bound == "masked":
        z_s, z_all = q_s.mean() + q_s.std() * noise[:, 0], q_all.mean() + q_all.std() * noise[:, 1]
        first = scored(z_s, subset) + beta * (stats.norm.logpdf(z_s) - q_s.logpdf(z_s))
        rest = PRESENT & ~subset
        second = scored(z_all, rest) + beta * (q_s.logpdf(z_all) - q_all.logpdf(z_all)) * rest.any(1)
        log_w = first + second
    elif bound == "mixture":
        z = q_s.mean() + q_s.std() * noise[:, 0]
        log_w = scored(z, PRESENT) + beta * (stats.norm.logpdf(z) - q_s.logpdf(z))
    else:
        z = q_all.mean() + q_all.std() * noise[:, 0]
        log_w = scored(z, PRESENT) + beta * (q_s.logpdf(z) - q_all.logpdf(z))
    close(out.loss, -(special.logsumexp(log_w, axis=0) - np.log(particles)).sum())


def exact_moments(d, monkeypatch):
    """Has two particles draw +1 and -1: the exact mean of whatever is quadratic in one dimension."""
    backend = get_backend(d.array(np.zeros(1)))

    def normal(rng, shape, like):
        sign = np.ones(shape)
        if 2 in shape:
            sign[(slice(None),) * shape.index(2) + (1,)] = -1.0
        return backend.asarray(sign, like=like)

    monkeypatch.setattr(backend, "normal", normal)
    return backend


@pytest.mark.parametrize("subset", TABLES, ids=map("".join, TABLES))
def test_the_gap_is_what_the_theory_says(subset, monkeypatch):
    """L - log p(x) = -KL(q_S|p_S) - KL(q|p) + E_q log(q_S / p_S), datum by datum; draws of exact moments."""
    d = driver("pyro")
    with d.double():
        exact_moments(d, monkeypatch)
        program = LinearProgram(d, TRUTH)
        step = d.stepper(d.mm.Masked(2, subsets={subset: 1.0}, average=True), program.model, program.guide)
        given = PRESENT & [name in subset for name in "abc"]
        seen = BATCH.with_present({name: given[:, i] for i, name in enumerate("abc")})
        (m_s, s_s), (m_q, s_q) = encoded(given), encoded(PRESENT)
        (mean_s, cov_s), (mean, cov) = TRUTH.posterior(seen), TRUTH.posterior(BATCH)
        mean_s, sd_s, mean, sd = mean_s[:, 0], cov_s[:, 0, 0] ** 0.5, mean[:, 0], cov[:, 0, 0] ** 0.5

        def kl(m, s, n, t):
            return np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5

        wanted = (
            -kl(m_s, s_s, mean_s, sd_s) - kl(m_q, s_q, mean, sd) + kl(m_q, s_q, mean_s, sd_s) - kl(m_q, s_q, m_s, s_s)
        )
        # A datum of which S leaves nothing has no second term, and its first is the plain bound.
        wanted = np.where((PRESENT & ~given).any(1), wanted, -kl(m_s, s_s, mean_s, sd_s))
        got = np.array([-step(BATCH[row : row + 1], 0, SPOILT).loss for row in range(5)]) - TRUTH.evidence(BATCH)
        np.testing.assert_allclose(got, wanted, atol=1e-10)


def test_the_bound_may_exceed_the_models_log_likelihood(monkeypatch):
    """By m^2 / 4 in the smallest example: x_S says nothing, q_S = N(m/2, 1), and q is exact with mean m."""
    d, m, slope = driver("pyro"), 1.6, 0.8
    with d.double():
        backend = exact_moments(d, monkeypatch)

        def model(batch):
            with d.mm.plate(batch):
                z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))
                d.mm.observe("a", d.dist.Normal(0.0 * z, 1.0).to_event(1), batch)
                d.mm.observe("b", d.dist.Normal(slope * z, 1.0).to_event(1), batch)

        def guide(batch):
            seen = batch.present["b"][..., None]
            loc = backend.xp.where(seen, batch["b"] * slope / (1 + slope**2), 0.5 * m + 0.0 * batch["b"])
            spread = backend.xp.where(seen, (1 + slope**2) ** -0.5 + 0.0 * loc, 1.0 + 0.0 * loc)
            everyone = {"one": backend.xp.ones(loc.shape[:-1], dtype=backend.xp.bool)}
            with d.mm.plate(batch):
                d.ppl.sample("z", d.mm.Product({"one": (loc, spread)}, everyone, prior_expert=False))

        x = m * (1 + slope**2) / slope
        batch = Batch({"a": np.zeros((1, 1)), "b": np.full((1, 1), x)})
        step = d.stepper(d.mm.Masked(2, subsets={("a",): 1.0}, average=True), model, guide)
        log_p = stats.norm.logpdf(0.0) + stats.norm.logpdf(x, 0.0, np.sqrt(1 + slope**2))
        close(-step(batch, 0).loss - log_p, m**2 / 4)


def subsets_of(d, objective, batch, num=20_000):
    like = d.array(np.zeros(()))
    backend = get_backend(like)
    rows = np.zeros(num, int)
    terms = objective.terms(backend, d.mm.as_batch(batch[rows]), backend.rng(0), like)
    return d.numpy(terms.encode)[0]


def test_the_size_of_the_subset_follows_its_law(d):
    """Uniform with a shared bias, binomial with probability 1/2, and inside what is there."""
    five = Batch({n: np.zeros((1, 1)) for n in "abcde"})
    for batch, seen in ((five, 5), (five.without("b", "d"), 3)):
        for law, wanted in (
            ("uniform", np.full(seen + 1, 1 / (seen + 1))),
            ("bernoulli", stats.binom.pmf(range(seen + 1), seen, 0.5)),
        ):
            subset = subsets_of(d, d.mm.Masked(subsets=law), batch)
            assert stats.chisquare(np.bincount(subset.sum(1), minlength=seen + 1), wanted * len(subset)).pvalue > 1e-3
            assert not subset[:, [not batch.present[n][0] for n in "abcde"]].any()
    table = {("a", "c"): 0.3, (): 0.2, tuple("abcde"): 0.5}
    subset = subsets_of(d, d.mm.Masked(subsets=table), five)
    counts = [(subset == [n in names for n in "abcde"]).all(1).sum() for names in table]
    assert stats.chisquare(counts, np.array(list(table.values())) * len(subset)).pvalue > 1e-3
    narrow = subsets_of(d, d.mm.Masked(subsets=table), five.without("c"))
    assert set(map(tuple, narrow[narrow.any(1)].astype(int))) == {(1, 0, 0, 0, 0), (1, 1, 0, 1, 1)}


def test_sticking_the_landing_leaves_the_score_of_the_conditional_prior(d):
    """At exact posteriors a draw's gradient is that of log q_S(z_P): zero for the full subset, else on average."""
    program = LinearProgram(d, TRUTH)
    model, guide = program.model, program.encoders()
    whole, part = (
        d.stepper(d.mm.Masked(subsets={subset: 1.0}, gradient="stl"), model, guide) for subset in (tuple("abc"), ("a",))
    )
    assert max(np.abs(grad).max() for grad in whole(TRUTH.sample(5, 0), 0).grads.values()) < 1e-9
    runs = [part(TRUTH.sample(5, seed), seed).grads for seed in range(200)]
    for name in runs[0]:
        draws = np.stack([run[name] for run in runs])
        if not name.startswith("a."):
            assert np.abs(draws).max() < 1e-9  # q_S does not know them, and the pathwise gradient is zero
            continue
        assert np.abs(draws[0]).max() > 1e-3
        within_error(draws)


@pytest.mark.parametrize(("particles", "estimator"), [(1, "stl"), (3, "dreg")])
def test_other_gradients_have_the_mean_of_the_standard_one(particles, estimator):
    d, means, errors = driver("pyro"), [], []
    with d.double():
        program = LinearProgram(d, TRUTH)
        model, guide = program.model, program.encoders(spoil=0.3)
        for gradient in ("standard", estimator):
            step = d.stepper(d.mm.Masked(particles, gradient=gradient, subsets={("a",): 1.0}), model, guide)
            runs = [step(BATCH, seed).grads for seed in range(80)]
            draws = np.stack([np.concatenate([run[name].ravel() for name in sorted(run)]) for run in runs])
            means.append(draws.mean(0))
            errors.append(draws.std(0, ddof=1) / np.sqrt(len(runs)))
    assert (np.abs(means[0] - means[1]) < 4.5 * np.hypot(*errors) + 1e-9).all()
    assert (np.abs(means[0]) > 6 * errors[0]).any()


def test_a_product_with_orthogonal_weights_is_the_exact_posterior():
    rng, size = np.random.default_rng(0), 1.7
    truth = LinearGaussian(3, {"a": 5, "b": 4}, seed=1, noise=0.6)
    truth.weight = {n: np.sqrt(size) * np.linalg.qr(rng.normal(size=(k, 3)))[0] for n, k in truth.dims.items()}
    batch = truth.sample(4, 0)
    loc = np.stack([(batch[n] - truth.bias[n]) @ truth.weight[n] / size for n in "ab"], 1)
    for mask in ([True, True], [True, False], [False, True], [False, False]):
        q = Product(Experts(loc, np.full_like(loc, 0.6 / np.sqrt(size)), np.tile(mask, (4, 1)))).component
        mean, cov = truth.posterior(batch.with_present({n: np.full(4, m) for n, m in zip("ab", mask, strict=True)}))
        np.testing.assert_allclose(q.loc, mean, atol=1e-12)
        np.testing.assert_allclose(q.scale**2, np.einsum("nii->ni", cov), rtol=1e-12)
        np.testing.assert_allclose(cov - np.einsum("nii->ni", cov)[:, :, None] * np.eye(3), 0.0, atol=1e-12)


SHARED, OWN, NOISE = {"a": 0.9, "b": -1.3, "c": 0.5}, {"a": 0.7, "b": 0.4, "c": 1.1}, 0.6


def private_model(d):
    def model(batch):
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))
            for n in batch.modalities:
                own = d.ppl.sample(f"{n}.private", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))
                d.mm.observe(n, d.dist.Normal(SHARED[n] * z + OWN[n] * own, NOISE).to_event(1), batch)

    return model


def test_private_latents_of_what_is_missing_follow_the_prior(d):
    """With exact posteriors, shared and private, every draw of the objective is the evidence."""

    def guide(batch):
        xp = get_backend(batch["a"]).xp
        experts = {}
        for n in batch.modalities:
            spread = np.sqrt(OWN[n] ** 2 + NOISE**2) / abs(SHARED[n])
            experts[n] = (batch[n] / SHARED[n], spread + 0.0 * batch[n])
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.mm.Product(experts, batch.present))
            for n in batch.modalities:
                precision = 1.0 + (OWN[n] / NOISE) ** 2
                loc = (batch[n] - SHARED[n] * z) * (OWN[n] / NOISE**2 / precision)
                there = batch.present[n][..., None]
                loc = xp.where(there, loc, 0.0 * loc)
                scale = xp.where(there, precision**-0.5 + 0.0 * loc, 1.0 + 0.0 * loc)
                d.ppl.sample(f"{n}.private", d.dist.Normal(loc, scale).to_event(1))

    batch = Batch({n: x[:, :1] for n, x in BATCH.values.items()}, BATCH.present)
    wanted = 0.0
    for row in range(5):
        names = [n for i, n in enumerate("abc") if PRESENT[row, i]]
        slope = np.array([SHARED[n] for n in names])
        cov = np.outer(slope, slope) + np.diag([OWN[n] ** 2 + NOISE**2 for n in names])
        wanted += stats.multivariate_normal(cov=cov).logpdf([batch[n][row, 0] for n in names])
    for particles in (1, 3):
        step = d.stepper(d.mm.Masked(particles), private_model(d), guide)
        close([step(batch, seed).loss for seed in range(4)], -wanted)


def test_reconstructing_the_rest_does_not_push_private_encoders_of_the_given():
    """The gradient of log p(x_rest | z', private) in the private head of what is given is zero, to the last bit."""
    from mmppl.nets import DeepSets, torch

    d = driver("pyro")
    with d.double():
        heads = {n: torch.build(LocScale(MLP((1,), (2,), hidden=(4,))), i, "float64") for i, n in enumerate("abc")}
        shared = {n: torch.build(LocScale(MLP((1,), (2,), hidden=(4,))), 5 + i, "float64") for i, n in enumerate("abc")}
        everything = torch.build(DeepSets(2, 4, width=8), 9, "float64")

        def separate(batch):
            with d.mm.plate(batch):
                d.ppl.sample(
                    "z", d.mm.Product({n: d.mm.net(f"{n}.shared", shared[n])(batch[n]) for n in "abc"}, batch.present)
                )
                for n in "abc":
                    own = {n: d.mm.net(f"{n}.head", heads[n])(batch[n])}
                    d.ppl.sample(f"{n}.private", d.mm.Product(own, batch.present, prior_expert=False))

        def together(batch):
            features = {
                n: get_backend(x).xp.concat(d.mm.net(f"{n}.head", heads[n])(x), axis=-1)
                for n, x in batch.values.items()
            }
            q = d.mm.Pooled(features, batch.present, d.mm.net("pool", everything))
            with d.mm.plate(batch):
                for i, site in enumerate(("z", "a.private", "b.private", "c.private")):
                    d.ppl.sample(site, d.dist.Normal(q.loc[..., i : i + 1], q.scale[..., i : i + 1]).to_event(1))

        batch = Batch({n: x[:, :1] for n, x in BATCH.values.items()})
        # With beta = 0 only the likelihoods are left, and without weight on a only that of the rest.
        objective = d.mm.Masked(subsets={("a",): 1.0}, beta=0.0, weights={"a": 0.0})
        grads = d.stepper(objective, private_model(d), separate)(batch, 0).grads
        assert all((grad == 0).all() for name, grad in grads.items() if name.startswith("a.head"))
        assert any(np.abs(grad).max() > 1e-3 for name, grad in grads.items() if name.startswith("a.shared"))
        assert any(np.abs(grad).max() > 1e-3 for name, grad in grads.items() if name.startswith("b.head"))
        grads = d.stepper(objective, private_model(d), together)(batch, 0).grads
        assert any(np.abs(grad).max() > 1e-3 for name, grad in grads.items() if name.startswith("a.head"))


def test_wrong_options_are_refused(d):
    with pytest.raises(OptionError, match="Expected bound among .*; got 'elbo'"):
        d.mm.Masked(bound="elbo")
    with pytest.raises(OptionError, match="Expected subsets among .*, or probabilities by tuples of names; got 'all'"):
        d.mm.Masked(subsets="all")
    with pytest.raises(ObjectiveError, match="Masked is made of the guide's own densities"):
        d.mm.Masked(density="mixture")
    with pytest.raises(OptionError, match="Expected probabilities of subsets that sum to 1; got"):
        d.mm.Masked(subsets={("a",): 0.5})
    program = LinearProgram(d, TRUTH)
    with pytest.raises(ModalityError, match=r"subsets name \['q'\], but the batch has \['a', 'b', 'c'\]"):
        d.stepper(d.mm.Masked(subsets={("q",): 1.0}), program.model, program.guide)(BATCH, 0)
