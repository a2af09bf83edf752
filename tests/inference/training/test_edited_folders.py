"""Edited run folders: what is read is what was written, or a typed error that names what is wrong."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mmppl.errors import OptionError, RunError
from mmppl.inference import Run, fit
from mmppl.inference.training.checksums import of_json
from mmppl.inference.training.run_info import CHECKS

FILES = ("run.json", "params.safetensors", "state/state.safetensors", "metrics.jsonl")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.just([]),
    st.just([[1]]),
    st.just({}),
    st.just({"a": 1}),
    st.just({"a": {"shape": [0]}}),
)
MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def two(numpy_host, tmp_path_factory):
    """Two runs of another seed, whole."""
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("one", "other")]
    for seed, folder in enumerate(folders):
        fit(numpy_host.program(width=8), numpy_host.data(), out=folder, seed=seed, **numpy_host.SETTINGS)
    return folders


@pytest.fixture
def copied(two, tmp_path):
    """Makes a copy of the first run anew."""

    def make():
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(two[0], tmp_path / "run")
        return tmp_path / "run"

    return make


def content(folder):
    """All that a run folder holds, as bytes where bits count."""
    run = Run(folder)
    info, state = run.info(), run.state()
    arrays = [{n: (str(x.dtype), x.shape, x.tobytes()) for n, x in part.items()} for part in (run.weights(), state[0])]
    return info, arrays, state[1], run.history()


def right_or_told(folder, whole, *names):
    """Tells whether an edit was noticed; what is read in spite of it has to be what was written."""
    told = None
    try:
        found = content(folder)
    except RunError as error:
        told = str(error)
    if told is None:
        assert found == whole
        return False
    assert any(name in told for name in names), told
    return True


@MANY
@given(file=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed(two, copied, file, place, bit):
    folder = copied()
    data = bytearray((folder / file).read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    (folder / file).write_bytes(data)
    assert right_or_told(folder, content(two[0]), file) or int(place * len(data)) == len(data) - 1


@MANY
@given(file=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_is_noticed(two, copied, file, place):
    folder = copied()
    data = (folder / file).read_bytes()
    (folder / file).write_bytes(data[: int(place * len(data))])
    told = right_or_told(folder, content(two[0]), file)
    assert told or int(place * len(data)) == len(data) - 1  # the last end of line is none's


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_gone_or_of_another_run_is_noticed(two, copied, file):
    folder = copied()
    shutil.copy(two[1] / file, folder / file)
    with pytest.raises(RunError, match="is of another run|is not what was written"):
        content(folder)
    (folder / file).unlink()
    with pytest.raises(RunError, match=f"no {file}|'{folder / file}', line 1 is missing"):
        content(folder)


@MANY
@given(key=st.sampled_from(["format", "checksum", *CHECKS]), value=VALUES, dropped=st.booleans())
def test_a_key_that_is_dropped_or_changed_is_named(two, copied, key, value, dropped):
    folder = copied()
    found = json.loads((folder / "run.json").read_text())
    edited = {k: v for k, v in found.items() if k != key} if dropped else {**found, key: value}
    (folder / "run.json").write_text(json.dumps(edited))
    assert right_or_told(folder, content(two[0]), key, "run.json") or json.dumps(edited) == json.dumps(found)


@MANY
@given(key=st.sampled_from([*CHECKS]), value=VALUES)
@example(key="epochs", value=True)
@example(key="modalities", value={"a": {"shape": [0]}})
def test_a_key_of_another_type_is_named_though_the_checksum_is_made_anew(copied, key, value):
    folder = copied()
    edited = {**json.loads((folder / "run.json").read_text()), key: value}
    edited["checksum"] = of_json({k: v for k, v in edited.items() if k != "checksum"})
    (folder / "run.json").write_text(json.dumps(edited))
    told = None
    try:
        found = Run(folder).info()
    except RunError as error:
        told = str(error)
    if told is None:
        assert getattr(found, key) == value
        assert CHECKS[key][1](value) or value is None
        assert value is not True
    else:
        assert key in told or key == "modalities" and "modality 'a'" in told


def test_lines_are_named(copied):
    """Of the lines a save knows; what was logged after it is passed over."""
    folder = copied()
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join([*lines, '{"epoch": 7, "lo']))
    assert [line["epoch"] for line in Run(folder).history()] == [1, 2, 3, 4, 5, 6]
    lines[2] = lines[2].replace("loss", "lass")
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    with pytest.raises(RunError, match=r"metrics\.jsonl', line 3 is not what was written: .*lass"):
        Run(folder).history()


def test_an_older_format_is_refused_with_what_to_do(copied):
    folder = copied()
    (folder / "run.json").write_text(json.dumps({"format": 1, "model": "mvae", "seed": 0}))
    with pytest.raises(RunError, match=r"is of a run of format 1; expected 3. Fit it again, .* with force \(--force\)"):
        Run(folder).info()


def test_what_json_cannot_hold_is_refused(numpy_host, tmp_path):
    cases = ({"seed": 1}, r"got \['seed'\]"), ({"made": np.ones(2)}, "Expected info= that a run folder")
    for info, message in cases:
        with pytest.raises(OptionError, match=message):
            fit(numpy_host.program(), numpy_host.data(), out=tmp_path / "run", info=info, **numpy_host.SETTINGS)
    assert not (tmp_path / "run").exists()
