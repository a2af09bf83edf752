"""A guide that looks at what an objective of several terms hides is refused before anything is trained or written."""

import numpy as np
import pytest

from mmppl.data import load
from mmppl.errors import ObjectiveError
from mmppl.inference import Program, fit
from mmppl.nets import MLP

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=64, num_test=10)
SETTINGS = {"epochs": 1, "batch_size": 32, "progress": False}


def summed(ppl, objective, peeks=True, centred=False):
    """A program whose guide adds up what it reads of every modality, of those present unless it peeks.

    If it is centred, it takes the mean over the rows of the batch off what it reads.
    """
    host = ppl.host
    specs = {f"{m}.decoder": MLP((2,), v.shape, hidden=()) for m, v in LINEAR.modalities.items()}
    specs |= {f"{m}.encoder": MLP(v.shape, (2,), hidden=()) for m, v in LINEAR.modalities.items()}
    nets = host.build_all(specs, 0)

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", host.dist.Normal(host.zeros(2), 1.0).to_event(1))
            for m in batch.modalities:
                loc = ppl.net(f"{m}.decoder", nets[f"{m}.decoder"])(z)
                ppl.observe(m, host.dist.Normal(loc, 0.5).to_event(1), batch)

    def guide(batch):
        loc = host.zeros(2)
        for m in batch.modalities:
            read = ppl.net(f"{m}.encoder", nets[f"{m}.encoder"])(batch[m])
            read = read - read.mean(0) if centred else read
            loc = loc + (read if peeks else read * batch.present[m][..., None])
        with ppl.plate(batch):
            host.sample("z", host.dist.Normal(loc, 1.0).to_event(1))

    return Program(model, guide, objective, ppl, LINEAR.modalities)


@pytest.mark.parametrize("objective", ["MVAE", "MoPoE"])
def test_a_guide_that_peeks_is_refused(ppl, tmp_path, objective):
    program = summed(ppl, getattr(ppl, objective)())
    with pytest.raises(
        ObjectiveError, match=r"draws that change with 'a' where it is hidden. Read batch.present\['a'\]"
    ):
        fit(program, LINEAR.train, out=tmp_path / "run", **SETTINGS)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("centred", [False, True])
def test_a_guide_that_does_not_is_fitted(ppl, centred):
    """Nor is one that looks at all rows of a batch, where other rows show what this row hides."""
    fitted = fit(summed(ppl, ppl.MVAE(), peeks=False, centred=centred), LINEAR.train, **SETTINGS)
    assert np.isfinite(fitted.history[-1]["loss"])


def test_one_term_hides_values_itself(ppl):
    """With a single term nothing can leak: what is hidden is zero."""
    fitted = fit(summed(ppl, ppl.ELBO()), LINEAR.train, **SETTINGS)
    assert np.isfinite(fitted.history[-1]["loss"])
