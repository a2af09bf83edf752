"""Pages that follow from the code: systems/*.md, command_line.md, references.md; ``python docs/make_pages.py``."""

import ast
import inspect
import re
import tomllib
from pathlib import Path

import typer

from mmppl import citation
from mmppl.cli import app
from mmppl.cli.systems import plain
from mmppl.models.catalogue import SYSTEMS, options
from mmppl.models.common.documented import Paper, papers

DOCS = Path(__file__).parent
SAID = tomllib.loads((DOCS / "systems.toml").read_text())
RUN = """```python
import mmppl.numpyro as mm
from mmppl import models
from mmppl.data import load
from mmppl.inference import fit, generate

{data} = load("{source}")
fitted = fit(models.{name}({data}.modalities, ppl=mm), {data}.train, epochs=30)
draws = generate(fitted, num=16)
```"""


def pages() -> dict[Path, str]:
    """The text of every page by its path."""
    out = {DOCS / "systems" / f"{name}.md": _system(name) for name in SYSTEMS}
    out |= {DOCS / "systems" / "index.md": _index(), DOCS / "command_line.md": _commands()}
    return {**out, DOCS / "references.md": _references()}


def _system(name: str) -> str:
    said, doc = SAID[name], inspect.getdoc(SYSTEMS[name]) or ""
    parts = [f"# `{name}`: {said['title']}", _markdown(doc.partition("\n\n")[2].partition("References:")[0])]
    rows = [(s, *SAID["symbols"][s]) for s in said["symbols"]] + said.get("extra", [])
    parts += ["## Symbols", _table(("symbol", "description", "code"), [(_symbol(a), b, c) for a, b, c in rows])]
    parts += ["## Fit it", _example(name), *filter(None, [said.get("further")])]
    found = options(name)
    parts.append("## Options")
    parts.append(
        "Options of Python, or of the command line by `--set`; `mmppl systems "
        f"{name}` prints this list.\n\n"
        + _table(
            ("option", "type", "default", "description", "for example"),
            [(f"`{o.name}`", o.kind, o.default, _cell(_markdown(o.text)), _set(o.example)) for o in found],
        )
    )
    parts += ["## Published numbers", _published(said)]
    parts += ["## Limits", "\n".join(f"- {line}" for line in said["limits"])]
    parts += ["## Cite", f"`mmppl.citation(program)`:\n\n```bibtex\n{citation(name)}\n```"]
    return "\n\n".join(parts) + "\n"


def _set(example: str) -> str:
    """How the command line sets an option, where it can."""
    return f"`{example}`" if example else "in Python alone"


def _published(said: dict) -> str:
    parts = [said["published"]] if "published" in said else []
    if "mnist_svhn" in said:
        shared = SAID["shared"]["mnist_svhn"]
        row = "| " + " | ".join(f"{x:.2f}" for x in said["mnist_svhn"]) + " |"
        parts.append(f"{shared['text']}\n\n{shared['header']}\n| --- | --- | --- |\n{row}")
    parts = parts or ["None was at hand."]
    return "\n\n".join([*parts, "Ours, on the embedded data: [results](../results/index.md)."])


def _example(name: str) -> str:
    data, source = ("mixture", "labelled_mixture") if name == "ivae" else ("digits", "polydigits")
    return RUN.format(name=name, data=data, source=source)


def _index() -> str:
    rows = [(f"[`{n}`]({n}.md)", SAID[n]["title"], _summary(n)) for n in SYSTEMS]
    toc = "```{toctree}\n:hidden:\n\n" + "\n".join(SYSTEMS) + "\n```"
    text = "The published systems, each a program of either host: `models.<name>(modalities, ppl=mm, **options)`."
    return "\n\n".join(["# Systems", text, _table(("name", "system", "paper"), rows), toc]) + "\n"


def _summary(name: str) -> str:
    found = papers(inspect.getdoc(SYSTEMS[name]) or "")[0]
    return f"[{found.authors}, {found.year}]({found.link})"


