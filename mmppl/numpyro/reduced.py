"""The reduced prior as a NumPyro distribution."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, Normal, constraints

from mmppl._backend.jax import BACKEND
from mmppl.errors import OptionError
from mmppl.priors.joint_score import Known, gather
from mmppl.priors.subspaces import Subspaces

__all__ = ["Reduced"]


class Reduced(Distribution):
    r"""A prior on the informed directions of every modality, and the reference on the rest.

    .. math:: \pi_r(z) = p(y)\ \mathcal{N}(y_\perp; 0, I)\ |\det U^T L^T|, \qquad (y, y_\perp) = U^T L^T (z - \mu)

    References:
        | Dimension reduction via score ratio matching (Baptista, Brennan & Marzouk, 2024)
        | https://arxiv.org/abs/2410.19990

    Arguments:
        prior: The distribution of what is kept, with event shape ``(sum ranks,)``: a :class:`JointScore` on
            ``subspaces.reduced``, an :class:`EnergyTilted`, or any other.
        subspaces: A :class:`~mmppl.priors.Subspaces`.

    Raises:
        OptionError: If the prior's event shape is another.
    """

    arg_constraints: dict = {}
    support = constraints.real_vector
    pytree_data_fields = ("prior", "known")
    pytree_aux_fields = ("subspaces",)

    def __init__(self, prior: Distribution, subspaces: Subspaces, *, validate_args: bool | None = None):
        number = sum(subspaces.ranks)
        if tuple(prior.event_shape) != (number,):
            raise OptionError(f"Expected a prior with event shape ({number},); got {tuple(prior.event_shape)}.")
        self.prior, self.subspaces = prior, subspaces
        self.known: Known | None = None
        super().__init__(prior.batch_shape, (subspaces.blocks.dim,), validate_args=validate_args)

    def _given(self, prior: Distribution, known: Known) -> "Reduced":
        new = Reduced(prior, self.subspaces)
        new.known = known
        return new

    def conditional(
        self, values: Mapping[str, jax.Array], present: Mapping[str, jax.Array] | None = None, **options: Any
    ) -> "Reduced":
        """The distribution of all blocks given some, by the prior's own ``conditional``.

        Known blocks come back as they are.

        Arguments:
            values: Known blocks, ``(*, size)``.
            present: Where each is known, ``(*,)``; everywhere by default.
            options: Those of the prior's ``conditional``.

        Raises:
            OptionError: If the prior cannot be conditioned, or nothing is given.
            ModalityError: If a block is unknown or has another dimension.
        """
        if not hasattr(self.prior, "conditional"):
            raise OptionError("Expected a prior that can be conditioned, such as JointScore; got another.")
        space = self.subspaces
        known = gather(BACKEND, space.blocks, values, present, None)
        y = dict(space.reduced.split(space.reduce(BACKEND, known.loc)[0]))
        masks = {n: known.states.clean[..., i] for i, n in enumerate(space.blocks.names) if n in y}
        return self._given(self.prior.conditional(y, masks, **options), known)

    def log_prob(self, value: jax.Array) -> jax.Array:
        kept, rest = self.subspaces.reduce(BACKEND, value)
        reference = jnp.sum(Normal(0.0, 1.0).log_prob(rest), axis=-1)
        return self.prior.log_prob(kept) + reference + self.subspaces.log_det

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        first, second = jax.random.split(key)
        kept = self.prior.sample(first, sample_shape)
        number = self.subspaces.blocks.dim - kept.shape[-1]
        rest = jax.random.normal(second, (*kept.shape[:-1], number), kept.dtype)
        z = self.subspaces.lift(BACKEND, kept, rest)
        if self.known is None:
            return z
        clean = self.subspaces.blocks.spread(self.known.states.clean)
        return jnp.where(clean, self.known.loc, z)
