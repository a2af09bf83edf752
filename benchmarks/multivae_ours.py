"""Our side of :mod:`benchmarks.multivae`, a worker of either host."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.worker import SHARE, serve, timed
from mmppl import Batch, models
from mmppl.batch import Modality
from mmppl.data import minibatches
from mmppl.inference import Fitted, generate, log_likelihood

__all__ = ["start"]


def start(
    *,
    host: str,
    system: str,
    options: dict[str, Any],
    data: str,
    modalities: dict[str, dict[str, Any]],
    seed: int,
    batch_size: int,
    learning_rate: float,
    tests: int,
    joint: int,
    likelihood_rows: int,
    particles: int,
) -> dict[str, Callable[..., Any]]:
    """The functions of the worker."""
    own, ppl = {name: Modality(**fields) for name, fields in modalities.items()}, import_module(f"mmppl.{host}")
    files, names = np.load(data), list(own)
    train, held_out = (Batch({n: files[f"{split}.{n}"] for n in names}) for split in ("train", "test"))
    test = held_out[:tests]
    program = models.make(system, own, ppl=ppl, seed=seed, **options)
    trainer = ppl.host.Trainer(program, train[:batch_size], seed=seed, learning_rate=learning_rate, clip=None, ema=0.0)
    trainer.begin(program.stages[0])

    def endless() -> Iterator[Batch]:
        epoch = 0
        while True:
            yield from minibatches(train, batch_size, seed=seed, epoch=epoch)
            epoch += 1

    rows = endless()

    def step() -> None:
        trainer.step(next(rows))

    def steps(number: int) -> float:
        return timed(step, number)

    def measure(path: str) -> dict[str, float]:
        fitted = Fitted(program, trainer.weights())
        made = {f"joint.{n}": x for n, x in generate(fitted, num=joint, mean=True, seed=seed).items()}
        for given in [(n,) for n in names] + [tuple(m for m in names if m != n) for n in names]:
            want = [n for n in names if n not in given]
            out = generate(fitted, test.only(*given), want=want, mean=True, seed=seed)
            made |= {f"{'+'.join(given)}.{n}": out[n][0] for n in want}
        np.savez(path, **made)
        value = log_likelihood(fitted, held_out[:likelihood_rows], num=particles, seed=seed)
        return {"value": value.mean, SHARE: value.share_above}

    return {"steps": steps, "measure": measure}


if __name__ == "__main__":
    serve(start)
