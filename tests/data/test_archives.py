"""Limits on archives: a small file cannot fill the memory, and what is no array is named."""

import io
import zipfile

import numpy as np
import pytest

from mmppl.data import load, read_npz, write_npz
from mmppl.errors import DataError


def header(shape, version=1):
    file = io.BytesIO()
    write = {1: np.lib.format.write_array_header_1_0, 2: np.lib.format.write_array_header_2_0}[version]
    write(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


def archive(path, members, how=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", how) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


@pytest.fixture
def bomb(tmp_path):
    """Zeros, a thousandth of their size in the file."""
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros((25_000, 10), np.float32))
    return tmp_path / "bomb.npz"


def test_a_small_file_that_unpacks_to_much_is_refused(bomb):
    assert bomb.stat().st_size < 3000
    with pytest.raises(DataError, match="to unpack to at most 100,000 bytes; its .* unpack to 1,000,128 bytes"):
        read_npz(bomb, max_bytes=100_000)
    with pytest.raises(DataError, match="read it with max_bytes= larger .--max-bytes., and write it uncompressed"):
        load(bomb, max_bytes=100_000)
    assert read_npz(bomb)["a"].shape == (25_000, 10)
    assert len(load(bomb, max_bytes=2_000_000).train) == 20_000


def test_what_is_not_compressed_needs_no_limit(bomb, tmp_path):
    path = write_npz(tmp_path / "plain.npz", read_npz(bomb))
    assert len(read_npz(path, max_bytes=0)) == 25_000


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(("shape", "size"), [((2**40, 3), "13194.1 GB"), ((3, 3), "164 b"), ((5, 3), "188 b")])
def test_a_header_that_says_more_or_less_than_is_there_is_refused(tmp_path, version, how, shape, size):
    path = archive(tmp_path / "a.npz", [("a.npy", header(shape, version) + bytes(4 * 12))], how)
    with pytest.raises(DataError, match=f"Expected array 'a' of .* that are there; its header says {size}"):
        read_npz(path)


@pytest.mark.parametrize("name", ["readme.txt", "__MACOSX/._a.npy.txt", "a"])
def test_what_is_no_array_is_named(tmp_path, name):
    path = archive(tmp_path / "a.npz", [("b.npy", header((1, 1)) + bytes(4)), (name, "hello")])
    with pytest.raises(DataError, match=f"Expected nothing but arrays in .*; got '{name}'"):
        read_npz(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_an_array_that_is_there_twice_is_named(tmp_path):
    path = archive(tmp_path / "a.npz", 2 * [("b.npy", header((1, 1)) + bytes(4))])
    with pytest.raises(DataError, match=r"Expected every array of .* once; got 'b\.npy' twice"):
        read_npz(path)


def test_a_directory_that_says_more_than_the_file_holds_is_refused(tmp_path):
    path = archive(tmp_path / "a.npz", [("b.npy", header((1, 1)) + bytes(4))])
    data = path.read_bytes()
    size = len(header((1, 1)) + bytes(4))
    assert data.count(size.to_bytes(4, "little")) >= 2
    path.write_bytes(data.replace(size.to_bytes(4, "little"), (10**9).to_bytes(4, "little")))
    with pytest.raises(DataError, match="to hold what it says; it says 1.0 GB"):
        read_npz(path)
