"""A mixture under many masks at once answers as it does under each mask alone."""

import numpy as np
import pytest

from mmppl.aggregation import Experts, Mixture

N, M, D = 5, 3, 2


@pytest.mark.parametrize("family", ["normal", "laplace"])
def test_many_masks_equal_each_mask_alone(family):
    rng = np.random.default_rng(0)
    loc, scale = rng.normal(size=(N, M, D)), np.exp(rng.normal(size=(N, M, D)))
    present = rng.random((4, N, M)) < 0.5
    present[0, 0] = False  # nothing is shown under the first mask, but expert 0 is under the second
    present[1, 0, 0] = True
    present[:, 2, 1] = False
    loc[2, 1], scale[2, 1] = np.nan, np.nan  # hidden under every mask
    z = rng.normal(size=(7, 1, N, D))
    together = Mixture(Experts(loc, scale, present, family)).log_prob(z)
    alone = [Mixture(Experts(loc, scale, mask, family)).log_prob(z[:, 0]) for mask in present]
    np.testing.assert_allclose(together, np.stack(alone, 1), rtol=1e-12)
    assert np.isfinite(together).all()


def test_an_expert_counts_only_under_the_masks_that_show_it():
    """What an expert says under one mask cannot be seen under another."""
    rng = np.random.default_rng(1)
    loc, scale = rng.normal(size=(N, M, D)), np.ones((N, M, D))
    present = np.ones((2, N, M), bool)
    present[1, :, 0] = False
    z, other = rng.normal(size=(1, N, D)), loc.copy()
    other[:, 0] += 3.0
    before = Mixture(Experts(loc, scale, present, "normal")).log_prob(z)
    after = Mixture(Experts(other, scale, present, "normal")).log_prob(z)
    assert (before[0] != after[0]).all()
    assert (before[1] == after[1]).all()
