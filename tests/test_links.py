"""External links: of a form that leads somewhere, of hosts that are known, and to papers that the references name.

The network is not there: what is checked is what can be without it.
"""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"https?://[^\s<>\"'`|\\]+")
ARXIV = re.compile(r"https://arxiv\.org/abs/(?:(\d\d)(0[1-9]|1[0-2])\.(\d{4,5})|[a-z-]+/(\d\d)(?:0[1-9]|1[0-2])\d{3})")
# Forms of links by host.
FORMS = {
    "arxiv.org": ARXIV,
    "doi.org": re.compile(r"https://doi\.org/10\.\d{4,9}/\S+"),
    "openreview.net": re.compile(r"https://openreview\.net/forum\?id=[\w-]+"),
    "proceedings.neurips.cc": re.compile(r"https://proceedings\.neurips\.cc/paper/\d{4}/hash/[\w-]+\.html"),
    "jmlr.org": re.compile(r"https://jmlr\.org/papers/v\d+/\w+\.html"),
    "www.stats.ox.ac.uk": re.compile(r"https://www\.stats\.ox\.ac\.uk/~teh/research/compstats/\w+\.pdf"),
}
PLAIN = ("keepachangelog.com", "semver.org", "docs.jax.dev")
# Not links, but examples of what is one.
EXAMPLES = ("https://a.org/b",)


def texts():
    """Every text with links for readers, by its path."""
    pages = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff")]
    pages += [
        p for p in (ROOT / "docs").rglob("*.*") if p.suffix in (".md", ".toml", ".txt") and "_build" not in p.parts
    ]
    pages += [p for folder in ("mmppl", "inference", "models") for p in (ROOT / folder).rglob("*.py")]
    yield from ((path, path.read_text()) for path in pages)
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        yield path, "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])


def links(text):
    """Links of a text, without the punctuation that ends a sentence, a cell or an entry."""
    for link in LINK.findall(text):
        link = link.rstrip(".,;:}]*")
        while link.endswith(")") and link.count("(") < link.count(")"):
            link = link[:-1].rstrip(".,;:}]*")
        yield link


FOUND = [(link, path) for path, text in texts() for link in links(text) if not link.startswith(EXAMPLES)]


def test_links_are_found():
    assert list(links("[a](https://doi.org/10.1/x(2)3), https://arxiv.org/abs/1802.05335.")) == [
        "https://doi.org/10.1/x(2)3",
        "https://arxiv.org/abs/1802.05335",
    ]
    assert len({link for link, _ in FOUND}) > 60


def test_a_link_has_the_form_of_its_host():
    for link, path in FOUND:
        host = link.split("/")[2]
        assert host in FORMS or host in PLAIN, f"{path}: a host that is not known, {link}"
        assert link.startswith("https://"), f"{path}: {link}"
        assert host in PLAIN or FORMS[host].fullmatch(link), f"{path}: {link} has not the form of others at {host}"


@pytest.mark.parametrize("wrong", ["https://arxiv.org/abs/1813.05335", "https://arxiv.org/pdf/1802.05335", "http://x"])
def test_a_link_of_another_form_is_found_out(wrong):
    assert not ARXIV.fullmatch(wrong)


def test_every_paper_is_among_the_references_under_one_title():
    rows = re.findall(r"^\| (.*) \| (\d{4}) \| \[(.*)\]\((\S+)\) \|$", (ROOT / "docs/references.md").read_text(), re.M)
    listed = {link: (title, int(year)) for _, year, title, link in rows}
    assert len(listed) == len(rows), "a link stands twice, under two titles"
    for link, path in FOUND:
        assert link.split("/")[2] in PLAIN or link in listed, f"{path}: {link} is not in docs/references.md"
    for link, (title, year) in listed.items():
        number = ARXIV.fullmatch(link)
        if number:
            written = int(number[1] or number[4])
            assert (1900 if written > 50 else 2000) + written <= year + 1, f"{title}: {year} is before {link}"
