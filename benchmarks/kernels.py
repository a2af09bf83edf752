"""Effective samples per second per datum of the kernels, on the posterior of a trained polydigits decoder.

256 data at once: our kernels under NumPyro's ``MCMC``, the host's NUTS on the batch as one joint target, and
BlackJAX's MALA vmapped over data, all from the same starts and all adapted before the clock runs. A datum's effective
samples are the smallest over its latents. Then: how long the diagnostics of such chains take, and their conversion.

    python -m benchmarks.kernels
"""

import time
import warnings
from collections.abc import Callable

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import MCMC, NUTS

import mmppl.numpyro as mm
from benchmarks import by_hand_jax
from benchmarks.programs import LATENT, Setting, declare
from benchmarks.timing import Measure
from mmppl.data import load
from mmppl.inference import Program, fit
from mmppl.inference.mixing import ess, r_hat
from mmppl.nets.equinox import load as load_net
from mmppl.nets.equinox import state as net_state

__all__ = ["diagnostics_seconds", "rates", "run"]

ROWS, EPOCHS, WARMUP, DRAWS, NUTS_DRAWS, ROUNDS = 256, 20, 400, 400, 60, 5


def start() -> np.ndarray:
    """Where all chains begin, ``(N, D)``."""
    return 0.1 * np.random.default_rng(0).normal(size=(ROWS, LATENT)).astype("float32")


def trained() -> Setting:
    """The mixture of experts of :mod:`benchmarks.programs` after some epochs on polydigits, and 256 of its rows."""
    setting = declare(mm, "MMVAE", ROWS)
    program = Program(setting.model, setting.guide, setting.objective, mm, setting.modalities)
    fitted = fit(program, load("polydigits").train, epochs=EPOCHS, seed=0, progress=False)
    nets = {
        name: load_net(net, {leaf: fitted.weights[f"{name}.{leaf}"] for leaf in net_state(net)})
        for name, net in setting.nets.items()
    }
    return setting._replace(model=fitted.model, guide=fitted.guide, nets=nets)


def ours(setting: Setting, kernel: Callable) -> Callable[[int], tuple[np.ndarray, float]]:
    """A function from a seed to draws ``(draws, N, D)`` and the seconds that they took after warm-up."""
    draws = NUTS_DRAWS if kernel is NUTS else DRAWS
    mcmc = MCMC(kernel(setting.model), num_warmup=WARMUP, num_samples=draws, progress_bar=False)
    mcmc.warmup(jax.random.key(0), setting.batch, init_params={"z": jnp.asarray(start())})

    def sample(seed: int) -> tuple[np.ndarray, float]:
        mcmc.post_warmup_state = mcmc.last_state
        begin = time.perf_counter()
        mcmc.run(jax.random.key(seed), setting.batch)
        z = np.asarray(mcmc.get_samples()["z"])
        return z, time.perf_counter() - begin

    sample(1)  # compiles
    return sample


def blackjax_mala(setting: Setting, step_size: np.ndarray) -> Callable[[int], tuple[np.ndarray, float]]:
    """BlackJAX's MALA, one chain a datum, with the step sizes (N,) that our kernel learnt."""
    kernel, values = blackjax.mala.build_kernel(), setting.batch.values
    size = jnp.asarray(step_size) ** 2 / 2

    def density(z: jax.Array, row: dict) -> jax.Array:
        prior = -jnp.sum(jnp.abs(z))
        rows = {name: x[None] for name, x in row.items()}
        return prior + by_hand_jax.log_likelihood(setting.nets, setting.modalities, rows, z[None])[0]

    @jax.jit
    def draw(state, key):
        def step(state, key):
            def one(key, state, row, size):
                return kernel(key, state, lambda z: density(z, row), size)[0]

            state = jax.vmap(one)(jax.random.split(key, ROWS), state, values, size)
            return state, state.position

        return jax.lax.scan(step, state, jax.random.split(key, DRAWS))

    begin = jax.vmap(lambda z, row: blackjax.mala.init(z, lambda z: density(z, row)))(jnp.asarray(start()), values)
    memory = [draw(begin, jax.random.key(0))[0]]

    def sample(seed: int) -> tuple[np.ndarray, float]:
        clock = time.perf_counter()
        memory[0], z = draw(memory[0], jax.random.key(seed))
        return np.asarray(z), time.perf_counter() - clock

    return sample


def rates() -> dict[str, Measure]:
    """Effective samples per second per datum of each kernel: the median over data, and over rounds taken in turns."""
    setting = trained()
    mala = mm.MALA(setting.model)
    tuned = MCMC(mala, num_warmup=WARMUP, num_samples=1, progress_bar=False)
    tuned.run(jax.random.key(0), setting.batch, init_params={"z": jnp.asarray(start())})
    kernels = {
        "MALA": ours(setting, mm.MALA),
        "MALA, learnt scales": ours(setting, lambda model: mm.MALA(model, adapt_mass_matrix=True)),
        "underdamped Langevin": ours(setting, mm.UnderdampedLangevin),
        "HMC": ours(setting, mm.HMC),
        "BlackJAX MALA": blackjax_mala(setting, np.asarray(tuned.last_state.step_size)),
        "NUTS, joint": ours(setting, NUTS),
    }
    found: dict[str, list[float]] = {name: [] for name in kernels}
    for number in range(ROUNDS):
        for name, sample in kernels.items():
            z, seconds = sample(10 + number)
            found[name].append(float(np.median(ess(z[None], "mean").min(-1)) / seconds))
    return {
        name: Measure(float(np.median(x)), min(x), max(x), "effective samples per second per datum")
        for name, x in found.items()
    }


def diagnostics_seconds() -> float:
    """Seconds of R-hat, bulk and tail ESS of 256 data, 4 chains, 500 draws and the latents of one datum."""
    z = np.random.default_rng(0).normal(size=(4, 500, ROWS, LATENT)).astype("float32")
    begin = time.perf_counter()
    r_hat(z), ess(z), ess(z, "tail")
    return time.perf_counter() - begin


def run() -> dict[str, str]:
    """Every measure as text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = rates()
    out = {f"{name}: {x.unit}": f"{x.value:.3g} ({x.low:.3g} to {x.high:.3g})" for name, x in found.items()}
    for name in ("MALA", "MALA, learnt scales", "underdamped Langevin", "HMC"):
        out[f"{name} over joint NUTS (at least 10)"] = f"{found[name].value / found['NUTS, joint'].value:.3g}"
        out[f"{name} over BlackJAX MALA (at least 1)"] = f"{found[name].value / found['BlackJAX MALA'].value:.3g}"
    out["diagnostics of 256 data, 4 chains, 500 draws (under 10)"] = f"{diagnostics_seconds():.2f} s"
    return out


if __name__ == "__main__":
    for what, value in run().items():
        print(f"{what}: {value}", flush=True)
