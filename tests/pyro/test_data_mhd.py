"""MHD as published is torch's own file."""

import numpy as np
import pytest
import torch

from mmppl.data import load
from mmppl.errors import DataError


def test_published_files_are_read_as_tensors(tmp_path):
    for split, num in {"train": 5, "test": 2}.items():
        label = torch.arange(num)
        # The published sound: four pieces of time, each (time, frequency).
        time, frequency = torch.meshgrid(torch.arange(128), torch.arange(32), indexing="ij")
        sound = (time * 100 + frequency + label[:, None, None] * 1e5).reshape(num, 4, 32, 32).float()
        held = (
            label,
            torch.rand(num, 1, 28, 28),
            torch.rand(num, 200),
            sound,
            torch.tensor([2.4, -2.8]),
            {"max": -47.6},
        )
        torch.save(held, tmp_path / f"mhd_{split}.pt")
    data = load("mhd", root=tmp_path)
    assert data.train["sound"].shape == (5, 1, 32, 128)
    assert data.train["trajectory"].shape == (5, 200)
    want = np.arange(128) * 100 + np.arange(32)[:, None]
    for sound, label in zip(data.train["sound"], data.train.label, strict=True):
        np.testing.assert_array_equal(sound[0], want + label * 1e5)


def test_other_objects_are_not_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return print, ("unpickled",)

    torch.save((torch.zeros(2), Trap()), tmp_path / "mhd_train.pt")
    with pytest.raises(DataError, match=r"Cannot read .*mhd_train.pt as tensors alone"):
        load("mhd", root=tmp_path)
    torch.save([torch.zeros(2)], tmp_path / "mhd_train.pt")
    with pytest.raises(DataError, match=r"Expected labels, images, trajectories and sounds"):
        load("mhd", root=tmp_path)
