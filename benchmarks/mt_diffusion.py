"""``mt_diffusion`` in the space of pixels: ``python -m benchmarks.mt_diffusion PART [HOST] [--seeds 0]``.

Parts are ``label``, ink with its label, ``masks``, ink with a masked copy of it, ``four``, all modalities of
polydigits, diffused as one, and ``transition``, ink to flowers, diffused as one too, and back. All are judged on
draws. Rows are kept in benchmarks/results/mt_diffusion/, from which docs/results/mt_diffusion.md is written, and the
first draws in pictures beside that.
"""

import argparse
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import mmppl
from benchmarks.mt_diffusion_page import page
from benchmarks.pages import HOSTS, Row, resumed
from mmppl import models
from mmppl.data import Dataset, load, patch_masks, restored, with_labels, with_masks
from mmppl.inference import Fitted, fit, generate
from mmppl.metrics import Classifiers, coherence, train_classifiers

SETTINGS: dict[str, Any] = {"batch_size": 64, "learning_rate": 3e-3}
OPTIONS: dict[str, Any] = {"space": "data", "net": "unet", "width": 128, "solver": "flow", "steps": 30, "ema": 0.998}
OWN: dict[str, dict[str, Any]] = {
    "label": {"p_conditional": 0.8},
    "masks": {"p_conditional": 0.9, "p_marginal": 0.0},
    "four": {"primary": ("ink", "flower", "china", "word"), "width": 192, "p_conditional": 0.5},
    "transition": {"primary": ("ink", "flower"), "p_conditional": 0.7},
}
NAMES = {
    "label": ("ink", "label"),
    "masks": ("ink", "ink_masked"),
    "four": ("ink", "flower", "china", "word"),
}
NAMES["transition"] = ("ink", "flower")
EPOCHS = {"label": 20, "masks": 20, "four": 60, "transition": 30}
SIZE, LAW = 4, [1.0] * 11
HIDDEN = (2, 5, 10)
TESTS, NEIGHBOURS, VOTES, DRAWS, SHOWN = 500, 5, 20, 8, 12
KEPT, PAGE = Path("benchmarks/results/mt_diffusion"), Path("docs/results/mt_diffusion.md")


