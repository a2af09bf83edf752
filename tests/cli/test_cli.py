"""The command line, as far as nothing is fitted: help, settings, and every bad input."""

import inspect
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from mmppl import citation
from mmppl.batch import Modality
from mmppl.cli import main
from mmppl.cli.options import parse_covariates, parse_settings
from mmppl.data import load, write_npz
from mmppl.errors import OptionError
from mmppl.inference import Run
from mmppl.inference.training.run_info import RunInfo
from mmppl.models.catalogue import SYSTEMS, options, settings

COMMANDS = ("systems", "data", "fit", "generate", "evaluate", "diagnose", "report")
NAN = np.array([[0.0, 0.5], [np.nan, 0.5], [1.0, 0.5], [2.0, 0.5]])
GOOD = np.arange(4.0)[:, None]


@pytest.fixture
def refused(capsys, tmp_path):
    """Runs a command that must be refused: exit code 2, one line on stderr, nothing on stdout; returns the line."""

    def run(*args):
        assert main([str(a) for a in args]) == 2
        out, err = capsys.readouterr()
        assert err.startswith("mmppl: ")
        assert err.count("\n") == 1
        assert out == ""
        return err

    return run


def fit_args(tmp_path, **changes):
    options = {"model": "mvae", "data": "linear_gaussian", "backend": "numpyro", "out": tmp_path / "run", **changes}
    return [a for key, value in options.items() for a in (f"--{key.replace('_', '-')}", value) if value is not None]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: mmppl {command}" in text
    assert "--help" in text


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {command} " in text for command in COMMANDS)
    assert "..." not in text.partition("Commands:")[2]


def test_systems_lists_papers_and_settings(capsys):
    assert main(["systems"]) == 0
    text = capsys.readouterr().out
    assert "Yuan et al., 2024" in text.partition("ebm:")[2]
    assert "--set tilt=true" in text.partition("ebm:")[2]
    assert all(f"{name}:" in text for name in ("mvae", "mmvae", "mopoe", "ebm"))


def test_a_system_is_explained_option_by_option(capsys):
    """Each option has a type, its default, a description, and an example that is parsed and is not the default."""
    for name in SYSTEMS:
        assert main(["systems", name]) == 0
        text = capsys.readouterr().out
        defaults, found = settings(name), options(name)
        assert [option.name for option in found] == list(defaults)
        for option in found:
            assert f"  {option.name}: {option.kind}, default {option.default}\n" in text
            assert option.text
            assert option.name in inspect.getdoc(SYSTEMS[name]).partition("Arguments:")[2]
            if not option.example:
                assert option.name in ("coders", "taps", "encoders")
                continue
            if option.name == "covariates":
                assert parse_covariates(option.example.removeprefix("--covariates ")) == {
                    "site": "category",
                    "age": None,
                }
                continue
            parsed = parse_settings(option.example.removeprefix("--set ").split(" --set "), name, defaults)[0]
            only = name == "mt_diffusion" and option.name in ("net", "reduce")
            assert only or parsed[option.name] != defaults[option.name]


def test_an_unknown_system_or_data_set_is_refused(refused):
    assert "Unknown model 'ebn'; expected one of jmvae" in refused("systems", "ebn")
    assert "Unknown data 'digits'. Expected one of polydigits" in refused("data", "digits")


def test_data_are_listed_with_how_to_get_them(capsys):
    assert main(["data"]) == 0
    text = capsys.readouterr().out
    assert "polydigits: real handwriting" in text
    assert "--data polymnist --data-root DIR" in text
    assert main(["data", "polymnist"]) == 0
    text = capsys.readouterr().out
    assert "backgrounds/" in text
    assert "`" not in text


def test_a_citation_is_bibtex_of_the_papers():
    """Keys are different, braces balance, and a user-defined program cites mmppl alone."""
    for name in SYSTEMS:
        text = citation(name)
        keys = re.findall(r"^@\w+{(\w+),$", text, re.MULTILINE)
        assert keys[0] == "mmppl"
        assert 2 <= len(keys) == len(set(keys))
        assert text.count("{") == text.count("}")
        assert text.count("url = ") == len(keys) - 1
    assert "author = {Wu and Goodman}" in citation("mvae")
    with pytest.raises(OptionError, match="Unknown model 'vae'"):
        citation("vae")


