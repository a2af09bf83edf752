"""The learning gradient of Pyro's energy-tilted prior, by every way that autograd can be asked for it."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions import transforms
from scipy import stats

import mmppl.pyro as mm
from mmppl.errors import OptionError

LOC, LOG_SCALE, X = 1.2, 0.3, torch.tensor([[0.7], [-0.4]])


@pytest.fixture
def quantiles(monkeypatch):
    """Chains that stand at the quantiles of N(LOC, e^(2 LOG_SCALE)) tilted by -z^2 / 2, itself a normal."""
    scale = np.exp(LOG_SCALE)
    tilted = stats.norm(LOC / (1.0 + scale**2), scale / np.sqrt(1.0 + scale**2))
    draws = torch.tensor(tilted.ppf((np.arange(4000) + 0.5) / 4000), dtype=torch.float32)[:, None]
    monkeypatch.setattr(mm.LangevinChains, "run", lambda *args, **kwargs: (draws, None))


def square(z):
    return -0.5 * z[..., 0] ** 2


def tilted(loc, scale):
    return mm.EnergyTilted(dist.Normal(loc, scale).to_event(1), square)


def exact(loc, scale, x=X):
    log_z = -0.5 * (loc**2 / (1.0 + scale**2) + torch.log(1.0 + scale**2)).sum()
    return square(x) + dist.Normal(loc, scale).log_prob(x[..., 0]) - log_z


def parameters():
    return torch.tensor([LOC], requires_grad=True), torch.tensor([LOG_SCALE], requires_grad=True)


def close(got, wanted):
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=5e-3)


def test_gradients_reach_parameters_that_are_no_leaves(quantiles):
    loc, log_scale = parameters()
    scale = log_scale.exp()
    got, wanted = tilted(loc, scale).log_prob(X).sum(), exact(loc, scale).sum()
    for names in ([loc, scale], [loc, log_scale], [scale], [log_scale]):
        close(*(torch.autograd.grad(f, names, retain_graph=True) for f in (got, wanted)))
    for _ in range(2):
        got.backward(retain_graph=True)
    close((loc.grad,), [2.0 * g for g in torch.autograd.grad(wanted, loc)])


def test_second_derivatives_are_those_of_the_normaliser(quantiles):
    x = torch.tensor([LOC, LOG_SCALE])
    got, wanted = (
        torch.autograd.functional.hessian(lambda p, f=f: f(p[:1], p[1:].exp()).sum(), x)
        for f in (lambda loc, scale: tilted(loc, scale).log_prob(X), exact)
    )
    close(got, wanted)


def test_one_prior_at_several_sites(quantiles):
    loc, log_scale = parameters()
    scale = log_scale.exp()

    def model():
        prior = tilted(loc, scale)
        with pyro.plate("rows", 2):
            pyro.sample("one", prior, obs=X)
            pyro.sample("two", prior, obs=2.0 * X)

    got = poutine.trace(model).get_trace().log_prob_sum()
    wanted = (exact(loc, scale) + exact(loc, scale, 2.0 * X)).sum()
    close(*(torch.autograd.grad(f, (loc, log_scale), retain_graph=True) for f in (got, wanted)))


def test_a_value_that_rests_on_the_parameters_of_the_base(quantiles):
    """The value is the location itself, or made from it: it pulls as a value, and the chains pull as chains."""
    for make in (lambda loc: loc, lambda loc: 2.0 * loc):
        loc, log_scale = parameters()
        scale, x = log_scale.exp(), make(loc)
        got, wanted = tilted(loc, scale).log_prob(x), exact(loc, scale, x[None])
        names = (x, loc, log_scale)
        close(*(torch.autograd.grad(f.sum(), names, retain_graph=True) for f in (got, wanted)))


def test_a_lifted_parameter_is_a_latent(quantiles):
    """Its guide's gradient carries that of log Z; what the guide draws is the parameter."""
    loc, log_scale = parameters()

    def model():
        at = pyro.param("at", torch.zeros(1))
        pyro.sample("z", tilted(at, log_scale.exp()).expand((2,)).to_event(1), obs=X)

    lifted = poutine.lift(model, prior={"at": dist.Delta(loc * 1.0).to_event(1)})
    got = poutine.trace(lifted).get_trace().log_prob_sum()
    close(*(torch.autograd.grad(f, (loc, log_scale)) for f in (got, exact(loc, log_scale.exp()).sum())))


