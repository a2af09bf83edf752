"""Docstrings of systems: options that they share, and what they say of papers and options, as data."""

import inspect
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Paper", "arguments", "papers", "references", "with_options"]

# What every system takes beside its own options, behind what its docstring says of them.
SCORING = {
    "likelihood": "How modalities are scored, for all of them or by the name of a modality or a kind, where it is not "
    'as they say themselves: ``{"rna": "negative_binomial", "image": "bernoulli"}``; see '
    ":class:`~mmppl.batch.Modality`.",
    "scale": 'Scales of their likelihoods in the same way: numbers, ``"learned"`` or ``"heteroscedastic"``.',
    "weight": "Factors on their log likelihoods in training, in the same way.",
}
WIDTH = 112
PAPER = re.compile(r"^(?P<title>.*?)\s*\((?P<authors>[^()]*), (?P<year>\d{4})\)(?P<rest>.*)$")
# A paper that is named in full elsewhere.
SHORT = re.compile(r"^[^()]* \(\d{4}\)")


class Paper(NamedTuple):
    """A paper as a docstring names it.

    Arguments:
        title: Its title; empty where only authors are named.
        authors: Surnames as they are cited, such as ``"Wu & Goodman"`` or ``"Shi et al."``.
        year: The year.
        link: Its address; empty where none is said.
    """

    title: str
    authors: str
    year: str
    link: str


def with_options(doc: str | None, shared: Mapping[str, Any]) -> str:
    """The docstring with the fields of shared dataclasses in their places, and with what every system takes.

    Arguments:
        doc: Docstring of a declaration.
        shared: Dataclasses with their defaults, by the argument that stands for their fields.

    Example:
        >>> doc = chr(10).join(("A model.", "    Arguments:", "        seed: Random seed."))
        >>> "scale:" in with_options(doc, {})
        True
    """
    text = inspect.cleandoc(doc or "")  # Python 3.13 does so by itself
    for name, default in shared.items():
        lines = inspect.cleandoc(default.__doc__).split("\n")
        start = lines.index("Arguments:") + 1
        stop = next((i for i in range(start, len(lines)) if not lines[i]), len(lines))
        fields = "".join(f"{line}\n" for line in lines[start:stop])
        text = re.sub(rf"^    {name}: .*\n(?:        .*\n)*", lambda _: fields, text, flags=re.MULTILINE)  # noqa: B023
    scoring = "".join(_entry(name, said) for name, said in SCORING.items())
    return re.sub(r"^    seed: ", lambda _: f"{scoring}    seed: ", text, count=1, flags=re.MULTILINE)


def _entry(name: str, said: str) -> str:
    """A line of a section ``Arguments``, broken where it is long."""
    lines, line = [], f"    {name}:"
    for word in said.split():
        if len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = " " * 7
        line += f" {word}"
    return "\n".join([*lines, line]) + "\n"


def arguments(doc: str) -> dict[str, str]:
    """The entries of a docstring's section ``Arguments``, each as one line.

    Example:
        >>> doc = chr(10).join(("A model.", "", "Arguments:", "    beta: A factor", "        on KL.", "", "Raises:"))
        >>> arguments(doc)
        {'beta': 'A factor on KL.'}
    """
    _, _, after = doc.partition("Arguments:\n")
    out: dict[str, str] = {}
    name = ""
    for line in after.splitlines():
        if not line.startswith("    "):
            break
        if not line.startswith("     "):
            name, _, line = line.strip().partition(": ")
        out[name] = f"{out.get(name, '')} {line.strip()}".strip()
    return out


def references(doc: str) -> list[str]:
    """The lines of a docstring's section ``References``.

    Example:
        >>> references("A model." + chr(10) + "References:" + chr(10) + "    | A paper" + chr(10) + "    | a link")
        ['A paper', 'a link']
    """
    _, _, after = doc.partition("References:\n")
    lines = []
    for line in after.splitlines():
        if not line.strip().startswith("|"):
            break
        lines.append(line.strip().removeprefix("|").strip())
    return lines


def papers(doc: str) -> list[Paper]:
    """The papers of a docstring's section ``References``.

    Example:
        >>> papers("References:" + chr(10) + "    | A bound (Wu & Goodman, 2018)" + chr(10) + "    | https://a.org/b")
        [Paper(title='A bound', authors='Wu & Goodman', year='2018', link='https://a.org/b')]
    """
    out: list[Paper] = []
    title = ""
    for line in references(doc):
        if SHORT.match(line):
            title = ""
            continue
        found = PAPER.match(f"{title} {line}".strip())
        link = re.search(r"https://\S+", line)
        if found is None and link and out and not out[-1].link:
            out[-1] = out[-1]._replace(link=link[0].rstrip(",;."))
            continue
        if found is None:
            title = f"{title} {line}".strip()
            continue
        title = ""
        link = re.search(r"https://\S+", found["rest"])
        out.append(
            Paper(found["title"].strip(), found["authors"], found["year"], link[0].rstrip(",;.") if link else "")
        )
    return out
