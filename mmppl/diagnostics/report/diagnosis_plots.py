"""Charts of the diagnosis, each with the sentence that tells how to read it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmppl.diagnostics.report.coverage_figure import MARGIN, draw_coverage
from mmppl.diagnostics.report.plots import FIRST, INK, SECOND, axes_of, legend_of, svg_of
from mmppl.diagnostics.report.tables import subset_text
from mmppl.inference.posterior.trust import LIMIT_K

__all__ = ["coverage_charts", "diagnosis_charts"]

LONGEST = 22  # characters of a subset's name
SHOWN = 1.5  # a larger k is drawn at the edge


def coverage_charts(covered: Mapping[str, Any] | None) -> tuple[str, list[tuple[str, str]]]:
    """Words on reading coverage by subset, and a chart of each modality: its name and the SVG; none without it."""
    if not covered:
        return "", []
    read = (
        "Nominal against real: how often held-out values fall into predicted sets, a line for each subset that is "
        "given, coloured by its number of modalities. On the diagonal a program knows how sure it is, below it is too "
        f"sure, above too unsure; the band is {MARGIN} wide on each side. Mean distance {covered['miss']:.3f}."
    )
    names = dict.fromkeys(name for part in covered["subsets"].values() for name in part["share"])
    out = []
    for name in names:
        own = {g: part for g, part in covered["subsets"].items() if name in part["share"]}
        own = {given: {"share": {name: part["share"][name]}} for given, part in own.items()}
        out.append((name, svg_of(draw_coverage({**covered, "subsets": own}, INK), f"coverage-by-subset-{name}")))
    return read, out


def diagnosis_charts(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Pictures of the findings of :func:`~mmppl.diagnostics.diagnose`: a title, how to read it, and the SVG."""
    out = []
    if found["guide_k"]:
        read = (
            "Each dot is a datum; to the right of the line, at k = 0.7, the guide is too far from the posterior of "
            "that subset for its draws to be corrected by weights."
        )
        out.append(("Where the guide lies", read, _ks(found["guide_k"])))
    if found["gaps"]:
        read = (
            "Nats that the bound loses of each datum: by one encoder for all data (amortisation) and by a normal "
            "posterior (approximation); both are best near 0."
        )
        out.append(("Gaps of the bound", read, _gaps(found["gaps"])))
    if found["calibration"]:
        read = (
            "Ranks of simulated latents among draws of the guide: level within the band if its posteriors are right, "
            "heaped at both ends if they are too narrow, in the middle if too wide."
        )
        for site, counts in found["calibration"]["counts"].items():
            out.append((f"Ranks of {site}", read, _ranks(site, counts)))
    if found["coverage"] and found["coverage"]["share"]:
        read = (
            "How often a modality that is held out falls into its predicted set: on the diagonal it is as often as "
            "promised, below it the program is too sure, above it too unsure."
        )
        out.append(("Coverage of what is held out", read, _coverage(found["coverage"])))
    return out


def _ks(by_subset: Mapping[str, Sequence[float | None]]) -> str:
    most = max((subset.count("+") + 1 for subset in by_subset), default=0)
    every = next((subset.split("+") for subset in by_subset if subset.count("+") + 1 == most), [])
    figure, axes = axes_of("PSIS k", "given", height=max(2.8, 0.22 * len(by_subset) + 0.8))
    for row, ks in enumerate(by_subset.values()):
        known = np.clip([k for k in ks if k is not None], -0.5, SHOWN)
        spread = np.linspace(-0.2, 0.2, len(known))
        axes.plot(known, row + spread, "o", markersize=3, color=FIRST, alpha=0.6)
    axes.axvline(LIMIT_K, color=SECOND, linewidth=1.2)
    axes.set_yticks(range(len(by_subset)), [_brief(subset, every) for subset in by_subset])
    return svg_of(figure, "k")


def _brief(subset: str, every: Sequence[str]) -> str:
    """A subset in words that fit beside a chart.

    Example:
        >>> [_brief(s, ["a", "b", "c"]) for s in ("a", "a+b", "a+b+c")]
        ['a', 'all but c', 'all']
    """
    text = subset_text(subset, every)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _gaps(lost: Mapping[str, Sequence[float | None]]) -> str:
    figure, axes = axes_of("nats", "data")
    for (name, values), colour in zip(lost.items(), (FIRST, SECOND), strict=True):
        known = np.array([v for v in values if v is not None], float)
        axes.hist(known, bins=15, color=colour, alpha=0.4, label=name)
    legend_of(axes)
    return svg_of(figure, "gaps")


def _ranks(site: str, counts: Sequence[int]) -> str:
    figure, axes = axes_of("rank", "count")
    expected = sum(counts) / len(counts)
    spread = 2.0 * np.sqrt(expected * (1.0 - 1.0 / len(counts)))
    axes.axhspan(expected - spread, expected + spread, color=SECOND, alpha=0.2)
    axes.bar(range(len(counts)), counts, color=FIRST, alpha=0.6)
    return svg_of(figure, f"ranks-{site}")


def _coverage(covered: Mapping[str, Any]) -> str:
    figure, axes = axes_of("level", "share inside")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    styles = ("-", "--", ":", "-.")
    for i, (name, share) in enumerate(covered["share"].items()):
        colour = (FIRST, SECOND)[i % 2]
        axes.plot(covered["levels"], share, styles[i // 2 % 4], color=colour, linewidth=1.6, label=name)
    legend_of(axes)
    return svg_of(figure, "coverage")