class Nested(torch.nn.Module):
    """An energy with weights of its own, in a module within, and beyond: a tensor that it closes over."""

    def __init__(self, beyond):
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
        self.frozen = torch.nn.Parameter(torch.ones(()), requires_grad=False)
        self.beyond = lambda z: (beyond * z)[..., 0]

    def forward(self, z):
        return self.frozen * self.inner(z)[..., 0] + self.beyond(z) - z[..., 0] ** 2


@pytest.mark.parametrize("bind", [lambda e: e, lambda e: mm.net("energy", e), lambda e: lambda z: e(z)])
def test_energies_learn_wherever_their_weights_are(bind, quantiles):
    loc, beyond = parameters()
    module = Nested(beyond.exp()).eval()
    base = dist.Normal(loc, 1.0).to_event(1)
    z = mm.LangevinChains.run()[0]

    def contrast():
        at_data, at_chains = (module(x) + base.log_prob(x) for x in (X, z))
        return at_data.sum() - 2.0 * at_chains.mean()

    names = [loc, beyond, *module.inner.parameters()]
    got = mm.EnergyTilted(base, bind(module)).log_prob(X).sum()
    close(*(torch.autograd.grad(f, names, retain_graph=True) for f in (got, contrast())))
    assert module.frozen.grad is None


def standard():
    return dist.Normal(torch.zeros(2), 1.0).to_event(1)


FLOWS = {
    "Zuko": lambda: mm.NormalizingFlow(mm.spline_flow(2, layers=2, hidden=4, bins=3)),
    "coupling": lambda: dist.TransformedDistribution(standard(), [transforms.affine_coupling(2, hidden_dims=[4])]),
    "splines": lambda: dist.TransformedDistribution(
        standard(), [transforms.spline(2), transforms.spline(2, bound=4.0)]
    ),
    "inverse": lambda: dist.TransformedDistribution(standard(), [transforms.affine_autoregressive(2, [4]).inv]),
}


@pytest.mark.parametrize("make", FLOWS.values(), ids=FLOWS)
def test_flows_learn_every_weight(make, monkeypatch):
    base = make()
    z = torch.randn(64, 2)
    monkeypatch.setattr(mm.LangevinChains, "run", lambda *args, **kwargs: (z, None))

    def contrast():
        at_data, at_chains = ((square(x) + base.log_prob(x)).sum() / len(x) for x in (0.5 * z[:3], z))
        return at_data - at_chains

    wanted = contrast()
    made = [x for x in leaves(wanted) if x.requires_grad]
    assert len(made) > 3
    got = mm.EnergyTilted(base, square).log_prob(0.5 * z[:3]).mean()
    for one, other in zip(*(torch.autograd.grad(f, made) for f in (got, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def leaves(out):
    """Every leaf of the graph, by autograd's own account."""
    found, seen, todo = [], set(), [out.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo.extend(parent for parent, _ in node.next_functions)
            found.extend([node.variable] if hasattr(node, "variable") else [])
    return found


def test_no_gradient_is_asked_for(quantiles, monkeypatch):
    monkeypatch.setattr(mm.EnergyTilted, "_negatives", None)
    loc, log_scale = parameters()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            got = tilted(loc, log_scale.exp()).log_prob(X)
        assert not got.requires_grad
    tilted(loc.detach(), 1.0).log_prob(X.clone().requires_grad_()).sum().backward()


def test_a_parameter_that_only_the_chains_meet_is_refused(quantiles):
    theta = torch.ones(3, requires_grad=True)

    def energy(z):
        return square(z) + (theta.sum() * z[..., 0] if len(z) > 2 else 0.0)

    total = mm.EnergyTilted(dist.Normal(torch.ones(1, requires_grad=True), 1.0).to_event(1), energy).log_prob(X).sum()
    with pytest.raises(OptionError, match=r"same parameters at every value; got parameters of shapes \[\(3,\)\] at"):
        total.backward()


def test_parameters_within_a_transform_of_functions_are_refused():
    loc = torch.ones(1, requires_grad=True)
    wanted = r"Expected no parameters that require gradients under torch.func .*; got one of shape \(1,\)"
    with pytest.raises(OptionError, match=wanted):
        torch.func.vmap(lambda z: mm.EnergyTilted(dist.Normal(loc, 1.0, False).to_event(1), square).log_prob(z))(X)
