"""Handlers of a host around mmppl's functions: refused where they would change a result, never compiled into one."""

import importlib

import numpy as np
import pytest

from mmppl import Modality, models
from mmppl.errors import OptionError
from mmppl.inference import Fitted, fit, generate, log_likelihood

ROWS = {"a": np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)}
SETTINGS = {"epochs": 1, "progress": False}


def handlers(ppl):
    """Those of a host that change what programs do, and two that do not."""
    if ppl.host.NAME == "pyro":
        poutine = importlib.import_module("pyro.poutine")
        harmless = poutine.block()
    else:
        poutine = importlib.import_module("numpyro.handlers")
        harmless = poutine.seed(rng_seed=3)
    conditioned = poutine.condition(data={"z": np.zeros((6, 2), np.float32)})
    return [poutine.scale(scale=2.0), poutine.mask(mask=False), conditioned], [harmless, poutine.trace()]


@pytest.fixture
def fitted(ppl):
    program = models.mvae({"a": Modality((3,))}, ppl=ppl, latent_dim=2, hidden=4)
    return fit(program, ROWS, **SETTINGS)


def test_a_handler_that_would_change_a_result_is_refused(ppl, fitted):
    """Refused before anything is compiled within it: afterwards all is as in a program that never met one."""
    for handler in handlers(ppl)[0]:
        named = (
            rf"Expected mmppl's functions outside handlers of .*; got one within {type(handler).__name__}.*Put handlers"
        )
        with handler:
            for call in (
                lambda: fit(fitted.program, ROWS, **SETTINGS),
                lambda: generate(fitted, ROWS),
                lambda: log_likelihood(fitted, ROWS, num=5),
            ):
                with pytest.raises(OptionError, match=named):
                    call()
    twin = Fitted(models.mvae({"a": Modality((3,))}, ppl=ppl, latent_dim=2, hidden=4), fitted.weights)
    found, wanted = (log_likelihood(x, ROWS, num=5, seed=1).value for x in (fitted, twin))
    np.testing.assert_array_equal(found, wanted)


def test_one_that_changes_nothing_does_not_reach_in(ppl, fitted):
    wanted = generate(fitted, num=2, seed=1), fit(fitted.program, ROWS, **SETTINGS).weights
    for handler in handlers(ppl)[1]:
        with handler:
            found = generate(fitted, num=2, seed=1), fit(fitted.program, ROWS, **SETTINGS).weights
        for one, other in zip(found, wanted, strict=True):
            for name, value in other.items():
                np.testing.assert_array_equal(one[name], value)
        assert not len(getattr(handler, "trace", ()))


def test_a_program_may_be_made_and_bound_within_one(ppl, fitted):
    """As a user's own program does that has a fitted one in it; the handlers of the user are there again after it."""
    handler = handlers(ppl)[1][1]
    with handler:
        program = models.mvae({"a": Modality((3,))}, ppl=ppl, latent_dim=2, hidden=4)
        bound = Fitted(program, fitted.weights)
        assert callable(bound.model)
        assert bound.latents == ("z",)
        ppl.host.sample("here", ppl.host.dist.Delta(ppl.host.zeros(1)).to_event(1))
    assert "here" in (handler.trace.nodes if hasattr(handler.trace, "nodes") else handler.trace)
