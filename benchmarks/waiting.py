"""Waiting for the first result: ``python -m benchmarks.waiting [HOST ...]``, a minute each on a quiet core.

Writes docs/results/waiting.md: processor seconds of the first call of each tool and of the same call again, in one
process, beside the first call of a training step that is written by hand with the same networks (its compilation, on
NumPyro). What a command takes the second time is measured in processes of their own, whose folder of compiled programs
the first one has filled.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.pages import stamp, table

HOSTS = ("numpyro", "pyro")
PATH = Path("docs/results/waiting.md")
ROWS = Path("benchmarks/results/waiting")
# What is asked of NumPyro, in units of the step written by hand: first calls, and the same again.
ASKED = {
    "fit, 1,280 rows, 2 epochs": (1.6, None),
    "generate, 8 rows given a word, 4 draws": (0.35, None),
    "generate, 9 rows": (0.03, None),
    "log_likelihood, 8 rows, 100 samples": (0.4, None),
    "infer, MALA, 8 rows, 50 + 50": (0.6, 0.1),
    "to_arviz, 8 rows": (1.0, 0.3),
}


def main() -> None:
    """Measures the hosts that are asked for, and writes the page of all that were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hosts", nargs="*", default=list(HOSTS))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        print(json.dumps(measure(asked.hosts[0])))
        return
    ROWS.mkdir(parents=True, exist_ok=True)
    for host in asked.hosts:
        # Nothing that an earlier process has compiled is to be found.
        env = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
        command = [sys.executable, "-m", "benchmarks.waiting", host, "--inside"]
        run = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(run.stdout.splitlines()[-1])
        row["command"] = commands(host)
        (ROWS / f"{host}.json").write_text(json.dumps(row))
        print(host, row, flush=True)
    PATH.write_text(page({path.stem: json.loads(path.read_text()) for path in sorted(ROWS.glob("*.json"))}))


def measure(host: str) -> dict[str, Any]:
    """Processor seconds by what is called: the first time and again."""
    import importlib
    import warnings

    from benchmarks.programs import declare
    from mmppl import models
    from mmppl.data import load
    from mmppl.inference import fit, generate, infer, log_likelihood, to_arviz

    warnings.simplefilter("ignore")
    ppl, digits = importlib.import_module(f"mmppl.{host}"), load("polydigits")
    found: dict[str, Any] = {}
    if host == "numpyro":
        from benchmarks.steps_numpyro import by_hand

        setting = declare(ppl, "MMVAE")
        found["by hand"] = seconds(lambda: by_hand("MMVAE", setting)())
    program, rows = models.mmvae(digits.published, ppl=ppl), digits.train[:1280]
    kept: list[Any] = []

    def fitting(seed: int) -> None:
        kept[:] = [fit(program, rows, epochs=2, seed=seed, progress=False)]

    found["fit, 1,280 rows, 2 epochs"] = [seconds(lambda s=s: fitting(s)) for s in (0, 1)]
    (fitted,), test = kept, digits.test
    calls: dict[str, Callable[[], Any]] = {
        "generate, 8 rows given a word, 4 draws": lambda: generate(fitted, test[:8].only("word"), 4),
        "generate, 9 rows": lambda: generate(fitted, test[:9].only("word"), 4),
        "generate from the prior, 16 draws": lambda: generate(fitted, num=16),
        "log_likelihood, 8 rows, 100 samples": lambda: log_likelihood(fitted, test[:8], method="importance", num=100),
        "infer, MALA, 8 rows, 50 + 50": lambda: infer(fitted, test[:8], method="mala", num_samples=50, num_warmup=50),
        "to_arviz, 8 rows": lambda: to_arviz(fitted, test[:8]),
    }
    for name, call in calls.items():
        found[name] = [seconds(call) for _ in range(2)]
    return found


def seconds(call: Callable[[], Any]) -> float:
    """Processor seconds of a call, of all its threads."""
    start = time.process_time()
    call()
    return time.process_time() - start


def commands(host: str) -> list[float]:
    """Processor seconds of ``mmppl generate RUN``, each time a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        env = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
        env |= {"XDG_CACHE_HOME": folder}
        mmppl, run = [sys.executable, "-m", "mmppl"], str(Path(folder) / "run")
        fit = ["fit", "--model", "mmvae", "--data", "polydigits", "--backend", host, "--epochs", "1", "--out", run]
        subprocess.run([*mmppl, *fit], env=env, check=True, stdout=subprocess.DEVNULL)
        out = []
        for number in range(2):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            made = ["generate", run, "--out", str(Path(folder) / f"{number}.npz")]
            subprocess.run([*mmppl, *made], env=env, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            out.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return out


def page(rows: dict[str, dict[str, Any]]) -> str:
    """The page."""
    unit = rows.get("numpyro", {}).get("by hand")
    names = [name for name in next(iter(rows.values())) if name not in ("by hand", "command")]
    body = []
    for name in [*names, "command"]:
        line = ["`mmppl generate RUN`, a process" if name == "command" else name]
        for host in HOSTS:
            times = rows.get(host, {}).get(name)
            line.append("–" if times is None else " / ".join(f"{x:.2f}" for x in times))
        times = rows.get("numpyro", {}).get(name)
        in_units = unit and times and name != "command"
        line.append(" / ".join(f"{x / unit:.2f}" for x in times) if in_units else "–")
        line.append(" / ".join("–" if x is None else f"{x:g}" for x in ASKED.get(name, (None, None))))
        body.append(line)
    heads = ["what, first / again", "NumPyro, s", "Pyro, s", "NumPyro, in T", "asked, in T"]
    by_hand = "" if unit is None else f"The step written by hand takes T = {unit:.2f} s at its first call. "
    return (
        "# Waiting for the first result\n\n"
        f"Written by `python -m benchmarks.waiting` on {stamp()}.\n"
        "Processor seconds of all threads, polydigits, `mmvae` with the published likelihoods, one process a host,\n"
        f"nothing compiled before. {by_hand}Fits again have another seed;\n"
        "a command's second process finds what the first one compiled (`mmppl.cache_compilation`).\n\n"
        + "\n".join(table(heads, body))
        + "\n"
    )


if __name__ == "__main__":
    main()
