"""Does a reduction of dimension slow the loss of quality as modalities are added? ``python -m benchmarks.reduction``.

The same handwriting seen as M = 3, 5 and 10 modalities, each another instance of the digit cut into a photograph whose
colours are turned in its own way; ``mld`` on NumPyro with and without ``reduce=``, three seeds. The first stage of a
seed is the same with and without, so that differences are the prior's. Every fit is kept in
benchmarks/results/reduction/, and a run that was stopped goes on; the table and the picture are of all there are.
"""

import json
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from benchmarks.pages import stamp
from mmppl import models
from mmppl.batch import Batch
from mmppl.data import Dataset, load
from mmppl.inference import fit, generate
from mmppl.metrics import Classifiers, coherence, train_classifiers
from mmppl.models.common.coders import Coders
from mmppl.models.common.declare import autoencoders
from mmppl.nets.equinox import load as load_net

matplotlib.use("agg")

SEEDS, NUMBERS, TOLERANCES = (0, 1, 2), (3, 5, 10), (None, 0.5)
FIRST: dict[str, Any] = {"epochs": 20, "latent_dim": 16, "hidden": 256}
# The default average of weights (0.999) is as long as half of so short a training.
SECOND: dict[str, Any] = {"epochs": 30, "ema": 0.99}
SETTINGS: dict[str, Any] = {"batch_size": 128, "learning_rate": 1e-3}
TESTS, SUBSETS = 500, 3
KEPT = Path("benchmarks/results/reduction")


