"""Posteriors by a network over the set of features present, as Pyro distributions."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro.distributions import Laplace, Normal, TorchDistribution, constraints

from mmppl import aggregation as shared
from mmppl.display import Shown

__all__ = ["Pooled", "private_posteriors"]


class Pooled(Shown, TorchDistribution):
    r"""A posterior by one network over the set of features that are present: deep sets, or a set transformer.

    See :class:`mmppl.aggregation.Pooled` for the formula.

    Arguments:
        features: :math:`h_m`, ``(*, F)``, by modality name.
        present: Boolean arrays by modality name.
        net: A :class:`mmppl.nets.DeepSets` or :class:`mmppl.nets.SetTransformer`, built and bound by ``mm.net``.
        family: ``"normal"`` or ``"laplace"``.
        empty: What answers where nothing is present: ``"learned"``, by the network, or ``"prior"``.
    """

    arg_constraints: dict = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, features, present, net, *, family="normal", empty="learned", validate_args=None):
        parts = shared.pool(features, present, net, empty)
        self.loc, self.scale, self.logits = parts if len(parts) == 3 else (*parts, None)
        self.family = family
        # The framework-free posterior behind this distribution.
        self.shared = shared.Pooled(self.loc, self.scale, self.logits, self.family)
        batch, event = torch.Size(self.shared.batch_shape), torch.Size((self.shared.dim,))
        super().__init__(batch, event, validate_args=validate_args)

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> torch.Tensor:
        return self.shared.sample(None, tuple(sample_shape))

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return self.shared.log_prob(value)


def private_posteriors(
    features: Mapping[str, Any],
    present: Mapping[str, Any],
    net: Callable,
    z: Any,
    *,
    family: str = "normal",
    absent: Mapping[str, tuple[Any, Any]] | None = None,
) -> dict[str, TorchDistribution]:
    """The posterior of each modality's private latent given the shared one, and the prior where it is not present.

    See :func:`mmppl.aggregation.private_posteriors`.

    Arguments:
        features: :math:`h_m`, ``(*, F)``, by modality name.
        present: Boolean arrays by modality name.
        net: A :class:`mmppl.nets.EquivariantDeepSets` or :class:`mmppl.nets.EquivariantTransformer`, built.
        z: The shared latent, ``(*, D')``.
        family: ``"normal"`` or ``"laplace"``.
        absent: Location and scale of the prior by modality name, ``(*, D)`` each; standard by default.
    """
    pairs = shared.private_posteriors(features, present, net, z, absent)
    kind = {"normal": Normal, "laplace": Laplace}[family]
    return {name: kind(*pair).to_event(1) for name, pair in pairs.items()}
