"""Evidence from a normal fitted to the posterior of each datum by chains of its own."""

from functools import cache
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.inference.host import PPL
from mmppl.inference.posterior.annealing import annealed_log_weights, explore, inverse_temperatures
from mmppl.inference.posterior.normal_fit import Normal, first_fit, next_fit
from mmppl.inference.training.fitted import Fitted

__all__ = ["fitted_log_weights"]

CHAINS = 16
# Transitions between fits, of which the later half count.
STAGES = (10, 10, 20, 40)
CHUNK = 64


@cache
def _walker(ppl: PPL) -> Any:
    """One kernel for all calls, so that a host compiles its steps once."""
    return ppl.HMC(None, num_steps=4, step_size=0.375)


def fit_normal(fitted: Fitted, data: Batch, seed: int, stages=STAGES, chains=CHAINS):
    host, kernel = fitted.program.ppl.host, _walker(fitted.program.ppl)
    hidden = host.latents(fitted.model, fitted.guide, data, chains, seed, np.zeros(len(data), bool))
    hidden = {n: z for n, z in hidden.items() if n in fitted.latents}
    z = host.unconstrained(fitted.model, hidden, data).astype(float)
    normal, size = first_fit(z), np.full(len(data), kernel.step_size)
    for number, steps in enumerate(stages):
        arrays = {"start": normal.into(z), "mean": normal.mean, "scale": normal.scale, "step_size": size}
        y, score, size = host.on_real_line(fitted.model, hidden, data, explore, kernel, steps, seed + number, arrays)
        z = normal.out(y[-1].astype(float))
        late = (x[steps // 2 :].reshape(-1, *z.shape[1:]).astype(float) for x in (y, score))
        normal = next_fit(normal, *late)
    return normal, size, hidden


def fitted_log_weights(fitted, data, normal, size, hidden, num, steps, seed):
    host, kernel = fitted.program.ppl.host, _walker(fitted.program.ppl)
    path = inverse_temperatures(steps)
    rng = np.random.default_rng(seed)
    out = []
    for i in range(-(-num // CHUNK)):
        start = rng.standard_normal((CHUNK, *normal.mean.shape))
        arrays = {"start": start, "mean": normal.mean, "scale": normal.scale, "step_size": size, "betas": path[1:-1], "increments": np.diff(path)}
        out.append(host.on_real_line(fitted.model, hidden, data, annealed_log_weights, kernel, steps - 1, seed + i, arrays))
    return np.concatenate(out)[:num].astype(float)
