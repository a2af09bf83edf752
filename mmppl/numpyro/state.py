"""Mutable sites of a program: what its networks keep that is no parameter, such as running statistics."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import jax
from numpyro import handlers

from mmppl.numpyro.compiling import random_key
from mmppl.numpyro.seeded import seeded

__all__ = ["MutableState", "fresh", "given", "unvisited"]


def fresh(value: Any) -> Any:
    """A copy of a mutable site's containers, into which a program writes; the arrays in it are the same."""
    return jax.tree.map(lambda leaf: leaf, value)


class given(handlers.substitute):
    """``substitute(fn, data=...)`` whose mutable sites are each run's own, however deep the program writes into them.

    A site says, in ``"before"``, what it held at first.
    """

    def process_message(self, msg: Any) -> None:
        super().process_message(msg)
        if msg["type"] == "mutable":
            msg["value"] = fresh(msg["value"])
            msg["before"] = jax.tree.leaves(msg["value"])


class MutableState:
    """The mutable sites of a program while an objective runs it, by name: each moves as if the program ran once.

    That is what the host's ``Trace_ELBO`` does. The guide's sites move with its draws; the model's with its scores,
    from where the guide leaves them. Scores by parts go on each from the one before, but for what moved with the log
    prior. What runs again starts from where the first run did: the guide for a density, which moves nothing, and the
    model for the same draws, which comes to the same.
    """

    def __init__(self) -> None:
        self.visited: set[str] = set()  # sites of any kind
        self.moved: dict[str, Any] = {}  # the outcome
        self.drawn: dict[str, Any] = {}
        self.now: dict[str, Any] = {}
        self.settled: set[str] = set()

    def draws(self, sites: Mapping[str, Any]) -> None:
        """Takes the sites of the guide that has drawn."""
        self.visited = self.visited | set(sites)
        self.moved = self.drawn = self.now = _values(sites)

    def start(self, prior: bool) -> dict[str, Any]:
        """Values that the model's sites start from, where they are not the program's; ``prior`` begins anew."""
        if prior:
            self.now = self.drawn
        return self.now

    def scores(self, sites: Mapping[str, Any], prior: bool) -> None:
        """Takes the sites of the model that has scored, with the log prior or without."""
        self.visited = self.visited | set(sites)
        if prior:
            self.settled = {name for name in _values(sites) if _changed(sites[name])}
            self.now = {**self.now, **_values(sites)}
        else:
            self.now = {**self.now, **{n: v for n, v in _values(sites).items() if n not in self.settled}}
        self.moved = {**self.moved, **self.now}

    def values(self) -> tuple[dict, dict, dict]:
        """Values of sites: the outcome, after the draws, and now."""
        return self.moved, self.drawn, self.now

    def with_values(self, values: tuple[dict, dict, dict]) -> "MutableState":
        """A copy with other values."""
        out = self.apart()
        out.moved, out.drawn, out.now = values
        return out

    def apart(self) -> "MutableState":
        """A copy, for runs that are not to move anything here."""
        return copy.copy(self)


def unvisited(
    params: Mapping[str, Any], visited: set[str], model: Callable, guide: Callable, args: tuple, kwargs: Mapping
) -> dict:
    """The values of mutable sites among ``params`` that an objective did not come by, as it scores a part.

    The host keeps what it is handed, and nothing else, so these are to be handed on.

    Arguments:
        params: Parameters and mutable sites by name.
        visited: Names of sites that were visited.
        model: The model.
        guide: The guide.
        args: Their arguments.
        kwargs: Their keyword arguments.
    """
    left = set(params) - visited
    found: set[str] = set()

    def run(params: dict) -> None:
        sites = handlers.trace(given(seeded(guide, random_key(0)), data=params)).get_trace(*args, **kwargs)
        found.update(_values(sites))
        drawn = {name: site["value"] for name, site in sites.items() if site["type"] == "sample"}
        again = given(seeded(model, random_key(0)), data={**params, **drawn})
        found.update(_values(handlers.trace(again).get_trace(*args, **kwargs)))

    if left:
        jax.eval_shape(run, dict(params))
    return {name: params[name] for name in left & found}


def _values(sites: Mapping[str, Any]) -> dict[str, Any]:
    return {name: site["value"] for name, site in sites.items() if site["type"] == "mutable"}


def _changed(site: Mapping[str, Any]) -> bool:
    now = jax.tree.leaves(site["value"])
    return len(now) != len(site["before"]) or any(a is not b for a, b in zip(now, site["before"], strict=True))
