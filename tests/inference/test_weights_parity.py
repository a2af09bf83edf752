"""A run of one host is a run of the other: weights are host-neutral."""

import importlib

import numpy as np
import pytest

import mmppl
from mmppl import models
from mmppl.batch import Batch
from mmppl.data import load
from mmppl.errors import OptionError
from mmppl.inference import fit, log_likelihood

HOSTS = ("numpyro", "pyro")
LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=128, num_test=5)
TRAIN, TEST = (
    Batch({n: x.astype(np.float32) for n, x in batch.values.items()}) for batch in (LINEAR.train, LINEAR.test)
)


@pytest.mark.parametrize("first", HOSTS)
@pytest.mark.parametrize("system", ["mvae", "mmvae", "ebm"])
def test_a_run_is_read_by_the_other_host(tmp_path, first, system):
    second = HOSTS[1 - HOSTS.index(first)]
    options = {"latent_dim": 2, "hidden": 8}
    if system == "mvae":
        options["family"] = "normal"  # after few steps the weights of draws with correlations are not to be trusted
    if system == "ebm":
        options |= {"energy_hidden": 8, "chains": 16, "buffer": 64, "steps": 3}

    def make(backend):
        return models.make(system, LINEAR.modalities, ppl=importlib.import_module(f"mmppl.{backend}"), **options)

    settings = {"epochs": 4, "batch_size": 64, "learning_rate": 1e-3, "ema": 0.5, "progress": False}
    fitted = fit(make(first), TRAIN, out=tmp_path / "run", **settings)
    moved = mmppl.load(tmp_path / "run", ppl=importlib.import_module(f"mmppl.{second}"))
    assert moved.program.ppl.host.NAME != fitted.program.ppl.host.NAME
    z = np.random.default_rng(0).standard_normal((3, 5, 2)).astype(np.float32)
    found = [each.program.ppl.host.scores(each.model, {"z": z}, TEST) for each in (fitted, moved)]
    for name in LINEAR.modalities:
        np.testing.assert_allclose(found[0][0][name], found[1][0][name], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-4)
    if system != "ebm":
        a, b = (log_likelihood(each, TEST, num=2000) for each in (fitted, moved))
        known = np.isfinite(a.error) & np.isfinite(b.error)  # not where Pareto k fails
        assert known.sum() >= 3
        assert np.all((np.abs(a.value - b.value) < 5 * np.hypot(a.error, b.error))[known])


def test_a_program_has_its_host(tmp_path):
    import mmppl.numpyro as mm

    program = models.mvae(LINEAR.modalities, ppl=mm, latent_dim=2, hidden=8)
    with pytest.raises(OptionError, match="Expected program= or ppl=, as a program has its host; got both"):
        mmppl.load(tmp_path, program, ppl=mm)
