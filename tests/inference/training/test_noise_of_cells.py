"""Noise by cells that are held out of a fit: the estimator in closed form, which cells, and coverage of few rows."""

import numpy as np
import pytest

from mmppl import Batch, Modality, load, models
from mmppl.data import LinearGaussian, hide
from mmppl.inference import EarlyStopping, Fitted, fit, generate
from mmppl.inference.training.noise import hold_out_cells, log_ratio, with_noise_of_cells
from mmppl.inference.training.prepared import prepared
from mmppl.likelihoods import low_rank


def table(rows=240, seed=0, noise=0.5):
    """Three views of five columns each in units of their own, of three factors: the truth, and rows with gaps."""
    truth = LinearGaussian(3, dict.fromkeys("abc", 5), seed, noise)
    whole = truth.sample(rows, seed + 1)
    units = 10.0 ** np.arange(-2, 3)
    values = {n: (np.asarray(x) * units).astype(np.float32) for n, x in whole.values.items()}
    return hide(Batch(values), 0.3, elements=True, seed=seed), values


def of_views(ppl, **options):
    return models.mvtcae({n: Modality((5,), partial=True) for n in "abc"}, ppl=ppl, **options)


def test_the_ratio_is_the_mean_of_squares_where_all_is_noise():
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.5, 2.0, 4000)
    squares = 1.7**2 * noise * rng.standard_normal(4000) ** 2
    found = log_ratio(np.stack([squares, 0 * noise, noise]), 0.0, 1e6)
    assert found == pytest.approx(np.log(np.mean(squares / noise)), abs=1e-9)


def test_the_ratio_is_of_the_noise_alone_and_at_the_maximum():
    rng = np.random.default_rng(1)
    among, noise = rng.uniform(0.0, 1.0, (2, 100_000))
    squares = (among + 1.5 * noise) * rng.standard_normal(100_000) ** 2
    found = log_ratio(np.stack([squares, among, noise]), 0.2, 0.5)
    assert found == pytest.approx(np.log(1.5), abs=0.02)

    def log_density(log):
        total = among + np.exp(log) * noise
        return -0.5 * np.sum(np.log(total) + squares / total) - 0.5 * ((log - 0.2) / 0.5) ** 2

    assert log_density(found) > max(log_density(found + step) for step in (-0.01, 0.01))


def test_few_cells_keep_to_the_prior():
    cell = np.array([[100.0], [0.0], [1.0]])
    assert 0.3 < log_ratio(cell, 0.3, 0.25) < 1.5
    assert log_ratio(np.zeros((3, 0)), 0.3, 0.25) == 0.3


def test_variances_of_values_given_those_beside_them():
    rng = np.random.default_rng(2)
    scale, factors, there = rng.uniform(0.5, 1, 4), rng.standard_normal((2, 4)), np.array([[True, False, True, False]])
    cov = np.diag(scale**2) + factors.T @ factors
    seen, gone = [0, 2], [1, 3]
    rest = cov[np.ix_(gone, gone)] - cov[np.ix_(gone, seen)] @ np.linalg.solve(
        cov[np.ix_(seen, seen)], cov[np.ix_(seen, gone)]
    )
    np.testing.assert_allclose(low_rank.variance(scale, factors, there)[0, gone], np.diag(rest))