def _commands() -> str:
    group = typer.main.get_command(app)
    parts = ["# Command line", "Bad input is one line on stderr and exit code 2; training that breaks down is 1."]
    parts.append(
        "`mmppl --install-completion`: the shell completes commands, models, data, settings and, in zsh, values."
    )
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        rows = []
        for parameter in command.params:
            if parameter.name == "help":
                continue
            names = ", ".join(f"`{o}`" for o in parameter.opts) if parameter.opts[0].startswith("-") else ""
            label = parameter.metavar or parameter.name.upper()
            flag = getattr(parameter, "is_flag", False)
            shown = names or f"`{label}`"
            default = parameter.default
            has = default is not None and not flag and not callable(default) and default != []
            value = "" if flag or not names or not parameter.metavar else f" {parameter.metavar}"
            rows.append(
                (shown + value.replace("|", "\\|"), _options(_cell(parameter.help or "")), str(default) if has else "")
            )
        header = ("argument", "description", "default")
        if not any(default for *_, default in rows):
            header, rows = header[:2], [row[:2] for row in rows]
        help_text = _options(inspect.cleandoc(command.help or ""))
        parts.append(f"## `mmppl {name}`\n\n{help_text}\n\n" + _table(header, rows))
    return "\n\n".join(parts) + "\n"


def _references() -> str:
    """Every paper that a docstring names, once, with its link where it has one."""
    found: dict[str, Paper] = {}
    for folder in ("mmppl", "inference", "models"):
        for path in sorted((DOCS.parent / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    for paper in papers(ast.get_docstring(node) or ""):
                        known = found.setdefault(paper.title.casefold(), paper)
                        if paper.link and not known.link:
                            found[paper.title.casefold()] = paper
    every = sorted(found.values(), key=lambda p: (p.authors.casefold(), p.year, p.title))
    rows = [(_cell(p.authors), p.year, f"[{_cell(p.title)}]({p.link})" if p.link else _cell(p.title)) for p in every]
    text = "What docstrings name as their sources; `mmppl.citation(program)` gives BibTeX of a system's."
    return "\n\n".join(["# References", text, _table(("authors", "year", "title"), rows)]) + "\n"


def _markdown(text: str) -> str:
    """A docstring's text as Markdown: formulas between dollars, code between backticks."""
    lines, out = text.strip().split("\n"), []
    block: list[str] | None = None
    for line in [*lines, ""]:
        if line.startswith(".. math::"):
            block = [line.removeprefix(".. math::").strip()]
        elif block is not None and line.startswith("    "):
            block.append(line.strip())
        else:
            if block is not None:
                out += ["$$", *(part for part in block if part), "$$"]
                block = None
            out.append(line)
    text = re.sub(r":math:`([^`]*)`", r"$\1$", "\n".join(out).strip())
    text = re.sub(r":(?:class|func|data|mod|meth):`([^`]*)`", lambda m: f"`{plain(m[0])}`", text)
    return text.replace("``", "`")


def _symbol(text: str) -> str:
    return text if text.startswith("$") or " prior" in text or text.startswith("dynamic") else f"${_tex(text)}$"


def _tex(text: str) -> str:
    greek = r"\b(alpha|beta|gamma|lambda|mu|sigma|rho|tau|psi)(?=_|\b)"
    text = re.sub(r"_([a-z0-9]+)", r"_{\1}", text.replace("|", r"\mid"))
    return (
        re.sub(greek, r"\\\1", text)
        .replace("{alpha}", r"{\alpha}")
        .replace("{tau}", r"{\tau}")
        .replace("{psi}", r"{\psi}")
    )


def _options(text: str) -> str:
    """A text whose options, such as ``--given``, are code, and not dashes of a sentence."""
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)", r"`\1`", text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(header: tuple[str, ...], rows: list) -> str:
    lines = ["| " + " | ".join(header) + " |", "| --- " * len(header) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
