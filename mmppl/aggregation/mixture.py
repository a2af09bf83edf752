"""Mixture of experts, and mixture of products of experts."""

from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.aggregation.base import Experts
from mmppl.aggregation.families import Component, Factorised, picked, product, shown
from mmppl.errors import OptionError
from mmppl.numerics import choose

Array = Any

__all__ = ["Mixture"]


class Mixture:
    r"""Uniform mixture of products of experts over subsets.

    .. math:: q(z \mid x_P) = \frac{1}{|\mathcal{S}_P|} \sum_{S \in \mathcal{S}_P} q_S(z), \qquad
        q_S(z) \propto \prod_{m \in S} q_m(z \mid x_m)

    over those given subsets that lie inside the present set P. With singles it is the mixture of experts (MMVAE),
    with every subset the mixture of products of experts (MoPoE). Rows with nothing present answer with the standard
    density of the family. The component is drawn per datum, and the density is the mixture's.

    References:
        | Variational Mixture-of-Experts Autoencoders for Multi-Modal Deep Generative Models (Shi et al., 2019)
        | https://arxiv.org/abs/1911.03393
        | Generalized Multimodal ELBO (Sutter et al., 2021), section 3
        | https://arxiv.org/abs/2105.02470

    Arguments:
        experts: Stacked experts, ``(*, M, D)``.
        subsets: Boolean rows ``(S, M)``; None means the singles.
        prior_expert: Whether every product has the standard density as a factor.

    Raises:
        OptionError: If ``subsets`` does not have one column for each expert.
    """

    def __init__(self, experts: Experts, subsets: np.ndarray | None = None, prior_expert: bool = False):
        backend = get_backend(experts.loc)
        xp = backend.xp
        num = experts.loc.shape[-2]
        rows = np.eye(num, dtype=bool) if subsets is None else np.asarray(subsets)
        if rows.ndim != 2 or rows.shape[1] != num:
            raise OptionError(f"Expected subsets of shape (S, {num}), a column for each expert; got {rows.shape}.")
        table = backend.asarray(rows.astype(np.float64), like=experts.loc)
        present = xp.astype(experts.present, experts.loc.dtype)
        # A subset counts if none of its members is missing.
        missing = xp.sum(table * (1.0 - present)[..., None, :], axis=-1)
        valid = xp.astype(missing < 0.5, experts.loc.dtype)
        count = xp.sum(valid, axis=-1, keepdims=True)
        empty = count < 0.5
        first = backend.asarray((np.arange(len(rows)) == 0).astype(np.float64), like=experts.loc)
        weight = xp.where(empty, first * xp.ones_like(valid), valid / xp.where(empty, xp.ones_like(count), count))
        self.log_weight = xp.where(weight > 0, xp.log(xp.where(weight > 0, weight, xp.ones_like(weight))), -xp.inf)
        self.weight = weight
        singles = bool((rows.sum(1) == 1).all()) and not prior_expert
        if singles:
            order = [int(i) for i in rows.argmax(1)]
            self.singles: tuple[Array, Array] | None = (experts.loc, experts.scale)
            if order != list(range(num)):
                axis, index = experts.loc.ndim - 2, backend.asarray(np.array(order))
                loc, scale = (xp.take(x, index, axis=axis) for x in self.singles)
                self.singles = (loc, scale)
        else:
            self.singles = None
            # A subset that is not there has no members, so that what its experts hold cannot matter.
            members = table * valid[..., None]
            loc, scale = (xp.expand_dims(x, axis=experts.loc.ndim - 2) for x in (experts.loc, experts.scale))
            self.products = product(loc, scale, members, experts.family, prior_expert)
        self.live, self.family = valid > 0.5, experts.family
        self.batch_shape, self.dim = experts.batch_shape, experts.dim

    @property
    def components(self) -> Component:
        """The components side by side; one of weight zero is standard, so that what it holds cannot matter."""
        return self.products if self.singles is None else shown(*self.singles, self.live, self.family)

    def log_prob(self, z: Array) -> Array:
        """The mixture's log density of ``z``, shape ``(*, D)`` to ``(*,)``."""
        backend = get_backend(z)
        masks_only = 0 if self.singles is None else self.live.ndim - (self.singles[0].ndim - 1)
        if self.singles is None or masks_only <= 0:
            parts = self.components.log_prob(z[..., None, :])
        else:
            # Under many masks at once each expert is scored once, where any mask shows it.
            anywhere = backend.xp.any(self.live, axis=tuple(range(masks_only)))
            unmasked = shown(*self.singles, anywhere, self.family)
            standard = _standard(z, self.family).log_prob(z)[..., None]
            parts = backend.xp.where(self.live, unmasked.log_prob(z[..., None, :]), standard)
        return backend.logsumexp(self.log_weight + parts, axis=-1)

    def sample(self, rng: Any, sample_shape: tuple[int, ...] = ()) -> Array:
        """Independent reparametrised samples of shape ``(*sample_shape, *batch_shape, D)``."""
        backend, (pick, noise) = self._handles(rng)
        u = backend.uniform(pick, (*sample_shape, *self.batch_shape), self.weight)
        return self._sample(u, noise, sample_shape)

    def stratified(self, rng: Any, sample_shape: tuple[int, ...]) -> Array:
        r"""As :meth:`sample`, with components spread evenly over the first sample axis.

        The k-th of K draws takes its component from :math:`u_k = (k + u) / K` with one u for each datum, so every
        component appears its due number of times, up to one, for each datum.
        """
        backend, (pick, noise) = self._handles(rng)
        num = sample_shape[0]
        u = backend.uniform(pick, (1, *sample_shape[1:], *self.batch_shape), self.weight)
        k = backend.asarray(np.arange(num, dtype=np.float64), like=self.weight)
        u = (backend.xp.reshape(k, (num,) + (1,) * (u.ndim - 1)) + u) / num
        return self._sample(u, noise, sample_shape)

    def _handles(self, rng: Any) -> tuple[Any, list]:
        backend = get_backend(self.weight)
        return backend, [None, None] if rng is None else backend.split(rng, 2)

    def _sample(self, u: Array, rng: Any, sample_shape: tuple[int, ...]) -> Array:
        backend = get_backend(self.weight)
        one = picked(self.components, choose(u, self.weight))
        return one.sample(one.draw(backend, rng, (*sample_shape, *self.batch_shape, self.dim)))


def _standard(like: Array, family: str) -> Factorised:
    xp = get_backend(like).xp
    return Factorised(xp.zeros_like(like), xp.ones_like(like), "laplace" if family == "laplace" else "normal")
