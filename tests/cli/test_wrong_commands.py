"""Wrong commands, drawn for every option of every command and every ``--set``: refused by name, and nothing is left."""

import importlib
import math
from functools import cache

import numpy as np
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmppl import cli, data, inference, models
from mmppl.cli.options import WORDS
from mmppl.diagnostics import evaluation, loading, summary
from mmppl.models import catalogue

# What stands for numbers, names and files where they are wrong more often than not.
VALUES = (
    *(
        "",
        " ",
        "-1",
        "0",
        "1",
        "2.5",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "9" * 30,
        "0x10",
        "1_0",
        "x",
        "none",
        "\0",
        "x" * 300,
    ),
    *("a:", "a:1,", ":1", "zz:1", "a:nan", "a:-1", "a:x", "a:1,a:2", "=", ",", "a,a", "a,zz", "nowhere/file.npz", "."),
)
# Options of models that hold a 0, each for a reason.
ZERO = {
    *("random", "warmup", "buffer", "refine", "private", "private_dim", "shared_dim"),  # none of them
    *("beta", "local_beta", "alpha", "gamma", "penalty", "strength", "head_weight", "weight"),  # nothing of it
    *("guidance", "finetune", "noise", "dropout", "p_conditional", "p_marginal", "ema", "delta", "reduce"),
    *("p_single", "alone"),
}
FIT = {"batch_size": 128, "learning_rate": 1e-3, "ema": 0.0, "clip": None, "schedule": "cosine"}


class Accepted(BaseException):
    """All is right, and the work would begin."""


def accept(*args, **options):
    raise Accepted


@cache
def options(command):
    """Options of a command by their longest names, and whether they take a value."""
    return {
        max(p.opts, key=len): not getattr(p, "is_flag", False)
        for p in typer.main.get_command(cli.app).commands[command].params
    }


@pytest.fixture(scope="module", params=["numpyro", "pyro"])
def place(request, tmp_path_factory):
    return place_of(request.param, tmp_path_factory.mktemp("commands"))


def place_of(host, above):
    """A folder with data and a run of a host, called as that."""
    folder = above / host
    folder.mkdir()
    rows = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    data.write_npz(folder / "rows.npz", {"a": rows[:, :3], "b": rows[:, 3:], "c": np.arange(12) % 2})
    rows = data.load(folder / "rows.npz")
    program = models.mvae(rows.modalities, ppl=host_of(folder), latent_dim=2, hidden=4)
    info = loading.run_info(folder / "rows.npz")
    inference.fit(program, rows.train, epochs=1, out=folder / "run", info=info, progress=False)
    return folder


def host_of(place):
    return importlib.import_module(f"mmppl.{place.name}")


@pytest.fixture(autouse=True)
def no_work(monkeypatch, place):
    without_work(monkeypatch, place)


def without_work(monkeypatch, place):
    """What takes time is not done, once all that it is to be done with is right."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(host_of(place).host, "Trainer", accept)
    monkeypatch.setattr(evaluation, "generate", accept)
    monkeypatch.setattr(summary, "to_arviz", accept)


def needed(command, place, model="mvae"):
    """Arguments of a command that is right."""
    if command == "fit":
        named = {"--model": model, "--data": place / "rows.npz", "--backend": place.name, "--out": place / "new"}
        return named | ({"--set": "label=c"} if model == "ivae" else {})
    return {"run": place / "run"} | ({"--out": place / "new.npz"} if command == "generate" else {})


def whole(text):
    try:
        return int(text)
    except ValueError:
        return None


def number(text):
    try:
        return float(text)
    except ValueError:
        return math.nan


def may_be(option, value):
    """Whether an option may hold a value; whether it does may depend on more."""
    if option == "--out":
        return True
    if option in ("--epochs", "--seed", "--max-bytes", "--num", "--devices"):
        found = whole(value)
        return found is not None and (found >= 1 or option == "--seed" and found == 0) and found < 2**62
    return False


def may_be_set(key, default, value):
    """The same of ``--set``, by the type that an option has by default."""
    if key == "label":
        return True
    if isinstance(default, bool):
        return value.lower() in WORDS
    least = 0 if key in ZERO else None
    if isinstance(default, int):
        found = whole(value)
        return found is not None and (found > 0 or found == least) and found < 2**62
    if isinstance(default, float) or key in ("scale", "weight") or default is None:
        return 0 < number(value) < 3e38 or number(value) == least or (default is None and value == "none")
    return False


def every(place):
    """Every option with every value: the command, its arguments, and which of them is drawn."""
    for name, command in typer.main.get_command(cli.app).commands.items():
        for option in command.params:
            longest = max(option.opts, key=len)
            if name in ("systems", "data") or longest in ("--set", "--help") or getattr(option, "is_flag", False):
                continue
            for value in VALUES:
                if longest.startswith("--") or not value.startswith("-"):
                    yield name, {**needed(name, place), longest: value}, longest, value, may_be(longest, value)
    seen = set()
    for model in catalogue.SYSTEMS:
        for key, default in {**FIT, **catalogue.settings(model)}.items():
            if (key, repr(default)) in seen:
                continue
            seen.add((key, repr(default)))
            for value in VALUES:
                arguments = needed("fit", place, model) | {f"--set={key}={value}": None}
                yield "fit", arguments, key, value, may_be_set(key, default, value)


@cache
def all_of(place):
    return tuple(every(place))


def verdict(place, capsys, command, arguments, name, value, right):
    """Nothing, or what is wrong with how a command ends."""
    args = []
    for key, x in arguments.items():
        args += [*([key] if key.startswith("--") else []), *([] if x is None else [str(x)])]
    said = f"{command} {name} {value!r:.40}"
    before = set(place.rglob("*"))
    try:
        code = cli.main([command, *args])
    except Accepted:
        code = 0
    except BaseException as error:
        return f"foreign: {said}: {type(error).__name__}: {error}"
    finally:
        err = capsys.readouterr().err
        new = sorted(set(place.rglob("*")) - before)
        for path in reversed(new):  # what is in a folder before it
            path.rmdir() if path.is_dir() else path.unlink()
    if code == 0:
        return None if right else f"accepted: {said}"
    if code not in (1, 2) or err.count("\n") != 1 or not err.startswith("mmppl: "):
        return f"exit {code}: {said}: {err}"
    if new:
        return f"left {new}: {said}"
    named = name.strip("-").replace("-", "_").lower() in err.replace("-", "_").lower()
    return None if named or (value.strip() and value in err) else f"unnamed: {said}: '{err}'"


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_wrong_commands_are_refused_by_name(place, capsys, draw):
    assert verdict(place, capsys, *draw.draw(st.sampled_from(all_of(place)))) is None
