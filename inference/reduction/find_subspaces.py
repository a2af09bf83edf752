r"""Finding the directions of latents that carry more than their reference, by score ratio matching.

References:
    | Dimension reduction via score ratio matching (Baptista, Brennan & Marzouk, 2024)
    | https://arxiv.org/abs/2410.19990
"""

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import above, checked
from mmppl.errors import DataError
from mmppl.inference.host import PPL
from mmppl.inference.reduction.ratio_learning import RatioLearning, Rows, learn_ratio
from mmppl.priors import Blocks
from mmppl.priors.reduction.subspaces import Subspaces, whitening

__all__ = ["PROBES", "find_subspaces"]

# Random directions for the divergence: with all coordinates a step would take as many derivatives.
PROBES = 4
FEW = 8


@checked(eps=above(0))
def find_subspaces(
    latents: Batch, blocks: Blocks, *, eps: float, ppl: PPL, learning: RatioLearning | None = None
) -> Subspaces:
    r"""The smallest subspaces of every block that are estimated to lose less than a tolerance.

    Latents are whitened block by block, the ratio is learned from some rows, and the diagnostic matrices
    :math:`\mathbb{E}[s_m s_m^T]` are those of the others. Rows with missing blocks are left out.
    Experimental.

    Because the ratio is learned, what is found has an ``estimate`` of the loss and no ``certificate``, unless all is
    kept: see :class:`~mmppl.priors.Subspaces` for the conditions of a bound, and ``Subspaces.fit`` for a ratio that is
    known exactly.

    Arguments:
        latents: One array ``(N, D_m)`` for each block, by name.
        blocks: The blocks.
        eps: Tolerance of the estimate, in nats.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``, whose networks learn the ratio.
        learning: How; by default a free network of a size for latents of a few dimensions, which takes seconds and sees
            whatever is not normal. (``RatioLearning("linear")`` sees correlations between blocks alone.)

    Raises:
        OptionError: If the tolerance is not positive.
        DataError: If too few rows are complete, or something is not finite.

    Example:
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> x = np.random.default_rng(0).standard_normal((500, 3))
        >>> twins = Batch({"a": x[:, :2], "b": x[:, :1] + 0.5 * x[:, 2:]})
        >>> find_subspaces(twins, Blocks.of({"a": 2, "b": 1}), eps=0.1, ppl=mm).ranks
        (1, 1)
    """
    whole = np.all([np.asarray(latents.present[n]) for n in blocks.names], axis=0)
    z = np.concatenate([np.asarray(latents[n], dtype=np.float64) for n in blocks.names], axis=1)[whole]
    if len(z) < 4 * blocks.dim:
        raise DataError(
            f"Expected at least {4 * blocks.dim} rows with all of {list(blocks.names)}, four for each dimension; got "
            f"{len(z)}. Give more complete rows, or lower dimensions."
        )
    learning = _usual(*z.shape) if learning is None else learning
    loc, white = whitening(blocks, z)
    x = (z - loc) @ white.T
    order = np.random.default_rng(learning.seed).permutation(len(x))
    held = max(int(learning.holdout * len(x)), blocks.dim)
    parts = order[held:], order[:held]
    unwhite = np.linalg.inv(white)
    if callable(learning.reference):
        score = _checked(learning.reference(x @ unwhite.T + loc), x.shape) @ unwhite
    elif learning.reference == "marginals":
        score = _marginals(blocks, x, parts, eps, ppl, learning)
    else:
        score = -x
    train, test = (Rows(x[part], score[part]) for part in parts)
    ratio = learn_ratio(train, test, eps, ppl, learning)
    return Subspaces.fit(blocks, test.x, ratio(test.x), eps=eps, loc=loc, white=white, learned=True)


def _usual(rows: int, dim: int) -> RatioLearning:
    """A free network, with an exact divergence where there are few derivatives to take."""
    width, probes = max(64, 2 * dim), None if dim <= FEW else PROBES
    size = min(max(rows // 20, 256), 1024)
    return RatioLearning("free", hidden=(width, width), probes=probes, learning_rate=3e-3, batch_size=size)


def _marginals(
    blocks: Blocks,
    x: np.ndarray,
    parts: tuple[np.ndarray, np.ndarray],
    eps: float,
    ppl: PPL,
    how: RatioLearning,
) -> np.ndarray:
    """The scores of every block by itself, ``(N, D)``: of the normal, plus the ratio against it."""
    own = {}
    for name, z in blocks.split(x).items():
        train, test = (Rows(z[part], -z[part]) for part in parts)
        own[name] = learn_ratio(train, test, eps, ppl, how)(z) - z
    return np.asarray(blocks.join(own))


def _checked(score: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    score = np.asarray(score, dtype=np.float64)
    if score.shape != shape or not np.isfinite(score).all():
        raise DataError(
            f"Expected the reference's score to be finite and of shape {shape}; got shape {score.shape}, "
            f"{int((~np.isfinite(score)).sum())} values not finite. Give the gradient of its log density."
        )
    return score
