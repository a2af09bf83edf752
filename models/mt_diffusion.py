"""MT-Diffusion: one diffusion for all modalities."""

from mmppl.batch import Modality
from mmppl.errors import ModalityError, OptionError
from mmppl.inference.host import Face
from mmppl.inference.training.program import Program
from mmppl.models.common.declare import system
from mmppl.models.common.latent_score import two_stages
from mmppl.models.common.score_options import ScoreOptions
from mmppl.models.common.score_registry import solver_of
from mmppl.nets import ResidualScore
from mmppl.priors import Blocks, MultiTaskLoss, MultiTaskModel, SharedSpace

__all__ = ["mt_diffusion"]

SHARED = ScoreOptions(solver="ancestral", steps=251)


@system
def mt_diffusion(
    modalities: dict[str, Modality],
    *,
    ppl: Face,
    shared: ScoreOptions = SHARED,
    primary: str | None = None,
    strength: float = 1.0,
    head_weight: float = 0.1,
    p_conditional: float = 0.5,
    p_marginal: float = 0.1,
    predict: str = "velocity",
    seed: int = 0,
) -> Program:
    r"""MT-Diffusion on the latents of autoencoders.

    First every modality has an autoencoder of its own, :math:`z_m = e_m(x_m)`. Then the encoders are frozen, and one
    network diffuses the latent of the primary modality while the others join it on the way,

    .. math:: z_t = a(t) z_0 + \sum_i \tilde a(t) E_i z_i + \sigma(t) \epsilon, \qquad
        \min \lVert \epsilon - \hat\epsilon(z_t, t) \rVert^2 - \lambda \sum_i \log p(z_i \mid z_t)

    and reads them off it by heads. Any modalities are generated given any others: known ones are conditions of the
    network, or guide it by their heads, and others are drawn from their heads at every step. Heads are Normals, so the
    primary modality should be the one that says most about the rest. Experimental.

    References:
        | Diffusion Models For Multi-Modal Generative Modeling (Chen et al., 2024)
        | https://openreview.net/forum?id=cbv0sBIZh9

    Arguments:
        modalities: What each modality is, by name; two or more.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        shared: The options of :class:`~mmppl.models.common.score_options.ScoreOptions`, each as an option of its own;
            of the networks ``"residual"``, of the solvers ``"ancestral"``, ``"flow"`` and ``"heun"``, and no
            ``reduce``.
        primary: Name of the modality that is diffused; None for the first.
        strength: How strongly the others join it, see :class:`~mmppl.priors.SharedSpace`.
        head_weight: :math:`\lambda`.
        p_conditional: Probability that some modalities are known in training, so that the network learns conditionals
            (the published variant X). With 0 it never is (U), and known ones pull by the gradients of their heads:
            exact for one known coordinate, and with several as the number of particles grows, at their cost and in
            place of the solver, see :class:`~mmppl.priors.MultiTaskModel`.
        p_marginal: Probability that some modalities are hidden; blocks not wanted, and data that lack some, need it.
        predict: ``"velocity"``, or ``"noise"``, as published.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If an option is unknown or out of range.
        ModalityError: If there is one modality alone, no such primary one, or a modality of ``coders`` is unknown.
    """
    if len(modalities) < 2 or primary not in (None, *modalities):
        raise ModalityError(
            f"Expected two modalities or more, and a primary one among them; got {list(modalities)} and {primary!r}."
        )
    if shared.net != "residual" or shared.reduce is not None:
        raise OptionError(
            f"Expected net='residual' and reduce=None, as the network has heads; got {shared.net!r} and "
            f"{shared.reduce}."
        )
    blocks = Blocks.of(dict.fromkeys(modalities, shared.latent_dim))
    learning = MultiTaskLoss(head_weight, p_conditional, p_marginal, predict=predict)
    space = SharedSpace(blocks, primary, strength)
    score = MultiTaskModel(space, learning, shared.guidance, solver_of(shared.solver, shared.steps))
    net = ResidualScore(blocks.sizes, shared.width, shared.depth, outputs=2 * blocks.dim)
    return two_stages(modalities, ppl, options=shared, score=score, net=net, seed=seed)
