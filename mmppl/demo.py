"""The demo: one program on real handwriting, fitted by NumPyro and by Pyro, with and without its learned prior.

``python -m mmppl.demo`` prints a table and writes a picture; ``make demo`` sets everything up first.
"""

import argparse
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mmppl import models
from mmppl.data import load
from mmppl.data.dataset import Dataset
from mmppl.data.polydigits import read_words
from mmppl.inference import Fitted, fit, generate
from mmppl.metrics import Judges, coherence, cross_coherence, train_judges

__all__ = ["main", "measure"]

HOSTS = ("numpyro", "pyro")
SETTINGS: dict[str, Any] = {"batch_size": 256, "learning_rate": 2e-3, "ema": 0.99}


def measure(host: str, digits: Dataset, judges: Judges, *, epochs: int, seed: int, num: int = 2000) -> dict[str, Any]:
    """Fits ``ebm`` on a host and judges what it generates, as means of the likelihood.

    Returns:
        ``joint``: coherence of all modalities of draws from the prior, by fresh chains as ``generate`` runs them;
        ``joint_base``: the same program with f = 0; ``cross``: cross coherence on test tuples; ``seconds`` of the fit;
        ``fitted``.
    """
    face = import_module(f"mmppl.{host}")
    start = time.perf_counter()
    fitted = fit(models.ebm(digits.modalities, ppl=face), digits.train, epochs=epochs, seed=seed, **SETTINGS)
    seconds = time.perf_counter() - start
    plain = replace(models.ebm(digits.modalities, ppl=face, tilt=False), remake=None)
    base = Fitted(plain, fitted.weights)

    def given(batch: Any, want: Any) -> dict[str, np.ndarray]:
        return generate(fitted, batch, want=want, mean=True, seed=seed)

    return {
        "joint": coherence(generate(fitted, num=num, mean=True, seed=seed), judges).joint,
        "joint_base": coherence(generate(base, num=num, mean=True, seed=seed), judges).joint,
        "cross": cross_coherence(given, digits.test, judges).mean,
        "seconds": seconds,
        "fitted": fitted,
    }


def picture(fitted: dict[str, Fitted], digits: Dataset, path: Path) -> None:
    """Draws from the prior and given a word, by each host, as one PNG."""
    from matplotlib.figure import Figure

    columns = 10
    words = digits.test[np.array([np.flatnonzero(digits.test.label == d)[0] for d in range(columns)])]
    images = [name for name, m in digits.modalities.items() if m.kind == "image"]
    rows = len(fitted) * 2 * len(images)
    figure = Figure(figsize=(columns * 0.85, rows * 0.85 + len(fitted)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    row = 0
    for host, program in fitted.items():
        prior = generate(program, num=columns, mean=True, seed=1)
        word = {n: x[0] for n, x in generate(program, words.only("word"), mean=True, seed=1).items()}
        for draws, title in ((prior, f"{host}: from the prior"), (word, f"{host}: given the word")):
            labels = read_words(draws["word"])
            for name in images:
                for column in range(columns):
                    axis = axes[row, column]
                    image = np.moveaxis(draws[name][column].clip(0, 1), 0, -1)
                    axis.imshow(image.squeeze(), cmap="gray" if image.shape[-1] == 1 else None, vmin=0, vmax=1)
                    axis.set_xticks([])
                    axis.set_yticks([])
                    if name == images[0]:
                        axis.set_title(labels[column], fontsize=8)
                    if column == 0:
                        axis.set_ylabel(f"{title}\n{name}" if name == images[0] else f"\n{name}", fontsize=7)
                row += 1
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Runs the demo on the hosts that are installed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=50, help="passes over the data, both stages together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hosts", nargs="+", choices=HOSTS, default=HOSTS)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the picture")
    options = parser.parse_args()
    start = time.perf_counter()
    digits = load("polydigits")
    print(f"polydigits: {len(digits.train)} training tuples of {', '.join(digits.modalities)}", flush=True)
    judges = train_judges(digits)
    fitted = {}
    for host in options.hosts:
        result = measure(host, digits, judges, epochs=options.epochs, seed=options.seed)
        fitted[host] = result["fitted"]
        print(
            f"{host}: joint coherence {result['joint']} (f = 0: {result['joint_base']}), cross coherence "
            f"{result['cross']}, fitted in {result['seconds']:.0f} s",
            flush=True,
        )
    picture(fitted, digits, options.out / "demo.png")
    print(f"picture: {options.out / 'demo.png'}; {time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
