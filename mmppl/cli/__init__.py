"""The command line: one command in a file."""

from mmppl.cli.app import app, main

__all__ = ["app", "main"]
