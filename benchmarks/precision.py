"""Steps with networks in bfloat16 beside float32: ``python -m benchmarks.precision [HOST ...]``, two minutes a core.

Writes docs/results/precision.md: milliseconds a step of ``mmvae`` on polydigits, after compilation, in both precisions
in turn, and the loss that a fit of 10 epochs reaches in each.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.pages import stamp, table

HOSTS = ("numpyro", "pyro")
PATH = Path("docs/results/precision.md")
ROWS = Path("benchmarks/results/precision")
MIXED = "bf16-mixed"
STEPS, ROUNDS, EPOCHS = 10, 5, 10


def main() -> None:
    """Measures the hosts that are asked for, and writes the page of all that were."""
    warnings.simplefilter("ignore")
    ROWS.mkdir(parents=True, exist_ok=True)
    for host in sys.argv[1:] or HOSTS:
        row = {**measure(host), "load": os.getloadavg()[0]}
        (ROWS / f"{host}.json").write_text(json.dumps(row))
        print(host, row, flush=True)
    PATH.write_text(page({path.stem: json.loads(path.read_text()) for path in sorted(ROWS.glob("*.json"))}))


def measure(host: str) -> dict[str, Any]:
    """Milliseconds a step, of all rounds, and the losses reached, by precision."""
    import importlib

    from mmppl import models
    from mmppl.data import load
    from mmppl.inference import fit

    ppl, digits = importlib.import_module(f"mmppl.{host}"), load("polydigits")
    program = models.mmvae(digits.published, ppl=ppl)
    batch = digits.train[:128]
    found: dict[str, Any] = {"step": {}, "loss": {}}
    trainers = {}
    for precision in (None, MIXED):
        made = ppl.host.Trainer(
            program,
            batch,
            seed=0,
            learning_rate=1e-3,
            clip=None,
            ema=0.0,
            **({"precision": precision} if precision else {}),
        )
        made.begin(program.stages[0], 1000)
        made.step(batch)
        trainers[str(precision)] = made
    for _ in range(ROUNDS):
        for name, trainer in trainers.items():
            start = time.process_time()
            for _ in range(STEPS):
                trainer.step(batch)
            found["step"].setdefault(name, []).append(1000.0 * (time.process_time() - start) / STEPS)
    small = models.mvae(load("linear_gaussian").modalities, ppl=ppl, latent_dim=2)
    for precision in (None, MIXED):
        own = fit(
            small, load("linear_gaussian").train[:1000], epochs=EPOCHS, seed=0, progress=False, precision=precision
        )
        found["loss"][str(precision)] = own.history[-1]["loss"]
    return found


def page(rows: dict[str, dict[str, Any]]) -> str:
    """The page."""
    body = []
    for host, row in rows.items():
        own, mixed = (median(row["step"][name]) for name in ("None", MIXED))
        losses = (row["loss"][name] for name in ("None", MIXED))
        body.append(
            [
                host,
                f"{row['load']:.0f}",
                f"{own:.1f}",
                f"{mixed:.1f}",
                f"{mixed / own:.2f}",
                *(f"{x:.4f}" for x in losses),
            ]
        )
    heads = ["host", "load", "step, float32, ms", "bf16-mixed, ms", "ratio", "loss, float32", "bf16-mixed"]
    return (
        "# Networks in bfloat16\n\n"
        f"Written by `python -m benchmarks.precision` on {stamp()}.\n"
        "Processor milliseconds of a step of `mmvae` on polydigits, 128 rows, the median of "
        f"{ROUNDS} rounds of {STEPS} steps, the precisions in turn;\n"
        f"and the loss in nats that `mvae` reaches on linear_gaussian, 1,000 rows, in {EPOCHS} epochs. "
        "A ratio above 1 is slower than float32; the load is that of both cores meanwhile.\n\n"
        + "\n".join(table(heads, body))
        + "\n"
    )


if __name__ == "__main__":
    main()
