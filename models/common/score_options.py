"""Options of every system with a score of all latents."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmppl.errors import OptionError
from mmppl.models.common.score_registry import solver_of
from mmppl.priors import Blocks, Conditioning, MultiTimeScoreMatching, PairwiseGuidance, ScoreModel, TwistedSMC

__all__ = ["ScoreOptions"]


@dataclass(frozen=True)
class ScoreOptions:
    """Options of every system with a score of all latents; each system takes them as options of its own.

    Arguments:
        latent_dim: Dimension of each modality's latent.
        hidden: Width of the encoders and decoders.
        autoencoder: The first stage: ``"ae"``, ``"rae"`` or ``"vae"``, see
            :class:`~mmppl.models.common.autoencoder.Autoencoder`.
        noise: Deviation of the latent noise of ``"rae"``.
        penalty: Factor on the squared latents of ``"rae"``.
        beta: Factor on the divergence of ``"vae"``.
        guidance: Strength of guidance, 0 for none. Where conditions are clean, away from the marginal's score, see
            :class:`~mmppl.priors.Conditioning`; where they are replaced, by energies of pairs that are trained in a
            third stage, see :class:`~mmppl.priors.PairwiseGuidance`.
        net: The score's network: ``"residual"``, ``"tokens"`` (a transformer with a token for each modality) or
            ``"unet"`` (the published one).
        width: Its width.
        depth: Its number of blocks (levels of ``"unet"``).
        solver: ``"dpm"``, ``"flow"``, ``"heun"``, ``"euler"``, ``"ancestral"``, ``"corrector"``, ``"repaint"`` or
            ``"langevin"``.
        steps: Evaluations of the network for each draw, or as many of them as the solver can do.
        share: The first stage's share of the epochs.
        ema: Decay of the averaged weights of the score.
        reduce: Tolerance in nats, as estimated, of a reduction of dimension by score ratio matching before the second
            stage, see :func:`~mmppl.inference.find_subspaces`; None for none.
        ratio: What the score ratio is learned by: ``"free"``, ``"lowrank"``, ``"potential"``, or ``"linear"``, which
            takes no time and sees correlations alone, see :class:`~mmppl.inference.RatioLearning`.
        finetune: The share of the epochs, the last ones, in which the decoders learn to make a tuple from latents of
            which each, with probability a half, is drawn by the score given the others; 0 for none. Every step runs
            the solver.
        coders: User-defined autoencoders, trained already and kept as they are, by modality (MLD*): an encoder from the
            modality to ``(*, latent_dim)`` and a decoder back to what the likelihood takes, modules of the host. Such a
            program has no run folder.
    """

    latent_dim: int = 16
    hidden: int = 256
    autoencoder: str = "rae"
    noise: float = 0.1
    penalty: float = 0.01
    beta: float = 0.5
    guidance: float = 0.0
    net: str = "residual"
    width: int = 256
    depth: int = 4
    solver: str = "dpm"
    steps: int = 50
    share: float = 0.2
    ema: float = 0.999
    reduce: float | None = None
    ratio: str = "free"
    finetune: float = 0.0
    coders: Mapping[str, tuple[Any, Any]] | None = None

    def score(
        self,
        modalities: Mapping[str, Any],
        learning: MultiTimeScoreMatching,
        replacement: str | None = None,
        particles: int | None = None,
    ) -> ScoreModel:
        """Model of the score: its loss, solver and conditioning.

        Arguments:
            modalities: The modalities, a block of the latent for each.
            learning: How it is learned.
            replacement: How conditions are replaced, see :class:`~mmppl.priors.Conditioning`; None where they are
                clean.
            particles: The number of particles in place of replacement; None for replacement.

        Raises:
            OptionError: If an option is unknown or out of range.
        """
        if particles == 1:
            raise OptionError("Expected particles >= 2, or None for replacement; got 1.")
        blocks = Blocks.of(dict.fromkeys(modalities, self.latent_dim))
        pairwise = None
        if replacement is None:
            conditioning = Conditioning(guidance=self.guidance)
        else:
            conditioning = Conditioning(replacement)
            pairwise = PairwiseGuidance(blocks, self.guidance, learning.sde) if self.guidance else None
        return ScoreModel(
            blocks,
            learning,
            solver_of(self.solver, self.steps),
            conditioning,
            pairwise=pairwise,
            particles=None if particles is None else TwistedSMC(particles),
        )
