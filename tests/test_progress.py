"""Progress and warnings where nobody looks on: no bars in logs, a warning of a command in one line."""

import os
import sys
import warnings

from mmppl.cli.app import _warn
from mmppl.errors import MissingWarning
from mmppl.progress import tqdm


def test_a_bar_is_drawn_in_a_terminal_and_not_into_a_log(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert list(tqdm(range(3), desc="chains")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(tqdm(range(3), desc="chains")) == [0, 1, 2]
    assert "chains: 100%" in capsys.readouterr().err
    assert list(tqdm(range(3), disable=True)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_that_does_not_say_its_size_has_bars(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((0, 0)))
    monkeypatch.setenv("COLUMNS", "60")
    assert list(tqdm(range(3), desc="chains")) == [0, 1, 2]
    assert {len(line) for line in capsys.readouterr().err.strip("\r\n").split("\r")} <= {59, 60}


def test_a_warning_of_a_command_is_a_line_without_its_place(capsys, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", _warn)
        warnings.warn("Modality 'a':\n 3 values are NaN.", MissingWarning, stacklevel=1)
    assert capsys.readouterr().err == "mmppl: MissingWarning: Modality 'a': 3 values are NaN.\n"
