"""Drives NumPyro for the contracts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import MCMC, SVI, Trace_ELBO
from numpyro.infer.util import log_density

import mmppl.numpyro as mm
from mmppl.inference.step import Step

__all__ = ["NumPyroDriver"]

# Tests compile much and run little, but for long fits.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
jit_of_loops = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 2})
LONG = 150


class NumPyroDriver:
    """See :class:`mmppl.testing.Driver`."""

    name, mm, ppl, dist = "numpyro", mm, numpyro, dist

    def double(self):
        return jax.enable_x64(True)

    def array(self, x):
        return jnp.asarray(x)

    def numpy(self, x):
        return np.asarray(x)

    def call(self, f, seed):
        return handlers.seed(f, jax.random.key(seed))()

    def sample(self, fn, shape, seed):
        solver = getattr(getattr(fn, "options", None), "solver", None)
        long = solver is not None and solver.evaluations >= LONG
        return np.asarray((_sample_long if long else _sample)(fn, jax.random.key(seed), shape))

    def log_prob(self, fn, value):
        return np.asarray(_log_prob(fn, jnp.asarray(value)))

    def stratified(self, fn, shape, seed):
        return np.asarray(fn.stratified(jax.random.key(seed), shape))

    def value_and_grad(self, f, params, seed):
        params = jax.tree.map(jnp.asarray, dict(params))
        value, grads = jit(jax.value_and_grad(handlers.seed(f, jax.random.key(seed))))(params)
        return float(value), jax.tree.map(np.asarray, grads)

    def repeat_grad(self, f, params, xs):
        params = jax.tree.map(jnp.asarray, dict(params))

        def one(x, key):
            return jax.grad(handlers.seed(f, key))(params, x)

        keys = jax.random.split(jax.random.key(0), len(xs))
        return jax.tree.map(np.asarray, jit(partial(jax.lax.map, lambda pair: one(*pair)))((jnp.asarray(xs), keys)))

    def log_joint(self, program, values, seed=0):
        seeded = handlers.seed(program, jax.random.key(seed))
        return float(log_density(seeded, (), {}, {k: jnp.asarray(v) for k, v in values.items()})[0])

    def losses(self, objective, program, batch, num=3000):
        batch, keys = self.mm.as_batch(batch), jax.random.split(jax.random.key(0), num)
        return np.asarray(jit(jax.vmap(lambda key: objective.loss(key, {}, program.model, program.guide, batch)))(keys))

    def trace_elbo(self):
        return Trace_ELBO()

    def stepper(self, objective, model, guide):
        svi = SVI(model, guide, numpyro.optim.SGD(0.0), objective)
        first: list = []

        @jit
        def evaluate(params, key, batch):
            def loss(params):
                value, (record, _) = objective.loss_and_record(key, params, model, guide, batch)
                return value, record

            return jax.value_and_grad(loss, has_aux=True)(params)

        def step(batch, seed, params=None):
            batch, key = mm.as_batch(batch), jax.random.key(seed)
            if not first:
                start = jit(svi.init)(key, batch)
                first.append((svi.get_params(start), start.mutable_state or {}))
            wanted, state = first[0]
            wanted = {**wanted, **jax.tree.map(jnp.asarray, dict(params or {}))}
            (value, record), grads = evaluate({**wanted, **state}, key, batch)
            grads = {name: grad for name, grad in grads.items() if name not in state}
            return Step(float(value), {k: float(v) for k, v in record.items()}, _flat(grads))

        return step

    def fit(self, objective, model, guide, batch, *, steps, rate, seed=0):
        svi = SVI(model, guide, numpyro.optim.Adam(rate), objective)
        batch, losses = mm.as_batch(batch), []
        update = (jit_of_loops if steps >= LONG else jit)(svi.update)
        state = jit(svi.init)(jax.random.key(seed), batch)
        for _ in range(steps):
            state, loss = update(state, batch)
            losses.append(float(loss))
        return np.array(losses), _flat(svi.get_params(state))

    def run_chains(self, kernel, batch, *, chains, warmup, samples, seed):
        mcmc = MCMC(
            kernel,
            num_warmup=warmup,
            num_samples=samples,
            num_chains=chains,
            chain_method="vectorized",
            progress_bar=False,
        )
        mcmc.run(jax.random.key(seed), batch, extra_fields=("accept_prob", "log_density", "step_size"))
        fields = jax.tree.map(np.asarray, dict(mcmc.get_extra_fields(group_by_chain=True)))
        fields["step_size"] = fields["step_size"][:, -1]
        return jax.tree.map(np.asarray, dict(mcmc.get_samples(group_by_chain=True))), fields

    def effective_size(self, draws):
        return np.asarray(effective_sample_size(draws))


def _draw(fn, key, shape):
    return fn.sample(key, shape)


_sample, _sample_long = jit(_draw, static_argnums=2), jit_of_loops(_draw, static_argnums=2)


@jit
def _log_prob(fn, value):
    return fn.log_prob(value)


def _flat(params):
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    return {name.replace("$params", ""): np.asarray(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)}
