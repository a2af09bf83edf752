"""Posteriors over sets of features: invariance, absence, mixtures and their implicit gradients."""

from functools import cache, partial

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from mmppl._backend import get_backend
from mmppl.aggregation import Pooled, pool
from mmppl.aggregation.implicit import implicit
from mmppl.errors import DataError, ModalityError, OptionError
from mmppl.nets import DeepSets, EquivariantDeepSets, EquivariantTransformer, SetTransformer

RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c", "d")
FEATURES = {name: RNG.normal(size=(6, 5)) for name in NAMES}
PRESENT = dict(zip(NAMES, RNG.random((4, 6)) < 0.6, strict=True))
PRESENT = {name: mask & (np.arange(6) < 5) for name, mask in PRESENT.items()}
INVARIANT = {
    "deep sets": DeepSets(5, 2, width=8),
    "deep sets, mixture": DeepSets(5, 2, width=8, components=3),
    "set transformer": SetTransformer(5, 2, width=8, blocks=2, heads=2),
}
EQUIVARIANT = {
    "deep sets": EquivariantDeepSets(5, 2, 3, width=8),
    "set transformer": EquivariantTransformer(5, 2, 3, width=8, heads=2),
}
SETS = {f"invariant {k}": v for k, v in INVARIANT.items()} | {f"equivariant {k}": v for k, v in EQUIVARIANT.items()}


# The nets of both hosts agree (tests/parity), so the compiled one is asked about one of them only.
CASES = [("pyro", spec) for spec in SETS] + [("numpyro", "invariant set transformer")]
every = pytest.mark.parametrize(
    ("d", "spec"), [(d, SETS[s]) for d, s in CASES], ids=map(", ".join, CASES), indirect=["d"]
)


@cache
def built(host, spec):
    if host == "numpyro":
        import equinox as eqx

        from mmppl.nets.equinox import build

        return eqx.filter_jit(build(spec, 1, "float64"))
    from mmppl.nets.torch import build

    return build(spec, 1, "float64")


def answers(d, spec, features, present, z=None):
    """The numbers behind the posterior of each row; for equivariant nets by modality."""
    features, present = ({k: d.array(v) for k, v in x.items()} for x in (features, present))
    net = built(d.name, spec)
    if "shared_dim" not in vars(spec):
        q = d.mm.Pooled(features, present, net)
        parts = (q.loc, q.scale) if q.logits is None else (q.loc, q.scale, q.logits)
        return [d.numpy(x) for x in parts]
    out = d.mm.private_posteriors(features, present, net, d.array(SHARED if z is None else z))
    return {name: [d.numpy(fn.base_dist.loc), d.numpy(fn.base_dist.scale)] for name, fn in out.items()}


SHARED = RNG.normal(size=(6, 3))


def same(a, b, exactly=False):
    if isinstance(a, dict):
        for name in a.keys() & b.keys():
            same(a[name], b[name], exactly)
        return
    for x, y in zip(a, b, strict=True):
        assert np.isfinite(x).all()
        np.testing.assert_allclose(x, y, rtol=0 if exactly else 1e-10, atol=0 if exactly else 1e-12)


@every
def test_the_order_of_modalities_says_nothing(d, spec):
    plain = answers(d, spec, FEATURES, PRESENT)
    for order in (NAMES[::-1], ("c", "a", "d", "b")):
        same(answers(d, spec, {n: FEATURES[n] for n in order}, PRESENT), plain)


@every
def test_a_masked_modality_is_as_good_as_absent(d, spec):
    masked = answers(d, spec, FEATURES, {**PRESENT, "c": np.zeros(6, bool)})
    absent = answers(d, spec, {n: x for n, x in FEATURES.items() if n != "c"}, PRESENT)
    same(absent, masked)
    shown = answers(d, spec, FEATURES, {**PRESENT, "c": np.ones(6, bool)})
    first, second = (x["a"] if isinstance(x, dict) else x for x in (shown, masked))
    assert np.abs(first[0] - second[0]).max() > 1e-3


@every
def test_what_is_masked_changes_no_bit(d, spec):
    plain = answers(d, spec, FEATURES, PRESENT)
    for fill in (1e20, np.nan, np.inf):
        other = {n: np.where(PRESENT[n][:, None], x, fill) for n, x in FEATURES.items()}
        same(answers(d, spec, other, PRESENT), plain, exactly=True)


@every
def test_each_row_answers_for_its_own_pattern(d, spec):
    plain = answers(d, spec, FEATURES, PRESENT)
    row = slice(2, 3)
    one = answers(d, spec, *({n: x[row] for n, x in y.items()} for y in (FEATURES, PRESENT)), SHARED[row])
    if isinstance(plain, dict):
        plain = {name: [x[row] for x in parts] for name, parts in plain.items()}
    else:
        plain = [x[row] for x in plain]
    same(one, plain)


def test_private_latents_that_are_absent_are_standard(d):
    for spec in EQUIVARIANT.values():
        for name, (loc, scale) in answers(d, spec, FEATURES, PRESENT).items():
            hidden = ~PRESENT[name]
            assert (loc[hidden] == 0).all()
            assert (scale[hidden] == 1).all()
            assert (loc[~hidden] != 0).all()


def test_private_posteriors_follow_the_shared_latent_and_their_own_features(d):
    spec = EQUIVARIANT["deep sets"]
    everyone = dict.fromkeys(NAMES, np.ones(6, bool))
    plain = answers(d, spec, FEATURES, everyone)
    moved = answers(d, spec, FEATURES, everyone, SHARED + 0.1)
    swapped = answers(d, spec, {**FEATURES, "a": FEATURES["b"], "b": FEATURES["a"]}, everyone)
    assert all((moved[n][0] != plain[n][0]).all() for n in NAMES)
    same(swapped["a"], plain["b"])
    same(swapped["b"], plain["a"])
    # Draws of the shared latent, and many masks at once, in front.
    many = answers(d, spec, FEATURES, everyone, np.stack([SHARED, SHARED + 0.1])[:, None])
    same([x[1, 0] for x in many["c"]], moved["c"])


