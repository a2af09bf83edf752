"""What the pages of results and their summary may print: errors that are to be trusted, and each other's numbers."""

import re
from pathlib import Path

import pytest

from mmppl.inference.posterior.trust import trusted_k

ROOT = Path(__file__).parents[1]
SUMMARY = " ".join((ROOT / "docs" / "results" / "index.md").read_text().split())
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def tables(path):
    """The tables of a page, each a list of rows by heading."""
    out, header = [], None
    for line in path.read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not line.startswith("|"):
            header = None
        elif header is None:
            header, rows = cells, []
            out.append(rows)
        elif not set(line) <= set("| -"):
            rows.append(dict(zip(header, cells, strict=True)))
    return out


def page(name):
    return ROOT / "docs" / "results" / name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_log_likelihood_has_an_error_that_its_k_does_not_allow(path):
    for rows in tables(path):
        for row in rows:
            for name, cell in row.items():
                if not name.startswith("log likelihood"):
                    continue
                share = next((v for k, v in row.items() if "k > 0.7" in k and v[:1].isdigit()), None)
                if share is None or not trusted_k(float(share.split(" ")[0])):
                    assert "±" not in cell
                    assert "holds" not in cell
                    assert cell == "–" or cell[0] == "+" or "(not trusted)" in cell or row.get("time")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_numbers_are_written_for_people(path):
    cells = " ".join(cell for rows in tables(path) for row in rows for cell in row.values())
    assert not re.search(r"\de\+0[1-3]\b|\+-", cells)
    assert not re.search(r"\d\.\d{7,}", re.sub(r"\]\([^)]*\)", "", cells))
    assert path.parent.name != "results" or "{'" not in re.sub(r"`[^`]*`", "", path.read_text())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_one_seed_has_no_error_over_seeds(path):
    for rows in tables(path):
        for row in rows:
            if row.get("seeds") == "1":
                assert not any("±" in cell or re.search(r"\(0\)", cell) for cell in row.values())
            assert not any("± ?" in cell or "± nan" in cell for cell in row.values())


def test_no_effective_samples_are_told_of_chains_that_have_not_mixed():
    rows = [row for table in tables(page("mixing.md")) for row in table]
    failed = [row for row in rows if float(row["R-hat < 1.1"]) < 0.95]
    assert failed
    assert all(row[name] == "–" for row in failed for name in row if name.startswith("ESS"))
    rates = {row["what"]: row["value"] for table in tables(page("kernels.md")) for row in table}
    bad = [name.split(":")[0] for name, value in rates.items() if "per second" in name and "(not trusted)" in value]
    said = {name: value for name, value in rates.items() if " over " in name}
    for name, value in said.items():
        of = name.split(" over ")[0], "NUTS, joint" if "joint NUTS" in name else "BlackJAX MALA"
        assert ("(not trusted)" in value) == bool(set(of) & set(bad)), name


def test_the_page_without_k_says_so_first():
    assert "Log likelihoods here are not to be trusted" in page("multivae.md").read_text().split("Written by")[0]


def test_the_summary_has_the_ranges_against_multivae():
    rows = next(rows for rows in tables(page("multivae.md")) if "time" in rows[0])
    for host, name in (("numpyro", "NumPyro"), ("pyro", "Pyro")):
        times = [float(row["time"]) for row in rows if row["host"] == host]
        assert len(times) == 6
        assert re.search(rf"{min(times):.2f} to {max(times):.2f} (of the time a step )?on {name}\b", SUMMARY)
    judged = [row[name] for row in rows for name in ("joint", "cross", "leave one out")]
    assert sum(cell.startswith("below") for cell in judged) == 1
    assert f"at the same coherence in all but one of {len(judged)} comparisons" in SUMMARY


def test_the_summary_tells_speeds_of_samplers_that_draw_as_well():
    rows = {row["solver"]: row for row in tables(page("sampling.md"))[0]}
    shown = rows["DPM-Solver++, flow, 20"], rows["Heun, 19"]
    assert all(float(row["of 1,000 steps'"]) < 1.025 for row in shown)
    times = sorted(float(row["times the speed of 1,000 steps"]) for row in shown)
    reference = float(rows["ancestral, 1,000"]["draws a second"])
    assert times == [round(float(row["draws a second"]) / reference) for row in shown]
    assert "and {:.0f} to {:.0f} times as fast".format(*times) in SUMMARY


def test_the_summary_says_what_nuts_was_held_against():
    """A NUTS for each datum, in the same run as ours on that host."""
    rows = {row["what"]: row for row in tables(page("mixing.md"))[0]}
    ours, nuts = rows["`infer`, default, numpyro"], rows["NUTS for each datum, BlackJAX"]
    assert ours["R-hat < 1.05"] == "1.000"
    assert f"in {float(ours['seconds']):.0f} s with compilation" in SUMMARY
    assert f"took {float(nuts['seconds']):.0f} s" in SUMMARY
    assert f"{float(ours['ESS / s']) / float(nuts['ESS / s']):.0f} times its effective samples per second" in SUMMARY
