"""Calls that are wrong on purpose, all of the families that tests draw from: how each ends.

A call is right where it ends in an error of mmppl's that names what is wrong, or in a right result. Foreign are errors
of any other type; accepted is a wrong value that is taken without a word; unnamed is a message without the offending
name, or a command that says more than its line or leaves a file. The families are every option of every command and
every ``--set`` with each of 31 texts; every option of every public function and class that is a number, a text or a
truth value, with each of 19 values; every function of data with what is no data, or holds wrong values, masks or
labels; 80 results of two threads in turns, each held against the same call alone; and a run that is gone on with after
its data have changed.

``python -m benchmarks.wrong_calls [HOST ...]`` writes docs/results/wrong_calls.md; every family of a host is kept in
benchmarks/results/wrong_calls.
"""

import contextlib
import importlib
import importlib.util
import io
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.pages import HOSTS, Cell, Row, cells, parser, resumed, stamp, table
from mmppl import Batch, models
from mmppl.data import load
from mmppl.errors import MMPPLError
from mmppl.inference import fit, generate, log_likelihood

KEPT, PATH = Path("benchmarks/results/wrong_calls"), Path("docs/results/wrong_calls.md")
TURNS = 40
ENDS = ("foreign", "accepted", "unnamed")
# Of fewer calls of the same families, counted before the checks were written: calls, foreign, accepted.
BEFORE = {
    "commands": (196, 17, 28),
    "options and data": (352, 121, 39),
    "threads, on Pyro": (80, 40, 15),
}
ARGUED = """
Taken on purpose: truth values as the numbers 0 and 1 in data; whole numbers where any number is meant, up to the
largest of single precision; labels of any type, NaN too, of which a program is shown numbers alone; modalities of a
batch that a program does not have; precision that a caller asks the host for, as by torch.autocast; and what hosts say
in the strict modes of JAX (rank promotion, dtype promotion, transfer guard), which are the caller's wish.
"""


def main() -> None:
    """Makes the calls of the families that are not kept yet, and writes the page."""
    options = parser(__doc__)
    options.set_defaults(seeds="0")
    asked = options.parse_args()
    for rows in resumed(KEPT, cells(FAMILIES, asked), lambda family, host, _: counted(FAMILIES[family](host))):
        PATH.write_text(page(rows))
    print(PATH.read_text())


def counted(verdicts: Iterator[str | None]) -> Row:
    """How many calls there are, and how many of each kind are wrong; texts of the wrong ones go to the log."""
    found: Counter[str] = Counter()
    for text in verdicts:
        found["calls"] += 1
        if text is not None:
            print(text[:300], file=sys.stderr, flush=True)
            kind = text.partition(":")[0]
            found[kind if kind in ENDS else "unnamed"] += 1
    return {name: found[name] for name in ("calls", *ENDS)}


def of_tests(path: str) -> Any:
    """A module of tests, whose families they are."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Said(io.StringIO):
    """What is said on stderr, read as pytest's capture is."""

    def readouterr(self) -> Any:
        self.err, _ = self.getvalue(), self.seek(0)
        self.truncate()
        return self


def commands(host: str) -> Iterator[str | None]:
    """The command line, in this process; what takes time is not done once all that it is to be done with is right."""
    tests, said = of_tests("tests/cli/test_wrong_commands.py"), Said()
    with tempfile.TemporaryDirectory() as above, pytest.MonkeyPatch.context() as patch:
        place = tests.place_of(host, Path(above))
        tests.without_work(patch, place)
        for case in tests.every(place):
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                found = tests.verdict(place, said, *case)
            yield found


def options(host: str) -> Iterator[str | None]:
    """Options of public functions and classes."""
    tests = of_tests("tests/test_wrong_arguments.py")
    for call, name, kinds in tests.options(host):
        for value in tests.VALUES:
            yield tests.verdict(host, call, name, kinds, value)


def data(host: str) -> Iterator[str | None]:
    """Functions of data."""
    tests = of_tests("tests/inference/test_wrong_data.py")
    for family in tests.FAMILIES:
        for case in family(host):
            yield tests.verdict(*case)


