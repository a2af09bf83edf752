"""Annealed importance sampling from the guide: the exact evidence of linear-Gaussian programs, from poor guides too."""

import numpy as np
import pytest

from mmppl import Batch, models
from mmppl.data.linear_gaussian import LinearGaussian
from mmppl.errors import OptionError
from mmppl.inference import Fitted, Program, log_likelihood
from mmppl.inference.posterior.annealing import inverse_temperatures


def program(ppl, truth, width):
    """The exact program with a guide of one width that knows nothing of the data."""
    host = ppl.host
    example = host.zeros(1)

    def to(x):
        from mmppl._backend import get_backend

        return get_backend(example).asarray(np.float32(x), like=example)

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", host.dist.Normal(host.zeros(truth.latent_dim), 1.0).to_event(1))
            for name in batch.modalities:
                loc = z @ to(truth.weight[name].T) + to(truth.bias[name])
                ppl.observe(name, host.dist.Normal(loc, truth.noise[name]).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch):
            loc = 0.0 * next(iter(batch.values.values())).sum(-1)[..., None] + host.zeros(truth.latent_dim) + 0.5
            host.sample("z", host.dist.Normal(loc, width).to_event(1))

    return Fitted(Program(model, guide, ppl.ELBO(), ppl, truth.modalities), {})


@pytest.mark.parametrize(("dim", "width"), [(2, 2.0), (4, 0.6)])
def test_the_evidence_is_exact_from_a_poor_guide(ppl, dim, width):
    truth = LinearGaussian(dim, {"a": 6, "b": 4}, seed=0)
    data = truth.sample(6, seed=1)
    present = {"a": np.arange(6) != 1, "b": np.arange(6) != 2}
    data = Batch({n: x.astype(np.float32) for n, x in data.values.items()}, present)
    found = log_likelihood(program(ppl, truth, width), data, method="annealed", num=48, steps=80, seed=0)
    exact = truth.evidence(data)
    assert found.trusted
    np.testing.assert_array_less(np.abs(found.value - exact), 4 * found.error + 0.02)
    assert abs(found.mean - exact.mean()) < 3.5 * found.mean_error
    # Plain weights are not trusted.
    plain = log_likelihood(program(ppl, truth, width), data, num=480, seed=0)
    assert not plain.trusted


def test_what_is_given_is_taken_off(ppl):
    truth = LinearGaussian(2, {"a": 3, "b": 2}, seed=0)
    data = Batch({n: x.astype(np.float32) for n, x in truth.sample(4, seed=1).values.items()})
    found = log_likelihood(program(ppl, truth, 1.5), data, method="annealed", num=32, steps=50, given=["a"], seed=0)
    exact = truth.evidence(data) - truth.evidence(data.only("a"))
    np.testing.assert_array_less(np.abs(found.value - exact), 4 * found.error + 0.02)


def test_the_path_is_from_the_guide_to_the_posterior():
    path = inverse_temperatures(50)
    assert (path[0], path[-1]) == (0.0, 1.0)
    assert (np.diff(path) > 0).all()


def test_what_cannot_be_annealed_says_what_can(ppl):
    truth = LinearGaussian(2, {"a": 3}, seed=0)
    data = truth.sample(4, seed=1)
    with pytest.raises(OptionError, match="Unknown method 'bridge'; expected one of importance, annealed"):
        log_likelihood(program(ppl, truth, 1.0), data, method="bridge")
    with pytest.raises(OptionError, match="Expected steps >= 1; got 0"):
        log_likelihood(program(ppl, truth, 1.0), data, method="annealed", steps=0)
    score = models.mld(truth.modalities, ppl=ppl, hidden=4, width=4, depth=1, autoencoder="vae")
    fitted = Fitted(score, ppl.host.Trainer(score, data, seed=0, learning_rate=1.0, clip=None, ema=0.0).weights())
    with pytest.raises(OptionError, match="Expected method='importance' of 'mld'"):
        log_likelihood(fitted, data, method="annealed")
