"""Kills of ``mmppl fit`` by signal 9 at random moments, resumed: ends that have the bits of a run left alone.

A command is killed at a moment drawn uniformly over the seconds that one left alone takes, gone on with by
``--resume``, killed again, two to four times at most, and left to end, as is one that ends before its kill; then
weights, state and history are held against those of the run left alone, bit for bit. Each seed has 4 to 12 kills. The
data are 512 tuples of polydigits, two modalities, a fifth held out; the fit has 40 epochs of three steps, each saved,
and early stopping. A command is a process of its own, forked from one that has imported both hosts, with JAX's
compilation cache on.

``python -m benchmarks.kills [HOST ...]`` writes docs/results/kills.md; the kills of every system,
host and seed are kept in benchmarks/results/kills.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import mmppl.numpyro
import mmppl.pyro  # noqa: F401
from benchmarks.pages import HOSTS, Cell, Row, cells, parser, resumed, stamp, table
from mmppl.cli import main as command
from mmppl.data import load, write_npz
from mmppl.inference import Run

KEPT, PATH = Path("benchmarks/results/kills"), Path("docs/results/kills.md")
SYSTEMS: dict[str, dict[str, Any]] = {
    "mopoe": {},
    "ebm": {"steps": 5, "chains": 16, "energy_hidden": 16},  # two stages, and chains that go on
}
SETTINGS: dict[str, Any] = {"latent_dim": 4, "hidden": 64, "batch_size": 100}
KILLS, EACH, SEEDS = 12, 4, tuple(range(5))
FILLED: set[str] = set()  # systems whose functions this process has put into the compilation cache
WHEN = ("before the first save", "between saves", "within a save")


def main() -> None:
    """Kills what has not been killed yet, and writes the page of all that is kept."""
    options = parser(__doc__)
    options.set_defaults(seeds=",".join(map(str, SEEDS)))
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, digits = Path(place), load("polydigits")
        word = {"word": digits.modalities["word"]}
        write_npz(folder / "data.npz", digits.train[:512].select("ink", "word"), modalities=word)
        for rows in resumed(KEPT, cells(SYSTEMS, asked), lambda *cell: kills(folder, *cell)):
            PATH.write_text(page(rows))
    print(PATH.read_text())


def kills(folder: Path, system: str, host: str, seed: int) -> Row:
    """Twelve kills, and how many of the runs, killed or not, ended in the same bits."""
    settings = {**SETTINGS, **SYSTEMS[system]}
    args = ["fit", "--model", system, "--backend", host, "--data", folder / "data.npz", "--epochs", 40, "--seed", seed]
    args += ["--validation", 0.2, "--early-stopping", 9, *(f"--set={name}={value}" for name, value in settings.items())]
    whole, out = folder / "whole", folder / "killed"
    if host == "numpyro" and system not in FILLED:  # so that no kill falls into compiling
        run(args, whole)
        FILLED.add(system)
        shutil.rmtree(whole)
    seconds = run(args, whole)
    assert seconds is not None
    wanted = held(whole)
    rng, fell, runs, same = np.random.default_rng([seed, len(system), len(host)]), Counter[str](), 0, 0
    while fell.total() < KILLS:
        for _ in range(min(EACH, KILLS - fell.total())):
            before = parts(out)
            if run(args, out, rng.uniform(0.0, seconds)) is not None:
                break
            fell[moment(out, before)] += 1
        else:
            run(args, out)
        runs, same = runs + 1, same + (held(out) == wanted)
        shutil.rmtree(out)
    shutil.rmtree(whole)
    return {
        "kills": fell.total(),
        "seconds": seconds,
        "runs": runs,
        "same": same,
        **{when: fell[when] for when in WHEN},
    }


def run(args: list[Any], out: Path, until: float | None = None) -> float | None:
    """Runs a command in a process of its own, which goes on with a run where there is one.

    Returns:
        The seconds that it took; None if it was killed, after ``until`` seconds.

    Raises:
        RuntimeError: If it fails.
    """
    more = ["--resume"] if (out / "run.json").exists() else []
    said = out.with_name("said")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of JAX: it has been imported and has not computed, so that a fork is right
        begin, child = time.monotonic(), os.fork()
    if not child:
        to = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(to, sys.stdout.fileno())
        os.dup2(to, sys.stderr.fileno())
        os._exit(command([str(a) for a in (*args, "--out", out, *more)]))
    if until is not None:
        time.sleep(until)
        os.kill(child, signal.SIGKILL)  # which nothing hears once it has ended
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    if os.WEXITSTATUS(status):
        raise RuntimeError(f"A command ended with {os.WEXITSTATUS(status)}: {said.read_text()}")
    return time.monotonic() - begin


def parts(out: Path) -> set[Path]:
    """Files that a kill has cut."""
    return set(out.rglob("*.part"))


def moment(out: Path, before: set[Path]) -> str:
    """When a kill fell, by what it left."""
    names = ("metrics.jsonl", "params.safetensors", "state/state.safetensors")
    there = [(out / name).exists() for name in names]
    if parts(out) - before or any(there) != all(there):
        return WHEN[2]
    if not any(there):
        return WHEN[0]
    state = Run(out).state()
    lines = (out / names[0]).read_bytes().count(b"\n")
    return WHEN[1] if state is not None and lines == state[1].epoch else WHEN[2]


def held(out: Path) -> Any:
    """Weights, state and history of a run as bytes; seconds are no part of it."""
    run = Run(out)
    state = run.state()
    assert state is not None
    arrays = [{n: (str(x.dtype), x.shape, x.tobytes()) for n, x in part.items()} for part in (run.weights(), state[0])]
    return arrays, [{k: v for k, v in line.items() if k != "seconds"} for line in run.history()]


def page(rows: dict[Cell, Row]) -> str:
    """The page."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for (system, host, _), row in rows.items():
        groups.setdefault((system, host), []).append(row)
        groups.setdefault(("all", host), []).append(row)
    order = [(system, host) for host in HOSTS for system in (*SYSTEMS, "all") if (system, host) in groups]
    names = ("kills", *WHEN, "runs", "same")
    lines = [[*group, *(sum(row[name] for row in groups[group]) for name in names)] for group in order]
    what = "\n\n".join((__doc__ or "").split("\n\n")[:2])
    head = ["# Kills", "", f"Written by `python -m benchmarks.kills` on {stamp()}.", what, ""]
    return "\n".join([*head, *table(("system", "host", *names[:-1], "with the same bits"), lines)]) + "\n"


if __name__ == "__main__":
    main()