def test_the_module_runs_as_a_program(tmp_path):
    done = subprocess.run([sys.executable, "-m", "mmppl", "systems"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mopoe" in done.stdout
    done = subprocess.run([sys.executable, "-m", "mmppl", "sistems"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_settings_take_the_type_of_their_option():
    defaults = {"latent_dim": 24, "beta": 2.5, "tilt": True, "schedule": "staged"}
    pairs = ["latent_dim=8", "beta=1", "tilt=false", "schedule=joint", "batch_size=64", "clip=none", "ema=0.9"]
    options, settings = parse_settings(pairs, "ebm", defaults)
    assert options == {"latent_dim": 8, "beta": 1.0, "tilt": False, "schedule": "joint"}
    assert [type(v) for v in options.values()] == [int, float, bool, str]
    assert settings == {"batch_size": 64, "clip": None, "ema": 0.9}


@pytest.mark.parametrize(
    ("pair", "line"),
    [
        ("latent_dim", "Expected --set key=value; got 'latent_dim'"),
        ("latent=3", "Unknown option 'latent' of model 'mvae'. Expected one of latent_dim, "),
        ("latent_dim=big", "Expected option 'latent_dim' to be a whole number; got 'big'"),
        ("latent_dim=2.5", "Expected option 'latent_dim' to be a whole number; got '2.5'"),
        ("latent_dim=-1", "Expected option 'latent_dim' to be finite and not negative; got -1"),
        ("latent_dim=0", "Expected latent_dim >= 1; got 0 in 'mvae'"),
        ("hidden=1000000000", "Expected networks that fit into the "),
        ("hidden=0", "Expected hidden >= 1; got 0 in 'mvae'"),
        ("batch_size=0", "batch_size >= 1"),
        ("particles=0", "Expected particles >= 1; got 0"),
        ("beta=nan", "Expected option 'beta' to be finite and not negative; got nan"),
        ("seed=3", "Unknown option 'seed'"),
    ],
)
def test_bad_settings(pair, line, tmp_path, refused):
    assert line in refused("fit", *fit_args(tmp_path), "--set", pair)
    assert not (tmp_path / "run").exists()


def test_options_of_fit_that_are_none_by_default(tmp_path, refused):
    # Of a system's option that is None the system knows the type.
    args = [word if word != "mvae" else "mld" for word in fit_args(tmp_path)]
    assert "Expected reduce to be" in refused("fit", *args, "--set", "reduce=much")
    assert "'linear'" in refused("fit", *args, "--schedule", "linear")
    assert "got data 'linear_gaussian', which are no file" in refused("fit", *args, "--max-bytes", "1000")
    assert not (tmp_path / "run").exists()


def test_a_truth_value_must_be_one():
    with pytest.raises(OptionError, match="'tilt' to be true or false; got 'maybe'"):
        parse_settings(["tilt=maybe"], "ebm", {"tilt": True})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"model": "vae"}, "Unknown model 'vae'; expected one of jmvae, "),
        ({"data": "digits"}, "Unknown data 'digits'"),
        ({"data": "nowhere.npz"}, "Expected a .npz file; got nowhere.npz"),
        ({"backend": "tensorflow"}, "Unknown backend 'tensorflow'; expected one of numpyro, pyro"),
        ({"data_root": "."}, "needs no root"),
        ({"data": "polymnist"}, "Pass root (--data-root)"),
        ({"data": "polymnist", "data_root": "nowhere"}, "nowhere"),
        ({"devices": "128"}, "Expected devices (--devices) of at most "),
        ({"devices": "0"}, "--devices"),
        ({"epochs": "0"}, "--epochs"),
        ({"epochs": "many"}, "--epochs"),
        ({"seed": "-1"}, "--seed"),
        ({"model": None}, "--model"),
        ({"out": None}, "--out"),
    ],
)
def test_bad_options_of_fit(changes, line, tmp_path, refused):
    assert line in refused("fit", *fit_args(tmp_path, **changes))
    assert not (tmp_path / "run").exists()


