"""Effective samples per second per datum of the kernels, on the posterior of a trained polydigits decoder.

256 data at once: our kernels on NumPyro, the host's NUTS on the batch as one joint target, and BlackJAX's MALA vmapped
over data, all from the same starts and all adapted before the clock runs. A datum's effective samples are the smallest
over its latents. Then: how long the diagnostics of such chains take. ``python -m benchmarks.kernels`` writes
docs/results/kernels.md.
"""

import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import NUTS
from numpyro.infer.mcmc import MCMCKernel

import mmppl.numpyro as mm
from benchmarks import by_hand_jax
from benchmarks.pages import stamp, table
from benchmarks.programs import LATENT, Setting, declare
from benchmarks.timing import Measure
from mmppl.data import load
from mmppl.inference import Program, fit
from mmppl.inference.posterior.convergence import ess, r_hat
from mmppl.nets.equinox import load as load_net
from mmppl.nets.equinox import state as net_state

__all__ = ["diagnostics_seconds", "rates", "run"]

ROWS, EPOCHS, ROUNDS = 256, 20, 3
# Warm-up and draws: about as many gradients of each of our kernels; a draw of the joint target takes hundreds.
LENGTHS = {"MALA": (1000, 1500), "UnderdampedLangevin": (1000, 1500), "HMC": (250, 200), "NUTS": (150, 25)}

REMARKS = (
    f"NUTS has the {ROWS} data as one joint target, as the host runs it on a program: one step size and one length of",
    "path for all of them. Our kernels and BlackJAX's MALA have a chain for each datum. So the ratios over NUTS are of",
    "two things at once, the kernel and its working by datum; a NUTS vmapped over data was not timed.",
    "What is not trusted is of chains that have not mixed: R-hat over the rounds is above 1.1 for more than 5% of the",
    "data.",
)
UNTRUSTED = " (not trusted)"


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


def adapted(setting: Setting, kernel: MCMCKernel, warmup: int) -> tuple[Callable, Any]:
    """A compiled function ``(state, draws)`` to a state and draws ``(draws, N, D)``, and a state after warm-up.

    NumPyro's ``MCMC`` compiles at every run, which takes longer than these chains; so the kernel's ``sample`` is
    looped here, as ``MCMC`` does.
    """
    args = (setting.batch,)
    state = kernel.init(jax.random.key(0), warmup, {"z": jnp.asarray(start())}, args, {})

    @partial(jax.jit, static_argnums=1)
    def draw(state: Any, draws: int) -> tuple[Any, jax.Array]:
        def step(state: Any, _: None) -> tuple[Any, jax.Array]:
            state = kernel.sample(state, args, {})
            return state, state.z["z"]

        return jax.lax.scan(step, state, None, length=draws)

    return draw, draw(state, warmup)[0]


def ours(setting: Setting, kernel: MCMCKernel) -> Callable[[], tuple[np.ndarray, float]]:
    """A function that goes on with a chain: draws ``(draws, N, D)`` and the seconds that they took."""
    warmup, draws = LENGTHS[type(kernel).__name__]
    draw, state = adapted(setting, kernel, warmup)
    memory = [draw(state, draws)[0]]

    def sample() -> tuple[np.ndarray, float]:
        begin = time.perf_counter()
        memory[0], z = draw(memory[0], draws)
        return np.asarray(z), time.perf_counter() - begin

    return sample


def blackjax_mala(setting: Setting) -> Callable[[], tuple[np.ndarray, float]]:
    """BlackJAX's MALA, one chain a datum, with the step sizes (N,) that our kernel learns."""
    kernel, values = blackjax.mala.build_kernel(), setting.batch.values
    size = adapted(setting, mm.MALA(setting.model), LENGTHS["MALA"][0])[1].step_size ** 2 / 2

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

        return jax.lax.scan(step, state, jax.random.split(key, LENGTHS["MALA"][1]))

    begin = jax.vmap(lambda z, row: blackjax.mala.init(z, lambda z: density(z, row)))(jnp.asarray(start()), values)
    keys = [jax.random.key(0)]
    memory = [draw(begin, keys[0])[0]]

    def sample() -> tuple[np.ndarray, float]:
        keys[0] = jax.random.split(keys[0])[0]
        clock = time.perf_counter()
        memory[0], z = draw(memory[0], keys[0])
        return np.asarray(z), time.perf_counter() - clock

    return sample


def rates() -> tuple[dict[str, Measure], set[str]]:
    """Effective samples per second per datum of each kernel: the median over data, and over rounds taken in turns.

    With the kernels of which more than 5% of the data have an R-hat above 1.1 over the rounds, as if these were chains:
    an effective number of samples says nothing there.
    """
    setting = trained()
    kernels = {
        "MALA": ours(setting, mm.MALA(setting.model)),
        "MALA, dense": ours(setting, mm.MALA(setting.model, adapt_mass_matrix=True, dense_mass=True)),
        "underdamped Langevin": ours(setting, mm.UnderdampedLangevin(setting.model)),
        "underdamped Langevin, dense": ours(setting, mm.UnderdampedLangevin(setting.model, dense_mass=True)),
        "HMC, dense": ours(setting, mm.HMC(setting.model, dense_mass=True)),
        "BlackJAX MALA": blackjax_mala(setting),
        "NUTS, joint": ours(setting, NUTS(setting.model)),
    }
    found: dict[str, list[float]] = {name: [] for name in kernels}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in kernels}
    for _ in range(ROUNDS):
        for name, sample in kernels.items():
            z, seconds = sample()
            drawn[name].append(z)
            found[name].append(float(np.median(ess(z[None], "mean").min(-1)) / seconds))
    astray = {name for name, z in drawn.items() if (r_hat(np.stack(z)).max(-1) > 1.1).mean() > 0.05}
    return {
        name: Measure(float(np.median(x)), min(x), max(x), "effective samples per second per datum")
        for name, x in found.items()
    }, astray


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
        found, astray = rates()

    def said(value: str, *kernels: str) -> str:
        return value + UNTRUSTED if astray & set(kernels) else value

    out = {f"{n}: {x.unit}": said(f"{x.value:.3g} ({x.low:.3g} to {x.high:.3g})", n) for n, x in found.items()}
    rivals = {"NUTS, joint": "joint NUTS (at least 10)", "BlackJAX MALA": "BlackJAX MALA (at least 1)"}
    for name in [name for name in found if name not in rivals]:
        for rival, bound in rivals.items():
            out[f"{name} over {bound}"] = said(f"{found[name].value / found[rival].value:.3g}", name, rival)
    out["diagnostics of 256 data, 4 chains, 500 draws (under 10)"] = f"{diagnostics_seconds():.2f} s"
    return out


def main() -> None:
    """Prints and writes the table."""
    lines = table(["what", "value"], run().items())
    print(*lines, sep="\n")
    lengths = ", ".join(f"{name} {draws} after {warmup}" for name, (warmup, draws) in LENGTHS.items())
    what = f"Draws after warm-up: {lengths}. In brackets the lowest and highest of {ROUNDS} rounds."
    head = ["# Kernels", "", f"Written by `python -m benchmarks.kernels` on {stamp()}.", what, *REMARKS, ""]
    Path("docs/results/kernels.md").write_text("\n".join([*head, *lines]) + "\n")


if __name__ == "__main__":
    main()
