"""The page docs/results/mt_diffusion.md, of rows that :mod:`benchmarks.mt_diffusion` has kept."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import Row, over_seeds, stamp, table

__all__ = ["page"]

STEPS = Path("benchmarks/results/mt_steps")
LABEL = ("label given ink", "drawn label given ink", "ink given label", "joint", "ink given label, guided")
LABEL += ("joint, guided", "milliseconds a draw")
WHOLE = ("epochs", "seconds", "processor")
FOUR = """
## Four modalities

All are diffused as one (`primary=("ink", "flower", "china", "word")`), by a U-Net whose first level has 16 channels.
*joint*: joint draws of which all four are read as the same digit; then pairs of them, and shares that are read as the
digit of the row that is given, where all others are drawn. *word first*: words of the joint draws, and pictures given
them with `guidance=1` (drawn below) or 2, which trades variety. 0.7 were asked of the joint draws, which a fit of
twelve minutes of a processor reaches under guidance alone (30 epochs had 0.370, and 0.716 under guidance); china agrees
least. With ink alone diffused, and the rest read off it by heads, which take pixels as independent, 0.028 of the joint
draws agreed and 0.384 of the flowers given ink were read right, after 15 epochs of a transformer on NumPyro.
"""
TRANSITION = """
## Ink to flower and back

Both are diffused as one, by a U-Net whose first level has 16 channels. *back*: ink given the flowers drawn given ink.
"""
TRIED = """
## What was tried

By NumPyro, seed 0, one short fit each (20 epochs), so that differences of two hundredths are noise.

| what | effect |
| --- | --- |
| labels drawn last, off the finished image | joint 0.503, where ink given a label is 0.880: it is harder to draw |
| labels drawn first, which is the default now | joint 0.863, as good as ink given a label |
| guidance 1 (`guidance=1`), labels first | ink given a label 0.99 to 1.00, of less variety |
| batches of 64 and a learning rate of 2e-3 for 128 and 1e-3 | ink given a label 0.880 in 20 epochs, 0.768 in 27 |
| width 192, average 0.998 for 128, 0.995 | 0.897 for 0.880, label 0.907 for 0.877, 1.6 times the time |
| a label at 0.1 of the sum of squares, the default before | hardly learned; it is 0.1 of the mean now |
| one draw of the label in place of the most drawn of 20 | 0.865 for 0.928: a head is not sure of what it reads right |
"""


def page(rows: Mapping[tuple[str, str, int], Row], about: Mapping[str, Any], hidden: Sequence[int]) -> str:
    """The page."""
    own = {k: v for k, v in about.items() if k not in ("tests", "size", "law", "votes")}
    lines = [
        "# `mt_diffusion` in the space of pixels",
        "",
        f"Written by `python -m benchmarks.mt_diffusion` on {stamp()}.",
        "polydigits, 8,000 tuples of 1,442 different ink images; 4 x 4 pixels a patch, 4 layers of width 64;",
        f"{', '.join(f'{k} {v}' for k, v in own.items())}; all else by default.",
        f"{about['tests']} test rows, draws and not means, {about['steps']} evaluations of the network a draw.",
        "*seconds* are of the wall, on cores that other work shared, *processor seconds* of the fit alone.",
        "",
    ]
    lines += _steps()
    groups: dict[str, dict[str, list[Row]]] = {}
    for (part, host, _), row in sorted(rows.items()):
        groups.setdefault(part, {}).setdefault(host, []).append(row)
    lines += _label(groups.get("label", {}), about)
    lines += _masks(groups.get("masks", {}), about, hidden)
    lines += _measures(groups.get("four", {}), "four", FOUR)
    lines += _measures(groups.get("transition", {}), "transition", TRANSITION)
    return "\n".join([*lines, TRIED.strip(), ""])


def _steps() -> list[str]:
    rows = {path.stem: json.loads(path.read_text()) for path in sorted(STEPS.glob("*.json"))}
    if not rows:
        return []
    body = [
        [*reversed(name.split("_")), *(f"{row[k]:.1f}" for k in ("ours", "by hand"))]
        + [f"{row['ratio']:.3f} ({row['low']:.3f} to {row['high']:.3f})"]
        for name, row in rows.items()
    ]
    return [
        "## A step of training",
        "",
        "Ink and its label, batches of 128, the same network, milliseconds of processor time of a step of `fit` and of",
        "the same step in a loop by hand (`python -m benchmarks.mt_steps`); asked is a ratio of at most 1.1.",
        "",
        *table(["host", "network", "ours", "by hand", "ratio"], body),
        "",
    ]


def _label(groups: Mapping[str, list[Row]], about: Mapping[str, Any]) -> list[str]:
    if not groups:
        return []
    names = ("epochs", "classifier", *LABEL, "seconds", "processor")
    return [
        "## Ink and its label",
        "",
        "*classifier*: its accuracy on test images. *label given ink*: the label that is drawn most often of",
        f"{about['votes']} draws; *drawn*: one draw. *ink given label*: images that the classifier reads as the label.",
        "*joint*: joint draws whose image is read as their label. *guided*: with `guidance=1`, which trades variety.",
        "",
        *table(["host", "seeds", *names], [[h, len(own), *_cells(own, names)] for h, own in groups.items()]),
        "",
        "![Draws of ink and labels](mt_diffusion_label.png)",
        "",
    ]


def _masks(groups: Mapping[str, list[Row]], about: Mapping[str, Any], hidden: Sequence[int]) -> list[str]:
    if not groups:
        return []
    ways = ("draws", "mean of draws", "mean", "neighbours")
    body = [
        [host, len(own), *_cells(own, ("epochs",)), number, *_cells(own, (f"{number} hidden",)), way]
        + _cells(own, (f"{number} {way}, error", f"{number} {way}, read"))
        for host, own in groups.items()
        for number in hidden
        for way in ways
        if f"{number} {way}, error" in own[0]
    ]
    whole = next(iter(groups.values()))[0]["classifier"]
    return [
        "## Masked ink",
        "",
        f"Squares of {about['size']} x {about['size']} pixels are hidden, 0 to {about['law']} in training; visible",
        "pixels stay as they are, bit for bit. *error*: root mean square over hidden pixels, of a draw with its",
        f"spread and not of a mean. *read*: digits the classifier reads right, {whole:.3f} of whole ones.",
        "After so few epochs draws lose to the mean of the 5 nearest of 1,442 training images, which has no spread.",
        "A fit of fewer epochs than another was stopped on its way and judged as it was.",
        "",
        *table(["host", "seeds", "epochs", "squares", "hidden", "filled by", "error", "read"], body),
        "",
        "![Restored ink](mt_diffusion_masks.png)",
        "",
    ]


def _measures(groups: Mapping[str, list[Row]], part: str, text: str) -> list[str]:
    """A section with a line for each measure."""
    if not groups:
        return []
    first = next(iter(groups.values()))[0]
    body = [
        [name, *(over_seeds([row[name] for row in own], 0 if name in WHOLE else 3) for own in groups.values())]
        for name in first
        if name != "date"
    ]
    picture = f"![Draws](mt_diffusion_{part}.png)"
    return [*text.strip().splitlines(), "", *table(["measure", *groups], body), "", picture, ""]


def _cells(own: list[Row], names: Sequence[str]) -> list[str]:
    return [over_seeds([row[name] for row in own], 0 if name in WHOLE else 3) for name in names]