def test_bad_commands(refused):
    assert "sistems" in refused("sistems")
    assert "ommand" in refused()
    assert "--nothing" in refused("systems", "--nothing")
    assert "RUN" in refused("report")


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"a": np.where(np.isnan(NAN), np.inf, NAN)}, "Modality 'a': NaN or Inf where present, in rows 1"),
        ({"a": NAN[:, :1]}, "No modality is present in rows 1"),
        ({"a": GOOD, "a__present": np.zeros(4, bool)}, "No modality is present in rows"),
        ({"a": GOOD, "label": np.arange(3)}, "Expected 4 labels"),
        ({"a": GOOD, "b": GOOD[:3]}, "Expected 4 rows in modality 'b'; got 3"),
        ({"a": GOOD, "a__present": np.ones(4)}, "present['a'] to be boolean"),
        ({"a": GOOD, "b__present": np.ones(4, bool)}, "'b__present' has no array"),
        ({"a": np.array([{}] * 4)}, "pickled objects"),
        (
            {"a": np.full((4, 2), 2**40), "a__kind": np.array("tokens")},
            "largest 'layers.0.weight' (1099511627777, 64) of network 'a.encoder'",
        ),
        ({"a": np.zeros((4, 2, 2, 2, 2))}, "Modality 'a': expected an image"),
        ({"label": np.arange(4)}, "at least one modality"),
    ],
)
def test_bad_data_files(arrays, line, tmp_path, refused):
    np.savez(tmp_path / "data.npz", **arrays)
    assert line in refused("fit", *fit_args(tmp_path, data=tmp_path / "data.npz"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"not an archive"])
def test_corrupt_data_files(content, tmp_path, refused):
    (tmp_path / "data.npz").write_bytes(content)
    line = refused("fit", *fit_args(tmp_path, data=tmp_path / "data.npz"))
    assert "corrupt or of another format" in line
    assert not (tmp_path / "run").exists()


def test_an_output_that_exists_needs_force(tmp_path, refused):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "precious.txt").write_text("keep")
    assert "exists already" in refused("fit", *fit_args(tmp_path))
    assert "is not a run folder, so it is not replaced" in refused("fit", *fit_args(tmp_path), "--force")
    assert "--resume or --force; got both" in refused("fit", *fit_args(tmp_path), "--force", "--resume")
    assert "Fit without resume (--resume), which writes one" in refused("fit", *fit_args(tmp_path), "--resume")
    assert [p.name for p in folder.iterdir()] == ["precious.txt"]
    file = tmp_path / "out.npz"
    file.write_text("keep")
    assert "--force" in refused("generate", folder, "--out", file)
    assert "is a folder" in refused("generate", folder, "--out", folder)
    assert "does not exist; make it first" in refused("generate", folder, "--out", tmp_path / "no" / "out.npz")
    assert "is no .npz file, so it is not replaced" in refused("generate", folder, "--out", file, "--force")
    assert file.read_text() == "keep"


def test_draws_replace_neither_what_is_given_nor_weights(tmp_path, refused):
    file = write_npz(tmp_path / "given.npz", {"a": np.ones((2, 3))})
    before = file.read_bytes()
    line = refused("generate", tmp_path, "--given", file, "--out", tmp_path / "." / "given.npz", "--force")
    assert "--out to be another file than --given" in line
    assert file.read_bytes() == before
    (tmp_path / "params.safetensors").write_bytes(b"weights")
    line = refused("generate", tmp_path, "--out", tmp_path / "params.safetensors", "--force")
    assert "is no .npz file, so it is not replaced" in line
    line = refused("generate", tmp_path, "--out", tmp_path / "draws.xlsx")
    assert "ends in .npz, .csv, .parquet, .h5ad, .h5mu, .zarr, or without an ending; got" in line
    assert (tmp_path / "params.safetensors").read_bytes() == b"weights"


ABOUT = {"model": "mvae", "backend": "numpyro", "options": {"latent_dim": 2, "hidden": 4}, "seed": 0}
ABOUT |= {"modalities": {"a": Modality((3,)).as_dict()}, "more": {"data": "linear_gaussian"}}


