"""Multi-modal Latent Diffusion."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from mmppl.batch import Modality
from mmppl.inference.program import Program
from mmppl.models.autoencoder import Autoencoder
from mmppl.models.latent_score import two_stages
from mmppl.models.parts import system
from mmppl.models.score_parts import score_net, solver_of
from mmppl.priors import Blocks, Conditioning, MultiTime, ScoreModel

__all__ = ["mld"]


@system
def mld(
    modalities: dict[str, Modality],
    *,
    ppl: ModuleType,
    latent_dim: int = 16,
    hidden: int = 256,
    autoencoder: str = "rae",
    noise: float = 0.1,
    penalty: float = 0.01,
    beta: float = 0.5,
    p_conditional: float = 0.5,
    p_marginal: float = 0.1,
    scheme: str = "uniform",
    predict: str = "velocity",
    guidance: float = 0.0,
    net: str = "residual",
    width: int = 256,
    depth: int = 4,
    solver: str = "dpm",
    steps: int = 50,
    share: float = 0.2,
    ema: float = 0.999,
    reduce: float | None = None,
    ratio: str = "free",
    finetune: float = 0.0,
    coders: Mapping[str, tuple[Any, Any]] | None = None,
    seed: int = 0,
) -> Program:
    r"""Multi-modal Latent Diffusion.

    First every modality has an autoencoder of its own, :math:`z_m = e_m(x_m)`. Then the encoders are frozen and the
    standardised latents of all modalities get a joint density by a score,

    .. math:: s(z_\tau, \tau) \approx \nabla \log p(z_{A,t} \mid z_C), \qquad
        \tau_m = t \text{ for } m \in A,\ 0 \text{ for } m \in C,\ -1 \text{ for absent } m

    learned for random subsets, so that any modalities are drawn given any others in one run of a solver. Data with
    missing modalities are learned from as they are. The defaults differ from the published ones where these are
    slower or less sure: the velocity is predicted, latents are regularised and standardised over all data, masks are
    drawn for each datum, and sampling takes 50 evaluations in place of 2410 (``solver="repaint", steps=250``).

    References:
        | Multi-modal Latent Diffusion (Bounoua et al., 2024)
        | https://arxiv.org/abs/2306.04445

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
        p_conditional: Probability that a datum is learned as a conditional (the code's d, 1 minus the paper's).
        p_marginal: Probability that some modalities are hidden; guidance and blocks not wanted need it.
        scheme: How times are drawn: ``"uniform"``, ``"likelihood"`` or ``"importance"``.
        predict: ``"velocity"``, or ``"noise"`` as published.
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
        reduce: Tolerance in nats of a reduction of dimension by score ratio matching before the second stage, see
            :func:`~mmppl.inference.find_subspaces`; None for none.
        ratio: What the score ratio is learned by: ``"free"``, ``"lowrank"``, ``"potential"``, or ``"linear"``, which
            takes no time and sees correlations alone, see :class:`~mmppl.inference.RatioLearning`.
        finetune: The share of the epochs, the last ones, in which the decoders learn to make a tuple from latents of
            which each, with probability a half, is drawn by the score given the others; 0 for none. Every step runs
            the solver.
        coders: Autoencoders of one's own, trained already and kept as they are, by modality (MLD*): an encoder from the
            modality to ``(*, latent_dim)`` and a decoder back to what the likelihood takes, modules of the host. Such a
            program has no run folder.
        seed: Of the initial weights.

    Raises:
        OptionError: If an option is unknown or out of range.
        ModalityError: If a modality of ``coders`` is unknown.
    """
    blocks = Blocks.of(dict.fromkeys(modalities, latent_dim))
    learning = MultiTime(p_conditional=p_conditional, p_marginal=p_marginal, scheme=scheme, predict=predict)
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
        reduce=reduce,
        ratio=ratio,
        finetune=finetune,
        coders=coders,
    )
