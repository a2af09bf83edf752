"""Pictures of chains, against exact posteriors."""

import numpy as np
import pytest

from mmppl.errors import OptionError
from mmppl.inference import Fitted, trajectory


def test_a_chain_goes_from_the_guide_to_the_posterior(linear, truth):
    """A guide that is off by a known shift: so is the first frame, and the last is not."""
    fitted = linear(shift=2.0)
    data = truth.sample(1, seed=3)[np.zeros(600, int)].only("a", "b")
    frames = trajectory(fitted, data, frames=3, every=15, step_size=0.4)
    assert {name: x.shape for name, x in frames.items()} == {n: (4, 600, d) for n, d in truth.dims.items()}
    mean, _ = truth.posterior(data[:1])
    weight, bias = truth.weight["c"], truth.bias["c"]
    wanted = (mean[0] @ weight.T + bias).item()
    found = frames["c"][..., 0].mean(1)
    assert found[0] - wanted == pytest.approx((2.0 * weight).sum(), abs=0.15)
    assert found[-1] == pytest.approx(wanted, abs=0.15)
    assert abs(found[1] - wanted) < abs(found[0] - wanted)


def test_given_nothing_it_goes_from_the_base_to_the_tilted_prior(linear, truth):
    """The tilt makes N(0, I) to N(tilt, I). This guide knows the tilt, and is made to forget it."""
    frames = trajectory(linear(tilt=(1.0, 1.0), shift=-1.0), None, num=600, frames=2, every=30, step_size=0.4)
    weight, bias = truth.weight["c"], truth.bias["c"]
    found = frames["c"][..., 0].mean(1)
    assert found[0] == pytest.approx(bias.item(), abs=0.15)
    assert found[-1] == pytest.approx((weight.sum() + bias).item(), abs=0.15)


def test_bad_input(linear):
    fitted = linear()
    assert isinstance(fitted, Fitted)
    with pytest.raises(OptionError, match="Expected frames >= 1; got 0"):
        trajectory(fitted, frames=0)
    with pytest.raises(OptionError, match="Unknown sampler 'walk'"):
        trajectory(fitted, kernel="walk")
