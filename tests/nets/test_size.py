"""Networks too large for memory: told by name before a weight is drawn; and what else asks for too much."""

import pytest

from mmppl import memory
from mmppl.errors import OutOfMemoryError
from mmppl.nets import MLP
from mmppl.nets.init import check_size, initial_weights


def test_a_network_that_memory_cannot_hold_is_named():
    with pytest.raises(OutOfMemoryError, match=r"largest 'layers\.1\.weight' \(10{9}, 125000000\)"):
        initial_weights(MLP((125_000_000,), (), hidden=(1_000_000_000,)), seed=0)
    specs = {"a.encoder": MLP((3,), (2,), hidden=()), "b.encoder": MLP((3,), (10**12,), hidden=())}
    with pytest.raises(OutOfMemoryError, match=r"'layers.1.weight' \(1000000000000, 3\) of network 'b\.encoder'"):
        check_size(specs)
    check_size({"a.encoder": specs["a.encoder"]})


def test_networks_are_counted_together(monkeypatch):
    monkeypatch.setattr("mmppl.nets.init.memory", lambda: 8.0 * (3 * 2 + 2))
    spec = MLP((3,), (2,), hidden=())
    check_size({"one": spec})
    with pytest.raises(OutOfMemoryError, match="fit into the"):
        check_size({"one": spec, "two": spec})


def test_memory_is_that_of_the_machine_or_less(tmp_path, monkeypatch):
    here = memory.memory()
    assert 1e8 < here < 1e14
    (tmp_path / "max").write_text("12345\n")
    monkeypatch.setattr(memory, "LIMITS", (str(tmp_path / "max"), str(tmp_path / "none")))
    assert memory.memory() == 12345.0
    (tmp_path / "max").write_text("max\n")
    assert memory.memory() >= here


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError("Unable to allocate 8 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_who_asked_is_told(error, told):
    wanted, message = (OutOfMemoryError, "Out of memory in ten draws") if told else (type(error), str(error))
    with pytest.raises(wanted, match=message), memory.asked_by("ten draws"):
        raise error
