"""The command line on real runs: fit, generate, evaluate, diagnose, report; their numbers are the library's."""

import functools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

import mmppl
from mmppl import diagnostics
from mmppl.cli import main
from mmppl.data import load, read_npz, write_npz
from mmppl.diagnostics import load_run, loading, read_posterior, summarise_posterior, worst_data
from mmppl.diagnostics.energies import energies
from mmppl.inference import Run, generate, log_likelihood
from mmppl.metrics import coherence, cross_coherence, train_classifiers
from mmppl.models import loading as models_loading

SETTINGS = ["latent_dim=4", "hidden=32", "energy_hidden=16", "chains=16", "buffer=0", "steps=5", "batch_size=64"]


@pytest.fixture(scope="module", autouse=True)
def caches(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMPPL_CACHE", str(tmp_path_factory.mktemp("cache")))
        # A run is loaded once, so that every command does not compile its programs anew.
        once = functools.cache(models_loading.load)
        patch.setattr(loading, "load_fitted", once)
        patch.setattr(models_loading, "load", once)
        yield


@pytest.fixture(scope="module")
def digits():
    return load("polydigits").test


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits):
    """A tiny fit of ink and word, by the command line."""
    folder = tmp_path_factory.mktemp("fitted")
    write_npz(
        folder / "data.npz",
        digits[:200].select("ink", "word"),
        modalities={"word": load("polydigits").modalities["word"]},
    )
    assert main(fit_args(folder, "run")) == 0
    return folder / "run"


def fit_args(folder, out, *more):
    settings = [word for pair in SETTINGS for word in ("--set", pair)]
    named = ["--model", "ebm", "--data", folder / "data.npz", "--backend", "numpyro", "--out", folder / out]
    return [str(a) for a in ("fit", *named, "--epochs", 2, "--seed", 3, *settings, *more)]


@pytest.fixture
def given(tmp_path, digits):
    """Three rows: a word, a picture, nothing."""
    rows = digits[200:203].select("ink", "word")
    rows = rows.with_present({"ink": np.array([False, True, False]), "word": np.array([True, False, False])})
    return write_npz(tmp_path / "given.npz", rows)


def command(*args):
    return main([str(a) for a in args])


