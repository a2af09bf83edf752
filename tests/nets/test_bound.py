"""Networks under their names in a program."""

import numpy as np
import pytest

from mmppl import Batch, nets
from mmppl.errors import OptionError
from mmppl.nets.bound import BoundNet, another_run, evaluated_once
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


def layers(d):
    """A network of two layers, each of which adds one."""
    if d.name == "pyro":
        import torch

        class Plus(torch.nn.Module):
            def forward(self, x):
                return x + 1.0

        return torch.nn.Sequential(Plus(), Plus())
    import equinox as eqx

    return eqx.nn.Sequential([eqx.nn.Lambda(lambda x: x + 1.0)] * 2)


def test_parts_of_a_network_are_reached(d):
    net, x = d.call(lambda: d.mm.net("net", layers(d)), 0), d.array(np.ones(2))
    assert len(net) == 2
    assert net
    np.testing.assert_array_equal(d.numpy(net[1](net[0](x))), d.numpy(net(x)))


def test_what_an_argument_holds_by_now_is_answered(d):
    """Within a step a network answers from memory: not where a tensor was written into, or a list has other parts."""
    net = BoundNet("net", lambda x, more=(): x + sum(more))
    x, one = d.array(np.zeros(2)), d.array(np.ones(2))
    with evaluated_once():
        more = [one]
        first, plain = net(x, more=more), net(x)
        another_run()
        assert net(x) is plain
        assert net(x, more=[one]) is first
        more[0] = one + 1.0
        np.testing.assert_array_equal(d.numpy(net(x, more=more)), [2.0, 2.0])
        if d.name == "pyro":
            before = d.numpy(net(x)).copy()
            x.add_(1.0)
            np.testing.assert_array_equal(d.numpy(net(x)), before + 1.0)


def test_a_network_called_twice_in_a_run_answers_twice(d):
    """As under the host's own objective: a program may hold two outcomes of a network of dropout against each other."""
    count = iter(range(100))
    net = BoundNet("net", lambda x: x + float(next(count)))

    def model(batch):
        with d.mm.plate(batch):
            d.mm.observe("a", d.dist.Normal(net(batch["a"]) - net(batch["a"]), 1.0).to_event(1), batch)

    batch = Batch({"a": np.zeros((2, 1))})
    loss = d.stepper(d.mm.ELBO(), model, lambda batch: None)(batch, 0, {}).loss
    assert loss == pytest.approx(2 * (0.5 * np.log(2 * np.pi) + 0.5), rel=1e-6)


def test_what_is_no_network_of_the_host_is_refused_with_advice(d):
    import equinox as eqx
    import jax
    import torch

    def refused(module, words):
        with pytest.raises(OptionError, match=rf"Network 'e': expected .*{words}"):
            d.call(lambda: d.mm.net("e", module), 0)

    refused(nets.MLP((3,), (2,)), r"type MLP\. .* mm\.build\(spec\)")
    refused(torch.nn.Linear, r"the class Linear\. Make one")
    refused(None, r"type NoneType\. .* own param")
    if d.name == "pyro":
        refused(eqx.nn.Linear(3, 2, key=jax.random.key(0)), r"type Linear\. .*mmppl\.numpyro")
        refused(lambda x: x, "type function.* needs no net")
    else:
        refused(torch.nn.Linear(3, 2), r"type Linear\. .*mmppl\.pyro")


def test_networks_of_flax_go_by_functions_of_its_host(d):
    """Running statistics within ``mm.net`` would be parameters that gradients move."""
    nnx = pytest.importorskip("flax.nnx")
    linen = pytest.importorskip("flax.linen")
    for module in (nnx.BatchNorm(3, rngs=nnx.Rngs(0)), linen.Dense(2)):
        with pytest.raises(OptionError, match="flax_module or nnx_module"):
            d.call(lambda module=module: d.mm.net("e", module), 0)


def test_what_is_no_batch_is_refused_by_as_batch(d):
    with pytest.raises(OptionError, match=r"Expected batch to be a Batch; got .* of type dict in as_batch"):
        d.mm.as_batch({"a": np.ones((2, 3))})
