"""Images of any range in a user-defined program, which has a likelihood of its own; systems refuse them."""

import numpy as np
import pytest

from mmppl import Batch, Modality, models
from mmppl.errors import DataError
from mmppl.inference import Program, fit, infer

RAW = Batch({"a": (5.0 + np.random.default_rng(0).normal(size=(24, 1, 2, 2))).astype("f")})


def program(host, modality):
    d = host

    def model(batch):
        nothing = 0.0 * d.ppl.param("nothing", d.array(np.float32(1.0)))  # a fit wants a parameter
        with d.mm.plate(batch):
            z = d.ppl.sample("z", d.dist.Normal(nothing, 5.0))
            d.mm.observe("a", d.dist.Normal(z[..., None, None, None] + 0.0 * batch["a"], 1.0).to_event(3), batch)

    def guide(batch):
        with d.mm.plate(batch):
            d.ppl.sample("z", d.dist.Normal(batch["a"].sum((-1, -2, -3)) * (25 / 101), (25 / 101) ** 0.5))

    return Program(model, guide, d.mm.ELBO(), d.mm, {"a": modality})


def test_what_nobody_said_how_to_score_is_taken_as_it_is(host):
    own = program(host, Modality((1, 2, 2), kind="image"))
    with pytest.warns(
        UserWarning, match=r"'a': expected values in \[0, 1\] of an image; .*Modality\(..., likelihood=\)"
    ):
        fitted = fit(own, RAW, epochs=1, progress=False)
    with pytest.warns(UserWarning, match="of an image"):
        draws = infer(fitted, RAW, method="guide", num_samples=500).draws["z"]
    mean = RAW["a"].sum((1, 2, 3)) * 25 / 101
    np.testing.assert_allclose(draws.mean((0, 1)), mean, atol=0.15)


def test_likelihoods_that_are_said_refuse_it(host):
    said = Modality((1, 2, 2), kind="image", likelihood="discretized_logistic")
    with pytest.raises(DataError, match=r"'a': expected values in \[0, 1\] for likelihood 'discretized_logistic'"):
        fit(program(host, said), RAW, epochs=1, progress=False)
    system = models.mvae({"a": Modality((1, 2, 2), kind="image")}, ppl=host.mm, latent_dim=2, hidden=4)
    with pytest.raises(DataError, match=r"'a': expected values in \[0, 1\] for likelihood 'discretized_logistic'"):
        fit(system, RAW, epochs=1, progress=False)
