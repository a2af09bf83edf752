"""How much noise decoders bear, where the answer is known: codes are the data, decoders hand them on."""

import numpy as np
import pytest

from mmppl.batch import Batch, Modality
from mmppl.diagnostics import robustness
from mmppl.errors import DataError, OptionError
from mmppl.inference import Fitted
from mmppl.inference.training.program import Program
from mmppl.metrics import Classifiers
from mmppl.metrics.classifiers import Classifier
from mmppl.sde import VP

VIEWS = {"a": Modality((1,), scale=1e-6), "b": Modality((1,), scale=1e-6)}
SIGN = Classifier(Modality((1,)), 0.0, 1.0, [np.array([[-1.0, 1.0]])], [np.zeros(2)])
CLASSIFIERS = Classifiers(dict.fromkeys(VIEWS, SIGN), np.array([0, 1]), dict.fromkeys(VIEWS, 1.0))


def handing_on(mm):
    """A program whose latents are a and three times b, plus one; decoders undo it."""
    dist, sample = mm.host.dist, mm.host.sample

    def model(batch):
        with mm.plate(batch):
            for name, factor in (("a", 1.0), ("b", 3.0)):
                z = sample(f"{name}.z", dist.Normal(mm.host.zeros(1), 1.0).to_event(1))
                mm.observe(name, dist.Normal((z - 1.0) / factor, 1e-6).to_event(1), batch)

    def guide(batch):
        with mm.plate(batch):
            for name, factor in (("a", 1.0), ("b", 3.0)):
                sample(f"{name}.z", dist.Delta(factor * batch[name] + 1.0, event_dim=1))

    return Fitted(Program(model, guide, mm.ELBO(), mm, VIEWS, density=False), {})


def test_agreement_falls_with_the_correlation_that_is_left(ppl):
    x = np.random.default_rng(0).standard_normal((20_000, 1)).astype(np.float32)
    batch = Batch({"a": x, "b": x}, {"b": np.arange(20_000) > 4}, label=(x[:, 0] > 0).astype(int))
    times = (0.0, 0.1, 0.3, 1.0)
    found = robustness(handing_on(ppl), batch, CLASSIFIERS, times=times)
    assert tuple(found) == times
    for t in times:
        left = float(VP().mean_factor(np.asarray(t)))  # the correlation with the data
        own = found[t].coherence
        # Normal pairs of correlation r have the same sign with probability 1/2 + arcsin(r) / pi.
        assert own.joint.value == pytest.approx(0.5 + np.arcsin(left**2) / np.pi, abs=4 * max(own.joint.error, 1e-3))
        for name in VIEWS:
            assert own.accuracy[name].value == pytest.approx(0.5 + np.arcsin(left) / np.pi, abs=0.015)
            assert own.joint.num == 20_000 - 5
            assert found[t].frechet[name] < 1e-2  # what is lost is replaced by noise of the same spread


def test_robustness_refuses(ppl):
    fitted, x = handing_on(ppl), np.zeros((3, 1), np.float32)
    with pytest.raises(OptionError, match=r"Expected times in \[0, 1\]; got 1.5"):
        robustness(fitted, Batch({"a": x, "b": x}), CLASSIFIERS, times=(0.5, 1.5))
    with pytest.raises(DataError, match="at least two rows with all modalities; got 1"):
        robustness(fitted, Batch({"a": x, "b": x}, {"b": np.array([True, False, False])}), CLASSIFIERS)
