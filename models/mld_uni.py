"""Multi-modal Latent Diffusion with independent times."""

from mmppl.batch import Modality
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
from mmppl.models.common.coders import UNCONDITIONAL, Conditions
from mmppl.models.common.declare import system
from mmppl.models.common.latent_score import two_stages
from mmppl.models.common.score_options import ScoreOptions
from mmppl.priors import MultiTimeScoreMatching

__all__ = ["mld_uni"]

SHARED = ScoreOptions()


@system
def mld_uni(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    shared: ScoreOptions = SHARED,
    p_marginal: float = 0.1,
    conditions: Conditions = UNCONDITIONAL,
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
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        shared: The options of :class:`~mmppl.models.common.score_options.ScoreOptions`, each as an option of its own.
        p_marginal: Probability that some modalities are hidden; guidance and blocks not wanted need it.
        conditions: Covariates.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If an option is unknown or out of range.
        ModalityError: If a modality of ``coders`` is unknown.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import Modality, models
        >>> views = {"a": Modality((3,)), "b": Modality((2,))}
        >>> [stage.name for stage in models.mld_uni(views, ppl=mm, latent_dim=2, hidden=8, width=8).stages]
        ['autoencoders', 'prior']
    """
    learning = MultiTimeScoreMatching(p_conditional=0.0, p_marginal=p_marginal, independent=True)
    return two_stages(
        modalities, ppl, options=shared, conditions=conditions, score=shared.score(modalities, learning), seed=seed
    )