def threads(host: str) -> Iterator[str | None]:
    """Two threads of forty turns: draws, estimates and fits."""
    rows = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=64, num_test=5)
    program = models.mvae(rows.modalities, ppl=host_of(host), latent_dim=2, hidden=4)
    run = partial(fit, program, rows.train, epochs=1, batch_size=32, progress=False)
    fitted = run()

    def turn(number: int) -> Any:
        try:
            if number % 20 == 9:
                return dict(run(seed=number).weights)
            if number % 2:
                return {"value": log_likelihood(fitted, rows.test, num=30, seed=number).value}
            return generate(fitted, rows.test.only("a"), 3, seed=number)
        except Exception as error:
            return error

    alone = [turn(number) for number in range(2 * TURNS)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    with ThreadPoolExecutor(2) as pool:
        beside = list(pool.map(turn, range(2 * TURNS)))
    sys.setswitchinterval(before)
    for number, (one, other) in enumerate(zip(alone, beside, strict=True)):
        if isinstance(other, Exception):
            yield None if isinstance(other, MMPPLError) else f"foreign: turn {number}: {other!r}"
        else:
            same = all(np.array_equal(other[name], value) for name, value in one.items())
            yield None if same else f"accepted: turn {number} has other numbers than alone"


def changed_data(host: str) -> Iterator[str | None]:
    """A run that is gone on with by other data than it began with."""
    rng = np.random.default_rng(0)
    a, b, label = rng.normal(size=(12, 3)).astype("f4"), rng.normal(size=(12, 2)).astype("f4"), np.arange(12) % 3
    there = np.arange(12) > 0
    rows = Batch({"a": a, "b": b}, {"a": there}, label)
    program = models.mvae(load("linear_gaussian", dims={"a": 3, "b": 2}).modalities, ppl=host_of(host), latent_dim=2)
    one, last = a.copy(), b.copy()
    one[5, 1], last[-1, -1] = np.nextafter(a[5, 1], np.float32(9)), 0.0
    changed = {
        "one value, by its last bit": Batch({"a": one, "b": b}, {"a": there}, label),
        "the last value": Batch({"a": a, "b": last}, {"a": there}, label),
        "fewer rows": rows[:-1],
        "more rows": Batch({"a": a[[*range(12), 0]], "b": b[[*range(12), 0]]}, {"a": there[[*range(12), 1]]}),
        "rows in another order": rows[np.arange(12)[::-1]],
        "columns in another order": Batch({"a": a[:, [1, 0, 2]], "b": b}, {"a": there}, label),
        "presence": Batch({"a": a, "b": b}, {"a": np.arange(12) > 1}, label),
        "all present": Batch({"a": a, "b": b}, {}, label),
        "labels": Batch({"a": a, "b": b}, {"a": there}, label[::-1].copy()),
        "no labels": Batch({"a": a, "b": b}, {"a": there}),
        "units": Batch({"a": a * 1000, "b": b}, {"a": there}, label),
    }
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        fit(program, rows, epochs=2, batch_size=6, out=out, progress=False)
        for what, other in changed.items():
            try:
                fit(program, other, epochs=2, batch_size=6, out=out, resume=True, progress=False)
            except MMPPLError as error:
                yield (
                    None if "data are not those" in str(error) or "label" in str(error) else f"unnamed: {what}: {error}"
                )
            except Exception as error:
                yield f"foreign: {what}: {error!r}"
            else:
                yield f"accepted: {what}"


def host_of(host: str) -> Any:
    return importlib.import_module(f"mmppl.{host}")


FAMILIES: dict[str, Callable[[str], Iterator[str | None]]] = {
    "commands": commands,
    "options": options,
    "data": data,
    "threads": threads,
    "changed_data": changed_data,
}


def page(rows: dict[Cell, Row]) -> str:
    """The page."""
    order = [(family, host, 0) for family in FAMILIES for host in HOSTS if (family, host, 0) in rows]
    lines = [[cell[0].replace("_", " "), cell[1], *(rows[cell][name] for name in ("calls", *ENDS))] for cell in order]
    what = "\n\n".join((__doc__ or "").split("\n\n")[:2])
    head = ["# Wrong calls", "", f"Written by `python -m benchmarks.wrong_calls` on {stamp()}.", what, ""]
    after = table(("family", "host", "calls", *ENDS), lines)
    told = "Before the checks were written, fewer calls of the same families were counted:"
    before = table(("family", "calls", "foreign", "accepted"), [[name, *counts] for name, counts in BEFORE.items()])
    rest = "Changes of the data of a run that is gone on with were not noticed at all."
    return "\n".join([*head, *after, "", told, "", *before, "", rest]) + f"\n{ARGUED}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