def main() -> None:
    """Fits what has not been fitted yet, prints every fit, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=(*OWN, "page"))
    parser.add_argument("hosts", nargs="*", default=HOSTS)
    parser.add_argument("--seeds", default="0", help="numbers with commas")
    parser.add_argument("--as-is", action="store_true", help="measure the run as it is, without going on with it")
    asked = parser.parse_args()
    digits = load("polydigits")

    def run(part: str, host: str, seed: int) -> Row:
        classifiers = train_classifiers(digits)
        data, measure = {
            "label": (with_labels(digits), _label),
            "masks": (masked(digits), _masks),
            "four": (digits, _four),
            "transition": (digits, _transition),
        }[part]
        names = NAMES[part]
        program = models.make("mt_diffusion", {n: data.modalities[n] for n in names}, **_options(part, host))
        out = Path(f"runs/mt_diffusion/{part}_{host}_{seed}")
        how = {"out": out, "resume": out.exists(), "progress": False, "epochs": EPOCHS[part], **SETTINGS}
        start = time.process_time()
        fitted = mmppl.load(out) if asked.as_is else fit(program, data.train.select(*names), seed=seed, **how)
        seconds = {
            "seconds": sum(record["seconds"] for record in fitted.history),
            "processor": time.process_time() - start,
        }
        return {"epochs": len(fitted.history), **seconds, **measure(fitted, data, classifiers, seed)}

    seeds = [int(seed) for seed in asked.seeds.split(",")]
    wanted = [] if asked.part == "page" else [(asked.part, host, seed) for seed in seeds for host in asked.hosts]
    about = {**SETTINGS, **OPTIONS, "tests": TESTS, "size": SIZE, "law": len(LAW) - 1, "votes": VOTES}
    for rows in resumed(KEPT, wanted, run):
        if rows:
            PAGE.write_text(page(rows, about, HIDDEN))


def _options(part: str, host: str, **more: Any) -> dict[str, Any]:
    return {"ppl": import_module(f"mmppl.{host}"), **OPTIONS, **OWN[part], **more}


def _guided(fitted: Fitted, part: str, guidance: float) -> Fitted:
    """The same weights under guidance."""
    program = fitted.program
    host = program.ppl.__name__.rsplit(".", 1)[-1]
    program = models.make("mt_diffusion", dict(program.modalities), **_options(part, host, guidance=guidance))
    return replace(fitted, program=program)


def masked(digits: Dataset) -> Dataset:
    """Ink with a masked copy of it."""
    return with_masks(digits, "ink", size=SIZE, law=LAW)


def _label(fitted: Fitted, data: Dataset, classifiers: Classifiers, seed: int) -> dict[str, float]:
    """Shares of right labels given ink, of ink that is read right given a label, and of draws that agree."""
    test = data.test.select(*fitted.program.modalities)[:TESTS]
    label = np.asarray(test["label"])
    found = generate(fitted, test.only("ink"), num=VOTES, want=["label"], seed=seed)["label"]
    votes = np.stack([(found == k).sum(0) for k in range(10)])
    out = {
        "classifier": float((classifiers.predict("ink", np.asarray(test["ink"])) == label).mean()),
        "label given ink": float((votes.argmax(0) == label).mean()),
        "drawn label given ink": float((found == label).mean()),
    }
    pictures = []
    for end, way in (("", fitted), (", guided", _guided(fitted, "label", 1.0))):
        start = time.perf_counter()
        drawn = generate(way, test.only("label"), want=["ink"], seed=seed)["ink"][0]
        out[f"milliseconds a draw{end}"] = 1e3 * (time.perf_counter() - start) / TESTS
        joint = generate(way, num=TESTS, seed=seed)
        out[f"ink given label{end}"] = float((classifiers.predict("ink", drawn) == label).mean())
        out[f"joint{end}"] = float((classifiers.predict("ink", joint["ink"]) == joint["label"]).mean())
        pictures += [drawn, joint["ink"]]
    _show("label", [np.asarray(test["ink"]), *pictures], ["data", "given", "joint", "given, guided", "joint, guided"])
    return out


def _masks(fitted: Fitted, data: Dataset, classifiers: Classifiers, seed: int) -> dict[str, float]:
    """Errors of hidden pixels and digits read, by number of hidden squares, beside two simple ways of filling."""
    test, train = data.test[:TESTS], np.asarray(data.train["ink"])
    image, label = np.asarray(test["ink"]), np.asarray(test.label)
    out: dict[str, float] = {"classifier": float((classifiers.predict("ink", image) == label).mean())}
    pictures = [image]
    for number in HIDDEN:
        visible = patch_masks(TESTS, *image.shape[-2:], size=SIZE, law=[0.0] * number + [1.0], seed=seed)
        given = {"ink_masked": np.where(visible, image, np.float32(0.0))}
        drawn = restored(generate(fitted, given, num=DRAWS, want=["ink"], seed=seed)["ink"], image, visible)
        ways = {
            "draws": drawn[0],
            "mean of draws": drawn.mean(0),
            "mean": restored(np.broadcast_to(train.mean(0), image.shape), image, visible),
            "neighbours": restored(_nearest(train, image, visible), image, visible),
        }
        hidden = np.broadcast_to(~visible, image.shape)
        out[f"{number} hidden"] = float(hidden.mean())
        for way, filled in ways.items():
            out[f"{number} {way}, error"] = float(np.sqrt(((filled - image) ** 2)[hidden].mean()))
            out[f"{number} {way}, read"] = float((classifiers.predict("ink", filled) == label).mean())
        pictures += [given["ink_masked"], ways["draws"]]
    _show("masks", pictures, ["data", *(f"{text} {n}" for n in HIDDEN for text in ("hidden", "drawn"))])
    return out


def _nearest(train: np.ndarray, image: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Means of the training images that are nearest on the visible pixels."""
    # An instance stands in several tuples.
    rows, flat = np.unique(train.reshape(len(train), -1), axis=0), image.reshape(len(image), -1)
    seen = np.broadcast_to(visible, image.shape).reshape(flat.shape).astype(np.float32)
    distance = seen @ (rows**2).T - 2.0 * (seen * flat) @ rows.T
    near = np.argpartition(distance, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    return rows[near].mean(1).reshape(image.shape)


def _four(fitted: Fitted, data: Dataset, classifiers: Classifiers, seed: int) -> dict[str, float]:
    """Joint and cross coherence of draws, and ink to flower and back."""
    joint = generate(fitted, num=TESTS, seed=seed)
    found = coherence(dict(joint), classifiers)
    out = {"joint": found.joint.value}
    out |= {
        f"{a} and {b}": float(found.pairs[i, j])
        for i, a in enumerate(found.names)
        for j, b in enumerate(found.names[:i])
    }
    test = data.test[:TESTS]
    label = np.asarray(test.label)

    # Words of the joint density first, and pictures given them.
    for guidance in (2.0, 1.0):
        words = generate(_guided(fitted, "four", guidance), {"word": joint["word"]}, seed=seed)
        told = {name: words[name][0] for name in NAMES["four"]}
        out[f"joint, word first, guidance {guidance:.0f}"] = coherence(told, classifiers).joint.value
    for name in NAMES["four"]:
        drawn = generate(fitted, test.only(name), seed=seed)
        for other in NAMES["four"]:
            if other != name:
                out[f"{other} given {name}"] = float((classifiers.predict(other, drawn[other][0]) == label).mean())
        others = [n for n in NAMES["four"] if n != name]
        drawn = generate(fitted, test.only(*others), seed=seed)[name][0]
        out[f"{name} given others"] = float((classifiers.predict(name, drawn) == label).mean())
    pictures = [way[name] for way in (joint, told) for name in others]
    _show("four", pictures, [f"joint{end}, {name}" for end in ("", ", guided") for name in others])
    return out


def _transition(fitted: Fitted, data: Dataset, classifiers: Classifiers, seed: int) -> dict[str, float]:
    """Digits read of flowers given ink, of ink given flowers, and of ink given those flowers."""
    test = data.test.select("ink", "flower")[:TESTS]
    label, out, pictures = (
        np.asarray(data.test.label)[:TESTS],
        {},
        [np.asarray(test["ink"]), np.asarray(test["flower"])],
    )
    for end, way in (("", fitted), (", guided", _guided(fitted, "transition", 1.0))):
        flower = generate(way, test.only("ink"), want=["flower"], seed=seed)["flower"][0]
        back = generate(way, {"flower": flower}, want=["ink"], seed=seed)["ink"][0]
        out[f"flower given ink{end}"] = float((classifiers.predict("flower", flower) == label).mean())
        out[f"ink, flower and back{end}"] = float((classifiers.predict("ink", back) == label).mean())
        pictures += [flower, back]
    ink = generate(fitted, test.only("flower"), want=["ink"], seed=seed)["ink"][0]
    out["ink given flower"] = float((classifiers.predict("ink", ink) == label).mean())
    names = ["ink", "flower", "given ink", "and back", "given ink, guided", "and back"]
    _show("transition", pictures, names)
    return out


def _show(part: str, rows: list[np.ndarray], names: list[str]) -> None:
    """The first pictures of each row, beside the page."""
    figure, places = plt.subplots(len(rows), SHOWN, figsize=(0.6 * SHOWN + 1.0, 0.62 * len(rows)), squeeze=False)
    for line, pictures, name in zip(places, rows, names, strict=True):
        for place, picture in zip(line, np.asarray(pictures), strict=False):
            place.imshow(np.clip(picture, 0.0, 1.0).transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0.0, vmax=1.0)
            place.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")
    figure.savefig(PAGE.with_name(f"mt_diffusion_{part}.png"), dpi=90, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    main()
