"""Progress and warnings where nobody looks on: lines in place of bars in logs, a warning of a command in one line."""

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


def test_a_log_gets_a_line_now_and_then(capsys, monkeypatch):
    clock = iter([0, 20, 31, 50, 62, 1000, 1040, 1060])
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr("mmppl.progress.time.monotonic", lambda: next(clock))
    bar = tqdm(total=None, initial=4, unit="epoch")
    bar.set_description("joint")
    for _ in range(7):  # after 1,000 s the next line is due 50 s later
        bar.set_postfix(loss="3.2")
        bar.update()
    assert capsys.readouterr().err.splitlines() == [
        "joint: 6 epochs in 00:31, loss=3.2",
        "joint: 8 epochs in 01:02, loss=3.2",
        "joint: 9 epochs in 16:40, loss=3.2",
        "joint: 11 epochs in 17:40, loss=3.2",
    ]
    clock = iter([0, 31, 40])
    assert list(tqdm("ab", desc="generate")) == ["a", "b"]
    assert capsys.readouterr().err == "generate: 1 of 2 in 00:31\n"


def test_bars_side_by_side_in_a_notebook_are_an_output_each(capsys, monkeypatch):
    """Without widgets, where cursors that move up break lines."""
    shown = {}

    class Output:
        def __init__(self):
            self.key = len(shown)
            shown[self.key] = ""

        def update(self, data, raw):
            assert raw
            shown[self.key] = data["text/plain"]

    monkeypatch.setattr("mmppl.progress._output", Output)
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    one, two = (tqdm(total=4, desc=name, unit="epoch") for name in ("one", "two"))
    two.update(4)
    two.close()
    one.set_postfix(loss="3.2")
    one.update(1)
    one.refresh()
    assert shown[0].startswith("one:  25%|██▌       | 1/4 [")
    assert shown[0].endswith("loss=3.2]")
    assert shown[1].startswith("two: 100%|██████████| 4/4 [")
    one.close()
    assert capsys.readouterr() == ("", "")


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