def test_a_run_says_what_it_is(run):
    info = json.loads((run / "run.json").read_text())
    assert {k: info[k] for k in ("model", "backend", "seed", "epochs", "batch_size")} == {
        "model": "ebm",
        "backend": "numpyro",
        "seed": 3,
        "epochs": 2,
        "batch_size": 64,
    }
    assert info["options"]["latent_dim"] == 4
    assert info["data"] == str(run.parent / "data.npz")
    assert [json.loads(line)["stage"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [
        "backbone",
        "energy",
    ]
    fitted, dataset = load_run(run)
    assert list(fitted.program.modalities) == list(dataset.modalities) == ["ink", "word"]
    assert fitted.program.modalities == dataset.modalities
    assert Run(run).weights().keys() == fitted.weights.keys()


def test_a_run_is_not_replaced_and_can_be_resumed(run, capsys):
    before = (run / "params.safetensors").read_bytes()
    assert main(fit_args(run.parent, "run")) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(fit_args(run.parent, "run", "--resume")) == 0
    assert main(fit_args(run.parent, "run", "--resume", "--set", "steps=6")) == 2
    assert "resume it with the same settings" in capsys.readouterr().err
    assert (run / "params.safetensors").read_bytes() == before


def test_generate_given(run, given, tmp_path):
    for name, seed in (("one", 5), ("two", 5), ("other", 6)):
        assert (
            command("generate", run, "--given", given, "--num", 4, "--seed", seed, "--out", tmp_path / f"{name}.npz")
            == 0
        )
    one, two, other = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("one", "two", "other"))
    observed = read_npz(given)
    assert {n: (x.shape, x.dtype) for n, x in one.items()} == {
        "ink": ((4, 3, 1, 16, 16), np.float32),
        "word": ((4, 3, 5), np.int64),
    }
    assert np.array_equal(one["word"][:, 0], np.repeat(observed["word"][:1], 4, 0))
    assert np.array_equal(one["ink"][:, 1], np.repeat(observed["ink"][1:2], 4, 0))
    assert all(np.array_equal(one[n], two[n]) for n in one)
    assert not np.array_equal(one["ink"][:, 0], other["ink"][:, 0])
    library = generate(mmppl.load(run), observed, 4, seed=5)
    assert all(np.array_equal(one[n], library[n]) for n in one)


def test_generate_from_the_prior(run, tmp_path, capsys):
    args = ("generate", run, "--num", 6, "--want", "word", "--out", tmp_path / "out.npz")
    assert command(*args) == 0
    with np.load(tmp_path / "out.npz") as drawn:
        assert {n: drawn[n].shape for n in drawn.files} == {"word": (6, 5)}
    assert command(*args) == 2
    assert "--force" in capsys.readouterr().err
    assert command(*args, "--force", "--mean") == 0


@pytest.mark.parametrize(
    ("arrays", "more", "line"),
    [
        ({"ink": np.zeros((2, 1, 8, 8))}, [], r"Modality 'ink': expected shape \(N, 1, 16, 16\); got \(2, 1, 8, 8\)"),
        ({"ink": np.zeros((2, 5), int)}, [], "Modality 'ink': expected shape"),
        ({"word": np.zeros((2, 5))}, [], "Modality 'word': expected integer token ids; got dtype float64"),
        (
            {"word": np.full((2, 5), 99)},
            [],
            r"Modality 'word': token ids outside \[0, \d+\) where present, in rows 0, 1",
        ),
        ({"ink": np.full((2, 1, 16, 16), np.inf)}, [], "Modality 'ink': NaN or Inf where present, in rows 0, 1"),
        ({"sound": np.zeros((2, 5))}, [], "Unknown modality 'sound'.*the program has ink, word"),
        ({"word": np.zeros((2, 5), int)}, ["--want", "ink,smell"], "'smell'"),
        ({"word": np.zeros((2, 5), int)}, ["--sampler", "gibbs"], "Unknown sampler 'gibbs'; expected one of"),
        ({"word": np.zeros((2, 5), int)}, ["--num", "0"], "--num"),
    ],
)
def test_generate_refuses(run, tmp_path, capsys, arrays, more, line):
    np.savez(tmp_path / "given.npz", **arrays)
    assert command("generate", run, "--given", tmp_path / "given.npz", "--out", tmp_path / "out.npz", *more) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(line, err)
    assert [p.name for p in tmp_path.iterdir()] == ["given.npz"]


def drawn(fitted, mean, given, want):
    return generate(fitted, given, want=want, mean=mean)


def test_evaluate(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(diagnostics, "evaluate", functools.partial(diagnostics.evaluate, num=200, particles=100))
    assert command("evaluate", run) == 0
    table = capsys.readouterr().out
    result = json.loads((run / "evaluation.json").read_text())
    fitted, dataset = load_run(run)
    classifiers = train_classifiers(dataset)
    for kind, mean in (("draws", False), ("means", True)):
        joint = coherence(generate(fitted, num=200, mean=mean, seed=0), classifiers).joint
        assert result["coherence"][kind]["joint"] == {"value": joint.value, "error": joint.error, "num": 200}
        assert f"{kind}: {joint.value:.3f} ± {joint.error:.3f}" in table
        cross = cross_coherence(functools.partial(drawn, fitted, mean), dataset.test, classifiers)
        assert result["cross_coherence"][kind]["mean"]["value"] == cross.mean.value
        assert result["cross_coherence"][kind]["accuracy"][0] == [None, cross.accuracy[0, 1]]
    rows = dataset.test[: result["log_likelihood"]["num"]]
    value = log_likelihood(fitted, rows, method="auto", num=100)
    assert result["log_likelihood"]["value"] == pytest.approx(value.mean, rel=1e-6)
    assert result["log_likelihood"]["share_k_above_0.7"] == np.mean(value.pareto_k > 0.7)
    assert set(result["frechet"]["draws"]) == set(result["frechet"]["means"]) == {"ink", "word"}
    assert 0 <= result["latent_probe"]["value"] <= 1
    assert command("evaluate", run) == 2
    assert "evaluation.json' exists already" in capsys.readouterr().err
    assert command("evaluate", run, "--split", "validation", "--force") == 2
    assert "Unknown split 'validation'" in capsys.readouterr().err
    assert command("evaluate", run, "--judges", tmp_path / "none.npz", "--force") == 2


def test_diagnose(run, capsys):
    dataset = loading.load_data(run)
    assert command("diagnose", run, "--num", 2) == 0
    summary = capsys.readouterr().out
    tree = read_posterior(run / "posterior.nc")
    assert tree["posterior"]["z"].shape == (4, 250, 2, 4)
    assert np.array_equal(tree["observed_data"]["word"], dataset.test["word"][:2])
    found = summarise_posterior(xr.DataTree.from_dict({"/posterior": tree["posterior"].to_dataset()}))
    assert f"R-hat max {found['sites']['z']['r_hat_max']:.3f}" in summary
    worst = worst_data(tree, 1)[0]
    assert worst["r_hat"] == pytest.approx(found["sites"]["z"]["r_hat_max"])
    assert worst["present"] == "ink+word"
    diagnosis = json.loads((run / "diagnosis.json").read_text())
    assert set(diagnosis["guide_k"]) == {"ink", "word", "ink+word"}
    assert [len(k) for k in diagnosis["guide_k"].values()] == [2, 2, 2]
    assert {name: len(x) for name, x in diagnosis["coverage"]["share"].items()} == {"ink": 9, "word": 9}
    assert sum(diagnosis["calibration"]["counts"]["z"]) == 200 * 4
    assert all(f"Warning: {text}" in summary for text in diagnosis["warnings"])
    assert f"Energy of z: posterior less prior {diagnosis['energy']['z']['gap']:.2f}" in summary


def test_report(run):
    assert command("report", run) == 0
    dataset = loading.load_data(run)
    evaluation = json.loads((run / "evaluation.json").read_text())
    summary = summarise_posterior(read_posterior(run / "posterior.nc"))
    text = (run / "report.html").read_text()
    reader = Reader(text)
    assert not reader.outside
    # Joint, given ink, drawn given word and its truth; two chains of nine frames in the prior, and two in posteriors.
    assert reader.images == 10 + 10 + 10 + 10 + 18 + 18
    assert reader.without_alt == 0
    assert {"h1", "h2", "table", "svg", "main"} <= reader.tags
    headings = ["What was fitted", "Joint samples", "Given ink", "Given word", "Energy of the prior", "Chains"]
    headings += ["From the base to the prior", "From the guide to the posterior"]
    assert all(heading in text for heading in headings)
    assert ">Coordinates<" not in text  # neither modality has any
    joint = evaluation["coherence"]["draws"]["joint"]
    assert f"{joint['value']:.3f}\u00a0±\u00a0{joint['error']:.3f}" in text
    assert f"{summary['sites']['z']['r_hat_max']:.3f}</td>" in text
    spelled = "".join("·abcdefghijklmnopqrstuvwxyz"[i] for i in dataset.test["word"][0]).rstrip("·")
    assert f'<span class="word">{spelled}</span>' in text
    titles = ("Where the guide lies", "Gaps of the bound", "Ranks of z", "Coverage of what is held out", "Health of")
    assert all(title in text for title in titles)
    assert "The tuples to be trusted least" in text
    card = (run / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: mmppl\n")
    assert f"| joint coherence, draws | {joint['value']:.3f} ± {joint['error']:.3f} |" in card
    shares = json.loads((run / "diagnosis.json").read_text())["coverage_by_subset"]["subsets"]["word"]["share"]["ink"]
    assert f"| ink | word | {shares[4]:.2f} | {shares[7]:.2f} | {shares[9]:.2f} |" in card
    assert command("report", run) == 2


def test_a_report_tells_of_files_of_another_version(run, capsys):
    """As of one that had "judges" where there are classifiers; nothing is drawn before it is told."""
    file = run / "evaluation.json"
    whole = file.read_text()
    edited = json.loads(whole)
    edited["judges"] = edited.pop("classifiers")
    for text in (json.dumps(edited), whole.replace('"coherence": {', '"coherence": 3, "old": {'), "[]", "{"):
        file.write_text(text)
        assert command("report", run, "--force") == 2
        assert f"'{file}' does not hold what this version writes there" in capsys.readouterr().err
    file.write_text(whole)


def test_energies_are_those_of_the_prior(run):
    fitted, dataset = load_run(run)
    posterior, prior = energies(fitted, dataset.test, seed=1)["z"]
    assert posterior.shape == prior.shape == (len(dataset.test),)
    host = fitted.program.ppl.host
    tilted = host.find_prior(fitted.model, dataset.test[:2])["z"]
    z = host.latents(fitted.model, fitted.guide, dataset.test, 1, 1, np.zeros(len(dataset.test), bool))["z"][0]
    assert np.allclose(posterior, tilted.log_prob(z) - tilted.base.log_prob(z), atol=1e-4)
    assert not np.allclose(posterior.mean(), prior.mean())


class Reader(HTMLParser):
    """What a page is made of, and what it would load from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.outside, self.images, self.without_alt = set(), [], 0, 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self.images += tag == "img"
        self.without_alt += tag == "img" and not attrs.get("alt")
        links = [attrs.get(key) or "" for key in ("src", "href", "srcset", "data", "poster")]
        self.outside += [link for link in links if link and not link.startswith(("data:", "#"))]
        self.outside += [tag] if tag in ("script", "link") and not links[1].startswith("data:") else []
