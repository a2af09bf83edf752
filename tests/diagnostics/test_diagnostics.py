"""Pictures, charts, tables and summaries, as far as no host is needed."""

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from mmppl import Modality
from mmppl.diagnostics import read_posterior, summarise_posterior, write_posterior
from mmppl.diagnostics.report.page import grid, page, table
from mmppl.diagnostics.report.pictures import cell
from mmppl.diagnostics.report.plots import energy_histogram, loss_curves
from mmppl.diagnostics.report.tables import evaluation_table
from mmppl.drawing import words
from mmppl.errors import RunError


def pixels(html):
    found = re.search(r"data:image/png;base64,([^\"]+)", html)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))))


def tree(draws, **attrs):
    posterior = xr.Dataset({"z": (("chain", "draw", "datum", "z_dim_0"), draws)}, attrs=attrs)
    return xr.DataTree.from_dict({"/posterior": posterior})


def split_r_hat(x):
    """Rank-normalised split R-hat, without and with folding, of draws (chain, draw): Vehtari et al., section 3."""
    from scipy.stats import norm, rankdata

    def plain(v):
        half = v.shape[1] // 2
        v = np.concatenate([v[:, :half], v[:, -half:]])
        rank = rankdata(v).reshape(v.shape)
        v = norm.ppf((rank - 0.375) / (v.size + 0.25))
        within = v.var(axis=1, ddof=1).mean()
        between = half * v.mean(axis=1).var(ddof=1)
        return np.sqrt(((half - 1) / half * within + between / half) / within)

    return max(plain(x), plain(np.abs(x - np.median(x))))


def test_summary_is_over_every_datum_and_dimension():
    draws = np.random.default_rng(0).standard_normal((4, 200, 3, 2))
    draws[0, :, 1, 1] += 2.0
    found = summarise_posterior(tree(draws, sampler="mala"))
    values = np.array([[split_r_hat(draws[:, :, n, d]) for d in range(2)] for n in range(3)])
    site = found["sites"]["z"]
    assert (found["sampler"], found["chains"], found["draws"], found["data"]) == ("mala", 4, 200, 3)
    assert site["r_hat_max"] == pytest.approx(values[1, 1], rel=1e-6)
    assert site["r_hat_max"] > 1.2
    assert site["r_hat_median"] == pytest.approx(np.median(values), rel=1e-6)
    assert site["share_r_hat_good"] == pytest.approx(np.mean(values <= 1.01))
    assert site["ess_bulk_min"] < 20 < 400 < site["ess_bulk_median"]


@pytest.mark.parametrize(("chains", "attrs"), [(4, {"independent_draws": 1}), (1, {})])
def test_independent_draws_have_no_r_hat(chains, attrs):
    assert summarise_posterior(tree(np.zeros((chains, 10, 1, 1)), **attrs))["sites"] == {}


def test_a_posterior_survives_its_file(tmp_path):
    draws = np.random.default_rng(1).standard_normal((2, 5, 1, 3))
    write_posterior(tree(draws, sampler="mala"), tmp_path / "posterior.nc")
    back = read_posterior(tmp_path / "posterior.nc")["posterior"]
    assert np.array_equal(back["z"], draws)
    assert back.attrs["sampler"] == "mala"
    assert [p.name for p in tmp_path.iterdir()] == ["posterior.nc"]
    (tmp_path / "posterior.nc").write_bytes(b"nothing")
    with pytest.raises(RunError, match="cannot be read; run: mmppl diagnose"):
        read_posterior(tmp_path / "posterior.nc")


def test_pictures_keep_their_pixels():
    value = np.random.default_rng(2).random((3, 4, 5)).astype(np.float32)
    html = cell(Modality((3, 4, 5), kind="image"), value, 'a "picture"')
    assert np.array_equal(pixels(html), np.round(255 * value).astype(np.uint8).transpose(1, 2, 0))
    assert 'alt="a &quot;picture&quot;"' in html
    grey = cell(Modality((1, 2, 2), kind="image"), np.array([[[-1.0, 0.0], [1.0, 9.0]]]), "grey")
    assert pixels(grey).tolist() == [[0, 0], [255, 255]]


def test_vectors_are_strips_from_blue_to_red():
    html = cell(Modality((3,)), np.array([-2.0, 0.0, 2.0]), "v", (-2.0, 2.0))
    assert pixels(html).tolist() == [[[49, 104, 172], [247, 247, 247], [178, 54, 43]]]
    assert "v: -2, 0, 2" in html


def test_tokens_are_words_where_they_are_letters():
    letters = Modality((4,), kind="tokens", vocabulary=27)
    assert words(np.array([[20, 23, 15, 0], [0, 1, 0, 0]]), letters) == ["two", "·a"]
    assert words(np.array([[30, 2, 0, 0]]), Modality((4,), kind="tokens", vocabulary=40)) == ["30 2 0 0"]


def test_charts_are_inline_svg_of_each_stage_and_term():
    history = [{"epoch": 1, "stage": "one", "loss": 3.0, "log_lik.a": -1.0, "steps": 2, "seconds": 1.0}]
    history += [{"epoch": e, "stage": "two", "loss": 1.0 / e, "steps": 2, "seconds": 1.0} for e in (2, 3, 4)]
    charts = loss_curves(history)
    assert {stage: list(terms) for stage, terms in charts.items()} == {"one": ["loss", "log_lik.a"], "two": ["loss"]}
    for svg in (charts["two"]["loss"], energy_histogram(np.arange(9.0), np.arange(9.0) - 2)):
        assert ET.fromstring(svg).tag == "svg"
        assert "http" not in svg
        assert "currentColor" in svg
        assert "var(--first)" in svg


def test_a_page_escapes_what_it_shows():
    text = page("a < b", "c & d", [("one", "E > f", table("t", ["", "x<y"], [["r", "<script>"]]))])
    assert "<script>" not in text
    assert "a &lt; b" in text
    assert '<th scope="col">x&lt;y</th>' in text
    assert grid("g", ["", "1"], [("row", ["<b>ready</b>"], True)]).count("<b>ready</b>") == 1


def test_the_table_says_what_is_left_out():
    likelihood = {"value": -3.5, "error": 0.125, "num": 7, "methods": {"normal": 7}, "untrusted": 0, "density": 2.5}
    likelihood["share_k_above_0.7"] = 0.0
    none = dict.fromkeys(("coherence", "cross_coherence", "leave_one_out_coherence", "frechet", "latent_probe"))
    text = evaluation_table(
        {"split": "test", "skipped": "The data have no labels.", **none, "log_likelihood": likelihood}
    )
    assert text.splitlines() == [
        "Split: test",
        "The data have no labels.",
        "Log likelihood: -3.50 ± 0.12 nats a tuple (7 tuples)",
        "  7 by normal; PSIS k above 0.7 with every method for 0 of 7",
        "  as a density of pictures on [0, 1], to compare with continuous likelihoods: 2.50",
    ]
    without = {"log_likelihood": None, "no_likelihood": "The encoders are deterministic."}
    text = evaluation_table({"split": "test", "skipped": None, **none, **without})
    assert text.splitlines() == ["Split: test", "Log likelihood: none. The encoders are deterministic."]
