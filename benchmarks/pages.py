"""What tables in docs/results/ share: rows that are kept, so that a run that was stopped goes on, and their pages."""

import argparse
import datetime
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["HOSTS", "SEEDS", "cells", "over_seeds", "parser", "resumed", "stamp", "table"]

HOSTS = ("numpyro", "pyro")
SEEDS = (0, 1, 2)
PACKAGES = ("numpy", "torch", "pyro-ppl", "jax", "numpyro", "equinox", "optax")

Cell = tuple[str, str, int]
Row = dict[str, Any]


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The options of a table: hosts, and ``--seeds``."""
    out = argparse.ArgumentParser(description=doc)
    out.add_argument("hosts", nargs="*", default=HOSTS)
    out.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="numbers with commas")
    return out


def cells(systems: Iterable[str], asked: argparse.Namespace) -> list[Cell]:
    """What is asked for, one seed of everything after the other."""
    names, seeds = list(systems), [int(seed) for seed in asked.seeds.split(",")]
    return [(system, host, seed) for seed in seeds for system in names for host in asked.hosts]


def resumed(folder: Path, cells: Iterable[Cell], run: Callable[[str, str, int], Row]) -> Iterator[dict[Cell, Row]]:
    """All rows that the folder holds, by cell (system, host, seed): at once, and after each of the cells is run.

    A row is kept as JSON under the name of its cell, and is not run again; so two processes may fill one table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    yield _rows(folder)
    for cell in cells:
        path = folder / f"{'_'.join(map(str, cell))}.json"
        if not path.exists():
            row = {**run(*cell), "date": str(datetime.date.today())}
            path.write_text(json.dumps(row))
            print(*cell, {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}, flush=True)
            yield _rows(folder)


def _rows(folder: Path) -> dict[Cell, Row]:
    rows = {}
    for path in sorted(folder.glob("*.json")):
        system, host, seed = path.stem.rsplit("_", 2)
        rows[system, host, int(seed)] = json.loads(path.read_text())
    return rows


def over_seeds(values: Sequence[float], digits: int, trusted: bool = True) -> str:
    """A mean over seeds, with the standard error of the mean where there are several and all are to be trusted."""
    if not trusted:
        return f"{np.mean(values):.{digits}f} (not trusted)"
    error = f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{error}"


def stamp() -> str:
    """When and where a page is written, and with which versions."""
    return f"{datetime.date.today()}, {os.cpu_count()} cores, " + ", ".join(f"{p} {version(p)}" for p in PACKAGES)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "| --- " * len(header) + "|"]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def imputation_table(
    found: Mapping[tuple[str, str], list[Row]], columns: Mapping[str, Callable[[list[Row]], str]]
) -> list[str]:
    """A table of methods that fill gaps, the least error first, with further columns of their rows."""
    body = [
        [
            name,
            "–" if host == "none" else host,
            len(own),
            over_seeds([row["error"] for row in own], 3),
            over_seeds([100 * row["coverage"] for row in own], 1) if "coverage" in own[0] else "–",
            *(cell(own) for cell in columns.values()),
            f"{np.mean([row['seconds'] for row in own]):.0f}",
        ]
        for (name, host), own in sorted(found.items(), key=lambda item: np.mean([row["error"] for row in item[1]]))
    ]
    return table(["method", "host", "seeds", "error", "80% sets hold, %", *columns, "seconds"], body)
