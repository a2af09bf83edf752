"""``mt_diffusion`` in the space of pixels: ``python -m benchmarks.mt_diffusion PART [HOST] [--seeds 0]``.

Parts are ``label``, ink with its label, and ``masks``, ink with a masked copy of it. Both are judged on draws. Rows are
kept in benchmarks/results/mt_diffusion/, from which docs/results/mt_diffusion.md is written.
"""

import argparse
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import mmppl
from benchmarks.pages import HOSTS, Row, over_seeds, resumed, stamp, table
from mmppl import models
from mmppl.data import Dataset, load, patch_masks, restored, with_labels, with_masks
from mmppl.inference import Fitted, fit, generate
from mmppl.metrics import Classifiers, train_classifiers

SETTINGS: dict[str, Any] = {"epochs": 60, "batch_size": 128, "learning_rate": 1e-3}
OPTIONS: dict[str, Any] = {"space": "data", "net": "dit", "width": 128, "solver": "flow", "steps": 30, "ema": 0.995}
OWN: dict[str, dict[str, Any]] = {
    "label": {"p_conditional": 0.8, "head_weight": {"label": 20.0}},
    "masks": {"p_conditional": 0.9, "p_marginal": 0.0},
}
SIZE, LAW = 4, [1.0] * 11
HIDDEN = (2, 5, 10)
TESTS, NEIGHBOURS = 500, 5
KEPT, PAGE = Path("benchmarks/results/mt_diffusion"), Path("docs/results/mt_diffusion.md")


