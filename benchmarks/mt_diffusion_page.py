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

All are diffused as one (`primary=("ink", "flower", "china", "word")`), by a U-Net whose first level has 24 channels.
*joint*: joint draws of which all four are read as the same digit; then pairs of them, and shares that are read as the
digit of the row that is given, where all others are drawn. *word first*: words of the joint draws, and pictures given
them with `guidance=1` (drawn below) or 2, which trades variety. 0.7 were asked of the joint draws. With ink alone
diffused, and the rest read off it by heads, which take pixels as independent, 0.028 of the joint draws agreed.
"""
TRANSITION = """
## Ink to flower and back

Both are diffused as one, by a U-Net whose first level has 16 channels. *back*: ink given the flowers drawn given ink.
"""
TRIED = """
## What was tried

By Pyro, seed 0, one short fit each, judged on 1,000 rows, so that differences of two hundredths are noise. Ink and its
label, *given* and *joint* as above; transformers for 20 epochs, by batches of 64 and `p_conditional=0.8` where no
other is said, at uniform times unless a line says cosine.

| what | processor seconds | label given ink | given | joint | Frechet distance |
| --- | --- | --- | --- | --- | --- |
| transformer (`net="dit"`), learning rate 2e-3 | 95 | 0.963 | 0.865 | 0.849 | 14.5 |
| 2e-3, `p_conditional=0.5` | 95 | 0.971 | 0.794 | 0.792 | 16.6 |
| 4e-3 | 95 | 0.951 | 0.872 | 0.859 | 11.5 |
| 4e-3, `p_conditional=1` | 94 | 0.941 | 0.889 | 0.876 | 11.0 |
| 8e-3, `p_conditional=1` | 94 | 0.838 | 0.888 | 0.876 | 9.4 |
| 4e-3, `p_conditional=1`, batches of 32 | 123 | 0.918 | 0.878 | 0.875 | 9.8 |
| 4e-3, `p_conditional=1`, `time_sampling="cosine"` | 95 | 0.947 | 0.903 | 0.895 | 8.6 |
| 2e-3, a cosine schedule that is not shifted by -2 | 95 | 0.974 | 0.706 | 0.713 | 14.4 |
| 2e-3, shifted by -3 | 95 | 0.940 | 0.884 | 0.878 | 14.9 |
| 2e-3, shifted by -5 | 95 | 0.720 | 0.880 | 0.870 | 18.6 |
| U-Net, `"cosine"`, 3e-3, 20 epochs | 194 | 0.968 | 0.943 | 0.951 | 6.3 |
| U-Net, `"uniform"`, 3e-3, 10 epochs | 109 | 0.969 | 0.900 | 0.894 | 8.0 |
| U-Net, `"cosine"`, 3e-3, 10 epochs | 115 | 0.961 | 0.924 | 0.921 | 7.7 |

Sixty evaluations a draw in place of thirty change none of these by more than 0.006. What was found before: labels drawn
first are as good as images given a label, and drawn last are not (0.503 for 0.880); guidance 1 gives 0.99 to 1.00, of
less variety; a label's head at 0.1 of the sum of squares, and not of the mean, is hardly learned.

Of four modalities, cosine times, 20 epochs of about 230 processor seconds where nothing else is said; *joint* and
ink, flower and china given the word:

| what | joint | ink | flower | china |
| --- | --- | --- | --- | --- |
| U-Net, first level of 16 channels, `p_conditional=0.5` | 0.346 | 0.744 | 0.670 | 0.495 |
| `p_conditional=0.8` | 0.300 | 0.811 | 0.761 | 0.544 |
| `p_conditional=0.5`, 32 channels, 8 epochs in the same time | 0.228 | 0.393 | 0.334 | 0.247 |
| transformer of width 128, patches of 112 numbers (seven channels), 276 seconds | 0.018 | 0.146 | 0.162 | 0.149 |
| of width 64, with a token for each image of a place (no option), 282 seconds | 0.013 | 0.107 | 0.103 | 0.095 |
"""


def page(rows: Mapping[tuple[str, str, int], Row], about: Mapping[str, Any], hidden: Sequence[int]) -> str:
    """The page."""
    own = {k: v for k, v in about.items() if k not in ("tests", "size", "law", "votes")}
    lines = [
        "# `mt_diffusion` in the space of pixels",
        "",
        f"Written by `python -m benchmarks.mt_diffusion` on {stamp()}.",
        "polydigits, 8,000 tuples of 1,442 different ink images; a U-Net whose first level has 16 channels;",
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
        "What compares with the mean of the training images, or of the 5 nearest of 1,442, is the *mean of draws*, of",
        "eight.",
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
    body = [[name, *(_cells(own, [name])[0] for own in groups.values())] for name in first if name != "date"]
    picture = f"![Draws](mt_diffusion_{part}.png)"
    return [*text.strip().splitlines(), "", *table(["measure", *groups], body), "", picture, ""]


def _cells(own: list[Row], names: Sequence[str]) -> list[str]:
    return [_cell([row[name] for row in own], 0 if name in WHOLE else 3) for name in names]


def _cell(values: Sequence[float], digits: int) -> str:
    return over_seeds(values if len(set(values)) > 1 else values[:1], digits)
