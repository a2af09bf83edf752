"""The hosts give the same names with the same parameters, those of the protocols."""

import inspect

import pytest

import mmppl.numpyro
import mmppl.pyro
from mmppl.inference.host import ProgramHost, Runtime, Trainer

HOSTS = (mmppl.numpyro, mmppl.pyro)
# A key is NumPyro's way to random numbers outside of a seed handler.
KEYS = {"rng_key"}


def parameters(f):
    """Names and kinds of parameters, without the key and the instance."""
    found = inspect.signature(f).parameters.values()
    return [(p.name, p.kind, p.default is p.empty) for p in found if p.name not in KEYS | {"self"}]


def members(protocol):
    return {name: f for name, f in vars(protocol).items() if inspect.isfunction(f) and not name.startswith("_")}


@pytest.mark.parametrize("name", [n for n in mmppl.pyro.__all__ if callable(getattr(mmppl.pyro, n))])
def test_public_names_take_the_same_parameters(name):
    one, two = (getattr(ppl, name) for ppl in HOSTS)
    assert parameters(one) == parameters(two)
    if inspect.isclass(one):
        own = [{n for n in vars(cls) if not n.startswith("_")} for cls in (one, two)]
        for method in sorted(set.intersection(*own)):
            if all(inspect.isfunction(vars(cls)[method]) for cls in (one, two)) and method not in ("sample", "rsample"):
                assert parameters(vars(one)[method]) == parameters(vars(two)[method]), method


@pytest.mark.parametrize("ppl", HOSTS, ids=["numpyro", "pyro"])
def test_a_host_keeps_the_protocols(ppl):
    for protocol in (ProgramHost, Runtime):
        assert all(hasattr(ppl.host, name) for name in protocol.__annotations__)
    for protocol, owner in ((ProgramHost, ppl.host), (Runtime, ppl.host), (Trainer, ppl.host.Trainer)):
        assert members(protocol)
        for name, wanted in members(protocol).items():
            assert parameters(getattr(owner, name)) == parameters(wanted), name


def test_a_parameter_that_differs_is_noticed():
    assert parameters(lambda a, *, b: 0) != parameters(lambda a, *, b=1: 0)
    assert parameters(lambda a: 0) != parameters(lambda a, b: 0)
