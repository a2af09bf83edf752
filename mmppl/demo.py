"""The demo: one program on real handwriting, fitted by NumPyro and by Pyro, with and without its learned prior.

``python -m mmppl.demo`` prints a line for each host and writes a picture; ``make demo`` sets everything up first. Each
host has a process of its own, so that they run side by side.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mmppl import models
from mmppl.data import load, write_npz
from mmppl.data.dataset import Dataset
from mmppl.data.polydigits import read_words
from mmppl.inference import Fitted, fit, generate
from mmppl.metrics import Classifiers, coherence, cross_coherence, train_classifiers

__all__ = ["EPOCHS", "fit_digits", "main", "measure"]

HOSTS = ("numpyro", "pyro")
EPOCHS = 34
OPTIONS: dict[str, Any] = {"latent_dim": 12, "hidden": 128, "energy_hidden": 128, "chains": 128, "steps": 30}
SETTINGS: dict[str, Any] = {"batch_size": 128, "learning_rate": 3e-3, "ema": 0.99}
COLUMNS = 10
CHUNK = 500  # rows generated at once, which bounds memory


def fit_digits(host: str, digits: Dataset, *, epochs: int = EPOCHS, seed: int = 0) -> Fitted:
    """Fits ``ebm`` to the digits on a host."""
    program = models.ebm(digits.modalities, ppl=import_module(f"mmppl.{host}"), **OPTIONS)
    return fit(program, digits.train, epochs=epochs, seed=seed, **SETTINGS)


def measure(
    fitted: Fitted, digits: Dataset, classifiers: Classifiers, *, seed: int = 0, num: int = 2000
) -> dict[str, Any]:
    """Measures what a program generates, as means of the likelihood.

    Returns:
        ``joint``: coherence of all modalities of draws from the prior, by fresh chains as ``generate`` runs them;
        ``joint_base``: the same program with f = 0; ``cross``: cross coherence on test tuples.
    """
    plain = models.ebm(digits.modalities, ppl=fitted.program.ppl, **OPTIONS, tilt=False)
    base = Fitted(replace(plain, rebuild=None), fitted.weights)

    def given(batch: Any, want: Any) -> dict[str, np.ndarray]:
        return generate(fitted, batch, want=want, mean=True, seed=seed, chunk=CHUNK)

    return {
        "joint": coherence(generate(fitted, num=num, mean=True, seed=seed, chunk=CHUNK), classifiers).joint,
        "joint_base": coherence(generate(base, num=num, mean=True, seed=seed, chunk=CHUNK), classifiers).joint,
        "cross": cross_coherence(given, digits.test, classifiers).mean,
    }


def run(host: str, epochs: int, seed: int, folder: Path) -> None:
    """The demo on one host: prints what was reached and leaves its draws in ``folder``."""
    digits = load("polydigits")
    start = time.perf_counter()
    fitted = fit_digits(host, digits, epochs=epochs, seed=seed)
    seconds = time.perf_counter() - start
    # Another process has trained the classifiers meanwhile; without a cache they are trained here again.
    result = measure(fitted, digits, train_classifiers(digits), seed=seed)
    print(
        f"{host}: joint coherence {result['joint']} (f = 0: {result['joint_base']}), cross coherence "
        f"{result['cross']}, fitted in {seconds:.0f} s",
        flush=True,
    )
    # As many rows as above, since NumPyro compiles anew for another number.
    words = digits.test[:CHUNK]
    one_each = np.array([np.flatnonzero(words.label == d)[0] for d in range(COLUMNS)])
    prior = {n: x[:COLUMNS] for n, x in generate(fitted, num=CHUNK, mean=True, seed=1, chunk=CHUNK).items()}
    given = generate(fitted, words.only("word"), mean=True, seed=1, chunk=CHUNK)
    given = {n: x[0, one_each] for n, x in given.items()}
    draws = {f"prior.{n}": x for n, x in prior.items()} | {f"given.{n}": x for n, x in given.items()}
    write_npz(folder / f"{host}.npz", draws, force=True)


def picture(folder: Path, hosts: list[str], images: list[str]) -> Path:
    """Draws from the prior and given a word, by each host, as one PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(COLUMNS * 0.8, len(hosts) * 2 * (len(images) * 0.8 + 0.55)), layout="constrained")
    parts = figure.subfigures(2 * len(hosts), 1, squeeze=False)[:, 0]
    for i, host in enumerate(hosts):
        draws = np.load(folder / f"{host}.npz")
        for part, kind, title in zip(
            parts[2 * i : 2 * i + 2], ("prior", "given"), ("drawn from the prior", "given the word"), strict=True
        ):
            part.suptitle(f"{host}: {title}", fontsize=10)
            axes = part.subplots(len(images), COLUMNS, squeeze=False)
            words = read_words(draws[f"{kind}.word"])
            for row, name in zip(axes, images, strict=True):
                row[0].set_ylabel(name, fontsize=8)
                for axis, image in zip(row, draws[f"{kind}.{name}"], strict=True):
                    image = np.moveaxis(image.clip(0, 1), 0, -1)
                    axis.imshow(image.squeeze(), cmap="gray" if image.shape[-1] == 1 else None, vmin=0, vmax=1)
                    axis.set_xticks([])
                    axis.set_yticks([])
            for axis, word in zip(axes[0], words, strict=True):
                axis.set_title(word, fontsize=8)
    path = folder / "demo.png"
    figure.savefig(path, dpi=80)
    return path


def main() -> None:
    """Runs the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over the data, both stages together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hosts", nargs="+", choices=HOSTS, default=HOSTS)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the picture")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.one:
        run(options.hosts[0], options.epochs, options.seed, options.out)
        return
    start = time.perf_counter()
    children = [_child(host, place, options) for place, host in enumerate(options.hosts)]
    _keep_to(0, 0, len(children))  # beside the first host, which is the quicker one
    images = _prepare()
    failed = [host for host, child in zip(options.hosts, children, strict=True) if child.wait()]
    if failed:
        sys.exit(f"The demo failed on {', '.join(failed)}; see above.")
    path = picture(options.out, options.hosts, images)
    print(f"picture: {path}; {time.perf_counter() - start:.0f} s in all")


def _prepare() -> list[str]:
    """Trains the classifiers, which stay in a cache, and names the images; the data are dropped."""
    digits = load("polydigits")
    train_classifiers(digits)
    return [name for name, modality in digits.modalities.items() if modality.kind == "image"]


def _child(host: str, place: int, options: argparse.Namespace) -> subprocess.Popen:
    """A process that runs the demo on one host; its progress bar has a line of its own."""
    command = [sys.executable, "-m", "mmppl.demo", "--one", "--hosts", host, "--out", str(options.out)]
    command += ["--epochs", str(options.epochs), "--seed", str(options.seed)]
    bar = {"TQDM_POSITION": str(place), "TQDM_BAR_FORMAT": f"{host:8}" + "{l_bar}{bar}{r_bar}"}
    child = subprocess.Popen(command, env={**os.environ, **bar})
    _keep_to(child.pid, place, len(options.hosts))
    return child


def _keep_to(pid: int, place: int, parties: int) -> None:
    """Gives a process its share of the cores, where the system can: threads on the same cores wait for each other."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(pid, cores[place::parties] or cores)


if __name__ == "__main__":
    main()
