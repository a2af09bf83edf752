"""Trust in a run: every question that was asked of it, what is wrong first."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scipy import stats

from mmppl.diagnostics.diagnosis import far_off, warnings_of
from mmppl.diagnostics.report.page import ranked
from mmppl.inference.posterior.trust import LIMIT_K, LIMIT_R_HAT

__all__ = ["findings", "trust_list"]

MOST = 3  # parts of a question that are told
SHARE, RARE = 0.1, 0.01  # of data whose k may be above its limit, and the probability of what is no chance
NOTHING: dict[str, Any] = dict.fromkeys(("guide_k", "gaps", "coverage_by_subset", "calibration")) | {"energy": {}}
# What is looked at, in the order of how much falls with it.
CHAINS, ENERGY, CALIBRATED = "mixing of the chains", "energy of the prior", "calibration of the guide"
SURE, WEIGHTS, GAP = "coverage of held-out data", "weights of the guide's draws", "answers of the encoder"


def trust_list(found: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """HTML of the :func:`findings`."""
    return ranked(findings(found, summary))


def findings(found: Mapping[str, Any], summary: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """Findings: what is wrong first, by weight and then by size, what is a little off, in order, and not asked.

    Coverage is wrong where it is off by ten points at some level, beyond chance; by less than that it is a little off.
    So are weights whose k is above its limit for so few data that it may be chance. Of a question three at most.

    Arguments:
        found: A record of :func:`~mmppl.diagnostics.diagnose`.
        summary: A record of :func:`~mmppl.diagnostics.summarise_posterior`, or None where there are no chains.

    Returns:
        Each finding as ``"wrong"``, ``"slight"``, ``"right"`` or ``""``, its question, and the words.
    """
    wrong: list[tuple[str, str, str]] = []
    slight: list[tuple[str, str, str]] = []
    right, unasked = [], []
    for question, parts in _asked(found, summary).items():
        bad = [(size, text) for size, texts in parts for text in texts]
        bad.sort(key=lambda pair: -pair[0])
        if len(bad) > MOST:
            last, more = bad[MOST - 1], len(bad) - MOST
            bad = [*bad[: MOST - 1], (last[0], f"{last[1]} And {more} more like it, in diagnosis.json.")]
        for size, text in bad:
            if size >= 0:
                wrong.append(("wrong", f"Wrong: {question}.", text))
            else:
                slight.append(("slight", f"A little off: {question}.", text))
        if parts and not bad:
            right.append(question)
        if not parts:
            unasked.append(question)
    rest = [
        (kind, name, ", ".join(names) + ".")
        for kind, name, names in (("right", "In order:", right), ("", "Not asked:", unasked))
        if names
    ]
    return [*wrong, *slight, *rest]


def _asked(found: Mapping[str, Any], summary: Mapping[str, Any] | None) -> dict[str, list[tuple[float, list[str]]]]:
    """Each question with its parts: the size of an answer, below 0 of what is a little off, and what is wrong."""
    covered, calibration, gaps = found["coverage_by_subset"], found["calibration"], found["gaps"]
    worst = covered["worst"] if covered else []
    off = [(_size(row), _says(coverage_by_subset={**covered, "worst": [row]})) for row in worst]
    return {
        CHAINS: [] if summary is None else list(_chains(summary)),
        ENERGY: [(abs(health["gap"]), _says(energy={site: health})) for site, health in found["energy"].items()],
        CALIBRATED: [(1.0, _says(calibration=calibration))] if calibration else [],
        SURE: off or ([(0.0, [])] if covered else []),
        WEIGHTS: [(_weight(ks), _says(guide_k={given: ks})) for given, ks in (found["guide_k"] or {}).items()],
        GAP: [(1.0, _says(gaps=gaps))] if gaps else [],
    }


def _size(row: Sequence[Any]) -> float:
    """Distance of a row of the worst coverage, less 1 where it is off by a little."""
    distance = abs(row[4] - row[3]) if len(row) > 3 else abs(row[2])
    return distance if far_off(row) else distance - 1.0


def _says(**part: Any) -> list[str]:
    """Warnings of a part of a record alone."""
    return warnings_of({**NOTHING, **part})


def _weight(ks: Sequence[float | None]) -> float:
    """Number of data whose k is above the limit; below 0, by their share, where as many are chance of one in ten."""
    known = [k for k in ks if k is not None]
    above = sum(k > LIMIT_K for k in known)
    chance = stats.binom.sf(above - 1, len(known), SHARE) > RARE
    return above / (len(known) + 1) - 1.0 if chance else float(above)


def _chains(summary: Mapping[str, Any]) -> Iterator[tuple[float, list[str]]]:
    for site, told in summary["sites"].items():
        worst = told["r_hat_max"]
        text = (
            f"R-hat of '{site}' is up to {worst:.2f}. Run more warm-up and draws, or method='tempered' between modes."
        )
        yield worst, [text] if worst > LIMIT_R_HAT else []
