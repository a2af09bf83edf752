"""The masked objective: a marginal bound on a random subset, a conditional one on the rest."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.checks import checked, one_of
from mmppl.errors import ModalityError, ObjectiveError, OptionError
from mmppl.inference.objectives.base import Objective
from mmppl.inference.objectives.terms import References, Terms
from mmppl.numerics import choose
from mmppl.subsets import present_table, table

Array = Any

__all__ = ["Masked"]

LAWS = ("uniform", "bernoulli")
BOUNDS = ("masked", "mixture", "tc")


@checked(bound=one_of(BOUNDS))
class Masked(Objective):
    r"""A bound on :math:`\log p(x_S)` and one on :math:`\log p(x_{P \setminus S} \mid x_S)`, for a random S.

    .. math::
        L_S &= \mathbb{E}_{q(z \mid x_S)}\big[\log p(x_S \mid z)\big] - \beta\, \mathrm{KL}(q(z \mid x_S) \| p(z)) \\
        L_{\setminus S} &= \mathbb{E}_{q(z \mid x_P)}\big[\log p(x_{P \setminus S} \mid z)\big]
            - \beta\, \mathrm{KL}(q(z \mid x_P) \| q(z \mid x_S)) \\
        L &= \mathbb{E}_{S \sim \rho}\big[L_S + L_{\setminus S}\big]

    over subsets of what is present, the empty and the full one among them. The encoder is also the conditional prior
    of the second term. With exact posteriors L is :math:`\log p(x_P)` for every S; before, it may exceed it, as only
    :math:`\mathbb{E} L \le -H(\text{data})` holds. With K particles both terms share one logarithm,

    .. math:: \log \frac{1}{K} \sum_k \frac{p(x_S, z_S^k)}{q(z_S^k \mid x_S)} \cdot
        \frac{p(x_{P \setminus S} \mid z_P^k)\, q(z_P^k \mid x_S)}{q(z_P^k \mid x_P)}

    Two other bounds of the same subsets are ``"mixture"``, :math:`\mathbb{E}_{q(z \mid x_S)}[\log p(x_P \mid z)] -
    \beta\, \mathrm{KL}(q(z \mid x_S) \| p(z))`, below the log likelihood with a gap that never closes, and ``"tc"``,
    :math:`\mathbb{E}_{q(z \mid x_P)}[\log p(x_P \mid z)] - \beta\, \mathrm{KL}(q(z \mid x_P) \| q(z \mid x_S))`.

    References:
        | Learning multi-modal generative models with permutation-invariant encoders and tighter variational objectives
        | (Hirt et al., 2024), section 2, https://arxiv.org/abs/2309.00380
        | Multimodal Generative Models for Compositional Representation Learning (Wu & Goodman, 2019)
        | https://arxiv.org/abs/1912.05075

    Arguments:
        particles: Draws K of the guide for each datum.
        subsets: :math:`\rho`: ``"uniform"``, each modality with a probability that is uniform for each datum, so that
            the size of S is uniform; ``"bernoulli"``, each with probability 1/2; or probabilities by tuples of names,
            ``{("a",): 0.5, (): 0.5}``, of which what a datum lacks is left out.
        bound: ``"masked"``, ``"mixture"`` or ``"tc"``.
        options: Those of :class:`~mmppl.inference.objectives.base.Objective`.

    Raises:
        OptionError: If the law of subsets or the bound is unknown, or probabilities do not sum to 1.
        ObjectiveError: If the density of a mixture is asked for.

    Example:
        >>> Masked(subsets={("a",): 0.5, ("a", "b"): 0.5}, beta=0.5).bound
        'masked'
    """

    def __init__(
        self,
        particles: int = 1,
        *,
        subsets: str | Mapping[Sequence[str], float] = "uniform",
        bound: str = "masked",
        **options: Any,
    ):
        if isinstance(subsets, str):
            if subsets not in LAWS:
                raise OptionError(
                    f"Expected subsets among {LAWS}, or probabilities by tuples of names; got '{subsets}'."
                )
            self.law, self.probabilities = subsets, {}
        else:
            self.law, self.probabilities = "table", {tuple(names): float(p) for names, p in subsets.items()}
            values = list(self.probabilities.values())
            if not values or min(values) < 0 or abs(sum(values) - 1.0) > 1e-6:
                raise OptionError(f"Expected probabilities of subsets that sum to 1; got {self.probabilities}.")
        self.bound = bound
        super().__init__(particles, **options)
        if self.density != "own":
            raise ObjectiveError("Masked is made of the guide's own densities: leave density='own', or use MoPoE.")

    def check(self, names: tuple[str, ...]) -> None:
        super().check(names)
        unknown = sorted({name for subset in self.probabilities for name in subset} - set(names))
        if unknown:
            raise ModalityError(f"subsets name {unknown}, but the batch has {list(names)}.")

    def terms(self, backend: Backend, batch: Batch, rng: Any, like: Array) -> Terms:
        xp = backend.xp
        present = present_table(backend, batch)
        subset = self._subsets(backend, batch.modalities, rng, present, like)
        some = xp.astype(xp.any(present, axis=-1), like.dtype)
        one, none = xp.ones_like(some)[None, :], xp.zeros_like(some)[None, :]
        if self.bound == "mixture":
            return Terms(subset[None, ...], present[None, ...], some[None, :])
        if self.bound == "tc":
            reference = References(subset[None, ...], one[None, ...], none)
            return Terms(present[None, ...], present[None, ...], some[None, :], reference)
        rest = present & ~subset
        # With nothing left the second term is 0, and so is left out.
        weight = xp.stack([some, xp.astype(xp.any(rest, axis=-1), like.dtype)])
        reference = References(subset[None, ...], xp.stack([none, one]), xp.concat([one, none]))
        return Terms(xp.stack([subset, present]), xp.stack([subset, rest]), weight, reference, joint=True)

    def _subsets(self, backend: Backend, names: tuple[str, ...], rng: Any, present: Array, like: Array) -> Array:
        """S of each datum, ``(N, M)``."""
        xp = backend.xp
        first, second = [None, None] if rng is None else backend.split(rng, 2)
        if self.law == "table":
            rows = np.array([[name in subset for name in names] for subset in self.probabilities])
            weight = backend.asarray(np.array(list(self.probabilities.values())), like=like)
            chosen = choose(backend.uniform(first, present.shape[:1], like), weight)
            return xp.any((chosen[..., None] > 0.5) & table(backend, rows, like)[:, 0, :], axis=-2) & present
        uniforms = backend.uniform(first, tuple(present.shape), like)
        bias = backend.uniform(second, (present.shape[0], 1), like) if self.law == "uniform" else 0.5
        return (uniforms < bias) & present
