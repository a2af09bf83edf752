"""MT-Diffusion: one diffusion for all modalities."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmppl.batch import Modality
from mmppl.errors import ModalityError, OptionError
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
from mmppl.models.common.declare import system
from mmppl.models.common.latent_score import two_stages
from mmppl.models.common.own_space import OwnSpace
from mmppl.models.common.score_options import ScoreOptions
from mmppl.models.common.score_registry import solver_of
from mmppl.nets import ImageTransformer, ImageUNet, ResidualScore
from mmppl.nets.spec import Spec
from mmppl.priors import Blocks, MultiTaskLoss, MultiTaskModel, SharedSpace
from mmppl.priors.score.probability_flow import ProbabilityFlow

__all__ = ["mt_diffusion"]

SHARED = ScoreOptions(net="auto", solver="ancestral", steps=251)
NETS = ("auto", "residual", "unet", "dit")
LEVELS = 3
# A divergence is exact up to the first number of coordinates, and by so many probes beyond it.
EXACT, PROBES = 64, 8


@system
def mt_diffusion(
    modalities: dict[str, Modality],
    *,
    ppl: PPL,
    shared: ScoreOptions = SHARED,
    primary: str | Sequence[str] | None = None,
    space: str = "latent",
    strength: float = 1.0,
    encoders: Mapping[str, Any] | None = None,
    taps: Mapping[str, str] | None = None,
    head_weight: float | Mapping[str, float] = 0.1,
    p_conditional: float = 0.5,
    p_marginal: float = 0.1,
    p_single: float = 0.0,
    alone: float = 0.0,
    predict: str = "velocity",
    time_sampling: str | None = None,
    seed: int = 0,
) -> Program:
    r"""MT-Diffusion on the latents of autoencoders, or in the space of the data.

    With ``space="latent"`` every modality first has an autoencoder of its own, :math:`z_m = e_m(x_m)`, whose encoders
    are then frozen; with ``"data"`` a code is the datum itself: pixels, numbers, counts, one-hot vectors. One network
    diffuses the code of the primary modality, or those of several side by side, while the others join it on the way,

    .. math:: z_t = a(t) z_0 + \sum_i \tilde a(t) E_i z_i + \sigma(t) \epsilon, \qquad
        \min \tfrac{1}{D} \lVert \epsilon - \hat\epsilon(z_t, t) \rVert^2
        - \lambda \sum_i \tfrac{1}{n_i} \log p(z_i \mid z_t)

    and reads them off it by heads. Any modalities are generated given any others: known ones are conditions of the
    network, or guide it by their heads, and others are drawn from their heads at every step; labels that are not known
    come first where the network is conditional. Heads of latents and of
    numbers are Normals, of classes and tokens categorical, of what is scored as Bernoulli or as counts Bernoulli and
    Poisson; coordinates are independent given the primary modality, which should be the one that says most about the
    rest. Experimental.

    References:
        | Diffusion Models For Multi-Modal Generative Modeling (Chen et al., 2024)
        | https://openreview.net/forum?id=cbv0sBIZh9

    Arguments:
        modalities: What each modality is, by name; two or more.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        shared: The options of :class:`~mmppl.models.common.score_options.ScoreOptions`, each as an option of its own;
            of the solvers ``"ancestral"``, ``"flow"`` and ``"heun"``, and no ``reduce``. Networks are ``"residual"``
            and, where an image is diffused in its own space, ``"unet"``, whose first level has ``width / 8`` channels,
            and ``"dit"``, a transformer of patches of width ``width / 2`` and of this depth; ``"auto"`` is the U-Net
            where there is such an image.
        primary: Name of the modality that is diffused, or names of several, with commas on the command line, which are
            diffused as one: each in its own units, of images of one height and width as channels of one map, and of
            those some are known, or hidden, in training as the others are. None for the first, or the one that
            ``space`` names. Ids are diffused as one-hot vectors with noise of 0.15.
        space: ``"latent"``; ``"data"`` for all modalities in their own spaces; or the name of the one modality that is
            diffused in its own space, while the others have autoencoders.
        strength: How strongly the others join it, see :class:`~mmppl.priors.SharedSpace`.
        encoders: User-defined maps into the primary modality's space, by name, see
            :class:`~mmppl.priors.SharedSpace`: matrices, functions, or ``"network"``.
        taps: Activations of a ``"unet"`` or ``"dit"`` that heads read, by name of modality: ``"middle"`` or
            ``"output"``, see :class:`~mmppl.nets.ImageUNet` and :class:`~mmppl.nets.ImageTransformer`. Images of the
            primary one's height and width are read off the output.
        head_weight: :math:`\lambda` of the mean over the :math:`n_i` parts of a modality (one of a label), beside the
            mean over the D coordinates of the primary one; one for all or by name of modality.
        p_conditional: Probability that some modalities are known in training, so that the network learns conditionals
            (the published variant X). With 0 it never is (U), and known ones guide by the gradients of their heads:
            exact for one known coordinate, and with several as the number of particles grows, at their cost and in
            place of the solver, see :class:`~mmppl.priors.MultiTaskModel`.
        p_marginal: Probability that some modalities are hidden; blocks not wanted, and data that lack some, need it.
        p_single: Probability that the primary modality is learned alone, as by an ordinary diffusion, beside the rest.
        alone: Share of the score's epochs, its last ones, in which the primary modality is learned alone, with or
            without the others as conditions, and nothing is read off it.
        predict: ``"velocity"``, or ``"noise"``, as published.
        time_sampling: ``"uniform"`` times in training, as published, or ``"cosine"``, see
            :func:`~mmppl.sde.draw_times`. None for ``"cosine"`` where the velocity of an image in its own space is
            predicted, else ``"uniform"``.
        seed: Random seed of the initial weights.

    Raises:
        OptionError: If an option is unknown or out of range, an encoder's output is not of the primary modality's
            shape, a tap is unknown or of an image that is read off the output.
        ModalityError: If there is one modality alone, no such primary one, or one that cannot be diffused in its own
            space, or a modality of ``coders``, ``taps``, ``encoders`` or ``head_weight`` is unknown, or, of the last
            three, diffused.
    """
    if primary is None:
        primary = space if space in modalities else next(iter(modalities))
    if isinstance(primary, str):
        primary = (primary,) if primary in modalities else primary.split(",")
    known = set(primary) & set(modalities)
    if len(modalities) < 2 or not primary or len(known) < len(primary):
        raise ModalityError(
            f"Expected two modalities or more, and a primary one among them; got {list(modalities)} and "
            f"{', '.join(map(repr, primary)) or 'none'}."
        )
    primary = tuple(primary)
    if space not in ("latent", "data", *primary[: len(primary) == 1]):
        raise OptionError(
            f"Expected space 'latent', 'data' or the one primary modality, {primary[0]!r}; got {space!r}."
        )
    if shared.net not in NETS or shared.reduce is not None:
        raise OptionError(
            f"Expected net among {NETS} and reduce=None, as the network has heads; got {shared.net!r} and "
            f"{shared.reduce}."
        )
    plain = {"latent": (), "data": tuple(modalities)}.get(space, primary)
    owns = {name: OwnSpace(name, modalities[name], name in primary) for name in plain}
    for own in owns.values():
        own.check_whole()
    if shared.coders and any(name in owns for name in shared.coders):
        raise OptionError(f"Expected coders of modalities that have autoencoders; got them for {list(shared.coders)}.")
    read = [name for name in modalities if name not in primary]
    for what, named in (("taps", taps), ("head_weight", head_weight)):
        unknown = [n for n in named if n not in read] if isinstance(named, Mapping) else []
        if unknown:
            raise ModalityError(f"Expected {what} for modalities that heads read, {read}; got {unknown}.")
    blocks = Blocks.of({name: owns[name].size if name in owns else shared.latent_dim for name in modalities})
    pictures = any(name in owns and modalities[name].kind == "image" for name in primary)
    if time_sampling is None:
        time_sampling = "cosine" if pictures and predict == "velocity" else "uniform"
    learning = MultiTaskLoss(head_weight, p_conditional, p_marginal, p_single, predict, time_sampling)
    heads = {name: own.head for name, own in owns.items() if name not in primary}
    shape = SharedSpace(blocks, primary, strength, heads=heads, encoders=dict(encoders or {}))
    flow = ProbabilityFlow(probes=PROBES if shape.own > EXACT else None)
    score = MultiTaskModel(shape, learning, shared.guidance, solver_of(shared.solver, shared.steps), flow)
    single = replace(score, learning=replace(learning, p_marginal=0.0, p_single=0.0, weight=0.0))
    net = _network(modalities, [name for name in primary if name in owns], blocks, shared, dict(taps or {}))
    return two_stages(
        modalities,
        ppl,
        options=shared,
        score=score,
        net=net,
        plain=owns,
        alone=(single, alone) if alone else None,
        seed=seed,
    )


def _network(
    modalities: Mapping[str, Modality],
    plain: Sequence[str],
    blocks: Blocks,
    shared: ScoreOptions,
    taps: dict[str, str],
) -> Spec:
    """The network that the options name, where ``plain`` are diffused in their own spaces."""
    kind, pictures = shared.net, [modalities[name].shape for name in plain if modalities[name].kind == "image"]
    if kind == "auto":
        kind = "unet" if pictures else "residual"
    if kind == "residual":
        if taps:
            raise OptionError("Expected taps of a net 'unet' or 'dit'; got them for 'residual', whose output is read.")
        return ResidualScore(blocks.sizes, shared.width, shared.depth, outputs=2 * blocks.dim)
    if not pictures:
        raise OptionError(f"Expected net 'residual' where no image is diffused in its own space; got '{kind}'.")
    (channels, height, width), names = pictures[0], blocks.names
    images = tuple(
        i
        for i, (name, size) in enumerate(blocks.items())
        if modalities[name].kind == "image"
        and modalities[name].shape[1:] == (height, width)
        and size == modalities[name].shape[0] * height * width
    )
    ignored = [names[i] for i in images if taps.get(names[i], "output") != "output"]
    if ignored:
        raise OptionError(
            f"Expected no taps for images of {height} x {width} pixels, which are read off the output; got {ignored}."
        )
    usual = ImageUNet.usual if kind == "unet" else ImageTransformer.usual
    common = blocks.sizes, (channels, height, width), images, tuple(taps.get(name, usual) for name in names)
    if kind == "dit":
        patch = next(p for p in (4, 2, 1) if height % p == 0 and width % p == 0)
        return ImageTransformer(*common, max(shared.width // 2, 4) // 4 * 4, depth=shared.depth, patch=patch)
    levels = next(n for n in range(LEVELS, 0, -1) if height % 2 ** (n - 1) == 0 and width % 2 ** (n - 1) == 0)
    return ImageUNet(*common, max(shared.width // 8, 4) // 4 * 4, factors=tuple(2**n for n in range(levels)))
