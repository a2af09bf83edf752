"""Keys that compile fast, and distributions that JAX draws by another kind of key."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from scipy import stats

import mmppl.numpyro as mm
from mmppl import Batch, Modality, models
from mmppl.inference import Fitted, Program, fit, generate
from mmppl.numpyro.compiling import RNG, random_key
from mmppl.numpyro.seeded import program_key, seeded

RATE = 3.0


class Doubled(dist.Distribution):
    """A user's own distribution of counts: twice a Poisson one."""

    support = dist.constraints.nonnegative_integer

    def sample(self, key, sample_shape=()):
        return 2 * jax.random.poisson(key, RATE, sample_shape)

    def log_prob(self, value):
        return dist.Poisson(RATE).log_prob(value // 2)


COUNTS = {
    "poisson": (dist.Poisson(RATE), stats.poisson(RATE)),
    "negative binomial": (dist.NegativeBinomial2(RATE, 2.0), stats.nbinom(2.0, 2.0 / (2.0 + RATE))),
    "inflated": (dist.ZeroInflatedPoisson(0.0, RATE), stats.poisson(RATE)),
}


@pytest.mark.parametrize("fn", COUNTS)
def test_counts_are_drawn(fn):
    fn, exact = COUNTS[fn]

    def one(key):
        with numpyro.plate("n", 50):
            return seeded(lambda: numpyro.sample("x", fn), key)()

    drawn = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(random_key(0), 400)))
    assert stats.chisquare(*_binned(drawn.ravel(), exact)).pvalue > 1e-3
    assert len({row.tobytes() for row in drawn}) == 400  # keys that are mapped over draw apart


def _binned(drawn, exact, most=7):
    found = np.bincount(np.minimum(drawn, most), minlength=most + 1)
    share = np.append(exact.pmf(np.arange(most)), exact.sf(most - 1))
    return found, share / share.sum() * len(drawn)


def test_a_users_own_counts_are_drawn():
    drawn = seeded(lambda: numpyro.sample("x", Doubled().expand([4000])), random_key(0))()
    assert np.asarray(drawn).mean() == pytest.approx(2 * RATE, abs=0.2)


def test_other_sites_keep_their_keys():
    kinds = []

    class Noted(dist.Normal):
        def sample(self, key, sample_shape=()):
            kinds.append(str(jax.random.key_impl(key)))
            return super().sample(key, sample_shape)

    handlers.trace(seeded(lambda: numpyro.sample("x", Noted(0.0, 1.0)), random_key(0))).get_trace()
    handlers.trace(seeded(lambda: numpyro.sample("x", Noted(0.0, 1.0)), jax.random.key(0))).get_trace()
    assert kinds == [RNG, "threefry2x32"]


def test_a_program_that_draws_by_itself_has_jaxs_usual_keys():
    def program():
        with_scan = scan(lambda carry, _: (carry, numpyro.sample("y", dist.Poisson(RATE))), 0.0, None, length=3)[1]
        return jax.random.poisson(numpyro.prng_key(), RATE, (2000,)), with_scan

    own, scanned = seeded(program, random_key(0))()
    assert np.asarray(own).mean() == pytest.approx(RATE, abs=0.2)
    assert scanned.shape == (3,)
    kinds = seeded(lambda: (numpyro.prng_key(), program_key()), random_key(0))()
    assert [str(jax.random.key_impl(key)) for key in kinds] == ["threefry2x32", RNG]


def test_keys_of_a_users_own_are_left_alone():
    """A seed of the host's own kind gives just what the host's handler gives."""

    def program():
        return numpyro.sample("x", dist.Normal(0.0, 1.0)), jax.random.key_data(program_key())

    ours, theirs = (handler(program, jax.random.key(3))() for handler in (seeded, handlers.seed))
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_programs_with_counts_are_fitted_and_generate():
    rng = np.random.default_rng(0)
    data = Batch({"a": rng.poisson(RATE, (64, 2)), "b": rng.poisson(RATE, (64, 3))})
    modalities = {name: Modality((size,), kind="counts") for name, size in (("a", 2), ("b", 3))}
    program = models.mvae(modalities, ppl=mm, latent_dim=1, hidden=4, likelihood={"a": "poisson"})
    fitted = fit(program, data, epochs=1, progress=False)
    for drawn in (generate(fitted, num=5), generate(fitted, data[:3].only("a"), 5)):
        assert all(np.issubdtype(x.dtype, np.integer) for x in drawn.values())


def test_latents_that_are_counts_are_drawn():
    def model(batch):
        with mm.plate(batch):
            z = numpyro.sample("z", dist.Poisson(RATE))
            mm.observe("x", dist.Normal(z.astype(float)[:, None], 1.0).to_event(1), batch)

    def guide(batch):
        with mm.plate(batch):
            numpyro.sample("z", dist.Poisson(jnp.exp(numpyro.param("r", jnp.zeros(())))))

    program = Program(model, guide, mm.ELBO(gradient="score", particles=4), mm, {"x": Modality((1,))})
    data = Batch({"x": np.full((8, 1), 2.0, np.float32)})
    assert np.isfinite(fit(program, data, epochs=2, progress=False).history[-1]["loss"])
    fitted = Fitted(program, {"r": np.float32(0.0)})
    drawn = mm.host.latents(fitted.model, fitted.guide, data, 500, 0, np.ones(8, bool))["z"]
    assert np.asarray(drawn).mean() == pytest.approx(RATE, abs=0.15)
