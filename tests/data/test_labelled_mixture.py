"""Labelled mixtures: the map and its inverse, and the evidence against integration over the latent."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from mmppl import Batch
from mmppl.data import LabelledMixture, load
from mmppl.errors import ModalityError, OptionError


def test_the_map_is_inverted_with_its_determinant():
    truth = LabelledMixture(3, 4, seed=2)
    z = np.random.default_rng(0).normal(size=(50, 3)) * 3
    x = truth.forward(z)
    back, log_det = truth.inverse(x)
    np.testing.assert_allclose(back, z, rtol=1e-10)
    columns = [(truth.inverse(x + 1e-7 * e)[0] - truth.inverse(x - 1e-7 * e)[0]) / 2e-7 for e in np.eye(3)]
    np.testing.assert_allclose(log_det, np.linalg.slogdet(np.stack(columns, -1))[1], atol=1e-5)


def test_evidence_is_the_integral_over_the_latent():
    truth = LabelledMixture(2, 3, noise=0.5, seed=1)
    batch = truth.sample(3, 3)
    grid = np.linspace(-14, 14, 701)
    z = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1)
    area = (grid[1] - grid[0]) ** 2
    mean = truth.forward(z)
    given = np.empty((3, 3))
    for u in range(3):
        prior = stats.norm.logpdf(z, truth.loc[u], truth.scale[u]).sum(-1)
        for row in range(3):
            lik = stats.norm.logpdf(batch["x"][row], mean, 0.5).sum(-1)
            given[row, u] = logsumexp(prior + lik) + np.log(area)
    label = batch["label"][:, 0]
    np.testing.assert_allclose(truth.evidence(batch, 2**15), given[np.arange(3), label] - np.log(3), atol=4e-3)
    np.testing.assert_allclose(truth.evidence(batch.only("x"), 2**15), logsumexp(given, 1) - np.log(3), atol=4e-3)
    np.testing.assert_allclose(truth.evidence(batch.only("label")), -np.log(3))
    np.testing.assert_array_equal(truth.evidence(batch.only()), 0.0)


def test_rows_are_those_of_the_truth():
    data = load("labelled_mixture", seed=3, num_train=20, num_test=10)
    rows, z = data.truth.sample_with_latent(30, 4)
    np.testing.assert_array_equal(data.test["x"], rows["x"][20:])
    np.testing.assert_array_equal(data.train["label"], rows["label"][:20])
    data.train.validate(data.modalities)
    assert np.abs(data.truth.forward(z) - rows["x"]).std() < 0.2
    # Rows of a label have its moments.
    rows, z = data.truth.sample_with_latent(20_000, 5)
    for u in range(5):
        own = z[rows["label"][:, 0] == u]
        np.testing.assert_allclose(own.mean(0), data.truth.loc[u], atol=0.15)
        np.testing.assert_allclose(own.std(0), data.truth.scale[u], rtol=0.05)


def test_wrong_input_is_refused():
    with pytest.raises(OptionError, match="Expected labels >= 1; got 0"):
        LabelledMixture(labels=0)
    with pytest.raises(OptionError, match=r"Expected slope in \(0, 1\]; got 0"):
        LabelledMixture(slope=0)
    with pytest.raises(ModalityError, match=r"Expected the modalities x and label; got \['x'\]"):
        LabelledMixture().evidence(Batch({"x": np.zeros((2, 2))}))
