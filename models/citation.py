"""Entries of BibTeX: a program's papers, and mmppl itself."""

import inspect
import re

from mmppl.errors import OptionError
from mmppl.inference.training.fitted import Fitted
from mmppl.inference.training.program import Program
from mmppl.models.catalogue import SYSTEMS
from mmppl.models.common.documented import Paper, papers

__all__ = ["citation"]

TITLE = "mmppl: multi-modal generative models as ordinary Pyro and NumPyro programs"
SMALL = {"a", "an", "the", "on", "of", "in", "with", "for"}


def citation(program: Program | Fitted | str) -> str:
    r"""Entries of BibTeX to cite for a program: mmppl, and the papers of its system.

    Authors stand as the docstrings cite them, the first ones with ``and others``; complete them from the paper.

    Arguments:
        program: A program, a fitted one, or the name of a system. A user-defined program cites mmppl alone.

    Raises:
        OptionError: If the name is unknown.

    Example:
        >>> print(citation("mvae").split("\n\n")[1])
        @misc{wu2018multimodal,
          title = {{Multimodal Generative Models for Scalable Weakly-Supervised Learning}},
          author = {Wu and Goodman},
          year = {2018},
          url = {https://arxiv.org/abs/1802.05335},
        }
    """
    from mmppl import __version__

    name = program if isinstance(program, str) else (program.program if isinstance(program, Fitted) else program).name
    if isinstance(program, str) and name not in SYSTEMS:
        raise OptionError(f"Unknown model '{name}'; expected one of {', '.join(SYSTEMS)}.")
    own = {"title": f"{{{TITLE}}}", "author": "{The mmppl authors}", "note": f"Version {__version__}"}
    entries = [_entry("software", "mmppl", own)]
    found = papers(inspect.getdoc(SYSTEMS[name]) or "") if name in SYSTEMS else []
    keys: list[str] = []
    for paper in found:
        if paper.title:
            key = _key(paper)
            keys.append(key)
            entries.append(_paper(paper, key + "abcdefgh"[keys.count(key) - 1].replace("a", "")))
    return "\n\n".join(entries)


def _surnames(paper: Paper) -> list[str]:
    return re.split(r" & |, ", paper.authors.removesuffix(" et al."))


def _key(paper: Paper) -> str:
    """First surname, year and first word of the title, as scholars' search engines have it."""
    words = re.findall(r"[A-Za-z]+", paper.title)
    word = next((w for w in words if w.lower() not in SMALL), "paper")
    return f"{_surnames(paper)[0].split()[-1].lower()}{paper.year}{word.lower()}"


def _paper(paper: Paper, key: str) -> str:
    authors = " and ".join(_surnames(paper)) + (" and others" if paper.authors.endswith("et al.") else "")
    fields = {"title": f"{{{paper.title}}}", "author": authors, "year": paper.year}
    if paper.link:
        fields["url"] = paper.link
    return _entry("misc", key, fields)


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])