def main() -> None:
    """Fits what has not been fitted yet, prints every fit, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=tuple(OWN))
    parser.add_argument("hosts", nargs="*", default=HOSTS)
    parser.add_argument("--seeds", default="0", help="numbers with commas")
    parser.add_argument("--as-is", action="store_true", help="measure the run as it is, without going on with it")
    asked = parser.parse_args()
    digits = load("polydigits")
    classifiers = train_classifiers(digits)

    def run(part: str, host: str, seed: int) -> Row:
        data, measure = {"label": (with_labels(digits), _label), "masks": (masked(digits), _masks)}[part]
        names = {"label": ("ink", "label"), "masks": ("ink", "ink_masked")}[part]
        modalities = {name: data.modalities[name] for name in names}
        program = models.make("mt_diffusion", modalities, ppl=import_module(f"mmppl.{host}"), **OPTIONS, **OWN[part])
        out = Path(f"runs/mt_diffusion/{part}_{host}_{seed}")
        how = {"out": out, "resume": out.exists(), "progress": False, **SETTINGS}
        fitted = mmppl.load(out) if asked.as_is else fit(program, data.train.select(*names), seed=seed, **how)
        seconds = sum(record["seconds"] for record in fitted.history)
        return {"epochs": len(fitted.history), "seconds": seconds, **measure(fitted, data, classifiers, seed)}

    seeds = [int(seed) for seed in asked.seeds.split(",")]
    wanted = [(asked.part, host, seed) for seed in seeds for host in asked.hosts]
    for rows in resumed(KEPT, wanted, run):
        if rows:
            PAGE.write_text(_page(rows))


def masked(digits: Dataset) -> Dataset:
    """Ink with a masked copy of it."""
    return with_masks(digits, "ink", size=SIZE, law=LAW)


def _label(fitted: Fitted, data: Dataset, classifiers: Classifiers, seed: int) -> dict[str, float]:
    """Shares of right labels given ink, of ink that is read right given a label, and of draws that agree."""
    test = data.test.select(*fitted.program.modalities)[:TESTS]
    label = np.asarray(test["label"])
    found = generate(fitted, test.only("ink"), want=["label"], seed=seed)["label"][0]
    start = time.perf_counter()
    drawn = generate(fitted, test.only("label"), want=["ink"], seed=seed)["ink"][0]
    seconds = time.perf_counter() - start
    joint = generate(fitted, num=TESTS, seed=seed)
    return {
        "classifier": float((classifiers.predict("ink", np.asarray(test["ink"])) == label).mean()),
        "label given ink": float((found == label).mean()),
        "ink given label": float((classifiers.predict("ink", drawn) == label).mean()),
        "joint": float((classifiers.predict("ink", joint["ink"]) == joint["label"]).mean()),
        "milliseconds a draw": 1e3 * seconds / TESTS,
    }


def _masks(fitted: Fitted, data: Dataset, classifiers: Classifiers, seed: int) -> dict[str, float]:
    """Errors of hidden pixels and digits read, by number of hidden squares, beside two simple ways of filling."""
    test, train = data.test[:TESTS], np.asarray(data.train["ink"])
    image, label = np.asarray(test["ink"]), np.asarray(test.label)
    out: dict[str, float] = {"classifier": float((classifiers.predict("ink", image) == label).mean())}
    for number in HIDDEN:
        visible = patch_masks(TESTS, *image.shape[-2:], size=SIZE, law=[0.0] * number + [1.0], seed=seed)
        given = {"ink_masked": np.where(visible, image, np.float32(0.0))}
        ways = {
            "draws": restored(generate(fitted, given, want=["ink"], seed=seed)["ink"][0], image, visible),
            "mean": restored(np.broadcast_to(train.mean(0), image.shape), image, visible),
            "neighbours": restored(_nearest(train, image, visible), image, visible),
        }
        hidden = np.broadcast_to(~visible, image.shape)
        out[f"{number} hidden"] = float(hidden.mean())
        for way, filled in ways.items():
            out[f"{number} {way}, error"] = float(np.sqrt(((filled - image) ** 2)[hidden].mean()))
            out[f"{number} {way}, read"] = float((classifiers.predict("ink", filled) == label).mean())
    return out


def _nearest(train: np.ndarray, image: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Means of the training images that are nearest on the visible pixels."""
    # An instance stands in several tuples.
    rows, flat = np.unique(train.reshape(len(train), -1), axis=0), image.reshape(len(image), -1)
    seen = np.broadcast_to(visible, image.shape).reshape(flat.shape).astype(np.float32)
    distance = seen @ (rows**2).T - 2.0 * (seen * flat) @ rows.T
    near = np.argpartition(distance, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    return rows[near].mean(1).reshape(image.shape)


def _page(rows: dict) -> str:
    lines = [
        "# `mt_diffusion` in the space of pixels",
        "",
        f"Written by `python -m benchmarks.mt_diffusion` on {stamp()}, on cores that other work shared: seconds are",
        "no measure. polydigits, 8,000 tuples; 4 x 4 pixels a patch, 4 layers of width 64;",
        f"{', '.join(f'{k} {v}' for k, v in {**SETTINGS, **OPTIONS}.items() if k != 'epochs')}.",
        f"{TESTS} test rows, draws and not means, {OPTIONS['steps']} evaluations of the network a draw.",
        f"A fit has {SETTINGS['epochs']} epochs; one with fewer was judged on its way, and its loss still fell.",
        "",
    ]
    groups: dict[tuple[str, str], list[Row]] = {}
    for (part, host, _), row in sorted(rows.items()):
        groups.setdefault((part, host), []).append(row)
    label = [(host, own) for (part, host), own in groups.items() if part == "label"]
    if label:
        names = (
            "epochs",
            "classifier",
            "label given ink",
            "ink given label",
            "joint",
            "milliseconds a draw",
            "seconds",
        )
        lines += [
            "## Ink and its label",
            "",
            "*classifier*: its accuracy on test images. *label given ink*: labels that are drawn right.",
            "*ink given label*: images that the classifier reads as the label. *joint*: joint draws whose image is",
            "read as their label.",
            "",
            *table(["host", "seeds", *names], [[h, len(own), *_cells(own, names)] for h, own in label]),
            "",
        ]
    masks = [(host, own) for (part, host), own in groups.items() if part == "masks"]
    if masks:
        body = [
            [host, len(own), *_cells(own, ("epochs",)), number, *_cells(own, (f"{number} hidden",)), way]
            + _cells(own, (f"{number} {way}, error", f"{number} {way}, read"))
            for host, own in masks
            for number in HIDDEN
            for way in ("draws", "mean", "neighbours")
        ]
        lines += [
            "## Masked ink",
            "",
            f"Squares of {SIZE} x {SIZE} pixels are hidden, 0 to {len(LAW) - 1} in training; visible pixels stay as",
            "they are, bit for bit. *error*: root mean square over hidden pixels, of a draw with its spread and not",
            "of a mean. *read*: digits that the classifier reads right, which reads "
            f"{masks[0][1][0]['classifier']:.3f} of the whole ones.",
            "",
            *table(["host", "seeds", "epochs", "squares", "hidden", "filled by", "error", "read"], body),
            "",
        ]
    return "\n".join(lines)


def _cells(own: list[Row], names: tuple[str, ...]) -> list[str]:
    return [over_seeds([row[name] for row in own], 0 if name in ("epochs", "seconds") else 3) for name in names]


if __name__ == "__main__":
    main()
