"""Reduced priors, alike on either host."""

from collections.abc import Mapping
from typing import Any

from mmppl._backend import Backend
from mmppl.errors import OptionError
from mmppl.priors.condition import Condition, parse_condition
from mmppl.priors.coordinates import Whitening
from mmppl.priors.reduction.subspaces import Subspaces

Array = Any

__all__ = ["ReducedPrior"]


class ReducedPrior:
    r"""A prior on the informed directions of every modality, and the reference on the rest.

    .. math:: \pi_r(z) = p(y)\ \rho(y_\perp)\ |\det U^T L^T|, \qquad (y, y_\perp) = U^T L^T (z - \mu)

    with :math:`\rho` the standard normal reference, or a complement that was learned, :math:`\rho(y_\perp \mid y)`.
    Experimental.

    References:
        | Dimension reduction via score ratio matching (Baptista, Brennan & Marzouk, 2024)
        | https://arxiv.org/abs/2410.19990

    Arguments:
        prior: The distribution of what is kept, with event shape ``(sum ranks,)``: a :class:`JointScore` on
            ``subspaces.reduced``, an :class:`EnergyTilted`, or any other. With a
            :class:`~mmppl.priors.Whitening`, of all coordinates ``(D,)``, of which it moves those kept.
        subspaces: :class:`~mmppl.priors.Subspaces`, or a :class:`~mmppl.priors.Whitening` whose arrays are parameters.
        complement: What ``mm.net`` returns, from what is kept ``(*, sum ranks)`` to location and scale of normal
            coordinates of the rest, ``(*, D - sum ranks)`` each; None for the reference.

    Raises:
        OptionError: If the prior's event shape is another.
    """

    backend: Backend
    prior: Any
    subspaces: Any

    def _conditioned(self, prior: Any, known: Condition) -> Any:
        """A distribution on these subspaces with a conditional of the prior."""
        raise NotImplementedError

    @staticmethod
    def check(prior: Any, subspaces: Subspaces | Whitening) -> None:
        """Raises :class:`OptionError` unless the prior is on what the subspaces keep."""
        number = sum(subspaces.ranks) if isinstance(subspaces, Subspaces) else subspaces.loc.shape[-1]
        if tuple(prior.event_shape) != (number,):
            raise OptionError(f"Expected a prior with event shape ({number},); got {tuple(prior.event_shape)}.")

    def conditional(
        self, values: Mapping[str, Array], present: Mapping[str, Array] | None = None, **options: Any
    ) -> Any:
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
        space = self.subspaces
        if not hasattr(self.prior, "conditional") or not isinstance(space, Subspaces):
            raise OptionError(
                "Expected a prior that can be conditioned, such as JointScore, on subspaces; got another. A JointScore "
                "takes coordinates itself."
            )
        known = parse_condition(self.backend, space.blocks, values, present, None)
        y = dict(space.reduced.split(space.reduce(self.backend, known.loc)[0]))
        masks = {n: known.roles.clean[..., i] for i, n in enumerate(space.blocks.names) if n in y}
        return self._conditioned(self.prior.conditional(y, masks, **options), known)
