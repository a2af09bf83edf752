"""Posteriors that answer for any subset, against scipy, quadrature and formulas written out here."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from mmppl._backend import get_backend
from mmppl.aggregation import Experts, Mixture, Product, all_subsets, stack_experts
from mmppl.errors import ModalityError, OptionError

RNG = np.random.default_rng(0)
LOC = RNG.normal(size=(5, 3, 2))
SCALE = RNG.uniform(0.4, 1.6, size=(5, 3, 2))
PRESENT = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 0, 1]], dtype=bool)
Z = RNG.normal(size=(5, 2))
FAMILIES = ["normal", "laplace"]
SCIPY = {"normal": stats.norm, "laplace": stats.laplace}


def experts(family="normal", loc=LOC, scale=SCALE, present=PRESENT):
    return Experts(loc, scale, present, family)


def posteriors(e):
    """Every aggregation there is, by name."""
    return {
        "product": Product(e),
        "product, no prior": Product(e, prior_expert=False),
        "mixture of experts": Mixture(e),
        "mixture of products": Mixture(e, all_subsets(3)),
        "mixture of products, prior": Mixture(e, all_subsets(3), prior_expert=True),
    }


NAMES = list(posteriors(experts()))


def log_product(z, row, d, members, family, prior):
    """The log of an unnormalised product of scipy densities, for one row and one coordinate."""
    standard = prior or not members
    total = SCIPY[family].logpdf(z) if standard else 0.0
    return total + sum(SCIPY[family].logpdf(z, LOC[row, m, d], SCALE[row, m, d]) for m in members)


def normalised(row, d, members, family, prior):
    """The density of a product on a grid, by quadrature."""
    grid = np.linspace(-25, 25, 200_001)
    density = np.exp(log_product(grid, row, d, members, family, prior))
    return grid, density / integrate.trapezoid(density, grid)


def log_density(row, members, family, prior):
    total = 0.0
    for d in range(2):
        grid, density = normalised(row, d, members, family, prior)
        total += np.log(np.interp(Z[row, d], grid, density))
    return total


@pytest.mark.parametrize("prior", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_product_is_the_normalised_product_of_densities(family, prior):
    wanted = [log_density(row, list(np.flatnonzero(PRESENT[row])), family, prior) for row in range(5)]
    np.testing.assert_allclose(Product(experts(family), prior).log_prob(Z), wanted, rtol=1e-4)


def test_normal_product_weights_by_precision_not_by_variance():
    product = Product(experts(), prior_expert=False).component
    present = PRESENT[..., None]
    rows = PRESENT.any(1)
    precision, variance = (np.where(present, SCALE**power, 0.0)[rows] for power in (-2.0, 2.0))
    wanted, wrong = ((weight * LOC[rows]).sum(1) / weight.sum(1) for weight in (precision, variance))
    np.testing.assert_allclose(product.loc[rows], wanted, rtol=1e-12)
    np.testing.assert_allclose(product.scale[rows], precision.sum(1) ** -0.5, rtol=1e-12)
    assert np.abs(product.loc[rows] - wrong).max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("name", "prior"), [("mixture of products", False), ("mixture of products, prior", True)])
def test_mixture_of_products_is_the_mean_over_the_subsets_present(family, name, prior):
    got = posteriors(experts(family))[name].log_prob(Z)
    for row in range(5):
        there = [s for s in all_subsets(3) if (s <= PRESENT[row]).all()] or [np.zeros(3, bool)]
        terms = [log_density(row, list(np.flatnonzero(s)), family, prior) for s in there]
        np.testing.assert_allclose(got[row], np.log(np.mean(np.exp(terms))), rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_mixture_of_experts_is_scipys_mixture(family):
    got = Mixture(experts(family)).log_prob(Z)
    for row in range(5):
        there = np.flatnonzero(PRESENT[row])
        each = [SCIPY[family].logpdf(Z[row], LOC[row, m], SCALE[row, m]).sum() for m in there]
        wanted = np.log(np.mean(np.exp(each))) if len(there) else SCIPY[family].logpdf(Z[row]).sum()
        np.testing.assert_allclose(got[row], wanted, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_present_answers_with_the_standard_density(family, name):
    q = posteriors(experts(family))[name]
    np.testing.assert_allclose(q.log_prob(Z)[3], SCIPY[family].logpdf(Z[3]).sum(), rtol=1e-12)
    draws = q.sample(np.random.default_rng(1), (2000,))[:, 3, :]
    assert stats.kstest(draws.ravel(), SCIPY[family].cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_samples_have_the_density(family, name):
    one = experts(family, LOC[:1, :, :1], SCALE[:1, :, :1], PRESENT[:1])
    q = posteriors(one)[name]
    grid = np.linspace(-15, 15, 60_001)
    density = np.exp(q.log_prob(grid[:, None, None])[:, 0])
    cumulative = integrate.cumulative_trapezoid(density, grid, initial=0.0)
    np.testing.assert_allclose(cumulative[-1], 1.0, rtol=1e-4)
    for draw in (q.sample, q.stratified):
        draws = draw(np.random.default_rng(2), (4000,)).ravel()
        assert stats.kstest(draws, lambda x: np.interp(x, grid, cumulative)).pvalue > 1e-3


def test_laplace_product_has_the_quantiles_and_moments_of_quadrature():
    product = Product(experts("laplace"), prior_expert=False).component
    levels = np.linspace(0.01, 0.99, 25)
    for row in (0, 2):
        grid, density = normalised(row, 0, list(np.flatnonzero(PRESENT[row])), "laplace", False)
        cumulative = integrate.cumulative_trapezoid(density, grid, initial=0.0)
        noise = np.broadcast_to(levels[:, None, None], (25, 5, 2))
        np.testing.assert_allclose(
            product.sample(noise)[:, row, 0], np.interp(levels, cumulative, grid), rtol=1e-3, atol=1e-3
        )
        fine = (np.arange(20_000) + 0.5) / 20_000
        draws = product.sample(np.broadcast_to(fine[:, None, None], (20_000, 5, 2)))[:, row, 0]
        mean = integrate.trapezoid(grid * density, grid)
        np.testing.assert_allclose(draws.mean(), mean, atol=1e-3)
        np.testing.assert_allclose(draws.var(), integrate.trapezoid((grid - mean) ** 2 * density, grid), rtol=1e-2)


def test_equal_laplace_experts_multiply():
    """Two experts with the same centre: segments of width zero."""
    e = Experts(np.zeros((1, 2, 1)), np.ones((1, 2, 1)), np.ones((1, 2), bool), "laplace")
    z = np.array([[0.3]])
    np.testing.assert_allclose(Product(e, False).log_prob(z), stats.laplace.logpdf(0.3, scale=0.5), rtol=1e-12)


APART = np.broadcast_to(np.array([-100.0, 0.0, 100.0])[:, None], (4, 3, 1))


def component(draws):
    return np.round(draws[..., 0] / 100).astype(int) + 1


def test_stratified_draws_hold_every_component_its_due_number_of_times():
    present = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0]], dtype=bool)
    q = Mixture(Experts(APART, np.ones((4, 3, 1)), present))
    for seed in range(20):
        drawn = component(q.stratified(np.random.default_rng(seed), (6,)))
        counts = np.stack([(drawn == m).sum(0) for m in range(3)], axis=-1)
        np.testing.assert_array_equal(counts, [[2, 2, 2], [3, 0, 3], [0, 6, 0], [3, 3, 0]])


def test_stratified_draws_are_independent_between_data():
    q = Mixture(Experts(APART, np.ones((4, 3, 1)), np.ones((4, 3), bool)))
    drawn = np.stack([component(q.stratified(np.random.default_rng(seed), (4,)))[1] for seed in range(600)])
    # 4 draws, 3 components: the second draw is of the first or of the second component, as u says.
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.15


def test_component_is_drawn_for_each_datum_neither_once_for_the_batch_nor_by_position():
    q = Mixture(Experts(APART, np.ones((4, 3, 1)), np.ones((4, 3), bool)))
    drawn = component(q.sample(np.random.default_rng(0), (3000,)))
    assert (drawn.min(1) != drawn.max(1)).mean() > 0.9
    for row in range(4):
        counts = np.bincount(drawn[:, row], minlength=3)
        assert stats.chisquare(counts).pvalue > 1e-3
    together = (drawn[:, 0] == drawn[:, 1]).mean()
    assert abs(together - 1 / 3) < 4 * np.sqrt(2 / 9 / 3000)


HIDDEN = st.one_of(st.floats(-(2.0**100), 2.0**100, width=32), st.sampled_from([np.nan, np.inf, -np.inf, 0.0]))
HOSTS = ["numpy", "jax", "torch"]


@cache
def values_and_gradients(host, name, family):
    """A function of the experts: the log density and a sample, summed, and the gradient with respect to each expert."""
    if host == "numpy":

        def both(loc, scale):
            q = posteriors(experts(family, loc, scale))[name]
            return q.log_prob(Z), q.sample(np.random.default_rng(0), (2,))

        return both

    def total(params):
        backend = get_backend(*params)
        q = posteriors(Experts(*params, backend.asarray(PRESENT), family))[name]
        z = backend.asarray(Z, like=params[0])
        return backend.xp.sum(q.log_prob(z)) + backend.xp.sum(q.sample(backend.rng(0), (2,)))

    if host == "jax":
        import jax

        return jax.jit(lambda *params: jax.tree.leaves(jax.value_and_grad(total)(params)))
    import torch

    def gradients(loc, scale):
        params = torch.tensor(loc, requires_grad=True), torch.tensor(scale, requires_grad=True)
        value = total(params)
        value.backward()
        return value.detach(), params[0].grad, params[1].grad

    return gradients


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_hidden_expert_holds_changes_no_bit(name, host):
    hidden = ~PRESENT[..., None] & np.ones((5, 3, 2), bool)

    @settings(max_examples=10 if host == "numpy" else 3)
    @given(st.sampled_from(FAMILIES), HIDDEN, HIDDEN)
    def check(family, fill, width):
        f = values_and_gradients(host, name, family)
        filled = f(np.where(hidden, fill, LOC), np.where(hidden, width, SCALE))
        for a, b in zip(map(np.asarray, f(LOC, SCALE)), map(np.asarray, filled), strict=True):
            assert np.isfinite(a).all()
            assert a.tobytes() == b.tobytes()

    check()


def test_masks_with_more_leading_axes_answer_for_several_subsets_at_once():
    masks = np.stack([PRESENT, np.ones_like(PRESENT), PRESENT & [True, False, False]])
    for name in NAMES:
        many = posteriors(experts(present=masks))[name]
        assert many.batch_shape == (3, 5)
        for i, mask in enumerate(masks):
            np.testing.assert_array_equal(many.log_prob(Z)[i], posteriors(experts(present=mask))[name].log_prob(Z))


def test_more_than_32_subsets_are_a_seeded_choice_with_singles_and_all():
    rows = all_subsets(6)
    assert rows.shape == (32, 6)
    assert len(np.unique(rows, axis=0)) == 32
    assert rows.any(1).all()
    assert {tuple(row) for row in np.eye(6, dtype=bool)} | {(True,) * 6} <= {tuple(row) for row in rows}
    np.testing.assert_array_equal(rows, all_subsets(6))
    assert all_subsets(5).shape == (31, 5)


def test_experts_may_be_pairs_or_distributions():
    class Laplace:
        loc, scale = LOC[:, 0], SCALE[:, 0]

    class Event:
        base_dist = Laplace()

    present = {"a": PRESENT[:, 0]}
    assert stack_experts({"a": Event()}, present).family == "laplace"
    assert stack_experts({"a": (LOC[:, 0], SCALE[:, 0])}, present, "laplace").family == "laplace"
    np.testing.assert_array_equal(stack_experts({"a": Event()}, present).scale[:, 0], SCALE[:, 0])


def test_wrong_experts_are_refused():
    pair = (LOC[:, 0], SCALE[:, 0])
    with pytest.raises(ModalityError, match="Expected at least one expert; got none"):
        stack_experts({}, {})
    with pytest.raises(ModalityError, match=r"Experts \['b'\] have no entry in present, which names \['a'\]"):
        stack_experts({"a": pair, "b": pair}, {"a": PRESENT[:, 0]})
    with pytest.raises(OptionError, match="Expected experts of one family among .*; got 'cauchy'"):
        stack_experts({"a": pair}, {"a": PRESENT[:, 0]}, "cauchy")
    with pytest.raises(
        OptionError, match=r"Expected subsets of shape \(S, 3\), a column for each expert; got \(2, 2\)"
    ):
        Mixture(experts(), np.eye(2, dtype=bool))
