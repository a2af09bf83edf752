"""Warnings point at the line of the user's program, however deep they come up."""

import warnings

import numpy as np

from mmppl import Batch, Modality, models
from mmppl.inference import fit


def test_warnings_point_at_the_line_that_called(ppl):
    x = np.random.default_rng(0).normal(size=(16, 2)).astype("f")
    x[:, 1] = 2.0
    program = models.masked({"x": Modality((2,))}, ppl=ppl, hidden=4, latent_dim=1, warmup=400)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fit(program, Batch({"x": x}), epochs=1, progress=False)
        Batch({"x": np.where(x == 2.0, np.nan, x)})
    texts = [str(warning.message) for warning in found]
    assert [any(part in text for text in texts) for part in ("warm-up", "is constant", "NaN")] == [True, True, True]
    assert {warning.filename for warning in found} == {__file__}
