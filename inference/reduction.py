r"""Finding the directions of latents that carry more than their reference, by score ratio matching.

References:
    | Dimension reduction via score ratio matching (Baptista, Brennan & Marzouk, 2024)
    | https://arxiv.org/abs/2410.19990
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.data import minibatches
from mmppl.errors import DataError, OptionError
from mmppl.inference.program import Program, Stage
from mmppl.nets import MLP
from mmppl.priors import Blocks
from mmppl.priors.ratio import directions, linear_ratio, ratio_losses
from mmppl.priors.subspaces import Subspaces, whitening

Array = Any

__all__ = ["PENALTIES", "RATIOS", "RatioLearning", "find_subspaces"]

RATIOS = ("linear", "lowrank", "potential", "free", "score")
PENALTIES = ("trace", "nuclear", "group")
REFERENCES = ("normal", "marginals")


@dataclass(frozen=True)
class RatioLearning:
    r"""How a score ratio s is learned from whitened latents x.

    * ``"linear"``: :math:`s = (I - \hat\Sigma^{-1}) x`, in closed form: canonical correlations;
    * ``"lowrank"``: :math:`s = A\, g(A^T x)`, with A of ``(D, rank)``;
    * ``"potential"``: :math:`s = \nabla \psi(A^T x)`, without a curl;
    * ``"free"``: :math:`s = g(x)`; ``"score"``: :math:`s = u(x) + x`, ordinary score matching.

    Learning stops at the lowest loss on held-out rows. With ``deflate`` the columns of A are found one after another:
    each round frees one direction orthogonal to those found, until what it finds is less than the tolerance.

    Arguments:
        net: One of the above.
        rank: Columns of A; None for D.
        hidden: Widths of the hidden layers.
        penalty: None, ``"trace"`` (of the diagnostic matrix), ``"nuclear"`` (norm of the matrix of ratios of a batch)
            or ``"group"`` (sum of the norms of A's columns).
        strength: Factor on the penalty.
        probes: Random directions for the divergence; None for all coordinates.
        deflate: Whether A grows column by column; with ``"lowrank"``.
        reference: ``"normal"``, or ``"marginals"`` of every block for what blocks share alone: the ratio of each block
            by itself is taken off. The certificate is then no bound.
        epochs: Most passes over the rows.
        patience: Passes without a better held-out loss before learning stops.
        learning_rate: Adam's.
        batch_size: Rows in a step.
        holdout: Share of the rows held out, for the loss and the diagnostic matrix.
        seed: Of everything random.

    Raises:
        OptionError: If an option is unknown or out of range, or does not fit the net.

    Example:
        >>> RatioLearning("lowrank", rank=8, penalty="group", strength=0.01).net
        'lowrank'
    """

    net: str = "linear"
    rank: int | None = None
    hidden: tuple[int, ...] = (128, 128)
    penalty: str | None = None
    strength: float = 0.0
    probes: int | None = None
    deflate: bool = False
    reference: str = "normal"
    epochs: int = 100
    patience: int = 10
    learning_rate: float = 1e-3
    batch_size: int = 256
    holdout: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        based = self.net in ("lowrank", "potential")
        for name, value, known in (
            ("net", self.net, RATIOS),
            ("penalty", self.penalty, (None, *PENALTIES)),
            ("reference", self.reference, REFERENCES),
        ):
            if value not in known:
                raise OptionError(f"Expected {name} among {known}; got {value!r}.")
        if not based and (self.rank is not None or self.penalty == "group"):
            raise OptionError(f"Expected net 'lowrank' or 'potential' for a rank or penalty 'group'; got {self.net!r}.")
        if self.deflate and self.net != "lowrank":
            raise OptionError(f"Expected net 'lowrank' for deflation; got {self.net!r}.")
        if not 0.0 < self.holdout < 1.0 or self.strength < 0.0:
            raise OptionError(f"Expected 0 < holdout < 1 and strength >= 0; got {self.holdout} and {self.strength}.")


def find_subspaces(
    latents: Batch, blocks: Blocks, *, eps: float, ppl: ModuleType, learning: RatioLearning | None = None
) -> Subspaces:
    r"""The smallest subspaces of every block that lose less than a tolerance.

    Latents are whitened block by block, the ratio is learned from some rows, and the diagnostic matrices
    :math:`\mathbb{E}[s_m s_m^T]` are those of the others. Rows with missing blocks are left out.

    Arguments:
        latents: One array ``(N, D_m)`` for each block, by name.
        blocks: The blocks.
        eps: Tolerance of the certificate, in nats.
        ppl: The face whose networks learn the ratio.
        learning: How; by default the linear ratio.

    Raises:
        OptionError: If the tolerance is not positive.
        DataError: If too few rows are complete, or something is not finite.

    Example:
        >>> import mmppl.numpyro as mm
        >>> x = np.random.default_rng(0).standard_normal((500, 3))
        >>> twins = Batch({"a": x[:, :2], "b": x[:, :1] + 0.5 * x[:, 2:]})
        >>> find_subspaces(twins, Blocks.of({"a": 2, "b": 1}), eps=0.1, ppl=mm).ranks
        (1, 1)
    """
    learning = RatioLearning() if learning is None else learning
    whole = np.all([np.asarray(latents.present[n]) for n in blocks.names], axis=0)
    z = np.concatenate([np.asarray(latents[n], dtype=np.float64) for n in blocks.names], axis=1)[whole]
    if len(z) < 4 * blocks.dim:
        raise DataError(
            f"Expected at least {4 * blocks.dim} rows with all of {list(blocks.names)}, four for each dimension; got "
            f"{len(z)}. Give more complete rows, or lower dimensions."
        )
    loc, white = whitening(blocks, z)
    x = (z - loc) @ white.T
    order = np.random.default_rng(learning.seed).permutation(len(x))
    held = max(int(learning.holdout * len(x)), blocks.dim)
    train, test = x[order[held:]], x[order[:held]]
    ratio = _ratio(train, test, eps, ppl, learning)
    if learning.reference == "marginals":
        parts = blocks.split(train), blocks.split(test)
        ratio = ratio - np.concatenate([_ratio(parts[0][n], parts[1][n], eps, ppl, learning) for n in blocks.names], 1)
    return Subspaces.fit(blocks, test, ratio, eps=eps, loc=loc, white=white)


def _ratio(train: np.ndarray, test: np.ndarray, eps: float, ppl: ModuleType, how: RatioLearning) -> np.ndarray:
    """The ratio at held-out rows."""
    if how.net == "linear":
        return test @ linear_ratio(train).T
    dim = train.shape[1]
    rank = min(how.rank or dim, dim)
    found = np.zeros((dim, 0))
    if not how.deflate:
        return _learn(train, test, found, _start(train, found, rank, how.seed), ppl, how)
    for number in range(rank):
        ratio = _learn(train, test, found, _start(train, found, 1, how.seed + number), ppl, how)
        outside = ratio - ratio @ found @ found.T
        values, vectors = np.linalg.eigh(outside.T @ outside / len(test))
        if values.sum() < 2.0 * eps:
            break
        found = np.linalg.qr(np.concatenate([found, vectors[:, -1:]], axis=1))[0]
    return ratio


def _start(train: np.ndarray, found: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Directions to start from: the leading ones of the linear ratio outside those found, and some noise."""
    ratio = train @ linear_ratio(train).T
    ratio = ratio - ratio @ found @ found.T
    leading = np.linalg.eigh(ratio.T @ ratio)[1][:, ::-1][:, :number]
    return leading + 0.1 * np.random.default_rng(seed).standard_normal(leading.shape) / len(leading) ** 0.5


def _learn(
    train: np.ndarray, test: np.ndarray, found: np.ndarray, start: np.ndarray, ppl: ModuleType, how: RatioLearning
) -> np.ndarray:
    """Learns a network until the held-out loss rises, and evaluates it there."""
    dim, wide = train.shape[1], found.shape[1] + start.shape[1]
    based = how.net in ("lowrank", "potential")
    outputs: tuple[int, ...] = () if how.net == "potential" else ((wide,) if based else (dim,))
    spec = MLP((wide if based else dim,), outputs, how.hidden, "silu", zero_last=how.net != "score")
    net = ppl.host.build_all({"ratio": spec}, how.seed)["ratio"]

    def columns(backend: Any, like: Array) -> Array:
        """A: directions found and free ones, those orthogonal to the former and of unit length when deflating."""
        free = ppl.host.param("ratio.basis", backend.asarray(start, like=like))
        fixed = backend.asarray(found, like=like)
        if how.deflate:
            free = free - fixed @ (fixed.T @ free)
            free = free / backend.xp.sqrt(backend.xp.sum(free**2, axis=0))
        return backend.xp.concat([fixed, free], axis=1)

    def ratio(x: Array) -> tuple[Callable[[Array], Array], Array | None]:
        backend, g = get_backend(x), ppl.net("ratio", net)
        if how.net == "free":
            return g, None
        if how.net == "score":
            return lambda y: g(y) + y, None
        a = columns(backend, x)
        if how.net == "lowrank":
            return lambda y: g(y @ a) @ a.T, a
        return lambda y: backend.vjp(lambda u: g(u @ a), y, backend.xp.ones_like(y[..., 0]))[1], a

    def losses(x: Array) -> tuple[Array, Array]:
        backend = get_backend(x)
        s, a = ratio(x)
        own = ratio_losses(backend, s, x, directions(backend, ppl.host.random(), x, how.probes))
        return own, own + how.strength * penalty(backend, how.penalty, s(x), a) if how.strength else own

    def model(batch: Batch) -> None:
        value = losses(batch["x"])[1]
        with ppl.plate(batch):
            ppl.host.factor("ratio", -value)

    shape = {"x": Modality((dim,))}
    data, held = Batch({"x": train.astype("float32")}), Batch({"x": test.astype("float32")})
    program = Program(model, lambda batch: None, ppl.ELBO(), ppl, shape)
    size = min(how.batch_size, len(train))
    options = {"seed": how.seed, "learning_rate": how.learning_rate, "clip": None, "ema": 0.0}
    trainer = ppl.host.Trainer(program, data[:size], **options)
    trainer.begin(Stage())
    held_out, at = (lambda batch: {"x": losses(batch["x"])[0]}), (lambda batch: {"x": ratio(batch["x"])[0](batch["x"])})
    best, kept, since = np.inf, trainer.snapshot(), 0
    for epoch in range(how.epochs):
        for batch in minibatches(data, size, seed=how.seed, epoch=epoch):
            trainer.step(batch)
        value = float(trainer.encode(held_out, held, size)["x"].mean())
        if value < best:
            best, kept, since = value, trainer.snapshot(), 0
        else:
            since += 1
        if since > how.patience:
            break
    trainer.restore(kept)
    return trainer.encode(at, held, size)["x"].astype(np.float64)


def penalty(backend: Any, name: str | None, s: Array, a: Array | None) -> Array:
    """A penalty by name on ratios ``(B, D)`` or the columns ``(D, R)`` they are of, for each row or for all."""
    xp = backend.xp
    if name == "trace":
        return xp.sum(s**2, axis=-1)
    if name == "nuclear":
        return xp.sum(xp.linalg.svdvals(s)) / s.shape[0] ** 0.5
    if name == "group" and a is not None:
        return xp.sum(xp.sqrt(xp.sum(a**2, axis=0) + 1e-12))
    return xp.zeros_like(s[..., 0])
