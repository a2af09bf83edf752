"""Posteriors by a network over the set of features present, as NumPyro distributions."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from numpyro.distributions import Distribution, Laplace, Normal, constraints
from numpyro.distributions.util import validate_sample

from mmppl import aggregation as shared
from mmppl.display import Shown

__all__ = ["Pooled", "private_posteriors"]


class Pooled(Shown, Distribution):
    r"""A posterior by one network over the set of features that are present: deep sets, or a set transformer.

    See :class:`mmppl.aggregation.Pooled` for the formula.

    Arguments:
        features: :math:`h_m`, ``(*, F)``, by modality name.
        present: Boolean arrays by modality name.
        net: A :class:`mmppl.nets.DeepSets` or :class:`mmppl.nets.SetTransformer`, built and bound by ``mm.net``.
        family: ``"normal"`` or ``"laplace"``.
        empty: What answers where nothing is present: ``"learned"``, by the network, or ``"prior"``.
    """

    arg_constraints = {"loc": constraints.dependent, "scale": constraints.dependent}
    support = constraints.real_vector
    reparametrized_params = ["loc", "scale", "logits"]
    pytree_data_fields = ("loc", "scale", "logits")
    pytree_aux_fields = ("family",)

    def __init__(self, features, present, net, *, family="normal", empty="learned", validate_args=None):
        parts = shared.pool(features, present, net, empty)
        self.loc, self.scale, self.logits = parts if len(parts) == 3 else (*parts, None)
        self.family = family
        super().__init__(self.shared.batch_shape, (self.shared.dim,), validate_args=validate_args)

    @property
    def shared(self) -> Any:
        """The framework-free posterior behind this distribution."""
        return shared.Pooled(self.loc, self.scale, self.logits, self.family)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        return self.shared.sample(key, sample_shape)

    @validate_sample
    def log_prob(self, value: jax.Array) -> jax.Array:
        return self.shared.log_prob(value)


def private_posteriors(
    features: Mapping[str, Any],
    present: Mapping[str, Any],
    net: Callable,
    z: Any,
    *,
    family: str = "normal",
    absent: Mapping[str, tuple[Any, Any]] | None = None,
) -> dict[str, Distribution]:
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
