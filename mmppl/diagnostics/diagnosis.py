"""Every diagnostic of a fitted program in one record, with what fails and what to do about it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmppl.checks import ANYTHING, at_least, checked
from mmppl.data import Dataset
from mmppl.diagnostics.calibration import calibrate, coverage
from mmppl.diagnostics.coverage_by_subset import coverage_by_subset
from mmppl.diagnostics.energies import energy_health
from mmppl.diagnostics.guide_gaps import gaps, guide_k
from mmppl.errors import DataError
from mmppl.inference import Fitted
from mmppl.inference.posterior.trust import LIMIT_K, LIMIT_R_HAT
from mmppl.progress import tqdm

__all__ = ["diagnose", "far_off", "warnings_of"]

LIMIT_GAP, SMALL_P = 1.0, 1e-3
LARGE = 0.1  # share of values by which sets are off by much


@checked(dataset=ANYTHING, num=at_least(1))
def diagnose(fitted: Fitted, dataset: Dataset, *, num: int = 16, seed: int = 0, progress: bool = False) -> dict:
    r"""PSIS k, gaps, calibration and the energy's health, ready for JSON.

    What a program cannot be asked is None: weights where its encoders are deterministic, and calibration where its
    prior is a score, whose density takes an integration at every step of a chain.

    Arguments:
        fitted: A fitted program.
        dataset: Its data; test rows in which something is present are looked at.
        num: Most rows.
        seed: Random seed.
        progress: Whether to show a progress bar.

    Returns:
        ``guide_k``: k by subset ("a+b") and datum; ``gaps``: nats of each datum; ``calibration``: ranks by site, of
        simulated data; ``coverage``: by modality held out; ``coverage_by_subset``: the same by subset that is given;
        ``energy``: by site; ``warnings``: what fails, each with a remedy.
    """
    test = getattr(dataset, "test", None)
    if test is None:
        raise DataError(f"Expected dataset to have rows for testing, dataset.test; got a {type(dataset).__name__}.")
    test = fitted.program.observed(test)
    rows = test[np.flatnonzero(np.asarray(test.observed()))]
    few = rows[:num]
    out: dict[str, Any] = {"seed": seed, "epochs": len(fitted.history), "data": len(few)}
    chains, weights = fitted.program.kernel is not None, fitted.program.density
    with tqdm(total=6, disable=not progress, leave=False) as bar:

        def say(what: str) -> None:
            bar.set_description(what)
            bar.update()

        say("where the guide lies")
        found = guide_k(fitted, few, seed=seed) if weights and chains else None
        out["guide_k"] = None if found is None else {"+".join(s): _list(k) for s, k in found.items()}
        say("gaps of the bound")
        lost = gaps(fitted, few, seed=seed) if weights and chains else None
        out["gaps"] = lost and {"amortisation": _list(lost.amortisation), "approximation": _list(lost.approximation)}
        say("coverage of what is held out")
        covered = coverage(fitted, rows[: 4 * num], num=100, seed=seed) if len(rows.modalities) > 1 else None
        out["coverage"] = covered and {
            "levels": _list(covered.levels),
            "share": {n: _list(x) for n, x in covered.share.items()},
            "error": {n: _list(x) for n, x in covered.error.items()},
            "calibration_error": covered.calibration_error,
            "off": covered.off(),
        }
        say("coverage given every subset")
        # A score's draws take tens of evaluations each.
        evaluated, times = (rows[: 4 * num], 50) if chains else (few, 40)
        every = coverage_by_subset(fitted, evaluated, num=times, seed=seed) if len(rows.modalities) > 1 else None
        out["coverage_by_subset"] = every and {
            **every.as_dict(),
            "worst": [["+".join(given), *rest] for given, *rest in every.farthest()],
        }
        say("calibration on simulated data")
        how: dict[str, Any] = {
            "method": "guide",
            "num": 200,
            "draws": 19,
            "like": test if fitted.program.covariates else None,
        }
        ranks = calibrate(fitted, **how, seed=seed) if weights and chains else None
        out["calibration"] = ranks and {
            "method": "guide",
            "draws": ranks.draws,
            "counts": {n: [int((r == i).sum()) for i in range(ranks.draws + 1)] for n, r in ranks.ranks.items()},
            "p_value": ranks.worst,
        }
        say("energy of the prior")
        health = energy_health(fitted, rows[:500], seed=seed) if chains else {}
        out["energy"] = {site: {k: _number(v) for k, v in h._asdict().items()} for site, h in health.items()}
    out["warnings"] = warnings_of(out)
    return out


def warnings_of(found: Mapping[str, Any]) -> list[str]:
    """Failures in a record of :func:`diagnose`, each with what to do about it."""
    out = []
    for subset, ks in (found["guide_k"] or {}).items():
        known = np.array([np.nan if k is None else k for k in ks], float)
        share = np.mean(known[~np.isnan(known)] > LIMIT_K) if (~np.isnan(known)).any() else 0.0
        if share > 0.1:
            number = int((~np.isnan(known)).sum())
            given = subset.replace("+", ", ")
            out.append(
                f"Given {given}, PSIS k is above {LIMIT_K} for {100 * share:.0f}% of {number} data: "
                "the guide is far from the posterior. Refine its draws (refine, or generate with sampler='hmc'), or "
                "fit longer."
            )
    if found["gaps"]:
        lost = np.median(np.array(found["gaps"]["amortisation"], float))
        if lost > LIMIT_GAP:
            out.append(
                f"The amortisation gap is {lost:.1f} nats for the median datum: the encoder answers worse than it "
                "could. Fit longer, or with a wider encoder."
            )
    out += [_of_coverage(*row) for row in (found["coverage_by_subset"] or {}).get("worst", ())]
    if found["calibration"] and found["calibration"]["p_value"] < SMALL_P:
        out.append(
            "Ranks of simulated latents are not uniform: the guide's posteriors are not those of the program. Draw by "
            "a kernel where uncertainty matters (method='hmc'), or refine."
        )
    for site, h in found["energy"].items():
        if abs(h["gap"]) > max(4 * (h["gap_error"] or 0.0), 0.5 * h["spread"]):
            out.append(
                f"The energy of '{site}' differs by {h['gap']:.2f} between posterior and prior draws: the prior has "
                "not learned its posterior. Fit longer, or with more Langevin steps (--set steps=...)."
            )
        if h["r_hat"] is None or not h["r_hat"] <= LIMIT_R_HAT:
            shown = "not known" if h["r_hat"] is None else f"{h['r_hat']:.2f}"
            out.append(
                f"Chains on the prior of '{site}' do not mix (R-hat {shown}): its modes are separated. Draw "
                "longer chains, or method='tempered'."
            )
        if h["log_z_error"] is None:
            out.append(
                f"log Z of '{site}' rests on {h['log_z_ess']:.0f} effective weights, too few to tell its error, and so "
                "does every likelihood. Take more temperatures in log_normalizer."
            )
        elif h["log_z_error"] > 0.5:
            out.append(
                f"log Z of '{site}' is known to {h['log_z_error']:.1f} nats only, and so is every likelihood. Take "
                "more temperatures in log_normalizer."
            )
    return out


def far_off(row: Sequence[Any]) -> bool:
    """Tells whether a row of the worst coverage is off by much, ten points at some level, and not by a little."""
    return abs(row[4] - row[3]) >= LARGE if len(row) > 3 else abs(row[2]) >= LARGE / 2


def _of_coverage(given: str, name: str, miss: float, *at: float) -> str:
    """Words on a row of the worst coverage; a record of an earlier version does not say at which level it is so."""
    little = "" if far_off((given, name, miss, *at)) else "a little "
    if at:
        level, share, error = at
        sure = share < level
        held = f"its {100 * level:.0f}% sets hold {100 * share:.0f}% (± {100 * error:.1g}) of the values"
    else:
        sure = miss < 0
        held = f"its sets hold {100 * abs(miss):.0f} points {'fewer' if sure else 'more'} values than they say"
    said = "surer than it is right" if sure else "less sure than it could be"
    return (
        f"Given {given.replace('+', ', ') or 'nothing'}, the program is {little}{said} of '{name}': {held}. Learn the "
        "likelihood's scale, fit longer, or draw by a kernel."
    )


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if np.isfinite(value) else None


def _list(values: np.ndarray) -> list[float | None]:
    return [_number(v) if not np.isposinf(v) else 1e9 for v in np.nan_to_num(values, nan=np.nan, neginf=-1.0)]