def views(number: int) -> Dataset:
    """So many views: tuples of polydigits with the same label, side by side, every pair of photographs once more."""
    digits, names = load("polydigits"), ("flower", "china")

    def many(split: Batch, seed: int) -> Batch:
        rng, label = np.random.default_rng(seed), np.asarray(split.label)
        values = {}
        for i in range(number):
            # Another tuple of the same class for each pair of views, with another order and sign of colours.
            rows = np.arange(len(label))
            for c in range(10):
                own = np.flatnonzero(label == c)
                rows[own] = rng.permutation(own) if i > 1 else own
            picture = np.roll(split[names[i % 2]][rows], i // 2, axis=1)
            values[f"view{i}"] = 1.0 - picture if i // 6 else picture
        return Batch(values, label=label)

    shapes = {f"view{i}": digits.published[names[i % 2]] for i in range(number)}
    return Dataset(f"views{number}", shapes, many(digits.train, 0), many(digits.test, 1))


def autoencode(data: Dataset, seed: int) -> dict[str, tuple[Any, Any]]:
    """The first stage alone: its encoders and decoders."""
    ppl, options = import_module("mmppl.numpyro"), {k: v for k, v in FIRST.items() if k != "epochs"}
    program = models.make("mld", data.modalities, ppl=ppl, **options)
    alone = replace(program, stages=program.stages[:1])
    fitted = fit(alone, data.train, epochs=FIRST["epochs"], seed=seed, progress=False, **SETTINGS)
    specs = autoencoders(Coders(ppl, data.modalities), options["latent_dim"], options["hidden"], None)
    nets = {}
    for name, net in ppl.host.build_all(specs, seed).items():
        own = {k.removeprefix(f"{name}."): w for k, w in fitted.weights.items() if k.startswith(f"{name}.")}
        nets[name] = load_net(net, own)
    return {m: (nets[f"{m}.encoder"], nets[f"{m}.decoder"]) for m in data.modalities}


def measure(data: Dataset, coders: Any, classifiers: Classifiers, eps: float | None, seed: int) -> dict[str, Any]:
    """One fit of the prior: joint coherence, and accuracy of a view by the number of views observed."""
    ppl, number, dim = import_module("mmppl.numpyro"), len(data.modalities), FIRST["latent_dim"]
    start = time.perf_counter()
    program = models.make("mld", data.modalities, ppl=ppl, reduce=eps, coders=coders, latent_dim=dim, ema=SECOND["ema"])
    fitted = fit(program, data.train, epochs=SECOND["epochs"], seed=seed, progress=False, **SETTINGS)
    seconds = time.perf_counter() - start
    kept = fitted.weights.get("prior.kept")
    test, names = data.test[:TESTS], list(data.modalities)
    label, rng = np.asarray(test.label), np.random.default_rng(seed)
    hidden = ppl.host.latents(fitted.model, fitted.guide, test, 1, seed, np.zeros(len(test), bool))
    again = {n: x[0] for n, x in ppl.host.decode(fitted.model, hidden, test, 0, True).items()}
    curve = {}
    for observed in sorted({1, 2, number // 2, number - 1}):
        hits = []
        for _ in range(SUBSETS):
            order = rng.permutation(number)
            given, want = [names[i] for i in order[:observed]], [names[i] for i in order[observed:]]
            made = generate(fitted, test.only(*given), want=want, mean=True, seed=seed)
            hits += [(classifiers.predict(n, made[n][0]) == label).mean() for n in want]
        curve[str(observed)] = float(np.mean(hits))
    joint = coherence(generate(fitted, num=1000, mean=True, seed=seed), classifiers).joint.value
    return {
        "joint": joint,
        "given": curve,
        "kept": number * dim if kept is None else int(kept.sum()),
        "ceiling": float(np.mean([classifiers.predict(n, x) == label for n, x in again.items()])),
        "joint ceiling": coherence(again, classifiers).joint.value,
        "seconds": seconds,
    }


def main() -> None:
    """Fits what has not been fitted yet, prints every fit, and writes the table and the picture."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS:
        for number in NUMBERS:
            paths = {eps: KEPT / f"{number}_{eps}_{seed}.json" for eps in TOLERANCES}
            if all(path.exists() for path in paths.values()):
                continue
            data = views(number)
            classifiers = train_classifiers(data)
            coders = autoencode(data, seed)
            for eps, path in paths.items():
                path.write_text(json.dumps(measure(data, coders, classifiers, eps, seed)))
                print(number, eps, seed, path.read_text(), flush=True)
            write()


def write() -> None:
    """The table and the picture of all fits there are."""
    rows = {}
    for path in sorted(KEPT.glob("*.json")):
        number, eps, seed = path.stem.split("_")
        rows.setdefault((int(number), eps), {})[int(seed)] = json.loads(path.read_text())
    lines = [
        "# Quality against the number of modalities, with and without a reduction of dimension",
        "",
        f"Written by `python -m benchmarks.reduction` on {stamp()}.",
        f"`mld` on NumPyro: autoencoders by {_said(FIRST)}, the prior by {_said(SECOND)}, both {_said(SETTINGS)}; "
        "all else by default.",
        "Mean and standard deviation over seeds (their number in the last column). *joint*: all views of a draw from",
        "the prior are read alike; *given k*: views not observed are read right, k of the M views observed; *ceiling*:",
        "views of test tuples are read alike, or right, after the autoencoders alone; *seconds* are the",
        "prior's, with the reduction.",
        "",
        "| M | reduce | coordinates kept | joint | given 1 | given M - 1 | joint ceiling | ceiling | seconds | seeds |",
        "| --- " * 10 + "|",
    ]

    def spread(values: list[float]) -> str:
        return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")

    for (number, eps), own in sorted(rows.items(), key=lambda item: (item[0][0], item[0][1] != "None")):
        cells = [[r["joint"] for r in own.values()]]
        cells += [[r["given"][k] for r in own.values()] for k in ("1", str(number - 1))]
        cells += [[r[k] for r in own.values()] for k in ("joint ceiling", "ceiling")]
        kept = np.mean([r["kept"] for r in own.values()])
        took = np.mean([r["seconds"] for r in own.values()])
        every = number * FIRST["latent_dim"]
        line = [number, eps.lower(), f"{kept:.0f} of {every}", *map(spread, cells), f"{took:.0f}"]
        lines.append("| " + " | ".join(map(str, [*line, len(own)])) + " |")
    lines += ["", "![Joint coherence against M, and accuracy against the number observed](reduction.png)"]
    Path("docs/results/reduction.md").write_text("\n".join(lines) + "\n")
    _draw(rows)


def _draw(rows: dict[tuple[int, str], dict[int, dict[str, Any]]]) -> None:
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    colours = {"None": "C0", str(TOLERANCES[1]): "C1"}
    for eps, colour in colours.items():
        label = "all coordinates" if eps == "None" else f"reduce={eps}"
        own = {number: found for (number, e), found in sorted(rows.items()) if e == eps}
        joint = {number: [r["joint"] for r in found.values()] for number, found in own.items()}
        mean, error = [np.mean(v) for v in joint.values()], [np.std(v, ddof=1) for v in joint.values()]
        left.errorbar(list(joint), mean, error, marker="o", capsize=3, color=colour, label=label)
        for number, style in zip(own, ("-", "--", ":"), strict=False):
            curves = [r["given"] for r in own[number].values()]
            observed = [int(k) for k in curves[0]]
            values = np.array([[c[str(k)] for k in observed] for c in curves])
            shown = {"marker": "o", "markersize": 3, "capsize": 2, "color": colour, "linestyle": style}
            right.errorbar(observed, values.mean(0), values.std(0, ddof=1), label=f"M = {number}, {label}", **shown)
    left.set(xlabel="modalities M", ylabel="joint coherence", xticks=NUMBERS)
    right.set(xlabel="modalities observed", ylabel="accuracy of the others")
    left.legend(fontsize=8)
    right.legend(fontsize=7)
    figure.savefig("docs/results/reduction.png", dpi=130)
    plt.close(figure)


def _said(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


if __name__ == "__main__":
    main()
