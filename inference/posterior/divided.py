"""Posteriors of rows that are divided among devices."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mmppl.errors import OptionError
from mmppl.inference.kernels import KERNELS
from mmppl.inference.posterior.posterior import Posterior
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.processes import check_one_process
from mmppl.inference.training.program import Program

__all__ = ["on_devices"]

BLOCK = 64  # rows that a process takes at a time
WEIGHTS = "pareto_k"


def on_devices(
    draw: Callable[..., Posterior], program: Program | Fitted, data: Any, devices: int, how: Mapping[str, Any]
) -> Posterior:
    """Draws on so many devices, put together in the order of the rows.

    Arguments:
        draw: Draws from the posterior of some rows.
        program: A fitted program, or one without parameters.
        data: The rows.
        devices: Number of devices.
        how: Further keywords of ``draw``: method, seed and others.

    Raises:
        OptionError: If the method or the program takes all rows as one, or there are fewer devices.
    """
    fitted = program if isinstance(program, Fitted) else Fitted(program, {})
    data = fitted.program.taken(data).validate(fitted.program.modalities)
    method, seed, init = how["method"], how["seed"], how["init"]
    if not isinstance(method, str) or method in fitted.program.ppl.host.JOINT:
        raise OptionError(
            f"Expected devices=None with method={method!r}, to which all rows may be one target; got "
            f"devices={devices}. Take another method, such as one of {', '.join(KERNELS)}."
        )
    fitted.rows_alone(f"devices={devices}")
    if devices > 1:
        check_one_process(devices, False)
    one = isinstance(seed, int | np.integer)
    if not one and len(seed) != len(data):
        raise OptionError(f"Expected one seed, or one for each of {len(data)} data; got {len(seed)}.")
    host = fitted.program.ppl.host
    # Processes take blocks, whose size is the same on any number of them; devices of one process divide each array.
    size = BLOCK if host.TRAINS_IN_PLACE else len(data)
    pieces: dict[int, Posterior] = {}

    def task(start: int) -> dict[str, np.ndarray]:
        rows = slice(start, start + size)
        own = int(np.random.SeedSequence([seed, start]).generate_state(1)[0]) if one and start else seed
        begin = init if isinstance(init, str) else {n: _rows(np.asarray(z), rows, len(data)) for n, z in init.items()}
        found = draw(fitted, data[rows], **{**how, "seed": own if one else seed[rows], "init": begin})
        pieces[start] = found
        arrays = {f"draws.{n}": z for n, z in found.draws.items()} | {f"stats.{n}": x for n, x in found.stats.items()}
        return arrays if found.pareto_k is None else arrays | {WEIGHTS: found.pareto_k}

    blocks = list(host.on_devices(devices, [partial(task, start) for start in range(0, len(data), size)]))
    whole = {n: np.concatenate([b[n] for b in blocks], axis=0 if n == WEIGHTS else 2) for n in blocks[0]}
    first = pieces[0]
    return replace(
        first,
        data=data,
        draws={n: whole[f"draws.{n}"] for n in first.draws},
        stats={n: whole[f"stats.{n}"] for n in first.stats},
        pareto_k=whole.get(WEIGHTS),
        seed=seed,
    )


def _rows(values: np.ndarray, rows: slice, number: int) -> np.ndarray:
    """Start values of some rows, where they are as many as data on the first axis or, of several chains, the second."""
    if values.ndim and values.shape[0] == number:
        return values[rows]
    return values[:, rows] if values.ndim > 1 and values.shape[1] == number else values
