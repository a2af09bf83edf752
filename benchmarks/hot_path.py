"""Functions and files of mmppl that one step of training crosses: ``python -m benchmarks.hot_path``.

On Pyro the third step of a stage is looked at; on NumPyro the first, in which Python runs the step so that JAX can
trace it. Functions have a name of their own: comprehensions and lambdas are left out.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from mmppl import Batch, Modality, models
from mmppl.inference import fit

ROOT = Path(__file__).resolve().parents[1]
NAMELESS = ("comp>", "genexpr>", "lambda>")
SKIPPED = {"pyro": 2, "numpyro": 0}
CASES = (("mopoe", "joint"), ("mld", "prior"))
DIMS = {"a": 5, "b": 5, "c": 5}


def main() -> None:
    """Prints a row for each system and host."""
    print("| system | stage | host | functions | files | calls |\n| --- | --- | --- | --- | --- | --- |")
    for system, stage in CASES:
        for host in SKIPPED:
            calls = crossed(system, stage, host)
            files = {file for file, _ in calls}
            print(f"| {system} | {stage} | {host} | {len(calls)} | {len(files)} | {sum(calls.values())} |")


def crossed(system: str, stage: str, host: str) -> Counter[tuple[str, str]]:
    """Calls of each function of the package, by file and name, in one step of a stage."""
    ppl, trainer = import_module(f"mmppl.{host}"), import_module(f"mmppl.{host}.trainer").Trainer
    calls: Counter[tuple[str, str]] = Counter()
    begin, step, done = trainer.begin, trainer.step, {"stage": "", "steps": 0}

    def beginning(self: Any, new: Any, *args: Any, **options: Any) -> None:
        done.update(stage=new.name, steps=0)
        begin(self, new, *args, **options)

    def stepping(self: Any, batch: Batch) -> Any:
        done["steps"] += 1
        with counted(calls, done["stage"] == stage and done["steps"] == SKIPPED[host] + 1):
            return step(self, batch)

    trainer.begin, trainer.step = beginning, stepping
    try:
        rng = np.random.default_rng(0)
        data = Batch({name: rng.standard_normal((96, dim)).astype(np.float32) for name, dim in DIMS.items()})
        program = getattr(models, system)({n: Modality((dim,)) for n, dim in DIMS.items()}, ppl=ppl, latent_dim=4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit(program, data, epochs=4, batch_size=32, progress=False)
    finally:
        trainer.begin, trainer.step = begin, step
    return calls


@contextmanager
def counted(calls: Counter[tuple[str, str]], wanted: bool) -> Iterator[None]:
    """Counts calls within the context, if they are wanted."""

    def see(frame: FrameType, event: str, _: Any) -> None:
        code, here = frame.f_code, Path(__file__)
        if event == "call" and code.co_filename.startswith(str(ROOT)) and not code.co_qualname.endswith(NAMELESS):
            if Path(code.co_filename) != here and "site-packages" not in code.co_filename:
                calls[code.co_filename, code.co_qualname] += 1

    if wanted:
        sys.setprofile(see)
    try:
        yield
    finally:
        sys.setprofile(None)


if __name__ == "__main__":
    main()
