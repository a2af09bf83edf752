"""Steps in parts: losses, records and weights are those of the whole step."""

import numpy as np
import pytest

from mmppl.batch import Batch, Modality
from mmppl.covariates import Covariate, as_known
from mmppl.data import LinearGaussian
from mmppl.errors import OptionError
from mmppl.inference import Program, fit

MODALITIES = {"a": Modality((3,)), "b": Modality((2,))}
HOW = {"epochs": 4, "batch_size": 20, "progress": False, "validation": 0.2, "seed": 1, "clip": 2.0, "ema": 0.5}


@pytest.fixture
def rows():
    values = LinearGaussian(2, {"a": 3, "b": 2}, seed=1).sample(70, seed=0).values
    return Batch(values, {"a": np.arange(70) % 5 != 1, "b": np.arange(70) % 5 != 2})


@pytest.mark.parametrize("name", ["mopoe", "mmvae", "ebm", "mld"])
def test_parts_give_what_the_whole_step_gives(small, rows, name):
    program = small(name, MODALITIES)
    whole, parts = fit(program, rows, **HOW), fit(program, rows, accumulate=4, **HOW)
    other = fit(program, rows, **HOW | {"seed": 2})
    moved = max(np.abs(other.weights[n] - value).max() for n, value in whole.weights.items())
    for key, value in whole.weights.items():
        np.testing.assert_allclose(parts.weights[key], value, atol=min(1e-5, moved / 10), err_msg=key)
    for own, one in zip(parts.history, whole.history, strict=True):
        assert set(own) == set(one)
        for key in set(one) - {"seconds", "stage"}:
            np.testing.assert_allclose(own[key], one[key], rtol=1e-5, atol=1e-5, err_msg=key)


def test_parts_have_the_covariates_of_their_rows(small, rows):
    """Loss and weights of the whole step, of a program whose networks see a number and a class of each row."""
    known = {"age": Covariate(), "site": Covariate("category", names=("n", "s"))}
    given = rows.with_covariates({"age": np.arange(70.0) ** 2, "site": np.array(["n", "s"])[np.arange(70) // 3 % 2]})
    given = as_known(given, known)
    program = small("mopoe", MODALITIES, covariates=known)
    whole, parts = fit(program, given, **HOW), fit(program, given, accumulate=2, **HOW)
    for key, value in whole.weights.items():
        np.testing.assert_allclose(parts.weights[key], value, atol=1e-5, err_msg=key)
    np.testing.assert_allclose(*(h.history.table()["loss"] for h in (whole, parts)), rtol=1e-5)


def test_parts_that_do_not_divide_are_refused(small, rows):
    program = small("mopoe", MODALITIES)
    with pytest.raises(OptionError, match="devices=1 .* times accumulate=3 divide; got batch_size=20"):
        fit(program, rows, accumulate=3, **HOW)
    with pytest.raises(
        OptionError, match="Expected accumulate to be a whole number, accumulate >= 1; got accumulate=0"
    ):
        fit(program, rows, accumulate=0, **HOW)


def test_a_latent_that_all_rows_share_is_refused(ppl):
    """Its prior would count once in every part."""
    host = ppl.host

    def model(batch):
        common = host.sample("common", host.dist.Normal(host.zeros(3), 1.0).to_event(1))
        with ppl.plate(batch):
            ppl.observe("a", host.dist.Normal(common + 0.0 * batch["a"], 1.0).to_event(1), batch)

    def guide(batch):
        host.sample("common", host.dist.Normal(host.param("loc", host.zeros(3) + 1.0), 0.1).to_event(1))

    program = Program(model, guide, ppl.ELBO(), ppl, {"a": Modality((3,))})
    rows = Batch({"a": np.ones((40, 3), np.float32)})
    with pytest.raises(OptionError, match="rows are each by themselves.* Latents outside the plate of the data"):
        fit(program, rows, accumulate=4, **HOW | {"validation": None})
