"""The best diagonal normal of each datum's posterior, found by a search that runs as a kernel."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from mmppl._backend import Backend, get_backend

Array = Any

__all__ = ["BestNormal"]

RATE, BETA_1, BETA_2, TINY = 0.1, 0.9, 0.99, 1e-8


class NormalState(NamedTuple):
    """Draws of the normals, and what Adam remembers; the leading axis of positions is that of the K draws."""

    position: Array
    parameters: Array
    mean: Array
    square: Array


class SearchState(NamedTuple):
    """State of the search: the number of steps taken, and the position."""

    i: Array
    chains: NormalState


@dataclass(frozen=True)
class BestNormal:
    r"""Maximises the ELBO of :math:`N(m_n, \operatorname{diag} s_n^2)` of each datum by Adam.

    .. math:: L_n = \frac{1}{K} \sum_k \log p(x_n, m_n + s_n \epsilon_k) + \sum_d \log s_{nd}, \qquad
        \sum_k \epsilon_k = 0, \quad \frac{1}{K} \sum_k \epsilon_k^2 = 1

    It has the interface of a kernel, and starts at the mean and spread of the draws it is given. Its draws have mean m
    and standard deviation s exactly.

    References:
        | Auto-Encoding Variational Bayes (Kingma & Welling, 2014), section 2.4, https://arxiv.org/abs/1312.6114
        | Adam: a method for stochastic optimization (Kingma & Ba, 2015), https://arxiv.org/abs/1412.6980
    """

    def init_chains(self, log_density: Any, position: Array) -> SearchState:
        """Starts the search from draws ``(K, N, D)``."""
        xp = get_backend(position).xp
        loc = xp.mean(position, axis=0)
        spread = xp.sqrt(xp.mean((position - loc) ** 2, axis=0))
        parameters = xp.stack([loc, xp.log(spread + TINY)])
        zeros = xp.zeros_like(parameters)
        i = xp.zeros_like(xp.sum(zeros), dtype=xp.int32)
        return SearchState(i, NormalState(position, parameters, zeros, zeros))

    def noise(self, backend: Backend, rng: Any, state: SearchState) -> tuple[Array]:
        """Standard normal noise of every draw, ``(K, N, D)``."""
        position = state.chains.position
        return (backend.normal(rng, tuple(position.shape), position),)

    def step(self, log_density: Any, state: SearchState, noise: tuple[Array], num_warmup: int) -> tuple[Any, None]:
        """One step of Adam, at a rate that falls in the second half."""
        backend = get_backend(noise[0])
        xp = backend.xp
        eps = noise[0] - xp.mean(noise[0], axis=0)
        eps = eps / xp.sqrt(xp.mean(eps * eps, axis=0))
        chains = state.chains
        loc, log_scale = chains.parameters[0], chains.parameters[1]
        _, score = backend.value_and_grad(log_density, loc + xp.exp(log_scale) * eps)
        slope = xp.stack([xp.mean(score, axis=0), xp.mean(score * eps, axis=0) * xp.exp(log_scale) + 1.0])
        t = xp.astype(state.i, slope.dtype) + 1.0
        mean = BETA_1 * chains.mean + (1.0 - BETA_1) * slope
        square = BETA_2 * chains.square + (1.0 - BETA_2) * slope * slope
        rate = RATE * xp.clip(num_warmup / t, max=1.0) ** 2
        move = rate * (mean / (1.0 - BETA_1**t)) / (xp.sqrt(square / (1.0 - BETA_2**t)) + TINY)
        parameters = chains.parameters + move
        position = parameters[0] + xp.exp(parameters[1]) * eps
        return SearchState(state.i + 1, NormalState(position, parameters, mean, square)), None
