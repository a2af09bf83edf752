"""Charts of the report, as SVG that stands inside a page and takes its colours from it."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["energy_histogram", "loss_curves"]

# Colours that matplotlib is told, and what the page knows them as.
INK, FIRST, SECOND = "#010203", "#010204", "#010205"
COLOURS = {INK: "currentColor", FIRST: "var(--first)", SECOND: "var(--second)"}
NOT_TERMS = ("epoch", "stage", "steps", "seconds")


def loss_curves(history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A chart for each term of the objective over the epochs, with the stages marked: SVG by name of the term."""
    terms = dict.fromkeys(name for record in history for name in record if name not in NOT_TERMS)
    ordered = sorted(terms, key=lambda name: (name != "loss", name))
    stages = [record["stage"] for record in history]
    starts = [i for i in range(len(stages)) if i == 0 or stages[i] != stages[i - 1]]
    return {name: _curve(name, history, starts) for name in ordered}


def _curve(name: str, history: Sequence[Mapping[str, Any]], starts: Sequence[int]) -> str:
    figure, axes = _axes("epoch", "nats a tuple")
    for start, end in zip(starts, [*starts[1:], len(history)], strict=True):
        points = [(r["epoch"], r[name]) for r in history[start:end] if r.get(name) is not None]
        if points:
            mark = "o" if len(points) == 1 else None
            axes.plot(*zip(*points, strict=True), color=FIRST, linewidth=1.8, marker=mark, markersize=4)
    axes.set_xlim(0.5, len(history) + 0.5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(starts) > 1:
        for start in starts:
            if start:
                axes.axvline(start + 0.5, color=INK, linewidth=0.8, linestyle=":")
            axes.text(start + 0.6, 1.02, history[start]["stage"], transform=axes.get_xaxis_transform(), color=INK)
    return _svg(figure, f"curve-{name}")


def energy_histogram(posterior: np.ndarray, prior: np.ndarray) -> str:
    """Histograms of the energy f over draws from the posterior and from the prior."""
    figure, axes = _axes("energy f(z)", "density", width=5.6)
    low, high = np.quantile(np.concatenate([posterior, prior]), [0.002, 0.998])
    bins = np.linspace(low, high, 41) if high > low else 10
    for values, colour, label in ((posterior, FIRST, "posterior draws"), (prior, SECOND, "prior draws")):
        axes.hist(values, bins=bins, density=True, color=colour, alpha=0.3)
        axes.hist(values, bins=bins, density=True, histtype="step", color=colour, linewidth=1.5, label=label)
    legend = axes.legend(frameon=False, loc="upper left")
    for text in legend.get_texts():
        text.set_color(INK)
    return _svg(figure, "energy")


def _axes(x: str, y: str, width: float = 4.2) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 2.8), layout="constrained")
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.tick_params(colors=INK)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    return figure, axes


def _svg(figure: Any, salt: str) -> str:
    """The figure as an inline SVG: no header, no namespaces, text as text, colours and font of the page."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=none)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    # Groups are called figure_1 and the like in every chart; an id may stand in a page only once.
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    for told, known in COLOURS.items():
        text = text.replace(told, known)
    return text
