"""Shares of a batch draw what the whole batch would have drawn for their rows."""

import pyro.distributions as dist
import pytest
import torch

from mmppl.errors import OptionError
from mmppl.pyro.shares import Share

ROWS, OWN = 12, 3


def drawn(make, rows):
    torch.manual_seed(1)
    first = make(rows)
    return first, torch.rand(4)  # what is drawn next is the same whoever drew


def parameter(rows, *event):
    """Parameters of some rows, which differ from row to row."""
    places = torch.arange(ROWS, dtype=torch.float32)[rows].reshape(-1, *(1,) * len(event))
    return (0.1 + 0.8 * places / ROWS).expand(-1, *event)


DRAWS = {
    "normal": lambda rows: dist.Normal(parameter(rows, 2), 0.5).sample(),
    "several": lambda rows: dist.Normal(parameter(rows, 2), 0.5).expand([5, 2, len(rows), 2]).sample(),
    "laplace": lambda rows: dist.Laplace(parameter(rows, 2), 0.5).rsample(),
    "gumbel": lambda rows: dist.Gumbel(parameter(rows), 1.0).sample(),
    "exponential": lambda rows: dist.Exponential(parameter(rows)).sample(),
    "bernoulli": lambda rows: dist.Bernoulli(parameter(rows, 4)).sample(),
    "categorical": lambda rows: dist.Categorical(torch.stack([parameter(rows), 1 - parameter(rows)], -1)).sample(),
    "categorical of several": lambda rows: dist.Categorical(
        torch.stack([parameter(rows), 1 - parameter(rows)], -1).expand(5, len(rows), 2)
    ).sample(),
    "randn_like": lambda rows: torch.randn_like(parameter(rows, 2)),
    "rand_like": lambda rows: torch.rand_like(parameter(rows, 2)),
    "randint": lambda rows: torch.randint(0, 9, (len(rows), 2)),
    "dropout": lambda rows: torch.nn.functional.dropout(parameter(rows, 4), 0.5),
    "beside": lambda rows: torch.randn(7).expand(len(rows), 7),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("start", [0, 3, 9])
def test_shares_are_rows_of_the_whole(name, start):
    make, every = DRAWS[name], torch.arange(ROWS)
    whole, after = drawn(make, every)
    with Share(start, OWN, ROWS):
        part, next_after = drawn(make, every[start : start + OWN])
    axis = whole.shape.index(ROWS)
    assert torch.equal(part, whole.narrow(axis, start, OWN))
    assert torch.equal(after, next_after)
    # Without the share they are others: the test can fail.
    other, _ = drawn(make, every[start : start + OWN])
    assert name == "beside" or start == 0 or not torch.equal(other, part)


def test_gradients_reach_parameters_through_a_share():
    loc = torch.zeros(OWN, 2, requires_grad=True)
    with Share(3, OWN, ROWS):
        value = dist.Normal(loc, torch.ones(OWN, 2)).rsample()
    value.sum().backward()
    assert torch.equal(loc.grad, torch.ones(OWN, 2))


def test_draws_of_a_varying_number_of_random_numbers_are_refused():
    with Share(0, OWN, ROWS), pytest.raises(OptionError, match="got _standard_gamma, which takes more random numbers"):
        dist.Gamma(torch.ones(OWN), 1.0).sample()