def test_cells_that_are_held_out(ppl):
    rows, _ = table()
    program = of_views(ppl, latent_dim=2, hidden=8)
    less = hold_out_cells(program, rows, 0)
    for name in "abc":
        there, kept = (np.asarray(b.there(name)) for b in (rows, less))
        assert not (kept & ~there).any()
        assert (there & ~kept).sum() == round(0.1 * there.sum())
        assert (kept.any(1) == there.any(1)).all()
    again = hold_out_cells(program, rows, 0)
    assert all((np.asarray(less.there(n)) == np.asarray(again.there(n))).all() for n in "abc")
    many = hold_out_cells(program, table(8000)[0], 0)
    assert [int((~np.asarray(many.there(n))).sum() - 12000) // 100 for n in "abc"] == pytest.approx([10] * 3, abs=2)


def test_no_cells_of_what_has_no_gaps_or_other_noise(ppl):
    rows, _ = table()
    for options in ({"scale": 0.5}, {"likelihood": "laplace"}):
        assert hold_out_cells(of_views(ppl, latent_dim=2, hidden=8, **options), rows, 0) is None
    whole = models.mvtcae({n: Modality((5,)) for n in "abc"}, ppl=ppl, latent_dim=2, hidden=8)
    assert hold_out_cells(whole, Batch(rows.values), 0) is None


def test_only_fits_until_flat_hold_out_cells(ppl):
    rows, _ = table()
    program = of_views(ppl, latent_dim=2, hidden=8)
    assert prepared(program, rows, None, 0)[1].asked is None
    ready = prepared(program, rows, None, 0, is_open=True)[1]
    assert len(ready.asked) == len(ready.whole) == 240
    assert (np.asarray(ready.asked.there("a")) == np.asarray(rows.there("a"))).all()
    assert ready.digesting()() == prepared(program, rows, None, 0)[1].digesting()()
    shared = prepared(program, rows, 0.2, 0, is_open=True)[1]
    assert len(shared.asked) == len(shared.data) == 192
    assert shared.whole is None
    assert shared.digesting()() == prepared(program, rows, 0.2, 0)[1].digesting()()


@pytest.mark.parametrize("likelihood", ["low_rank_normal", "normal"])
def test_noise_grows_to_what_cells_say(ppl, likelihood):
    """Decoders that say the mean, with noise of 0.3 deviations: it becomes what cells are off by, of all about one."""
    rows, values = table(400)
    program = of_views(ppl, latent_dim=2, hidden=8, likelihood=likelihood)
    fitted = fit(program, rows, epochs=1, learning_rate=1e-8, progress=False)
    weights = {n: np.asarray(x) for n, x in fitted.weights.items()}
    scales = {}
    for n in "abc":
        own = {w: x for w, x in weights.items() if w.startswith(f"{n}.decoder.layers") and w.endswith("weight")}
        *_, output = (w for w, x in own.items() if x.shape == (5, 8))
        scales[n] = next(w for w, x in own.items() if x.ndim == 1)
        weights |= {w: 0.1 * x if x.shape == (2, 5) else x for w, x in own.items()}
        weights |= {output: 0 * weights[output], scales[n]: np.full(5, np.log(0.3) / 10, np.float32)}
    less = hold_out_cells(program, rows, 0)
    new = with_noise_of_cells(Fitted(program, weights), less, rows, 0)
    assert len(new) == (3 if likelihood == "normal" else 6)
    for n, name in scales.items():
        seen, gone = np.asarray(less.there(n)), np.asarray(rows.there(n)) & ~np.asarray(less.there(n))
        x = np.where(seen, values[n], np.nan)
        off = np.mean((((values[n] - np.nanmean(x, 0)) / np.nanstd(x, 0))[gone]) ** 2) ** 0.5
        assert np.exp(10 * new[name]) == pytest.approx(np.full(5, off), rel=0.15)
        for w, value in new.items():  # factors are multiplied by as much
            if w.startswith(n) and w != name:
                np.testing.assert_allclose(value, weights[w] * np.exp(10 * (new[name] - weights[name]))[0], rtol=1e-5)


def test_intervals_of_few_rows_hold_what_they_say(ppl):
    """Of 240 rows, 80% intervals of cells that are missing held 0.73 to 0.78."""
    rows, _ = table(240, seed=1)
    full, whole = table(640, seed=1)
    fitted = fit(of_views(ppl, seed=1), rows, seed=1, progress=False)
    test = full[240:]
    draws = generate(fitted, test, 200, seed=1)
    inside = []
    for n in "abc":
        low, high = np.quantile(draws[n], [0.1, 0.9], axis=0)
        x, gone = whole[n][240:], ~np.asarray(test.there(n))
        inside.append(((low <= x) & (x <= high))[gone])
    assert np.mean(np.concatenate(inside)) == pytest.approx(0.8, abs=0.03)


def test_a_run_that_goes_on_ends_on_the_same_noise(ppl, tmp_path):
    class Stop:
        def on_epoch(self, event):
            if event.epoch == 2:
                raise KeyboardInterrupt

    rows, _ = table(120)
    how = {"validation": 0.2, "early_stopping": EarlyStopping(2, min_delta=0.5), "progress": False}
    program = of_views(ppl, latent_dim=2, hidden=8)
    at_once = fit(program, rows, **how)
    with pytest.raises(KeyboardInterrupt):
        fit(program, rows, out=tmp_path / "run", callbacks=[Stop()], **how)
    fit(program, rows, out=tmp_path / "run", resume=True, **how)
    saved = load(tmp_path / "run", ppl=ppl).weights
    assert all(np.array_equal(saved[name], x) for name, x in at_once.weights.items())
