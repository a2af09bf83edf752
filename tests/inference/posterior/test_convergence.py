"""R-hat and effective sample sizes by whole arrays are ArviZ's, quantity by quantity."""

import arviz
import numpy as np
import pytest
import xarray as xr

from mmppl.inference.posterior.convergence import ess, r_hat


def chains(number, rho, shift, length=101):
    """Autoregressive chains, one of them elsewhere."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(number, length, 3, 2))
    for t in range(1, length):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * x[:, t]
    x[0, :, 1] += shift
    return x


@pytest.mark.parametrize(("number", "rho", "shift"), [(4, 0.0, 0.0), (4, 0.9, 0.0), (2, 0.5, 3.0), (3, -0.6, 0.0)])
def test_values_are_arvizs(number, rho, shift):
    x = chains(number, rho, shift)
    data = xr.Dataset({"x": (("chain", "draw", "a", "b"), x)})
    np.testing.assert_allclose(r_hat(x), arviz.rhat(data)["x"].values, rtol=1e-8)
    # ArviZ 1.x has other quantiles for the tails.
    for kind in ("bulk", "mean", "tail") if arviz.__version__.startswith("0.") else ("bulk", "mean"):
        np.testing.assert_allclose(ess(x, kind), arviz.ess(data, method=kind)["x"].values, rtol=1e-6)


def test_what_does_not_vary():
    x = np.ones((2, 10, 3))
    assert np.isnan(r_hat(x)).all()
    assert (ess(x) == 20).all()
