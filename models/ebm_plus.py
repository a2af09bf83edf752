"""The EBM-prior model, generalised version: an energy on the shared latent, and a private latent of each modality."""

import dataclasses
from typing import Any

from mmppl.batch import Modality
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program, Stage
from mmppl.models.common.coders import UNCONDITIONAL, Conditions
from mmppl.models.common.declare import system, weights
from mmppl.models.common.shared_private import SharedPrivate
from mmppl.nets import energy as energy_spec

__all__ = ["ebm_plus"]


@system
def ebm_plus(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    latent_dim: int = 24,
    private_dim: int = 2,
    private_components: int | None = None,
    hidden: int = 256,
    beta: float = 2.0,
    particles: int = 1,
    gradient: str = "standard",
    strata: str = "one",
    hidden_private: str = "prior",
    cross_private: str = "posterior",
    scales: str = "free",
    tilt: bool = True,
    energy_hidden: int = 256,
    delta: float = 0.1,
    chains: int = 256,
    buffer: int = 4000,
    steps: int = 60,
    step_size: float = 0.2,
    schedule: str = "staged",
    conditions: Conditions = UNCONDITIONAL,
    seed: int = 0,
) -> Program:
    r"""EBM prior on the shared latent, mixtures of Gaussians or Laplace densities on private ones.

    .. math:: z \sim \frac{1}{Z(\alpha)} e^{f_\alpha(z)} p_0(z), \quad w_m \sim p(w_m), \quad
        x_m \sim p(x_m \mid z, w_m), \\
        q(z \mid x_S) = \frac{1}{|S|} \sum_{m \in S} q(z \mid x_m), \quad q(w_m \mid x_m)

    It is :func:`mmvae_plus` with a tilted prior, trained in the stages of :func:`ebm`. In the defaults w is small and
    drawn from its posterior, which makes draws coherent and sharp where the likelihood's scale is learned. The backbone
    has :math:`p(w_m) = \mathrm{Laplace}(0, 1)`, from which the aggregate of its posteriors differs; once it is trained
    the prior is the mixture of K Gaussians that their draws are likeliest under. As published it is of
    ``cross_private="auxiliary"``, with ``private_components=1`` and a ``beta`` below 1.

    References:
        | Learning Multimodal Latent Generative Models with Energy-Based Prior (Yuan et al., 2024)
        | https://arxiv.org/abs/2409.19862
        | From Variational to Deterministic Autoencoders (Ghosh et al., 2020), section 4: ex-post density estimation
        | https://arxiv.org/abs/1903.12436

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        latent_dim: Dimension of z.
        private_dim: Dimension of each w. Two tell the colours of a picture; four take over what modalities share.
        private_components: Number K of Gaussians of each private prior; 1 for :math:`\mathrm{Laplace}(0, 1)`. None for
            16, or 1 with ``cross_private="auxiliary"``, ``schedule="joint"`` or ``tilt=False``.
        hidden: Width of the encoders and decoders.
        beta: Factor on the ratio of prior and posterior in the backbone's stage.
        particles: Draws K of the guide for each datum.
        gradient: ``"standard"``, ``"stl"`` or ``"dreg"``.
        strata: ``"all"`` experts in each step, or ``"one"`` drawn for each datum.
        hidden_private: Where w of a hidden modality comes from once trained: ``"prior"`` or ``"auxiliary"``.
        cross_private: Where w of a modality comes from in training that is decoded from another one's z:
            ``"posterior"``, :math:`q(w_n \mid x_n)`, so that the loss is the ELBO of the guide above and what only w
            can tell is no noise of the pixels; or ``"auxiliary"``, a prior with learned scales, as published.
        scales: Of posteriors: ``"free"``, or ``"normalised"``, with the mean 1 over their coordinates.
        tilt: False leaves the energy out: the same program with f = 0.
        energy_hidden: Width of the energy's two hidden layers.
        delta: Half width of the base's rounded centre.
        chains: Langevin chains for each gradient.
        buffer: Chains kept between gradients; 0 for short-run chains.
        steps: Langevin steps for each gradient.
        step_size: Step size s of the Langevin chains.
        schedule: ``"staged"`` or ``"joint"``.
        conditions: Covariates.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If an option is unknown.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import Modality, models
        >>> views = {"a": Modality((3,)), "b": Modality((2,))}
        >>> [stage.name for stage in models.ebm_plus(views, ppl=mm, latent_dim=2, hidden=8).stages]
        ['backbone', 'energy']
    """
    if schedule not in ("staged", "joint"):
        raise OptionError(f"Expected schedule 'staged' or 'joint'; got {schedule!r}.")
    if cross_private not in ("auxiliary", "posterior"):
        raise OptionError(f"Expected cross_private 'auxiliary' or 'posterior'; got {cross_private!r}.")
    own = cross_private == "posterior"
    if own and (strata, gradient) != ("one", "standard"):
        raise OptionError(
            "Expected strata 'one' and gradient 'standard' with cross_private='posterior', whose guide draws from one "
            f"expert for each datum; got {strata!r} and {gradient!r}. Others go with cross_private='auxiliary'."
        )
    staged = tilt and schedule == "staged"
    if private_components is None:
        private_components = 16 if own and staged else 1
    if private_components > 1 and not staged:
        raise OptionError(
            "Expected schedule 'staged' and tilt=True with private_components > 1, which needs frozen encoders; got "
            f"{schedule!r} and {tilt}. Take private_components=1."
        )
    sizes = {"latent_dim": latent_dim, "private_dim": private_dim, "hidden": hidden}
    sizes["private_components"] = private_components
    more = {"energy": energy_spec(latent_dim, (energy_hidden, energy_hidden))}
    parts = SharedPrivate(modalities, ppl, seed=seed, scales=scales, conditions=conditions, more=more, **sizes)
    langevin = ppl.LangevinChains(number=chains, steps=steps, step_size=step_size, buffer=buffer)

    def prior(tilted):
        base = ppl.SmoothedLaplace(ppl.host.zeros(latent_dim), 1.0, delta).to_event(1)
        return ppl.EnergyTilted(base, parts.net("energy") if tilted else None, langevin)

    learned = private_components > 1
    flat, tilted = parts.model(lambda: prior(False)), parts.model(lambda: prior(True), learned)
    training, guide = parts.guide("prior" if own else "auxiliary"), parts.guide(hidden_private, learned)
    options: dict[str, Any] = {"beta": beta, "gradient": gradient, "weights": weights(modalities)}
    objective = ppl.ELBO(particles, **options) if own else ppl.MMVAEPlus(particles, strata=strata, **options)
    if not tilt:
        return Program(flat, guide, objective, ppl, modalities, stages=(Stage(guide=training),))
    backbone = Stage("backbone", share=0.6, model=flat, guide=training)
    if schedule == "staged":
        # The energy sees posterior draws alone: nothing is scored, so no decoder runs.
        positives = ppl.MMVAEPlus(1, strata="one", score=())
        second = Stage("energy", share=0.4, train=("energy.",), objective=positives, guide=training, momentum=0.5)
        if learned:
            draws, find = parts.private_draws, parts.private_values
            second = dataclasses.replace(second, encode=draws, initialize=find, cache=False)
    else:
        second = Stage("joint", share=0.4, guide=training, learning_rate=0.3, momentum=0.5)
    return Program(tilted, guide, objective, ppl, modalities, stages=(backbone, second))
