"""The command line on a small run by Pyro; what does not depend on the host is tested with NumPyro."""

import functools
import json

import numpy as np
import pytest

import mmppl.pyro as ppl
from mmppl import diagnostics
from mmppl.batch import Batch
from mmppl.cli import main
from mmppl.data import load, write_npz
from mmppl.diagnostics import load_run, read_posterior, summary
from mmppl.diagnostics.energies import energies
from mmppl.diagnostics.loading import load_data
from mmppl.inference import generate, log_likelihood

SETTINGS = ["latent_dim=3", "hidden=16", "energy_hidden=8", "chains=8", "buffer=0", "steps=2", "batch_size=64"]


def command(*args):
    return main([str(a) for a in args])


@pytest.fixture(scope="module", autouse=True)
def short_chains():
    """Draws from the tilted prior take 20 steps where they would take 500."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppl, "LangevinChains", functools.partial(ppl.LangevinChains, draw_steps=20))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    data = load("linear_gaussian", num_train=160, num_test=40, dims={"a": 2, "b": 3})
    write_npz(folder / "data.npz", data.train)
    settings = [word for pair in SETTINGS for word in ("--set", pair)]
    named = ["--model", "ebm", "--data", folder / "data.npz", "--backend", "pyro", "--out", folder / "run"]
    assert command("fit", *named, "--epochs", 2, *settings) == 0
    return folder / "run"


def test_generate_is_repeatable_and_keeps_what_is_observed(run, tmp_path):
    fitted, dataset = load_run(run)
    given = dataset.test[:5].only("b")
    write_npz(tmp_path / "given.npz", given)
    for name in ("one", "two"):
        assert (
            command(
                "generate",
                run,
                "--given",
                tmp_path / "given.npz",
                "--num",
                3,
                "--seed",
                2,
                "--out",
                tmp_path / f"{name}.npz",
            )
            == 0
        )
    one, two = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("one", "two"))
    assert {name: x.shape for name, x in one.items()} == {"a": (3, 5, 2), "b": (3, 5, 3)}
    assert np.array_equal(one["b"], np.repeat(given["b"][None], 3, 0))
    library = generate(fitted, given, 3, seed=2)
    assert all(np.array_equal(one[name], two[name]) and np.array_equal(one[name], library[name]) for name in one)


@pytest.mark.parametrize("more", [(), ("--validation", 0.25)], ids=["all", "held out"])
def test_data_that_have_changed_since_the_fit_are_refused(tmp_path, capsys, more):
    rows = load("linear_gaussian", num_train=30, num_test=4, dims={"a": 2, "b": 3}).train
    file, out = write_npz(tmp_path / "data.npz", rows), tmp_path / "run"
    named = ["--model", "mvae", "--data", file, "--backend", "pyro", "--out", out, "--epochs", 1]
    assert command("fit", *named, "--set", "latent_dim=2", "--set", "hidden=4", *more) == 0
    assert len(load_data(out).train) == 24
    one = {name: x.copy() for name, x in rows.values.items()}
    one["b"][:, 0] += 0.01
    for changed, what in ((rows[:20], "rows, not"), (Batch(one), "other values of modality 'b'")):
        write_npz(file, changed, force=True)
        for name in ("evaluate", "diagnose", "report"):
            assert command(name, out) == 2
            said = capsys.readouterr().err
            assert f"'{file}' are not those that the run was fitted to: " in said
            assert what in said
    write_npz(file, rows, force=True)
    assert len(load_data(out).test) == 6


def test_evaluate_diagnose_report(run, capsys, monkeypatch):
    short = functools.partial(summary.to_arviz, num_samples=20, num_warmup=20)
    monkeypatch.setattr(summary, "to_arviz", short)
    monkeypatch.setattr(diagnostics, "evaluate", functools.partial(diagnostics.evaluate, num=200, particles=100))
    fitted, dataset = load_run(run)
    assert command("evaluate", run) == 0
    assert "have no labels" in capsys.readouterr().out
    result = json.loads((run / "evaluation.json").read_text())
    value = log_likelihood(fitted, dataset.test, method="auto", num=100)
    assert result["log_likelihood"]["value"] == pytest.approx(value.mean, rel=1e-6)
    assert result["log_likelihood"]["num"] == len(dataset.test)
    assert command("diagnose", run, "--num", 2) == 0
    tree = read_posterior(run / "posterior.nc")
    assert tree["posterior"]["z"].shape == (4, 20, 2, 3)
    assert {name: x.shape for name, x in tree["sample_stats"].data_vars.items()} == dict.fromkeys(
        ("lp", "acceptance_rate", "step_size", "energy", "diverging"), (4, 20, 2)
    )
    assert command("report", run) == 0
    text = (run / "report.html").read_text()
    assert all(heading in text for heading in ("Given a", "Given b", "Energy of the prior", "R-hat max"))
    assert "Nats a datum: less is better." in text
    assert "R-hat is at most 1.01 where chains mix well; above 1.1 they have not mixed" in text
    posterior, prior = energies(fitted, dataset.test)["z"]
    assert posterior.shape == prior.shape == (len(dataset.test),)


def test_report_of_deterministic_encoders(tmp_path):
    """Their guide has no density: the report has samples and coherences, and says what there is not."""
    digits = load("polydigits")
    rows, words = digits.test[:200].select("ink", "word"), {"word": digits.modalities["word"]}
    write_npz(tmp_path / "data.npz", rows, modalities=words)
    named = ["--model", "mld", "--data", tmp_path / "data.npz", "--backend", "pyro", "--out", tmp_path / "run"]
    settings = ["latent_dim=4", "hidden=16", "width=16", "depth=1", "autoencoder=ae", "batch_size=64", "steps=3"]
    assert command("fit", *named, "--epochs", 2, *(word for pair in settings for word in ("--set", pair))) == 0
    assert command("report", tmp_path / "run") == 0
    text = (tmp_path / "run" / "report.html").read_text()
    assert "Joint coherence of all modalities" in text
    assert "Frechet distance" in text
    assert "No log likelihood. The encoders are deterministic." in text