def test_nothing_present_answers_as_learned_or_with_the_prior(d):
    net = built(d.name, INVARIANT["deep sets"])
    features, present = ({k: d.array(v) for k, v in x.items()} for x in (FEATURES, PRESENT))
    learned, prior = (d.mm.Pooled(features, present, net, empty=empty) for empty in ("learned", "prior"))
    z = RNG.normal(size=(6, 2))
    ours, theirs = d.log_prob(learned, z), d.log_prob(prior, z)
    np.testing.assert_allclose(theirs[5], stats.norm.logpdf(z[5]).sum(), rtol=1e-12)
    assert abs(ours[5] - theirs[5]) > 1e-3
    np.testing.assert_array_equal(ours[:5], theirs[:5])


LOC, SCALE = RNG.normal(size=(3, 2)) * 2, RNG.uniform(0.3, 1.2, (3, 2))
LOGITS = np.array([0.4, -0.3, 0.1])


def mixture_by_hand(z):
    weight = np.exp(LOGITS) / np.exp(LOGITS).sum()
    return np.log(sum(w * stats.norm.pdf(z, m, s).prod(-1) for w, m, s in zip(weight, LOC, SCALE, strict=True)))


def test_a_mixture_has_scipys_density_and_draws():
    q = Pooled(LOC, SCALE, LOGITS)
    z = RNG.normal(size=(7, 2))
    np.testing.assert_allclose(q.log_prob(z), mixture_by_hand(z), rtol=1e-12)
    grid = np.linspace(-9, 9, 2001)
    weight = np.exp(LOGITS) / np.exp(LOGITS).sum()
    draws = q.sample(np.random.default_rng(3), (4000,))
    for dim in range(2):
        cdf = integrate.cumulative_trapezoid(
            (weight * stats.norm.pdf(grid[:, None], LOC[:, dim], SCALE[:, dim])).sum(1), grid, initial=0
        )
        assert stats.kstest(draws[:, dim], lambda x, cdf=cdf: np.interp(x, grid, cdf)).pvalue > 1e-3
    both = (draws > 0).all(1).mean()
    wanted = (weight * stats.norm.sf(0, LOC, SCALE).prod(1)).sum()
    assert abs(both - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / 4000)


def quantiles(loc, scale, logits, u):
    """The draw whose conditional distribution functions are u, coordinate after coordinate, by root finding."""
    log_w, z = logits - np.log(np.exp(logits).sum()), []
    for d in range(2):
        share, m, s = np.exp(log_w - np.logaddexp.reduce(log_w)), loc[:, d], scale[:, d]
        below = partial(lambda x, w, m, s, u: (w * stats.norm.cdf(x, m, s)).sum() - u, w=share, m=m, s=s, u=u[d])
        z.append(optimize.brentq(below, -30, 30, xtol=1e-13))
        log_w = log_w + stats.norm.logpdf(z[-1], loc[:, d], scale[:, d])
    return np.array(z)


def test_implicit_gradients_hold_the_distribution_functions_still(d):
    """Against finite differences of the quantile transform, which is what they are the derivative of."""
    u = np.array([0.37, 0.81])
    z, direction = quantiles(LOC, SCALE, LOGITS, u), np.array([0.7, -1.3])
    params = {"loc": LOC, "scale": SCALE, "logits": LOGITS}

    def moved(params):
        backend = get_backend(params["loc"])
        log_weight = backend.log_softmax(params["logits"], axis=-1)
        out = implicit(d.array(z), params["loc"], params["scale"], log_weight)
        return (out * d.array(direction)).sum()

    value, grads = d.value_and_grad(moved, params, 0)
    assert float(value) == float((z * direction).sum())
    for name, array in params.items():
        for at in np.ndindex(array.shape):
            step = np.zeros(array.shape)
            step[at] = 1e-5
            up, down = (quantiles(**{**params, name: array + s}, u=u) @ direction for s in (step, -step))
            np.testing.assert_allclose(
                grads[name][at], (up - down) / 2e-5, rtol=1e-5, atol=1e-7, err_msg=f"{name} {at}"
            )


def test_wrong_options_are_refused(d):
    with pytest.raises(OptionError, match="Expected a family among .*; got 'cauchy'"):
        Pooled(LOC, SCALE, family="cauchy")
    with pytest.raises(OptionError, match="Expected the family 'normal' with several components; got 'laplace'"):
        Pooled(LOC, SCALE, LOGITS, "laplace")
    with pytest.raises(OptionError, match="Expected empty among .*; got 'zero'"):
        pool(FEATURES, PRESENT, None, "zero")
    with pytest.raises(ModalityError, match=r"\['d'\] have no entry in present, which names \['a', 'b', 'c'\]"):
        pool(FEATURES, {n: PRESENT[n] for n in "abc"}, None)
    with pytest.raises(OptionError, match="Expected width >= 1; got 0"):
        DeepSets(3, 2, width=0)
    with pytest.raises(OptionError, match="Expected heads that divide the width 8; got 3"):
        SetTransformer(3, 2, width=8, heads=3)
    net = built(d.name, INVARIANT["deep sets"])
    with pytest.raises(DataError, match=r"Expected an input of shape \(\*, M, 5\); got \(6, 4, 2\)"):
        d.mm.Pooled(
            {n: d.array(x[:, :2]) for n, x in FEATURES.items()}, {n: d.array(x) for n, x in PRESENT.items()}, net
        )
