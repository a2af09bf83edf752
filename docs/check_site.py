"""Checks of the built site: every public name is on it, links within it lead somewhere, and no file is fetched."""

import re
import sys
from pathlib import Path

from sphinx.util.inventory import InventoryFile

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

from public_names import MODULES, public  # noqa: E402

SITE = DOCS / "_build" / "html"
LONG = re.compile(r"~(?:mmppl|typing|collections|numpy)\.[\w.]+")  # types that were not read as such
LINK = re.compile(r'(?:href|src)="([^"#]*)(?:#([^"]*))?"')


def missing() -> list[str]:
    """Public names that no page documents."""
    with (SITE / "objects.inv").open("rb") as file:
        found = InventoryFile.load(file, "", lambda base, path: path)
    known = {name for kind, names in found.items() if kind.startswith("py:") for name in names}
    return [f"{m}.{n} is on no page" for m in MODULES for n in public(m) if f"{m}.{n}" not in known]


def broken() -> list[str]:
    """Links that lead nowhere, and files that would be fetched."""
    pages = {path: path.read_text() for path in SITE.rglob("*.html")}
    ids = {path: set(re.findall(r'\bid="([^"]*)"', text)) for path, text in pages.items()}
    out = []
    for path, text in pages.items():
        name = path.relative_to(SITE)
        out += [
            f"{name} fetches {url}"
            for url in re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]*)"', text)
        ]
        out += [f"{name} has a signature with {found}" for found in LONG.findall(re.sub(r"<[^>]*>", "", text))]
        if str(DOCS.parent) in text:
            out.append(f"{name} names a folder of this machine")
        for target, anchor in LINK.findall(text):
            if re.match(r"[a-z]+:", target):
                continue
            to = (path.parent / target.partition("?")[0]).resolve() if target else path
            if not to.exists():
                out.append(f"{name} links to {target}, which is not there")
            elif anchor and to in ids and anchor not in ids[to]:
                out.append(f"{name} links to {target}#{anchor}, which is not there")
    return sorted(set(out))


if __name__ == "__main__":
    problems = missing() + broken()
    print(*problems, sep="\n", end="\n" if problems else "")
    raise SystemExit(1 if problems else 0)
