"""``mld`` on PolyMNIST: ``python -m benchmarks.polymnist --data-root FOLDER [--host pyro] [--seed 0]``.

Fits all 60,000 tuples on one core, measures what is generated jointly and given one to four modalities, relative to
what the classifiers read off the autoencoders' reconstructions, and writes docs/results/polymnist.md and a picture. The
fit is kept in runs/ after every epoch, and a run that was stopped goes on; rows are in benchmarks/results/polymnist/.
"""

import argparse
import json
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from benchmarks.pages import stamp, table
from benchmarks.scores import TESTS, measure
from mmppl import models
from mmppl.data import Dataset, load
from mmppl.inference import Fitted, fit, generate
from mmppl.metrics import train_classifiers

matplotlib.use("agg")

SETTINGS: dict[str, Any] = {"epochs": 100, "batch_size": 128, "learning_rate": 1e-3}
OPTIONS: dict[str, Any] = {"latent_dim": 64, "width": 384, "share": 0.18}
# Squared errors: where a digit is cut in, the colours are inverted, so that a lost stroke costs more than lost texture.
LIKELIHOOD, SCALE = "normal", 0.3
KEPT, PAGE = Path("benchmarks/results/polymnist"), Path("docs/results/polymnist.md")


def main() -> None:
    """Fits, measures, and writes the row, the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--host", default="pyro")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    data = load("polymnist", root=asked.data_root, num_test=TESTS)
    classifiers = train_classifiers(data)
    print("classifiers", classifiers.accuracy, flush=True)
    names = list(data.modalities)
    scored = {"likelihood": dict.fromkeys(names, LIKELIHOOD), "scale": dict.fromkeys(names, SCALE)}
    ppl = import_module(f"mmppl.{asked.host}")
    program = models.make("mld", data.modalities, ppl=ppl, **scored, **OPTIONS)
    out = Path(f"runs/polymnist/{asked.host}_{asked.seed}")
    start = time.perf_counter()
    fitted = fit(program, data.train, seed=asked.seed, out=out, resume=out.exists(), progress=False, **SETTINGS)
    row = {"seconds": time.perf_counter() - start, **measure(fitted, data, classifiers, asked.seed)}
    print(row, flush=True)
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{asked.host}_{asked.seed}.json").write_text(
        json.dumps({**row, "classifiers": dict(classifiers.accuracy)})
    )
    PAGE.write_text(_page())
    _draw(fitted, data)


def _page() -> str:
    rows = []
    for path in sorted(KEPT.glob("*.json")):
        kept = json.loads(path.read_text())
        accuracy = np.mean(list(kept.pop("classifiers").values()))
        seconds = kept.pop("seconds")
        shares = [f"{kept['joint'] / kept['joint ceiling']:.3f}"]
        shares += [f"{kept[f'given {k}'] / kept['ceiling']:.3f}" for k in range(1, 5)]
        host, seed = path.stem.split("_")
        rows.append([host, seed, f"{seconds:.0f}", f"{accuracy:.3f}", *(f"{v:.3f}" for v in kept.values()), *shares])
        measures = [*kept, *(f"{name}, of the ceiling" for name in ("joint", *(f"given {k}" for k in range(1, 5))))]
    return "\n".join(
        [
            "# PolyMNIST, `mld`",
            "",
            f"Written by `python -m benchmarks.polymnist` on {stamp()}; each fit ran on one core.",
            f"60,000 tuples; {', '.join(f'{k} {v}' for k, v in {**SETTINGS, **OPTIONS}.items())},",
            f"likelihood {LIKELIHOOD} of scale {SCALE}; all else by default.",
            "Judged on means of the likelihood: joint coherence of all five",
            f"modalities of 2,000 draws from the prior, and accuracy given one to four, all subsets of {TESTS:,} test",
            "tuples. The ceilings are what the classifiers read off the autoencoders' reconstructions of these tuples:",
            "jointly alike, and right; *classifiers* is their accuracy on the test pictures themselves.",
            "",
            *table(["host", "seed", "seconds", "classifiers", *measures], rows),
            "",
            "![Rows: test tuples, reconstructions, given the first, given all others, joint draws](polymnist.png)",
            "",
        ]
    )


def _draw(fitted: Fitted, data: Dataset, number: int = 8) -> None:
    """Pictures by row: data, reconstructions, given the first modality, given all others, drawn jointly."""
    from matplotlib import pyplot as plt

    test, names = data.test[:number], list(data.modalities)
    host = fitted.program.ppl.host
    hidden = host.latents(fitted.model, fitted.guide, test, 1, 0, np.zeros(number, bool))
    again = {n: x[0] for n, x in host.decode(fitted.model, hidden, test, 0, True).items()}
    first = generate(fitted, test.only(names[0]), want=names[1:], mean=True)
    others = {n: generate(fitted, test.only(*(o for o in names if o != n)), want=[n], mean=True)[n][0] for n in names}
    joint = generate(fitted, num=number, mean=True)
    rows: list[tuple[str, dict[str, Any]]] = [
        ("data", dict(test.values)),
        ("autoencoders", again),
        (f"given {names[0]}", {names[0]: test[names[0]], **{n: first[n][0] for n in names[1:]}}),
        ("given all others", others),
        ("joint", {n: np.asarray(joint[n]).reshape(-1, *data.modalities[n].shape)[:number] for n in names}),
    ]
    figure, axes = plt.subplots(len(rows), 1, figsize=(3.4, 9), layout="constrained")
    for axis, (title, values) in zip(axes, rows, strict=True):
        picture = np.concatenate([np.concatenate(list(np.asarray(values[n])), axis=-1) for n in names], axis=-2)
        axis.imshow(np.clip(picture.transpose(1, 2, 0), 0.0, 1.0))
        axis.set_ylabel(title, fontsize=8)
        axis.set(xticks=[], yticks=[])
    figure.savefig(PAGE.with_suffix(".png"), dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
