"""Charts of the report, as SVG that stands inside a page and takes its colours from it."""

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["FIRST", "INK", "SECOND", "axes_of", "energy_histogram", "legend_of", "loss_curves", "svg_of"]

# Colours that matplotlib draws, and the page's names of them.
INK, FIRST, SECOND = "#010203", "#010204", "#010205"
COLOURS = {INK: "currentColor", FIRST: "var(--first)", SECOND: "var(--second)"}
NOT_TERMS = ("epoch", "stage", "steps", "seconds")
HELD_OUT = "validation."


def loss_curves(history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """A chart of each term of the objective over the epochs of each stage: SVG by stage and name of the term.

    What was held out stands beside what was trained on.
    """
    out: dict[str, dict[str, str]] = {}
    for stage in dict.fromkeys(record["stage"] for record in history):
        records = [record for record in history if record["stage"] == stage]
        names = {name for record in records for name in record if not name.startswith(HELD_OUT)} - set(NOT_TERMS)
        terms = sorted(names, key=lambda name: (name != "loss", name))
        out[stage] = {name: _curve(stage, name, records) for name in terms}
    return out


def _curve(stage: str, name: str, records: Sequence[Mapping[str, Any]]) -> str:
    figure, axes = axes_of("epoch", "nats a tuple")
    epochs = [record["epoch"] for record in records]
    marker = "o" if len(epochs) < 3 else None
    for key, colour, label in ((name, FIRST, "training"), (HELD_OUT + name, SECOND, "held out")):
        values = [record.get(key, np.nan) for record in records]
        if np.isfinite(values).any():
            axes.plot(epochs, values, color=colour, linewidth=1.8, marker=marker, label=label)
    if len(axes.lines) > 1:
        legend_of(axes)
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return svg_of(figure, f"{stage}-{name}")


def energy_histogram(posterior: np.ndarray, prior: np.ndarray) -> str:
    """Histograms of the energy f over draws from the posterior and from the prior."""
    figure, axes = axes_of("energy f(z)", "density", width=4.8)
    low, high = np.quantile(np.concatenate([posterior, prior]), [0.002, 0.998])
    bins = np.linspace(low, high, 41) if high > low else 10
    for values, colour, label in ((posterior, FIRST, "posterior draws"), (prior, SECOND, "prior draws")):
        axes.hist(values, bins=bins, density=True, color=colour, alpha=0.3)
        axes.hist(values, bins=bins, density=True, histtype="step", color=colour, linewidth=1.5, label=label)
    legend = axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    for text in legend.get_texts():
        text.set_color(INK)
    return svg_of(figure, "energy")


def axes_of(x: str, y: str, width: float = 4.2, height: float = 2.8) -> tuple[Any, Any]:
    """A figure and its axes, in the colours of the page."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.tick_params(colors=INK)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    return figure, axes


def legend_of(axes: Any) -> None:
    """A legend in the colours of the page."""
    for text in axes.legend(frameon=False, fontsize="small").get_texts():
        text.set_color(INK)


def svg_of(figure: Any, salt: str) -> str:
    """The figure as an inline SVG: no header, no namespaces, text as text, colours and font of the page."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}), warnings.catch_warnings():
        # The text stays text, in the reader's fonts; matplotlib only measures it, in its own.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
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
    for drawn, named in COLOURS.items():
        text = text.replace(drawn, named)
    return text