@pytest.mark.parametrize("command", ["generate", "evaluate", "diagnose", "report"])
def test_folders_that_are_no_runs(command, tmp_path, refused):
    folder = tmp_path / "run"
    more = ["--out", tmp_path / "out.npz"] if command == "generate" else []
    assert "mmppl fit write; got" in (line := refused(command, folder, *more))
    assert "has no run.json" in line
    folder.mkdir()
    (folder / "run.json").write_text('{"format": 3, "mod')
    assert "cannot be read" in refused(command, folder, *more)
    (folder / "run.json").write_text('{"format": 99}')
    assert "is of a run of format 99; expected 3" in refused(command, folder, *more)
    (folder / "run.json").write_text('{"format": 3, "run": "a"}')
    assert "it has no 'model'" in refused(command, folder, *more)
    (folder / "run.json").unlink()
    run = Run(folder)
    run.create(RunInfo(**ABOUT))
    assert "is half-written: it has no params.safetensors" in refused(command, folder, *more)
    (folder / "params.safetensors").write_bytes(b"cut off")
    assert "params.safetensors' cannot be read" in refused(command, folder, *more)
    run.save({"b.encoder.weight": np.ones(3)}, {}, 1)
    assert "do not fit its run.json" in refused(command, folder, *more)
    run.create(RunInfo(**{**ABOUT, "options": {"latent": 2}}), force=True)
    run.save({}, {}, 1)
    assert "is a run of another version" in refused(command, folder, *more)
    assert {p.name for p in folder.iterdir()} == {"run.json", "params.safetensors", "state"}
    assert not (tmp_path / "out.npz").exists()


def test_a_request_to_end_is_an_interruption(tmp_path, capsys, monkeypatch):
    """As a scheduler sends it; afterwards the process has its own handler again."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("mmppl.inference.fit", lambda *args, **options: os.kill(os.getpid(), signal.SIGTERM))
    assert main([str(a) for a in ("fit", *fit_args(tmp_path))]) == 130
    assert "Interrupted. A run folder that was begun keeps its last full epoch: go on with --resume" in (
        capsys.readouterr().err
    )
    assert signal.getsignal(signal.SIGTERM) is before


def test_only_fitting_is_gone_on_with_after_an_interruption(tmp_path, capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmppl.inference.Run.info", interrupted)
    for command in ("evaluate", "diagnose", "report"):
        assert main([command, str(tmp_path)]) == 130
        said = capsys.readouterr().err
        assert "Interrupted. Start anew, with --force where a file was written before." in said
        assert "--resume" not in said


@pytest.mark.parametrize(("backend", "missing", "extra"), [("numpyro", "numpyro", "numpyro"), ("pyro", "pyro", "pyro")])
def test_a_host_that_is_not_installed_names_its_extra(backend, missing, extra, tmp_path):
    args = [str(a) for a in ("fit", *fit_args(tmp_path, backend=backend))]
    code = f"import sys; sys.modules[{missing!r}] = None; from mmppl.cli import main; sys.exit(main({args!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"mmppl[{extra}]" in done.stderr
    assert not (tmp_path / "run").exists()


def test_only_the_host_asked_for_is_loaded(tmp_path):
    code = (
        "import sys; from mmppl.cli import main; main(['fit', '--model', 'mvae', '--data', 'nothing', '--backend', "
        "'numpyro', '--out', 'run']); print('torch' in sys.modules, 'pyro' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_file_that_cannot_be_written(tmp_path, refused, monkeypatch):
    write_npz(tmp_path / "data.npz", load("linear_gaussian", num_train=4, num_test=1).train)
    (tmp_path / "file").write_text("")
    assert "Not a directory" in refused(
        "fit", *fit_args(tmp_path, data=tmp_path / "data.npz", out=tmp_path / "file" / "run")
    )


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("mmppl ev", {"evaluate"}),
        ("mmppl systems mmv", {"mmvae", "mmvae_plus"}),
        ("mmppl fit --model mop", {"mopoe"}),
        ("mmppl fit --data linear", {"linear_gaussian"}),
        ("mmppl fit --backend p", {"pyro"}),
        ("mmppl fit --model ebm --set energy_", {"energy_hidden="}),
        ("mmppl fit --set learning", {"learning_rate="}),
        ("mmppl fit --model mopoe --set strata=", {"strata=none", "strata=all", "strata=one"}),
        ("mmppl fit --model ebm --set tilt=f", {"tilt=false"}),
        ("mmppl fit --set schedule=", {"schedule=cosine", "schedule=constant"}),
        ("mmppl fit --schedule co", {"cosine", "constant"}),
        ("mmppl data poly", {"polydigits", "polymnist"}),
    ],
)
def test_a_shell_completes_names(line, wanted, monkeypatch, capsys):
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    monkeypatch.setenv("_MMPPL_COMPLETE", "complete_bash")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert set(capsys.readouterr().out.split()) == wanted
