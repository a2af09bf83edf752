"""Several views of one mixture, and modalities hidden at a rate."""

import numpy as np
import pytest

from mmppl import Batch
from mmppl.data import MixtureViews, hide, load
from mmppl.data.mixture_views import well_conditioned
from mmppl.errors import DataError, OptionError

ROWS = Batch({n: np.ones((400, 2)) for n in "abcde"}, label=np.arange(400))


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.8])
def test_just_so_many_are_hidden_and_every_row_keeps_one(rate):
    hidden = hide(ROWS, rate, seed=1)
    present = np.stack(list(hidden.present.values()), axis=1)
    assert (~present).sum() == round(rate * 2000)
    assert present.any(1).all()
    assert np.array_equal(hidden.label, ROWS.label)
    # Every modality is hidden as often as every other.
    assert np.abs((~present).mean(0) - rate).max() < 4 * np.sqrt(0.25 / 400)
    if rate == 0.8:
        assert (present.sum(1) == 1).all()


def test_hiding_depends_on_the_seed_alone_and_respects_what_is_missing():
    again = [np.stack(list(hide(ROWS, 0.4, seed=s).present.values())) for s in (0, 0, 1)]
    assert np.array_equal(again[0], again[1])
    assert not np.array_equal(again[0], again[2])
    only = ROWS.with_present({n: np.arange(400) % 2 == 0 for n in "abc"})
    hidden = hide(only, 0.4, seed=0)
    assert all((~mask | only.present[n]).all() for n, mask in hidden.present.items())
    assert sum(int(m.sum()) for m in only.present.values()) * 0.6 == sum(int(m.sum()) for m in hidden.present.values())
    assert hidden.observed().all()


def test_hiding_refuses():
    with pytest.raises(OptionError, match=r"Expected rate in \[0, 1\); got 1.0"):
        hide(ROWS, 1.0)
    with pytest.raises(OptionError, match="at most 0.800, as every row keeps a modality; got 0.81"):
        hide(ROWS, 0.81)
    with pytest.raises(DataError, match="row 2 has no modality"):
        hide(ROWS.with_present({n: np.arange(400) != 2 for n in "abcde"}), 0.1)


def test_rows_have_the_moments_of_the_mixture():
    truth = MixtureViews(3, views=2, dim=4, components=2, noise=0.3, seed=4)
    batch, z = truth.sample_with_latent(40_000, seed=1)
    for c in range(2):
        own = z[batch.label == c]
        assert np.abs(own.mean(0) - truth.loc[c]).max() < 0.05
        assert np.abs(own.std(0) - truth.scale[c]).max() < 0.05
    clean = truth.decode(z)
    residual = np.concatenate([batch[n] - clean[n] for n in batch], axis=1)
    assert np.abs(np.cov(residual.T) - 0.09 * np.eye(8)).max() < 0.005
    # The map by hand, of one row.
    first, second, third = truth.layers["view1"]
    hidden = first @ z[0]
    hidden = second @ np.maximum(hidden, 0.1 * hidden)
    assert np.allclose(clean["view1"][0], third @ np.maximum(hidden, 0.1 * hidden))


def test_layers_are_well_conditioned_columns_of_unit_length():
    drawn = well_conditioned(np.random.default_rng(0), (6, 6), 50)
    other = np.random.default_rng(1).uniform(-1, 1, (4000, 6, 6))
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    assert np.allclose(np.linalg.norm(drawn, axis=1), 1.0)
    assert np.linalg.cond(drawn).max() < 1.05 * np.quantile(np.linalg.cond(other), 0.25)


def test_the_data_set_is_named_and_its_rows_are_the_truths():
    data = load("mixture_views", seed=3, latent_dim=2, views=3, dim=4, missing=0.5, num_train=20, num_test=10)
    rows, _ = data.truth.sample_with_latent(30, 4)
    assert list(data.modalities) == ["view0", "view1", "view2"] == list(data.train.modalities)
    for n in data.modalities:
        seen = np.asarray(data.test.present[n])
        assert np.array_equal(data.test[n][seen], rows[n][20:][seen])
    assert sum(int((~m).sum()) for m in data.train.present.values()) == 30
    assert np.array_equal(data.train.label, rows.label[:20])
    with pytest.raises(OptionError, match="Expected noise > 0; got 0.0"):
        load("mixture_views", noise=0.0)
