"""Parts of the report: what is wrong comes first, nothing is cut off, held-out curves stand beside the others."""

import re
from types import SimpleNamespace

import numpy as np

from mmppl import Modality, models
from mmppl.batch import Batch
from mmppl.covariates import Covariate
from mmppl.data.dataset import Dataset
from mmppl.diagnostics.card import _use
from mmppl.diagnostics.report.diagnosis_plots import coverage_charts, diagnosis_charts
from mmppl.diagnostics.report.page import LONG, table
from mmppl.diagnostics.report.plots import loss_curves
from mmppl.diagnostics.report.report import _fitted, _joint
from mmppl.diagnostics.report.trust import trust_list
from mmppl.inference import fit

WORST = [["a", "b", -0.1, 0.8, 0.6, 0.02], ["", "a", 0.3, 0.5, 0.8, 0.05], ["b", "a", 0.03, 0.5, 0.56, 0.004]]
SHARES = {"a": {"share": {"b": [0.4, 0.7]}}, "": {"share": {"a": [0.8, 0.9], "b": [0.5, 0.8]}}}
FOUND = {
    "guide_k": {"a": [0.1, 0.9] * 5, "b": [0.9, 0.8] * 5, "a+b": [0.0, 0.1] * 5},
    "gaps": {"amortisation": [0.1, 0.2], "approximation": [0.0, 0.0]},
    "coverage_by_subset": {"levels": [0.5, 0.8], "subsets": SHARES, "miss": 0.1, "worst": WORST},
    "calibration": None,
    "energy": {},
}
SUMMARY = {"sites": {"z": {"r_hat_max": 1.5}, "w": {"r_hat_max": 1.01}}}


def items(html):
    return re.findall(r'<li class="(\w*)"><b>(.*?)</b> (.*?)</li>', html)


def test_what_is_wrong_comes_first_by_weight_and_then_by_size():
    found = items(trust_list(FOUND, SUMMARY))
    assert [kind for kind, _, _ in found] == ["wrong"] * 5 + ["slight", "right", ""]
    said = [text for _, _, text in found]
    assert said[0].startswith("R-hat of &#x27;z&#x27; is up to 1.50")
    assert "Given nothing, the program is less sure than it could be of &#x27;a&#x27;: its 50% sets hold 80%" in said[1]
    assert "surer than it is right of &#x27;b&#x27;: its 80% sets hold 60% (± 2) of the values" in said[2]
    assert "Given b, PSIS k is above 0.7 for 100%" in said[3]
    assert "Given a, PSIS k is above 0.7 for 50%" in said[4]
    assert "a little less sure than it could be of &#x27;a&#x27;: its 50% sets hold 56% (± 0.4)" in said[5]
    assert said[6] == "answers of the encoder."
    assert said[7] == "energy of the prior, calibration of the guide."


def test_coverage_of_an_earlier_version_is_ranked_by_its_mean():
    old = {**FOUND, "coverage_by_subset": {**FOUND["coverage_by_subset"], "worst": [["a", "b", -0.1], ["", "a", 0.03]]}}
    told = {kind: text for kind, name, text in items(trust_list(old, SUMMARY)) if "coverage" in name}
    assert "its sets hold 10 points fewer values than they say" in told["wrong"]
    assert "its sets hold 3 points more values than they say" in told["slight"]


def test_a_run_with_nothing_wrong_says_so():
    fine = {**FOUND, "guide_k": {"a": [0.1]}, "coverage_by_subset": {**FOUND["coverage_by_subset"], "worst": []}}
    found = items(trust_list(fine, {"sites": {"z": {"r_hat_max": 1.0}}}))
    assert [kind for kind, _, _ in found] == ["right", ""]
    assert "mixing of the chains, coverage" in found[0][2]


def test_coverage_has_a_chart_of_each_modality():
    read, charts = coverage_charts(FOUND["coverage_by_subset"])
    assert "Mean distance 0.100" in read
    assert [name for name, _ in charts] == ["b", "a"]
    lines = [svg.count("1 given") + svg.count("nothing given") for _, svg in charts]
    assert lines == [2, 1]
    assert coverage_charts(None) == ("", [])


