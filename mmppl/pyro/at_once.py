"""Finds programs that give something else where axes of particles and terms are put before their plates."""

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch

from mmppl.batch import Batch
from mmppl.nets.bound import evaluated_once
from mmppl.pyro.networks import evaluated

__all__ = ["gives_the_same"]

_KNOWN: WeakKeyDictionary = WeakKeyDictionary()


def gives_the_same(runs: Any, program: Callable, batch: Batch, draws: tuple, masked: bool) -> bool:
    """Tells it from log densities of two draws under two masks, all at once and one by one; found once a program."""
    try:
        known = _KNOWN.setdefault(program, {})
    except TypeError:  # a program that cannot be referred to weakly is looked at every time
        known = {}
    key = batch.modalities, tuple(draws[0]), masked
    if key not in known:
        picked = dict(runs.picked)
        with torch.random.fork_rng(), torch.no_grad(), evaluated(restore_buffers=True), evaluated_once():
            known[key] = _compared(runs, program, batch, draws, masked)
        runs.picked = picked
    return known[key]


def _compared(runs: Any, program: Callable, batch: Batch, draws: tuple, masked: bool) -> bool:
    masks = [dict(batch.present), dict(batch.present)]
    if masked and len(batch.modalities) > 1:
        masks[1][batch.modalities[0]] = masks[1][batch.modalities[0]] & False
    each = [_seen(batch, present) for present in masks]
    several = _seen(batch, {n: torch.stack([m[n] for m in masks]) for n in batch.present}) if masked else batch
    try:
        ones = [[_densities(runs.run(program, each[t], draws[(k + t) % 2])) for t in (0, 1)] for k in (0, 1)]
        again = _densities(runs.run(program, each[0], draws[0]))
        pairs = {
            n: torch.stack([torch.stack([draws[(k + t) % 2][n] for t in (0, 1)]) for k in (0, 1)]) for n in draws[0]
        }
        found = _densities(runs.run(program, several, pairs, axes=(2, 2)))
        for name, wide in found.items():
            if not _close(ones[0][0][name], again[name]):
                continue  # it is random by itself, as a bound may be
            one = torch.stack([torch.stack([ones[k][t][name] for t in (0, 1)]) for k in (0, 1)])
            if not _close(wide.expand(one.shape), one):
                return False
    except Exception:  # whatever a program does not take axes for, it is run without them
        return False
    return True


def _seen(batch: Batch, present: dict) -> Batch:
    return batch.with_parts(present=present)


def _densities(sites: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Log densities of the sites, unmasked: what is missing from these rows is there in others."""
    wanted = {name: site for name, site in sites.items() if not site.integrated}
    return {name: (site.plain(1.0) or (lambda site=site: site.log_density(1.0)))() for name, site in wanted.items()}


def _close(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Tells whether numbers agree to single precision and a little more."""
    x, y = x.double(), y.double()
    size = y[torch.isfinite(y)].abs().max() if torch.isfinite(y).any() else torch.tensor(1.0)
    return bool(torch.allclose(x, y, rtol=1e-3, atol=1e-4 * float(size) + 1e-6, equal_nan=True))
