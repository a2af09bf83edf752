"""Drives Pyro for the contracts."""

from contextlib import contextmanager

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import MCMC, SVI, Trace_ELBO
from pyro.ops.stats import effective_sample_size

import mmppl.pyro as mm
from mmppl.inference.step import Step

__all__ = ["PyroDriver"]


class PyroDriver:
    """See :class:`mmppl.testing.Driver`."""

    name, mm, ppl, dist = "pyro", mm, pyro, dist

    @contextmanager
    def double(self):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    def array(self, x):
        return torch.tensor(np.asarray(x))

    def numpy(self, x):
        return x.detach().cpu().numpy()

    def call(self, f, seed):
        with _seeded(seed):
            return f()

    def sample(self, fn, shape, seed):
        with _seeded(seed), torch.no_grad():
            return fn.sample(torch.Size(shape)).numpy()

    def log_prob(self, fn, value):
        with torch.no_grad():
            return fn.log_prob(torch.tensor(value)).numpy()

    def stratified(self, fn, shape, seed):
        with _seeded(seed), torch.no_grad():
            return fn.stratified(shape).numpy()

    def value_and_grad(self, f, params, seed):
        leaves = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in params.items()}
        with _seeded(seed):
            value = f(leaves)
            grads = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True, allow_unused=True)
        return value.item(), {name: grad.numpy() for name, grad in zip(leaves, grads, strict=True)}

    def repeat_grad(self, f, params, xs):
        runs = [self.value_and_grad(lambda p, x=x: f(p, torch.tensor(x)), params, i)[1] for i, x in enumerate(xs)]
        return {name: np.stack([run[name] for run in runs]) for name in params}

    def log_joint(self, program, values, seed=0):
        given = {name: torch.tensor(value) for name, value in values.items()}
        with _seeded(seed):
            return float(poutine.trace(poutine.condition(program, data=given)).get_trace().log_prob_sum().detach())

    def losses(self, objective, program, batch, num=3000):
        batch = self.mm.as_batch(batch)
        with _seeded(0):
            return np.array([objective.loss(program.model, program.guide, batch) for _ in range(min(num, 20))])

    def trace_elbo(self):
        return Trace_ELBO()

    def stepper(self, objective, model, guide):
        def step(batch, seed, params=None):
            batch, store = mm.as_batch(batch), pyro.get_param_store()
            with store.scope(), _seeded(seed):
                for name, value in (params or {}).items():
                    pyro.param(name, torch.tensor(value))
                poutine.block(guide)(batch)
                poutine.block(model)(batch)
                torch.manual_seed(seed)
                for _, p in store.named_parameters():
                    p.grad = None
                loss = objective.loss_and_grads(model, guide, batch)
                grads = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in store.named_parameters()}
                grads = {name.replace("$$$", "."): grad.numpy().copy() for name, grad in grads.items()}
            return Step(loss, {name: float(value) for name, value in objective.record.items()}, grads)

        return step

    def fit(self, objective, model, guide, batch, *, steps, rate, seed=0):
        batch, store = mm.as_batch(batch), pyro.get_param_store()
        with store.scope(), _seeded(seed):
            svi = SVI(model, guide, pyro.optim.Adam({"lr": rate}), objective)
            losses = [svi.step(batch) for _ in range(steps)]
            params = {name.replace("$$$", "."): p.detach().numpy().copy() for name, p in store.items()}
        return np.array(losses), params

    def run_chains(self, kernel, batch, *, chains, warmup, samples, seed):
        mcmc = MCMC(kernel, warmup_steps=warmup, num_samples=samples, num_chains=chains, disable_progbar=True)
        with _seeded(seed):
            mcmc.run(batch)
        found = mcmc.diagnostics()
        names = {"accept_prob": "accept_prob", "log_density": "log_density", "step_size": "step size"}
        fields = {name: np.stack([x.numpy() for x in found[theirs].values()]) for name, theirs in names.items()}
        return {name: z.numpy() for name, z in mcmc.get_samples(group_by_chain=True).items()}, fields

    def effective_size(self, draws):
        return effective_sample_size(torch.tensor(draws)).numpy()


@contextmanager
def _seeded(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
