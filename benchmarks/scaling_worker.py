"""A system on M modalities, a worker of :mod:`benchmarks.modalities` and :mod:`benchmarks.memory`."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.worker import serve, timed
from mmppl import models
from mmppl.data import LinearGaussian, minibatches
from mmppl.diagnostics.loading import single
from mmppl.inference import Fitted, fit, generate

__all__ = ["start"]

ROWS, LATENT = 1024, 8


def start(
    *, host: str, system: str, options: dict[str, Any], number: int, dim: int, batch_size: int
) -> dict[str, Callable[..., Any]]:
    """The functions of the worker, for ``number`` modalities of ``dim`` values each."""
    ppl = import_module(f"mmppl.{host}")
    truth = LinearGaussian(LATENT, {f"m{i:02d}": dim for i in range(number)}, seed=0)
    data = single(truth.sample(ROWS, seed=1))
    program = models.make(system, truth.modalities, ppl=ppl, **options)
    kept: dict[str, Fitted] = {}

    def steps(number: int, parts: int) -> list[float]:
        """Seconds of a step of the first stage, in each of the parts."""
        first = next(iter(minibatches(data, batch_size, seed=0, epoch=0)))
        trainer = ppl.host.Trainer(program, first, seed=0, learning_rate=1e-3, clip=None, ema=0.0)
        trainer.begin(program.stages[0])
        timed(lambda: trainer.step(first), 3)
        return [timed(lambda: trainer.step(first), number) for _ in range(parts)]

    def train(epochs: int) -> None:
        kept["fitted"] = fit(program, data, epochs=epochs, batch_size=batch_size, progress=False)

    def sample(number: int) -> None:
        """Everything from the first modality, and from the prior."""
        out = generate(kept["fitted"], data[:number].only("m00"))
        generate(kept["fitted"], num=number)
        assert all(np.isfinite(x).all() for x in out.values())

    return {"steps": steps, "train": train, "sample": sample}


if __name__ == "__main__":
    serve(start)
