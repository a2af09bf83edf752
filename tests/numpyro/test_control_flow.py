"""Programs with NumPyro's ``scan``, which stands under no plate: several particles are run draw by draw."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.control_flow import scan
from numpyro.infer import Trace_ELBO

import mmppl.numpyro as mm
from mmppl import Batch

BATCH = mm.as_batch(Batch({"a": np.random.default_rng(0).normal(size=(5, 2)).astype("f")}))


def steps(batch, loc, observe):
    def step(x, _):
        with mm.plate(batch):
            x = numpyro.sample("x", dist.Normal(loc(x), 1.0))
        return x, x

    last, _ = scan(step, jnp.zeros(5), jnp.arange(3))
    if observe:
        with mm.plate(batch):
            mm.observe("a", dist.Normal(last[..., None] + 0.0 * batch["a"], 0.8).to_event(1), batch)


def model(batch):
    steps(batch, lambda x: 0.9 * x, True)


def guide(batch):
    steps(batch, lambda x: 0.3 * batch["a"][:, 0], False)


def losses(objective):
    keys = jax.random.split(jax.random.key(0), 2000)
    return np.asarray(jax.jit(jax.vmap(lambda key: objective.loss(key, {}, model, guide, BATCH)))(keys))


def test_averaged_particles_have_the_hosts_bound_and_weighted_ones_a_tighter_one():
    theirs, ours, tighter = map(losses, (Trace_ELBO(), mm.ELBO(3, average=True), mm.ELBO(3)))
    error = np.hypot(theirs.std(), ours.std()) / np.sqrt(len(ours))
    assert abs(theirs.mean() - ours.mean()) < 5.0 * error
    assert tighter.mean() < ours.mean() - 5.0 * error
