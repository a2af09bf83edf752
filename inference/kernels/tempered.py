"""Langevin chains with hotter replicas beside them, which cross between modes and exchange places with them."""

from typing import Any, NamedTuple

from mmppl._backend import Backend, get_backend
from mmppl.checks import above, at_least, checked
from mmppl.inference.kernels.base import Kernel, KernelState, LogDensity
from mmppl.mcmc.langevin import LangevinInfo, LangevinState, init, mala_step

Array = Any

__all__ = ["TemperedLangevin", "TemperedState"]


class TemperedState(NamedTuple):
    """State of chains and their K - 1 hotter replicas; log densities and scores are those of the posterior.

    Arguments:
        position: ``(*chains, D)``.
        log_density: ``(*chains,)``.
        score: ``(*chains, D)``.
        hot_position: ``(K - 1, *chains, D)``, from the next to the hottest.
        hot_log_density: ``(K - 1, *chains)``.
        hot_score: ``(K - 1, *chains, D)``.
    """

    position: Array
    log_density: Array
    score: Array
    hot_position: Array
    hot_log_density: Array
    hot_score: Array


@checked(replicas=at_least(2), hottest=above(1))
class TemperedLangevin(Kernel):
    r"""Replica exchange: every datum has K Langevin chains, on :math:`p(z, x)^{1 / T_k}`, that exchange their places.

    .. math::
        1 = T_1 < \dots < T_K, \qquad T_k = T_K^{(k - 1) / (K - 1)}, \qquad
        a = \min\Big(1, e^{(1 / T_k - 1 / T_{k+1}) (\log p(z_{k+1}) - \log p(z_k))}\Big)

    A transition is a Metropolis-adjusted Langevin step of each replica, of size :math:`s \sqrt{T_k}`, and an offer to
    exchange to every pair of neighbours. The draws are those of the chain at T = 1, and exact; a datum's replicas are
    its own. Costs K gradients a step; for posteriors whose modes are separated. See :class:`MALA` for the
    target density.

    References:
        | Replica Monte Carlo simulation of spin glasses (Swendsen & Wang, 1986)
        | https://doi.org/10.1103/PhysRevLett.57.2607
        | Markov chain Monte Carlo maximum likelihood (Geyer, 1991)

    Arguments:
        model: A host program, whose posterior is the target.
        replicas: K, at least 2.
        hottest: :math:`T_K > 1`; at about the depth in nats of the valleys between modes chains pass through.
        step_size: First step size s of the chain at T = 1, in units of the unconstrained latent.
        adapt_step_size: Whether each chain learns its step size in warm-up, by dual averaging.
        target_accept_prob: The acceptance probability, at T = 1, that adaptation aims at.
        clip: Bound on each coordinate of the score; exact for any bound.
        init_strategy: The host's, for example its ``init_to_sample``; by default its ``init_to_uniform``.

    Raises:
        OptionError: If an option is out of range, or a latent is discrete.

    Example:
        >>> import pyro, torch
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> def model():
        ...     return pyro.sample("z", pyro.distributions.Normal(torch.zeros(3), 1.0).to_event(1))
        >>> mcmc = pyro.infer.MCMC(mm.TemperedLangevin(model), num_samples=4, warmup_steps=4, disable_progbar=True)
        >>> mcmc.run()
        >>> mcmc.get_samples()["z"].shape
        torch.Size([4, 3])
    """

    chain_type = TemperedState

    def __init__(
        self,
        model: Any,
        *,
        replicas: int = 4,
        hottest: float = 20.0,
        step_size: float = 0.1,
        adapt_step_size: bool = True,
        target_accept_prob: float = 0.574,
        clip: float | None = None,
        init_strategy: Any = None,
    ):
        self.betas = [float(hottest) ** (-k / (replicas - 1)) for k in range(replicas)]
        super().__init__(
            model,
            step_size=step_size,
            adapt_step_size=adapt_step_size,
            target_accept_prob=target_accept_prob,
            clip=clip,
            init_strategy=init_strategy,
        )

    def noise(self, backend: Backend, rng: Any, state: KernelState) -> tuple[Array, ...]:
        first, second = backend.split(rng, 2)
        position, log_density = state.chains[:2]
        number = len(self.betas)
        # The chains' axis comes first, as it does in every kernel's noise.
        normal = backend.normal(first, (*position.shape[:-1], number, position.shape[-1]), position)
        return normal, backend.uniform(second, (*log_density.shape, 2 * number - 1), log_density)

    def place(self, log_density: LogDensity, position: Array) -> TemperedState:
        cold = init(log_density, position)
        xp = get_backend(position).xp
        hot = (xp.stack([x] * (len(self.betas) - 1)) for x in cold)
        return TemperedState(*cold, *hot)

    def transition(
        self, log_density: LogDensity, chains: TemperedState, noise: tuple[Array, ...], step_size: Array
    ) -> tuple[TemperedState, LangevinInfo]:
        backend = get_backend(chains.position)
        xp, number = backend.xp, len(self.betas)
        normal, uniform = xp.moveaxis(noise[0], -2, 0), xp.moveaxis(noise[1], -1, 0)
        beta = xp.reshape(backend.asarray(self.betas, like=chains.score), (number, *(1,) * chains.log_density.ndim))
        cold, hot = chains[:3], chains[3:]
        position, value, score = (xp.concat([c[None], h]) for c, h in zip(cold, hot, strict=True))
        tempered, info = mala_step(
            lambda z: beta * log_density(z),
            LangevinState(position, beta * value, beta[..., None] * score),
            normal,
            uniform[:number],
            step_size / xp.sqrt(beta),
            self.clip,
        )
        # As lists of replicas, each (position, log density, score) of the posterior.
        own = [
            (tempered.position[k], tempered.log_density[k] / b, tempered.score[k] / b) for k, b in enumerate(self.betas)
        ]
        for first in (0, 1):
            for k in range(first, number - 1, 2):
                pair = _exchange(own[k], own[k + 1], self.betas[k] - self.betas[k + 1], uniform[number + k])
                own = [*own[:k], *pair, *own[k + 2 :]]
        hot_parts = (xp.stack([replica[part] for replica in own[1:]]) for part in range(3))
        return TemperedState(*own[0], *hot_parts), LangevinInfo(*(x[0] for x in info))


def _exchange(cold: tuple, hot: tuple, gap: float, uniform: Array) -> list[tuple]:
    """Neighbours, exchanged where each datum's offer is taken."""
    xp = get_backend(uniform).xp
    log_ratio = gap * (hot[1] - cold[1])
    taken = uniform < xp.exp(xp.clip(xp.where(xp.isnan(log_ratio), -xp.inf, log_ratio), max=0.0))

    def choose(first: Array, second: Array) -> Array:
        return xp.where(taken[..., None] if first.ndim > taken.ndim else taken, second, first)

    return [tuple(map(choose, a, b)) for a, b in ((cold, hot), (hot, cold))]
