"""Fits to sources: the same bits as to a batch, resumed too, with as little memory whatever the number of rows."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mmppl.batch import Batch, Modality
from mmppl.data import LinearGaussian, write_rows
from mmppl.errors import DataError, MissingWarning, RunError
from mmppl.inference import Run, fit
from mmppl.inference.training.moments import Moments, Statistics

HOW = {"batch_size": 16, "epochs": 4, "progress": False, "validation": 0.2, "seed": 3}


class Source:
    """Rows of a batch, and how often they were asked for."""

    def __init__(self, batch, fails=None):
        self.batch, self.fails, self.reads = batch, fails, 0

    def __len__(self):
        return len(self.batch)

    def __getitem__(self, places):
        self.reads += 1
        if self.fails is not None and self.reads > self.fails:
            raise OSError("the disk is gone")
        return self.batch[places]


@pytest.fixture
def rows():
    batch = LinearGaussian(2, {"a": 3, "b": 2}, seed=1).sample(70, seed=0)
    present = {"a": np.arange(70) % 5 != 1, "b": np.arange(70) % 5 != 2}
    return Batch(batch.values, present)


@pytest.mark.parametrize("name", ["mopoe", "ebm", "mld"])
def test_a_source_gives_the_bits_of_a_batch(small, rows, name, tmp_path):
    program = small(name, {"a": Modality((3,)), "b": Modality((2,))})
    whole = fit(program, rows, out=tmp_path / "batch", **HOW)
    files = write_rows(tmp_path / "rows", [rows[:50], rows[50:]])
    found = fit(program, files, out=tmp_path / "files", **HOW)
    for key, value in whole.weights.items():
        assert np.array_equal(found.weights[key], value), key
    for own, other in zip(found.history, whole.history, strict=True):
        assert {**own, "seconds": 0} == {**other, "seconds": 0}
    assert Run(tmp_path / "files").info().data_digest == Run(tmp_path / "batch").info().data_digest
    left = sorted(path.name for path in (tmp_path / "files").iterdir() if path.name != ".lock")
    assert left == sorted(path.name for path in (tmp_path / "batch").iterdir() if path.name != ".lock")


def test_a_run_on_a_batch_is_gone_on_with_on_a_source(numpy_host, tmp_path, monkeypatch):
    data = numpy_host.data()
    whole = fit(numpy_host.program(), data, out=tmp_path / "whole", **numpy_host.SETTINGS)
    monkeypatch.setattr(Run, "save", stops_after(Run.save, 3))
    with pytest.raises(KeyboardInterrupt):
        fit(numpy_host.program(), Source(data), out=tmp_path / "run", **numpy_host.SETTINGS)
    monkeypatch.undo()
    found = fit(numpy_host.program(), Source(data), out=tmp_path / "run", resume=True, **numpy_host.SETTINGS)
    assert np.array_equal(found.weights["w"], whole.weights["w"])
    assert [r["loss"] for r in found.history] == [r["loss"] for r in whole.history]
    again = fit(numpy_host.program(), data, out=tmp_path / "run", resume=True, **numpy_host.SETTINGS)
    assert np.array_equal(again.weights["w"], whole.weights["w"])
    other = Source(Batch({"a": data["a"] + (np.arange(12) == 11)[:, None]}, label=data.label))
    with pytest.raises(RunError, match="other values of modality 'a'"):
        fit(numpy_host.program(), other, out=tmp_path / "run", resume=True, **numpy_host.SETTINGS)


def stops_after(method, number):
    calls = []

    def counted(self, *args):
        method(self, *args)
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt

    return counted


def test_a_source_that_fails_in_an_epoch_is_told_and_the_run_is_kept(numpy_host, tmp_path):
    data = numpy_host.data()
    # One reading to check, one for the label, one for the trainer, one for the units, and three in each epoch.
    source = Source(data, fails=9)
    with pytest.raises(DataError, match="Row .* of the source, read by itself, failed. OSError: the disk is gone"):
        fit(numpy_host.program(), source, out=tmp_path / "run", **numpy_host.SETTINGS)
    assert 1 <= len(Run(tmp_path / "run").history()) < 6
    found = fit(numpy_host.program(), Source(data), out=tmp_path / "run", resume=True, **numpy_host.SETTINGS)
    whole = fit(numpy_host.program(), data, **numpy_host.SETTINGS)
    assert np.array_equal(found.weights["w"], whole.weights["w"])


def test_validation_may_be_a_source(numpy_host):
    data = numpy_host.data()
    whole = fit(numpy_host.program(), data, validation=data[:5], **numpy_host.SETTINGS)
    for first, held in ((data, Source(data[:5])), (Source(data), Source(data[:5])), (Source(data), data[:5])):
        found = fit(numpy_host.program(), first, validation=held, **numpy_host.SETTINGS)
        assert [r["validation.loss"] for r in found.history] == [r["validation.loss"] for r in whole.history]


@pytest.mark.parametrize("given", [Source, lambda batch: batch])
def test_a_modality_that_no_row_has_is_said(numpy_host, given):
    program, data = numpy_host.program(), numpy_host.data()
    program = replace(program, modalities={**program.modalities, "b": Modality(())})
    both = Batch({**data.values, "b": np.zeros(len(data), np.float32)}, {"b": np.zeros(len(data), bool)})
    with pytest.warns(MissingWarning, match="Modality 'b' has no value in the training data: nothing can be learned"):
        fit(program, given(both), **numpy_host.SETTINGS)


def test_a_program_is_declared_for_the_gaps_of_a_source(small, rows):
    class Gaps(Source):
        def __getitem__(self, places):
            values = dict(self.batch[places].values)
            values["a"] = np.where((places == 69)[:, None] & (np.arange(3) == 1), np.nan, values["a"])
            return values

    batch = Batch(rows.values)
    with pytest.warns(MissingWarning, match="Modality 'a': 1 of 210 values"):
        found = fit(
            small("mopoe", {"a": Modality((3,)), "b": Modality((2,))}), Gaps(batch), **HOW | {"validation": None}
        )
    assert found.program.modalities["a"].partial
    assert not found.program.modalities["b"].partial


@pytest.mark.parametrize("kind", ["vector", "counts", "image"])
def test_statistics_of_blocks_are_those_of_the_whole(kind, monkeypatch):
    rng = np.random.default_rng(0)
    shape = {"vector": (3,), "counts": (3,), "image": (2, 4, 4)}[kind]
    x = rng.poisson(3.0, (50, *shape)).astype(np.float64) if kind == "counts" else rng.uniform(size=(50, *shape))
    there = rng.uniform(size=x.shape) < 0.7
    modality = {"m": Modality(shape, kind=kind, partial=True)}
    batch = Batch({"m": x}, {"m": there})
    monkeypatch.setattr("mmppl.inference.training.moments.block_rows", lambda modalities: 7)
    found = Statistics(batch, modality).values("m")
    axes = (0, 2, 3) if kind == "image" else 0
    masked = np.ma.array(x, mask=~there)
    np.testing.assert_allclose(found.mean, masked.mean(axes), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, masked.std(axes), rtol=1e-12)
    if kind == "counts":
        np.testing.assert_allclose(Statistics(batch, modality).logs("m").mean, np.log1p(masked).mean(0), rtol=1e-12)


def test_moments_without_a_value_add_nothing():
    x = np.array([[1e8 + 1.0], [1e8 + 3.0]])
    both = Moments.of(x, x > 0, (0,)).with_more(Moments.of(x, x < 0, (0,)))
    assert both.mean.tolist() == [1e8 + 2.0]
    assert both.deviation.tolist() == [1.0]


PEAK = """
import resource, sys
import numpy as np
import pyro, pyro.distributions as dist, torch
import mmppl.pyro as mm
from mmppl.batch import Modality
from mmppl.inference import Program, fit

number = int(sys.argv[1])

class Waves:
    def __len__(self):
        return number

    def __getitem__(self, places):
        return {"a": np.sin(places, dtype=np.float32)[:, None]}

def model(batch):
    with mm.plate(batch):
        mm.observe("a", dist.Normal(pyro.param("loc", torch.ones(1)), 1.0).expand([len(batch), 1]).to_event(1), batch)

program = Program(model, lambda batch: None, mm.ELBO(), mm, {"a": Modality((1,))})
fitted = fit(program, Waves(), validation=0.1, epochs=1, batch_size=50_000, out=sys.argv[2], progress=False)
assert fitted.history[-1]["steps"] == number * 9 // 10 // 50_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.parametrize("host", ["pyro"])
def test_ten_million_rows_take_as_much_memory_as_a_hundred_thousand(host, tmp_path):
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", PEAK, str(number), str(tmp_path / str(number))],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for number in (100_000, 10_000_000)
    ]
    assert peaks[1] - peaks[0] < 200 * 2**20
