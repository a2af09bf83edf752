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
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mmppl import models
from mmppl.data import load, write_npz
from mmppl.data.dataset import Dataset
from mmppl.data.polydigits import read_words
from mmppl.inference import Fitted, fit, generate
from mmppl.metrics import Classifiers, Estimate, coherence, cross_coherence, train_classifiers

__all__ = ["EPOCHS", "fit_digits", "main", "measure"]

HOSTS = ("numpyro", "pyro")
EPOCHS = 34
OPTIONS: dict[str, Any] = {"latent_dim": 12, "hidden": 128, "energy_hidden": 128, "chains": 128, "steps": 30}
SETTINGS: dict[str, Any] = {"batch_size": 128, "learning_rate": 3e-3, "ema": 0.99}
COLUMNS = 10
KINDS = {"draws": False, "means": True}  # whether generate is to give means
ASKED = {"prior": "from the prior", "given": "given the word"}
CHUNK = 500  # rows generated at once, which bounds memory


def fit_digits(host: str, digits: Dataset, *, epochs: int = EPOCHS, seed: int = 0) -> Fitted:
    """Fits ``ebm`` to the digits on a host."""
    program = models.ebm(digits.modalities, ppl=import_module(f"mmppl.{host}"), **OPTIONS)
    return fit(program, digits.train, epochs=epochs, seed=seed, **SETTINGS)


def measure(
    fitted: Fitted, digits: Dataset, classifiers: Classifiers, *, seed: int = 0, num: int = 2000
) -> dict[str, Any]:
    """Measures what a program generates: draws, and means of the likelihood.

    Returns:
        ``joint_draws``: coherence of all modalities of draws from the prior, by fresh chains as ``generate`` runs them;
        ``cross_draws``: cross coherence on test tuples; ``joint`` and ``cross``, the same of means; ``joint_base``, of
        means of the same program with f = 0.
    """
    plain = models.ebm(digits.modalities, ppl=fitted.program.ppl, **OPTIONS, tilt=False)
    base = Fitted(replace(plain, rebuild=None), fitted.weights)

    def joint(of: Fitted, mean: bool) -> Estimate:
        return coherence(generate(of, num=num, mean=mean, seed=seed, chunk=CHUNK), classifiers).joint

    def cross(mean: bool) -> Estimate:
        def given(batch: Any, want: Any) -> dict[str, np.ndarray]:
            return generate(fitted, batch, want=want, mean=mean, seed=seed, chunk=CHUNK)

        return cross_coherence(given, digits.test, classifiers).mean

    return {
        "joint_draws": joint(fitted, False),
        "cross_draws": cross(False),
        "joint": joint(fitted, True),
        "joint_base": joint(base, True),
        "cross": cross(True),
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
        f"{host}: joint coherence of draws {result['joint_draws']}, of means {result['joint']} (f = 0: "
        f"{result['joint_base']}); cross coherence of draws {result['cross_draws']}, of means {result['cross']}; "
        f"fitted in {seconds:.0f} s",
        flush=True,
    )
    # As many rows as above, since NumPyro compiles anew for another number.
    words = digits.test[:CHUNK]
    one_each = np.array([np.flatnonzero(words.label == d)[0] for d in range(COLUMNS)])
    shown: dict[str, np.ndarray] = {}
    for kind, mean in KINDS.items():  # one seed: means are those of the latents that draws are of
        prior = generate(fitted, num=CHUNK, mean=mean, seed=1, chunk=CHUNK)
        given = generate(fitted, words.only("word"), mean=mean, seed=1, chunk=CHUNK)
        shown |= {f"prior.{kind}.{n}": x[:COLUMNS] for n, x in prior.items()}
        shown |= {f"given.{kind}.{n}": x[0, one_each] for n, x in given.items()}
    write_npz(folder / f"{host}.npz", shown, force=True)


def picture(folder: Path, hosts: list[str], images: list[str]) -> Path:
    """Draws from the prior and given a word, by each host, as one PNG: their means on the right of them."""
    from matplotlib.figure import Figure

    height = len(hosts) * len(ASKED) * (len(images) * 0.8 + 0.55)
    figure = Figure(figsize=(len(KINDS) * COLUMNS * 0.8, height), layout="constrained")
    parts = figure.subfigures(len(hosts) * len(ASKED), len(KINDS), squeeze=False)
    for row, (host, asked) in zip(parts, product(hosts, ASKED), strict=True):
        shown = np.load(folder / f"{host}.npz")
        for part, kind in zip(row, KINDS, strict=True):
            part.suptitle(f"{host}, {ASKED[asked]}: {kind}", fontsize=10)
            _grid(part, {n: shown[f"{asked}.{kind}.{n}"] for n in images}, read_words(shown[f"{asked}.{kind}.word"]))
    path = folder / "demo.png"
    figure.savefig(path, dpi=80)
    return path


def _grid(part: Any, pictures: dict[str, np.ndarray], words: list[str]) -> None:
    """A row for each modality's pictures, under words."""
    axes = part.subplots(len(pictures), COLUMNS, squeeze=False)
    for row, (name, images) in zip(axes, pictures.items(), strict=True):
        row[0].set_ylabel(name, fontsize=8)
        for axis, image in zip(row, images, strict=True):
            image = np.moveaxis(image.clip(0, 1), 0, -1)
            axis.imshow(image.squeeze(), cmap="gray" if image.shape[-1] == 1 else None, vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, word in zip(axes[0], words, strict=True):
        axis.set_title(word, fontsize=8)


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
