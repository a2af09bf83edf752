"""The commands together; an error is one line on stderr and exit code 2, never a traceback."""

import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

import typer

from mmppl.cli.data import data
from mmppl.cli.diagnose import diagnose
from mmppl.cli.evaluate import evaluate
from mmppl.cli.fit import fit
from mmppl.cli.generate import generate
from mmppl.cli.report import report
from mmppl.cli.systems import systems
from mmppl.compilation import cache_compilation
from mmppl.errors import MMPPLError, OptionError, TrainingError

__all__ = ["app", "main"]

app = typer.Typer(
    name="mmppl",
    help="Multi-modal generative models as ordinary Pyro and NumPyro programs.",
    no_args_is_help=False,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (systems, data, fit, generate, evaluate, diagnose, report):
    app.command()(command)

INTERRUPTED = "Interrupted. Start anew, with --force where a file was written before."
INTERRUPTED_FIT = (
    "Interrupted. A run folder that was begun keeps its last full epoch: go on with --resume. Where there is none, "
    "start anew."
)

# The base of Typer's usage errors. It is Click's, which new versions of Typer hold inside and older ones import.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]


def main(args: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0, 2 on bad input, 1 where training broke down, 130 on interruption.

    Arguments:
        args: The command line without the program's name; that of the process by default.
    """
    if args is None:
        _keep_what_is_compiled()
    with warnings.catch_warnings(), _terminated_as_interrupted():
        warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing", FutureWarning)
        if args is None:
            warnings.showwarning = _warn
        try:
            code = typer.main.get_command(app).main(args, prog_name="mmppl", standalone_mode=False)
        except USAGE_ERROR as error:
            return _say(error.format_message(), 2)  # type: ignore[attr-defined]
        except TrainingError as error:
            return _say(error, 1)
        except MMPPLError as error:
            return _say(error, 2)
        except OSError as error:
            return _say(f"{error.strerror or error}: {error.filename}" if error.filename else error, 2)
    if code == 130:
        fitting = "fit" in (sys.argv[1:] if args is None else args)[:1]
        return _say(INTERRUPTED_FIT if fitting else INTERRUPTED, 130)
    return code if isinstance(code, int) else 0


def _keep_what_is_compiled() -> None:
    """Each command is a process of its own; where nothing can be kept for the next, it compiles anew."""
    with suppress(OptionError):
        cache_compilation()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Context manager in which SIGTERM, as a scheduler sends it, ends a command as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # no other may have handlers of signals
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Says a warning in a line; where in the code it came up is nothing to whom a command runs for."""
    print(f"mmppl: {category.__name__}: {' '.join(str(message).split())}", file=sys.stderr)


def _say(error: object, code: int) -> int:
    print(f"mmppl: {' '.join(str(error).split())}", file=sys.stderr)
    return code
