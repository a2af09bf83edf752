"""Vectors that lack single elements: systems give their noise a low-rank covariance, unless a likelihood is given."""

import numpy as np
import pytest

from mmppl import Batch, Modality, models
from mmppl.coordinates import with_columns
from mmppl.inference import fit, generate

LIKELIHOODS = {
    "as it comes": ({}, {}, ("low_rank_normal", "learned", 3)),
    "said of the modality": ({"likelihood": "normal"}, {}, ("normal", "learned", None)),
    "said to the system": ({}, {"likelihood": "laplace"}, ("laplace", "learned", None)),
    "said by kind": ({}, {"likelihood": {"vector": "normal"}}, ("normal", "learned", None)),
    "with a scale of its own": ({}, {"scale": "heteroscedastic"}, ("normal", "heteroscedastic", None)),
    "with a fixed scale": ({"scale": 0.5}, {}, ("normal", 0.5, None)),
}


@pytest.mark.parametrize(("own", "options", "wanted"), LIKELIHOODS.values(), ids=LIKELIHOODS)
def test_the_likelihood_that_a_system_gives(ppl, own, options, wanted):
    partly = Modality((6,), partial=True, **own)
    for modality in (partly, Modality((6,), **own).as_partial(), with_columns("x", partly, tuple("abcdef"))):
        program = models.mvae({"x": modality}, ppl=ppl, latent_dim=2, hidden=4, **options)
        found = program.modalities["x"]
        assert (found.likelihood, found.scale, found.rank) == wanted
        assert program.fresh(1).modalities["x"] == found


def test_whole_single_long_and_other_values_keep_theirs(ppl):
    given = {
        "whole": Modality((6,)),
        "one": Modality((1,), partial=True),
        "long": Modality((2000,), partial=True),
        "counts": Modality((6,), kind="counts", partial=True),
    }
    found = models.mvae(given, ppl=ppl, latent_dim=2, hidden=4).modalities
    assert {name: m.likelihood for name, m in found.items()} == {
        **dict.fromkeys(("whole", "one", "long"), "normal"),
        "counts": "negative_binomial",
    }


def test_a_fit_to_data_with_gaps_tells_elements_by_those_beside_them(ppl):
    """Six values of one factor and little noise, a latent that is worth nothing: the guide's is the prior."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((600, 1)) * np.ones(6) + 0.1 * rng.standard_normal((600, 6))).astype(np.float32)
    there = rng.random(x.shape) < 0.8
    there[:, 0] = True
    program = models.mvae({"x": Modality((6,))}, ppl=ppl, latent_dim=1, hidden=8, beta=50.0)
    assert program.modalities["x"].likelihood == "normal"
    fitted = fit(program, Batch({"x": x}, {"x": there}), epochs=60, learning_rate=1e-2, progress=False)
    assert fitted.program.modalities["x"].likelihood == "low_rank_normal"
    hidden = Batch({"x": x[:200]}, {"x": np.arange(6) < np.full((200, 1), 4)})
    means = generate(fitted, hidden, 8, mean=True)["x"].mean(0)
    assert np.sqrt(((means - x[:200])[:, 4:] ** 2).mean()) < 0.2
