"""Runs of a program that need no draws: latents whose prior is sampled by a chain or a solver get any value instead."""

from typing import Any

import pyro.distributions as dist
from pyro.poutine.messenger import Messenger

__all__ = ["Unsampled"]


class Unsampled(Messenger):
    """Gives such latents a value of their shape and support, by the prior's ``stand_in``, in place of a draw.

    For runs that ask for names, shapes and places of sites alone; a chain of many steps is left out.
    """

    def _pyro_sample(self, msg: Any) -> None:
        prior = msg["fn"]
        while isinstance(prior, dist.Independent | dist.MaskedDistribution | dist.ExpandedDistribution):
            prior = prior.base_dist
        if msg["value"] is None and hasattr(prior, "stand_in"):
            shape = msg["fn"].shape()
            msg["value"] = prior.stand_in(shape[: len(shape) - len(prior.event_shape)])
