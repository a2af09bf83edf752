"""Multi-modal Latent Diffusion with independent times."""

from types import ModuleType

from mmppl.batch import Modality
from mmppl.inference.program import Program
from mmppl.models.autoencoder import Autoencoder
from mmppl.models.latent_score import two_stages
from mmppl.models.parts import system
from mmppl.models.score_parts import score_net, solver_of
from mmppl.priors import Blocks, Conditioning, MultiTime, ScoreModel

__all__ = ["mld_uni"]


@system
def mld_uni(
    modalities: dict[str, Modality],
    *,
    ppl: ModuleType,
    latent_dim: int = 16,
    hidden: int = 256,
    autoencoder: str = "rae",
    noise: float = 0.1,
    penalty: float = 0.01,
    beta: float = 0.5,
    p_marginal: float = 0.1,
    guidance: float = 0.0,
    net: str = "residual",
    width: int = 256,
    depth: int = 4,
    solver: str = "dpm",
    steps: int = 50,
    share: float = 0.2,
    ema: float = 0.999,
    seed: int = 0,
) -> Program:
    r"""MLD-Uni: every modality is diffused to a time of its own.

    As :func:`mld`, but learned as in UniDiffuser: no modality is ever clean, and each has its own random time, so that
    a condition is a modality at time 0.

    References:
        | Multi-modal Latent Diffusion (Bounoua et al., 2024), section 4
        | https://arxiv.org/abs/2306.04445
        | One Transformer Fits All Distributions in Multi-Modal Diffusion at Scale (Bao et al., 2023)
        | https://arxiv.org/abs/2303.06555

    Arguments:
        modalities: What each modality is, by name.
        ppl: The face.
        latent_dim: Dimension of each modality's latent.
        hidden: Width of the encoders and decoders.
        autoencoder: The first stage: ``"ae"``, ``"rae"`` or ``"vae"``, see
            :class:`~mmppl.models.autoencoder.Autoencoder`.
        noise: Deviation of the latent noise of ``"rae"``.
        penalty: Factor on the squared latents of ``"rae"``.
        beta: Factor on the divergence of ``"vae"``.
        p_marginal: Probability that some modalities are hidden; guidance and blocks not wanted need it.
        guidance: Strength of guidance, 0 for none.
        net: The score's network: ``"residual"``, ``"tokens"`` (a transformer with a token for each modality) or
            ``"unet"`` (the published one).
        width: Its width.
        depth: Its number of blocks (levels of ``"unet"``).
        solver: ``"dpm"``, ``"flow"``, ``"heun"``, ``"euler"``, ``"ancestral"``, ``"corrector"``, ``"repaint"`` or
            ``"langevin"``.
        steps: Steps of the solver.
        share: The first stage's share of the epochs.
        ema: Decay of the averaged weights of the score.
        seed: Of the initial weights.

    Raises:
        OptionError: If an option is unknown or out of range.
    """
    blocks = Blocks.of(dict.fromkeys(modalities, latent_dim))
    learning = MultiTime(p_conditional=0.0, p_marginal=p_marginal, independent=True)
    conditioning = Conditioning(guidance=guidance)
    return two_stages(
        modalities,
        ppl,
        seed=seed,
        autoencoder=Autoencoder(autoencoder, noise, penalty, beta),
        hidden=hidden,
        score=ScoreModel(blocks, learning, solver_of(solver, steps), conditioning),
        net=score_net(net, blocks.sizes, width, depth),
        share=share,
        ema=ema,
    )