def test_a_cell_knows_its_column_and_a_long_one_takes_several_lines():
    html = table("t", ["", "x", "y"], [["r", "1", "w" * (LONG + 1)]])
    assert '<td data-label="x">1</td>' in html
    assert f'<td data-label="y"><span class="long">{"w" * (LONG + 1)}</span></td>' in html


def test_held_out_curves_stand_beside_those_of_training():
    history = [{"epoch": e, "stage": "s", "loss": 3.0 - e, "validation.loss": 4.0 - e} for e in (1, 2, 3)]
    charts = loss_curves(history)["s"]
    assert list(charts) == ["loss"]
    assert "held out" in charts["loss"]
    assert "held out" not in loss_curves([{"epoch": 1, "stage": "s", "loss": np.pi}])["s"]["loss"]


def test_what_may_be_chance_is_a_little_off_and_three_parts_of_a_question_are_told():
    """Of 16 data two with k above its limit are no more than one in ten, nine are."""
    ks = {f"m{i}": [0.9] * 9 + [0.1] * 7 for i in range(5)} | {"few": [0.9] * 2 + [0.1] * 14}
    found = items(trust_list({**FOUND, "guide_k": ks, "coverage_by_subset": None}, SUMMARY))
    weights = [(kind, text) for kind, name, text in found if "weights" in name]
    assert [kind for kind, _ in weights] == ["wrong"] * 3
    assert "for 56% of 16 data" in weights[0][1]
    assert weights[2][1].endswith("And 3 more like it, in diagnosis.json.")
    (only,) = [f for f in items(trust_list({**FOUND, "guide_k": {"few": ks["few"]}}, SUMMARY)) if "weights" in f[1]]
    assert only[0] == "slight"


def test_names_of_subsets_fit_beside_the_chart():
    names = ["a modality with a long name", "b", "c"]
    subsets = ["a modality with a long name", "b", "b+c", "+".join(names)]
    ((title, _, svg),) = diagnosis_charts(
        {**FOUND, "gaps": None, "coverage": None, "guide_k": dict.fromkeys(subsets, [0.1])}
    )
    assert title == "Where the guide lies"
    assert [x in svg for x in ("a modality with a lon…", "all but a modality wi…", ">all<")] == [True] * 3


def test_draws_from_the_prior_are_under_covariates_of_test_rows(ppl):
    known = {"site": Covariate("category", names=("n", "s"))}
    rows = Batch({n: np.arange(8.0)[:, None] for n in "xy"}, covariates={"site": np.array(["n", "s"] * 4)})
    data = Dataset("birds", {n: Modality((1,)) for n in "xy"}, rows, rows[:3], covariates=known)
    program = models.mvae(data.modalities, ppl=ppl, latent_dim=1, hidden=2, covariates=known)
    fitted = fit(program, data.train, epochs=1, progress=False)
    assert _joint(fitted, data, 0).count("<tr") == 3  # a header and two modalities, of ten samples
    text = _use(type("Info", (), {"backend": "pyro", "options": fitted.program.options}))
    assert "generate(fitted, num=16, covariates={'site': ...})" in text


def test_what_was_fitted_is_told_as_the_program_has_it():
    """Rows that were held out are no training rows, and a system may score a modality otherwise than its data say."""
    known = {"x": Modality((4,), partial=True)}
    rows = Batch({"x": np.zeros((10, 4))})
    data = Dataset("d", known, rows, rows[:3])
    told = dict.fromkeys(("batch_size", "learning_rate", "ema", "clip", "epochs", "commit"))
    info = SimpleNamespace(
        model="mvae",
        backend="numpyro",
        options={},
        versions={},
        more={"data": "d.csv"},
        data_digest={"rows": 8},
        **told,
    )
    scored = {"x": Modality((4,), likelihood="low_rank_normal", rank=2, partial=True)}
    fitted = SimpleNamespace(weights={}, history=[], program=SimpleNamespace(modalities=scored))
    page = _fitted(info, fitted, data)
    assert "d.csv: 8 training, 2 held-out and 3 test tuples" in page
    assert "low_rank_normal" in page
