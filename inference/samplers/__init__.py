"""Samplers that move the guide's draws towards the exact posterior, by name."""

from typing import Any

from mmppl.batch import Batch
from mmppl.inference.fitted import Fitted
from mmppl.inference.samplers.langevin import Langevin

__all__ = ["SAMPLERS", "Langevin", "refine"]

SAMPLERS = {"mala": Langevin(adjusted=True), "ula": Langevin(adjusted=False)}


def refine(fitted: Fitted, rows: Batch, hidden: Any, sampler: str, seed: int) -> Any:
    """Draws of the latents after the sampler's steps, ``(K, N, D)`` each."""
    return fitted.program.ppl.host.refine(fitted.model, hidden, rows, SAMPLERS[sampler], seed)
