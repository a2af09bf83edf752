"""The default of ``infer``: it mixes where a posterior is narrow in some directions and wide in others."""

import warnings

import numpy as np
import pytest

from mmppl import Batch, Modality
from mmppl._backend import get_backend
from mmppl.errors import PosteriorWarning
from mmppl.inference import Program, infer

MAP = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0][:3].astype(np.float32)
NOISE = 0.03
COVARIANCE = np.linalg.inv(np.eye(6) + MAP.T @ MAP / NOISE**2)


def narrow(ppl, calls=None):
    """Three sums of six latents, seen with little noise: deviations of 0.03 along them and 1 across."""
    host = ppl.host

    def model(batch):
        if calls is not None:
            calls.append(len(batch))
        with ppl.plate(batch):
            z = host.sample("z", host.dist.Normal(host.zeros(6), 1.0).to_event(1))
            ppl.observe("x", host.dist.Normal(z @ _array(host, MAP.T), NOISE).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch):
            host.sample("z", host.dist.Normal(host.zeros(6), 1.0).to_event(1))

    return Program(model, guide, ppl.ELBO(), ppl, {"x": Modality((3,), scale=NOISE)})


def _array(host, x):
    like = host.zeros(1)
    return get_backend(like).asarray(x, like=like)


@pytest.fixture
def data():
    return Batch({"x": np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)})


def test_the_default_mixes_where_langevin_does_not(ppl, data):
    program = narrow(ppl)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PosteriorWarning)
        posteriors = [infer(program, data, seed=seed) for seed in (0, 1)]
    for posterior in posteriors:
        assert posterior.method == "hmc"
        assert posterior.r_hat["z"].max() < 1.05
    # Of 1,000 draws the largest of 105 errors of covariances is near 0.3 by chance.
    z = np.concatenate([posterior.draws["z"] for posterior in posteriors], axis=1)
    mean = np.asarray(data["x"]) @ np.linalg.inv(MAP @ MAP.T + NOISE**2 * np.eye(3)) @ MAP
    np.testing.assert_allclose(z.mean((0, 1)), mean, atol=0.2)
    for n in range(5):
        found = np.cov(z[:, :, n].reshape(-1, 6).T)
        whitened = np.linalg.solve(np.linalg.cholesky(COVARIANCE), np.linalg.cholesky(found))
        np.testing.assert_allclose(whitened @ whitened.T, np.eye(6), atol=0.3)
    with pytest.warns(PosteriorWarning, match="R-hat of 'z' is above"):
        infer(program, data, method="mala")


def test_chains_of_a_datum_are_rows_of_one_run(data):
    """Four chains take as many runs of the program as one; with a seed for each datum a row's draws stay its own."""
    mm = pytest.importorskip("mmppl.pyro")
    sizes = {"num_samples": 6, "num_warmup": 4}
    runs = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorWarning)
        for chains in (1, 4):
            calls = []
            out = infer(narrow(mm, calls), data, num_chains=chains, seed=[3, 4, 5, 6, 7], **sizes)
            runs[chains] = calls
            assert out.draws["z"].shape == (chains, 6, 5, 6)
        alone = infer(narrow(mm), data[2:3], num_chains=4, seed=[5], **sizes)
    assert len(runs[4]) <= len(runs[1]) + 2
    assert max(runs[4]) == 20
    np.testing.assert_allclose(alone.draws["z"][:, :, 0], out.draws["z"][:, :, 2], atol=1e-4)
