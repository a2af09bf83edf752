"""The demo's picture; its numbers are those of the metrics and of generate, which have tests of their own."""

import numpy as np
from PIL import Image

from mmppl import demo
from mmppl.data import write_npz


def test_the_picture_shows_draws_on_the_left_and_their_means_on_the_right(tmp_path):
    """Bright draws and dark means: halves of the picture differ, for the prior above and what is given below."""
    shown = {}
    for asked in demo.ASKED:
        for kind, mean in demo.KINDS.items():
            level = 0.1 if mean else 0.9
            shown[f"{asked}.{kind}.ink"] = np.full((demo.COLUMNS, 1, 4, 4), level)
            shown[f"{asked}.{kind}.word"] = np.tile([15, 14, 5, 0, 0], (demo.COLUMNS, 1))
    for host in demo.HOSTS:
        write_npz(tmp_path / f"{host}.npz", shown)
    path = demo.picture(tmp_path, list(demo.HOSTS), ["ink"])
    grey = np.asarray(Image.open(path).convert("L")).astype(float) / 255
    half, middle = len(grey) // 4, grey.shape[1] // 2
    for row in range(4):  # two hosts, the prior and the word each
        part = grey[row * half : (row + 1) * half]
        assert (abs(part[:, :middle] - 0.9) < 0.02).mean() > 0.2
        assert (abs(part[:, :middle] - 0.1) < 0.02).mean() < 0.1  # text
        assert (abs(part[:, middle:] - 0.1) < 0.02).mean() > 0.2
