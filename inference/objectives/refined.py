"""MCMC inference: the model learns from the guide's draws after some steps towards the posterior."""

from typing import Any

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.checks import ANYTHING, above, at_least, checked, one_of
from mmppl.errors import ObjectiveError, OptionError
from mmppl.inference.objectives.algebra import Ingredients, bound_and_record, gradient_of, shares
from mmppl.inference.objectives.base import Objective, factor
from mmppl.inference.objectives.evaluation import Evaluation
from mmppl.inference.objectives.mixtures import mixed
from mmppl.inference.objectives.terms import Draws, Terms
from mmppl.mcmc import langevin
from mmppl.nets.bound import evaluated_anew
from mmppl.priors.energy.chains import LangevinChains

Array = Any

__all__ = ["Refined"]

ENCODERS = ("bound", "amortised")


@checked(objective=ANYTHING, steps=at_least(1), step_size=above(0), clip=above(0), encoder=one_of(ENCODERS))
class Refined(Objective):
    r"""Short-run posterior sampling around another objective's terms.

    .. math:: z_0 \sim q(\cdot \mid x_E), \qquad
        z_{k+1} = z_k + \tfrac{s^2}{2} \nabla_z \big[ \log p(x_T \mid z_k) + \beta \log p(z_k) \big] + s\,\epsilon_k

    The model and its prior maximise :math:`\log p(x_T \mid z_K) + \beta \log p(z_K)` at the last position, which is
    held fixed: as K grows their gradient is that of the log evidence, whatever the guide. The guide follows by one of
    two rules:

    * ``"bound"``: the bound of the objective within, at :math:`z_0`, with the model held fixed;
    * ``"amortised"``: it maximises :math:`\log q(z_K \mid x_E)`, so that it learns what the steps do.

    The loss that is reported is :math:`-\log p(x_T \mid z_K) - \beta \log p(z_K)`.

    References:
        | Learning Multimodal Latent Space with EBM Prior and MCMC Inference (Yuan, Lipizzi & Han, 2024)
        | https://arxiv.org/abs/2408.10467
        | Learning Latent Space Energy-Based Prior Model (Pang et al., 2020), https://arxiv.org/abs/2006.08205

    Arguments:
        objective: Whose terms say what is encoded and scored: a bound with averaged particles and the standard
            gradient, towards the prior.
        steps: Number K of steps.
        step_size: s, in units of the latent.
        adjusted: Whether steps are Metropolis-adjusted.
        clip: Bound on each coordinate of the score; None for none.
        encoder: ``"bound"`` or ``"amortised"``.

    Raises:
        OptionError: If an option is unknown or out of range.
        ObjectiveError: If the objective within is none of those, or the guide draws discrete latents.

    Example:
        >>> from mmppl.inference.objectives import MMVAE
        >>> Refined(MMVAE(), steps=10).particles
        1
    """

    def __init__(
        self,
        objective: Objective,
        *,
        steps: int = 20,
        step_size: float = 0.1,
        adjusted: bool = False,
        clip: float | None = None,
        encoder: str = "bound",
    ):
        if not isinstance(objective, Objective):
            raise OptionError(f"Expected an objective to refine; got {type(objective).__name__}.")
        importance = objective.particles > 1 and not objective.average
        if objective.gradient != "standard" or importance or objective.auxiliary or objective.free_bits:
            raise ObjectiveError(
                f"Refined needs a bound with averaged particles, the standard gradient and no free bits, of latents "
                f"that all count; got {type(objective).__name__}. Try MMVAE() or ELBO()."
            )
        self.objective, self.encoder = objective, encoder
        self.chains = LangevinChains(steps=steps, step_size=step_size, adjusted=adjusted, clip=clip)
        super().__init__(
            objective.particles,
            beta=objective.beta,
            density=objective.density,
            average=True,
            weights=objective.weights,
            score=objective.score,
        )
        self.least, self.shared = objective.least, objective.shared

    def terms(self, backend: Backend, batch: Batch, rng: Any, like: Array) -> Terms:
        terms = self.objective.terms(backend, batch, rng, like)
        if terms.reference is not None or terms.joint:
            name = type(self.objective).__name__
            raise ObjectiveError(f"Refined needs separate terms whose reference is the prior; got those of {name}.")
        return terms

    def evaluate(self, run: Evaluation, batch: Batch, rng: Any, step: Any = None) -> tuple[Array, dict[str, Array]]:
        """The loss and a record of its terms; see :class:`Objective`."""
        self.check(batch.modalities)
        backend, beta = run.backend, self._beta(run, step)
        first, second = (None, None) if rng is None else backend.split(rng, 2)
        terms = self.terms(backend, batch, first, run.like)
        draws = run.draw(terms, self.particles, average=True)
        self.admit(draws, batch.modalities)
        start = draws.pack(backend.xp)

        def ingredients(run: Evaluation, at: Draws) -> Ingredients:
            """Ingredients whose ``log_weights(beta)`` the steps climb and the model learns by."""
            scores = run.score(at, run.names)
            if scores.beside:
                raise ObjectiveError(
                    "Refined moves the latents of each datum by themselves; got sites outside the plate of the data. "
                    "Use the objective within alone, or put them into mm.plate(batch)."
                )
            log_prior = sum(scores.log_prior.values())
            masks = {name: factor(backend.xp, terms, batch, name, log_prior) for name in scores.log_lik}
            return Ingredients(scores.log_lik, masks, log_prior, log_prior, self.weights, scale=scores.scale)

        if draws.auxiliary:
            raise ObjectiveError(f"Refined cannot move the guide's auxiliary sites {list(draws.auxiliary)}.")
        with evaluated_anew():
            frozen = run.frozen()

            def log_density(position: Array) -> Array:
                return ingredients(frozen, draws.unpack(backend.xp, position)).log_weights(beta)

            begin = langevin.init(log_density, backend.stop_gradient(start))
            end = self.chains.run(backend, second, log_density, begin.position)[0]
        moved = draws.unpack(backend.xp, backend.stop_gradient(end))
        parts = ingredients(run, moved)
        loss, record = bound_and_record(backend, self, terms, parts, beta)
        xp, log_q = backend.xp, self.log_q(run, terms, moved)
        if self.encoder == "amortised":
            guided = log_q
        else:
            guided = xp.sum(backend.stop_gradient(begin.score) * start, axis=-1) - beta * self.log_q(run, terms, draws)
        live = terms.weight > 0
        guided = xp.where(live, terms.weight * xp.mean(guided, axis=0), xp.zeros_like(terms.weight))
        kl = record["kl"] + xp.mean(
            xp.sum(shares(terms.weight) * backend.stop_gradient(xp.mean(log_q, axis=0)), axis=0)
        )
        return loss - xp.sum(parts.scale * gradient_of(backend, guided)), {**record, "kl": kl}

    def log_q(self, run: Evaluation, terms: Terms, draws: Draws) -> Array:
        """The guide's log density of draws, ``(K, T, N)``: of each term's own, or of the mixture over terms."""
        if self.density == "mixture":
            subsets, weight = terms.mixture or (terms.encode, terms.weight)
            return mixed(run, draws, run.density(draws, subsets, cross=True), weight)
        return sum(run.density(draws, terms.encode).values())
