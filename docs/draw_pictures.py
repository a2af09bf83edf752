"""The figures of docs/concepts.md; ``python docs/draw_pictures.py``."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

PICTURES = Path(__file__).parent / "pictures"
INK, PALE, WARM = "#1f4e79", "#dfe7ef", "#c8553d"


def batch() -> Figure:
    """Masks of a batch: as collected, given one modality, and with single elements missing."""
    rng = np.random.default_rng(1)
    rows = np.ones((8, 3), bool)
    rows[rng.random((8, 3)) < 0.3] = False
    rows[~rows.any(1), 0] = True
    word = rows & np.array([False, False, True])
    parts = np.repeat(rows, 3, axis=1) & (rng.random((8, 9)) > 0.2)
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    for place, mask, title in zip(
        figure.subplots(1, 3),
        (rows, word, parts),
        ("present", 'batch.only("word")', "present, by element"),
        strict=True,
    ):
        place.pcolormesh(mask, cmap=mpl.colors.ListedColormap([PALE, INK]), edgecolor="white", lw=1.5, vmin=0, vmax=1)
        step = mask.shape[1] / 3
        place.set_xticks([step * (i + 0.5) for i in range(3)], ["image", "sound", "word"])
        place.set(title=title, yticks=[], ylabel="rows" if mask is rows else "")
        place.invert_yaxis()
    return figure


def program() -> Figure:
    """Model and guide as graphs."""
    figure = Figure(figsize=(7, 2.4), layout="constrained")
    model, guide = figure.subplots(1, 2)
    for place, title in ((model, "model"), (guide, "guide")):
        place.set(xlim=(-0.5, 4.5), ylim=(-0.6, 2.6), title=title)
        place.axis("off")
    _node(model, 0, 1, "prior", box=True)
    _node(model, 1.7, 1, "z")
    _arrow(model, 0, 1, 1.7, 1)
    for y, name in zip((2, 1, 0), ("image", "sound", "word"), strict=True):
        _node(model, 4, y, name, shade=True)
        _arrow(model, 1.7, 1, 4, y)
        _node(guide, 0, y, name, shade=True)
        _arrow(guide, 0.1, y, 1.9, 1)
    model.text(2.9, 1.95, "decoders", ha="center", color=INK, fontsize=9)
    guide.text(1.0, 2.05, "encoders", ha="center", color=INK, fontsize=9)
    _node(guide, 2.1, 1, "aggregation", box=True)
    _node(guide, 4, 1, "z")
    _arrow(guide, 2.7, 1, 4, 1)
    return figure


def _node(place: Any, x: float, y: float, text: str, *, box: bool = False, shade: bool = False) -> None:
    style = "round,pad=0.35" if box else "circle,pad=0.35" if text == "z" else "round4,pad=0.35"
    colour = PALE if shade else "white"
    place.text(
        x, y, text, ha="center", va="center", bbox={"boxstyle": style, "fc": colour, "ec": INK}, fontsize=9, zorder=3
    )


def _arrow(place: Any, x: float, y: float, to_x: float, to_y: float) -> None:
    place.annotate(
        "", (to_x, to_y), (x, y), arrowprops={"arrowstyle": "-|>", "color": INK, "shrinkA": 16, "shrinkB": 24}
    )


def tilted() -> Figure:
    """A base, an energy and the density they make, on a line."""
    z = np.linspace(-4, 4, 400)
    base = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    energy = 1.6 * np.cos(2.2 * z) - 0.5
    density = base * np.exp(energy)
    density /= density.sum() * (z[1] - z[0])
    figure = Figure(figsize=(7, 2.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(z, energy, color=WARM)
    left.axhline(0, color="0.8", zorder=0)
    left.set(title="energy f(z)", xlabel="z")
    right.plot(z, base, color="0.6", label="base")
    right.fill_between(z, density, color=INK, alpha=0.25)
    right.plot(z, density, color=INK, label="base x exp(f) / Z")
    right.set(title="density", xlabel="z", yticks=[])
    right.legend(frameon=False, fontsize=8)
    return figure


def objectives() -> Figure:
    """Encoded and scored modalities of the terms of four objectives."""
    singles = np.eye(3, dtype=int).tolist()
    pairs = [[1, 1, 0], [1, 0, 1], [0, 1, 1]]
    every = [1, 1, 1]
    tables = {
        "ELBO": [(every, every)],
        "MVAE": [(every, every), *((s, s) for s in singles)],
        "MMVAE": [(s, every) for s in singles],
        "MoPoE": [(s, every) for s in (*singles, *pairs, every)],
    }
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    for place, (name, rows) in zip(figure.subplots(1, 4), tables.items(), strict=True):
        cells = np.array([[*encode, -1, *score] for encode, score in rows], float)
        cells = np.ma.masked_less(cells, 0)
        place.pcolormesh(cells, cmap=mpl.colors.ListedColormap([PALE, INK]), edgecolor="white", lw=1.5, vmin=0, vmax=1)
        place.set_xticks(np.arange(7) + 0.5, ["a", "b", "c", "", "a", "b", "c"])
        place.set(title=name, yticks=[], ylim=(7, 0), xlabel="encode     score")
        place.spines[:].set_visible(False)
        place.tick_params(length=0)
    figure.supylabel("terms", fontsize=9)
    return figure


def kernel() -> Figure:
    """Random walks on two posteriors of different width, each with a step size of its own."""
    rng = np.random.default_rng(0)
    figure = Figure(figsize=(7, 2.2), layout="constrained")
    for place, scale, title in zip(
        figure.subplots(1, 2), (1.0, 0.05), ("a wide posterior", "a narrow one"), strict=True
    ):
        z, chain, taken = 0.0, [], []
        for _ in range(160):
            proposal = z + 1.6 * scale * rng.standard_normal()
            accept = np.log(rng.random()) < (z**2 - proposal**2) / (2 * scale**2)
            z = proposal if accept else z
            chain.append(z)
            taken.append(accept)
        place.plot(chain, color=INK, lw=0.8, drawstyle="steps-post")
        where = np.flatnonzero(~np.array(taken))
        place.plot(where, np.array(chain)[where], ".", color=WARM, ms=4)
        place.set(title=f"{title}: step {1.6 * scale:.2f}, {np.mean(taken):.0%} accepted", xlabel="step", ylabel="z")
    return figure


if __name__ == "__main__":
    mpl.rcParams.update({"svg.hashsalt": "mmppl", "font.size": 9, "svg.fonttype": "path"})
    for make in (batch, program, tilted, objectives, kernel):
        make().savefig(PICTURES / f"{make.__name__}.svg", metadata={"Date": None})
