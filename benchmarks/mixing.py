"""The default of ``infer`` on the posterior of a calibrated polydigits program, beside a NUTS for each datum.

``mopoe`` after three epochs, 16 test tuples, four chains of 250 draws after 250 of warm-up, from the guide's draws.
Ours on both hosts, all of it timed: compilation, warm-up, draws and diagnosis. The rival is BlackJAX's NUTS with its
window adaptation, one chain for each datum and chain of ours, vmapped and compiled once, on NumPyro's density of the
same program. Effective samples of a datum are the fewest over its latents; chains of which more than 5% of the
coordinates have an R-hat above 1.1 have not mixed, and none are told of them.

``python -m benchmarks.mixing [HOST ...]`` writes docs/results/mixing.md.
"""

import json
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.pages import HOSTS, parser, stamp, table
from mmppl import Batch, models
from mmppl.data import load
from mmppl.inference import Fitted, fit, infer
from mmppl.inference.posterior.convergence import ess, r_hat

KEPT = Path("benchmarks/results/mixing")
EPOCHS, ROWS, CHAINS, DRAWS = 3, 16, 4, 250
HEADER = ("what", "seconds", "R-hat < 1.05", "R-hat < 1.1", "largest R-hat", "ESS, least", "ESS, median", "ESS / s")


def row(name: str, z: np.ndarray, seconds: float) -> tuple[str, ...]:
    """A line of the table, of draws ``(chains, draws, N, D)``."""
    r, effective = r_hat(z), ess(z).min(-1)
    numbers = (f"{(r < limit).mean():.3f}" for limit in (1.05, 1.1))
    sizes = ("–",) * 3
    if (r < 1.1).mean() >= 0.95:
        middle = float(np.median(effective))
        sizes = f"{effective.min():.0f}", f"{middle:.0f}", f"{middle / seconds:.1f}"
    return (name, f"{seconds:.1f}", *numbers, f"{r.max():.2f}", *sizes)


def trained(host: str) -> tuple[Fitted, Batch]:
    """The fitted program and the data whose posteriors are drawn."""
    data = load("polydigits")
    program = models.mopoe(data.modalities, ppl=import_module(f"mmppl.{host}"))
    return fit(program, data.train, epochs=EPOCHS, seed=0, progress=False), data.test[:ROWS]


def ours(name: str, fitted: Fitted, data: Batch, **options: Any) -> tuple[str, ...]:
    """A line of the table, of ``infer``."""
    begin = time.perf_counter()
    z = infer(fitted, data, num_chains=CHAINS, num_samples=DRAWS, num_warmup=DRAWS, seed=0, **options).draws["z"]
    r_hat(z)
    return row(name, z, time.perf_counter() - begin)


def nuts(fitted: Fitted, data: Batch) -> tuple[str, ...]:
    """A line of the table, of BlackJAX's NUTS with window adaptation, vmapped over data and chains."""
    from mmppl.numpyro.density import log_density_per_datum
    from mmppl.numpyro.primitives import as_batch

    start = infer(fitted, data, method="guide", num_samples=CHAINS, seed=0).draws["z"][0]
    begin = time.perf_counter()
    batch = as_batch(data)

    def density(z: jax.Array, n: jax.Array) -> jax.Array:
        row = Batch({m: x[n][None] for m, x in batch.values.items()}, {m: x[n][None] for m, x in batch.present.items()})
        return log_density_per_datum(fitted.model, (row,), {}, {"z": z[None]})[0]

    def one(key: jax.Array, z: jax.Array, n: jax.Array) -> jax.Array:
        target = lambda z: density(z, n)  # noqa: E731
        first, second = jax.random.split(key)
        adaptation = blackjax.window_adaptation(blackjax.nuts, target, is_mass_matrix_diagonal=False)
        (state, parameters), _ = adaptation.run(first, z, num_steps=DRAWS)
        kernel = blackjax.nuts(target, **parameters)

        def step(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            state, _ = kernel.step(key, state)
            return state, state.position

        return jax.lax.scan(step, state, jax.random.split(second, DRAWS))[1]

    keys = jax.random.split(jax.random.key(0), (CHAINS, ROWS))
    draw = jax.jit(jax.vmap(jax.vmap(one, (0, 0, 0)), (0, 0, None)))
    z = np.moveaxis(np.asarray(draw(keys, jnp.asarray(start), jnp.arange(ROWS))), 1, 2)
    r_hat(z)
    return row("NUTS for each datum, BlackJAX", z, time.perf_counter() - begin)


def main() -> None:
    """Measures the hosts asked for, and writes the table of all that are kept."""
    asked = parser(__doc__).parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for host in asked.hosts:
            fitted, data = trained(host)
            rows = [ours(f"`infer`, default, {host}", fitted, data)]
            rows.append(ours(f"`infer(method='mala')`, {host}", fitted, data, method="mala"))
            if host == HOSTS[0]:
                rows.append(nuts(fitted, data))
            print(*rows, sep="\n", flush=True)
            (KEPT / f"{host}.json").write_text(json.dumps({"rows": rows, "stamp": stamp()}))
    found = [json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))]
    what = "\n\n".join((__doc__ or "").split("\n\n")[:2])
    head = ["# Chains that mix", "", f"Written by `python -m benchmarks.mixing` on {found[-1]['stamp']}.", what, ""]
    lines = table(HEADER, [row for part in found for row in part["rows"]])
    Path("docs/results/mixing.md").write_text("\n".join([*head, *lines]) + "\n")


if __name__ == "__main__":
    main()
