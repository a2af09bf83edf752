"""Learned priors of private latents: the aggregate of their posteriors."""

import numpy as np
import pytest
from scipy import stats

from mmppl import models
from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.errors import OptionError
from mmppl.inference import fit

# One number that a shared latent tells of both, and one that is -3 or 3 and that nothing else tells.
RNG = np.random.default_rng(0)
SHARED = RNG.standard_normal(600)
SIGN = np.where(RNG.random(600) < 0.5, -3.0, 3.0)
NOISE = 0.1 * RNG.standard_normal((2, 600))
DATA = Batch({"a": (SHARED + NOISE[0])[:, None], "b": np.stack([SHARED, SIGN + NOISE[1]], axis=1)})
VIEWS = {"a": Modality((1,)), "b": Modality((2,))}
SMALL = {"hidden": 16, "energy_hidden": 8, "chains": 16, "buffer": 64, "steps": 3}


def test_rows_that_are_there_have_their_posterior_and_others_the_prior(host):
    dist, to = host.mm.host.dist, get_backend(host.mm.host.zeros(1)).asarray
    mask, value = np.array([True, False, True]), np.array([[0.3, -1.0], [0.5, 2.0], [40.0, 0.1]])
    loc, scale = np.array([[0.0, 1.0], [5.0, 5.0], [39.0, 0.0]]), np.array([[1.0, 2.0], [1.0, 1.0], [0.5, 0.1]])
    own = dist.Laplace(to(loc), to(scale)).to_event(1)
    other = host.mm.GaussianMixture(to(np.array([[-1.0, 0.0], [1.0, 2.0]])), to(np.array([[0.5, 1.0], [1.0, 0.2]])))
    found = np.asarray(host.mm.host.masked_mixture(to(mask), other, own).log_prob(to(value)))
    prior = np.log(
        0.5 * sum(stats.norm.pdf(value[1], m, s).prod() for m, s in (([-1, 0], [0.5, 1]), ([1, 2], [1, 0.2])))
    )
    expected = stats.laplace.logpdf(value, loc, scale).sum(-1)
    np.testing.assert_allclose(found, [expected[0], prior, expected[2]], rtol=1e-10)


def test_the_prior_is_the_aggregate_of_the_posteriors(ppl):
    program = models.ebm_plus(VIEWS, ppl=ppl, latent_dim=1, private_dim=1, private_components=4, beta=0.01, **SMALL)
    fitted = fit(program, DATA, epochs=10, batch_size=60, learning_rate=1e-2, seed=0, progress=False)
    host, weights, rows = ppl.host, fitted.weights, np.zeros(600, bool)
    logits, loc, scale = (np.asarray(weights[f"b.private_prior.{part}"], float) for part in ("logits", "loc", "scale"))
    share = np.exp(logits) / np.exp(logits).sum()

    def below(w):
        return (share * stats.norm.cdf(np.reshape(w, (-1, 1)), loc[:, 0], scale[:, 0])).sum(-1)

    # Of data that have b, draws of its posteriors have the prior's law on average; of data that do not, each has it.
    seen = np.asarray(host.latents(fitted.model, fitted.guide, DATA, 1, 0, rows)["b.w"])
    assert stats.kstest(below(seen), "uniform").statistic < 0.08
    assert stats.kstest(stats.laplace.cdf(seen.ravel()), "uniform").statistic > 0.12
    hidden = np.asarray(host.latents(fitted.model, fitted.guide, DATA.only("a"), 5, 1, rows)["b.w"])
    assert stats.kstest(below(hidden), "uniform").pvalue > 1e-3
    drawn = np.asarray(host.latents(fitted.model, fitted.guide, DATA, 5, 2, np.ones(600, bool))["b.w"])
    assert stats.kstest(below(drawn), "uniform").pvalue > 1e-3


def test_a_prior_that_is_learned_waits_for_the_backbone(ppl):
    with pytest.raises(OptionError, match="Expected private_components >= 1; got -1"):
        models.ebm_plus(VIEWS, ppl=ppl, private_components=-1)
    with pytest.raises(OptionError, match=r"private_components > 1, which needs frozen encoders; got 'joint' and True"):
        models.ebm_plus(VIEWS, ppl=ppl, private_components=2, schedule="joint")
    for more in ({"schedule": "joint"}, {"tilt": False}, {"cross_private": "auxiliary"}, {"private_components": 1}):
        program = models.ebm_plus(VIEWS, ppl=ppl, latent_dim=1, **SMALL, **more)
        assert all(stage.initialize is None for stage in program.stages)
