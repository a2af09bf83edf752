"""The EBM-prior model, base version: a mixture of experts with an energy on the shared latent."""

import dataclasses

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program, Stage
from mmppl.models.common.coders import UNCONDITIONAL, Coders, Conditions
from mmppl.models.common.declare import autoencoders, system, weights
from mmppl.models.common.whitening_params import ratio_learning, whitening_params, whitening_values
from mmppl.nets import energy as energy_spec
from mmppl.priors import Blocks

__all__ = ["ebm"]


@system
def ebm(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    latent_dim: int = 24,
    hidden: int = 256,
    beta: float = 3.0,
    particles: int = 1,
    strata: str = "one",
    tilt: bool = True,
    energy_hidden: int = 256,
    delta: float = 0.1,
    chains: int = 256,
    buffer: int = 4000,
    steps: int = 60,
    step_size: float = 0.2,
    schedule: str = "staged",
    refine: int = 0,
    refine_step_size: float = 0.1,
    encoder: str = "bound",
    reduce: float | None = None,
    ratio: str = "free",
    conditions: Conditions = UNCONDITIONAL,
    seed: int = 0,
) -> Program:
    r"""EBM prior on the shared latent.

    .. math:: z \sim p_\alpha(z) = \frac{1}{Z(\alpha)} e^{f_\alpha(z)} p_0(z), \quad x_m \sim p(x_m \mid z), \qquad
        q(z \mid x_S) = \frac{1}{|S|} \sum_{m \in S} q_m(z \mid x_m)

    with :math:`p_0` a Laplace density with a rounded centre and Laplace experts. By the schedule ``"staged"`` the
    backbone is trained first with :math:`f = 0`, then the energy on the frozen backbone: trained together from the
    first step, the encoder exploits the energy. ``"joint"`` warms the backbone up and then moves everything.

    References:
        | Learning Multimodal Latent Generative Models with Energy-Based Prior (Yuan et al., 2024)
        | https://arxiv.org/abs/2409.19862
        | Learning Multimodal Latent Space with EBM Prior and MCMC Inference (Yuan, Lipizzi & Han, 2024)
        | https://arxiv.org/abs/2408.10467

    Arguments:
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        latent_dim: Dimension D of z.
        hidden: Width of the encoders and decoders.
        beta: Factor on the ratio of prior and posterior in the backbone's stage. Above 1 the latent keeps what
            modalities share rather than details of one; the smaller it is the sharper posteriors are, and the hole
            this leaves in the base prior is for the energy to fill.
        particles: Draws K of the guide for each datum.
        strata: ``"all"`` experts in each step, or ``"one"`` drawn for each datum.
        tilt: False leaves the energy out: the same program with f = 0.
        energy_hidden: Width of the energy's two hidden layers.
        delta: Half width of the base's rounded centre.
        chains: Langevin chains for each gradient.
        buffer: Chains kept between gradients; 0 for short-run chains.
        steps: Langevin steps for each gradient.
        step_size: Step size s of the Langevin chains.
        schedule: ``"staged"`` or ``"joint"``.
        refine: Langevin steps that move the guide's draws towards the posterior before decoders and energy learn from
            them (Yuan, Lipizzi & Han, 2024); 0 for none. Particles are averaged then.
        refine_step_size: Their step size.
        encoder: How the guide learns beside them: ``"bound"`` or ``"amortised"``, see
            :class:`~mmppl.inference.objectives.Refined`.
        reduce: Tolerance in nats, as estimated, of a dimension reduction, see
            :func:`~mmppl.inference.find_subspaces`: the second stage whitens the posterior's draws, and tilts a
            standard normal there along the directions kept alone. None for none.
        ratio: What the score ratio is learned by: ``"free"``, ``"lowrank"`` or ``"potential"``, see
            :class:`~mmppl.inference.RatioLearning`. (A linear one sees nothing in a single latent once it is white.)
        conditions: Covariates.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If the schedule is unknown, ``encoder`` is given without ``refine``, or a reduction is asked of
            another than ``"staged"`` with a tilt.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import Modality, models
        >>> views = {"a": Modality((3,)), "b": Modality((2,))}
        >>> [stage.name for stage in models.ebm(views, ppl=mm, latent_dim=2, hidden=8).stages]
        ['backbone', 'energy']
    """
    if schedule not in ("staged", "joint"):
        raise OptionError(f"Expected schedule 'staged' or 'joint'; got {schedule!r}.")
    learning = ratio_learning(ratio, seed)
    if encoder != "bound" and not refine:
        raise OptionError(f"Expected refine >= 1 with encoder={encoder!r}, which learns from refined draws; got 0.")
    if reduce is not None and (schedule != "staged" or not tilt):
        raise OptionError("Expected schedule 'staged' and tilt=True with reduce, which needs frozen encoders.")
    coders = Coders(ppl, modalities, conditions)
    specs = autoencoders(coders, latent_dim, hidden, "laplace")
    specs["energy"] = energy_spec(latent_dim, (energy_hidden, energy_hidden))
    coders.build(specs, seed)
    sample = ppl.host.sample
    langevin = ppl.LangevinChains(number=chains, steps=steps, step_size=step_size, buffer=buffer)

    def prior(tilted):
        if tilted and reduce is not None:
            whitening = whitening_params(ppl, Blocks.of({"z": latent_dim}))
            base = ppl.host.dist.Normal(ppl.host.zeros(latent_dim), 1.0).to_event(1)
            energy = coders.net("energy")
            return ppl.Reduced(ppl.EnergyTilted(base, energy, langevin, kept=whitening.kept), whitening)
        base = ppl.SmoothedLaplace(ppl.host.zeros(latent_dim), 1.0, delta).to_event(1)
        return ppl.EnergyTilted(base, coders.net("energy") if tilted else None, langevin)

    def declare(tilted):
        def model(batch):
            p = prior(tilted)
            with ppl.plate(batch):
                z = sample("z", p)
                for name in batch.modalities:
                    coders.observe(name, z, batch)

        return model

    def guide(batch):
        with ppl.plate(batch):
            experts = coders.encode_all(batch)
            sample("z", ppl.MixtureOfExperts(experts, batch.present, family="laplace"))

    def draws(batch):
        experts = coders.encode_all(batch)
        return {m: sample(f"{m}.draw", ppl.host.dist.Laplace(*expert)) for m, expert in experts.items()}

    def initialize(latents):
        z = np.concatenate([np.asarray(latents[m])[np.asarray(latents.present[m])] for m in latents.modalities])
        return whitening_values(ppl, Blocks.of({"z": latent_dim}), Batch({"z": z}), reduce or 0.0, learning)

    objective = ppl.MMVAE(particles, strata=strata, beta=beta, weights=weights(modalities), average=refine > 0)
    if refine:
        objective = ppl.Refined(objective, steps=refine, step_size=refine_step_size, encoder=encoder)
    if not tilt:
        return Program(declare(False), guide, objective, ppl, modalities)
    backbone = Stage("backbone", share=0.6, model=declare(False))
    if schedule == "staged":
        # The energy sees posterior draws alone: nothing is scored, so no decoder runs, unless draws are refined.
        positives = objective if refine else ppl.MMVAE(1, strata="one", score=())
        second = Stage("energy", share=0.4, train=("energy.",), objective=positives, momentum=0.5)
        if reduce is not None:
            second = dataclasses.replace(second, encode=draws, initialize=initialize, cache=False)
    else:
        second = Stage("joint", share=0.4, learning_rate=0.3, momentum=0.5)
    return Program(declare(True), guide, objective, ppl, modalities, stages=(backbone, second))
