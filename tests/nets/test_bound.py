"""Networks under their names in a program."""

import numpy as np
import pytest

from mmppl.testing import driver


@pytest.fixture(params=["numpyro", "pyro"])
def d(request):
    return driver(request.param)


def test_networks_take_keywords_and_show_their_attributes(d):
    if d.name == "pyro":
        import torch

        class Net(torch.nn.Module):
            size = 3

            def forward(self, x, shift=0.0):
                return x + shift

            def double(self, x):
                return 2.0 * x
    else:
        import equinox as eqx

        class Net(eqx.Module):
            size: int = 3

            def __call__(self, x, shift=0.0):
                return x + shift

            def double(self, x):
                return 2.0 * x

    module, x = Net(), d.array(np.ones(2))
    found = d.call(lambda: d.mm.net("net", module), 0)
    assert found.size == 3
    np.testing.assert_array_equal(d.numpy(found(x, shift=2.0)), [3.0, 3.0])
    np.testing.assert_array_equal(d.numpy(found.double(x)), [2.0, 2.0])
    with pytest.raises(AttributeError, match="nothing"):
        found.nothing  # noqa: B018
