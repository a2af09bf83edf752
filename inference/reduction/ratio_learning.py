r"""Learning a score ratio: closed form or a network, penalties, deflation, early stopping.

References:
    | Dimension reduction via score ratio matching (Baptista, Brennan & Marzouk, 2024)
    | https://arxiv.org/abs/2410.19990
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.checks import above, at_least, checked, within
from mmppl.data.minibatches import minibatches
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program, Stage
from mmppl.nets import MLP
from mmppl.priors.reduction.score_ratio import denoising_ratio_losses, directions, linear_ratio, ratio_losses

Array = Any

__all__ = ["PENALTIES", "RATIOS", "RatioLearning", "Rows", "learn_ratio"]

RATIOS = ("linear", "lowrank", "potential", "free", "score")
PENALTIES = ("trace", "nuclear", "group")
REFERENCES = ("normal", "marginals")


class Rows(NamedTuple):
    """Whitened latents, and the score of the reference at them, ``(N, D)`` each."""

    x: np.ndarray
    score: np.ndarray


@checked(
    rank=at_least(1),
    strength=at_least(0),
    probes=at_least(1),
    blur=at_least(0),
    holdout=within(0, 1, open_ends="()"),
    epochs=at_least(1),
    patience=at_least(1),
    learning_rate=above(0),
    batch_size=at_least(1),
)
@dataclass(frozen=True)
class RatioLearning:
    r"""Learning of a score ratio s from whitened latents x.

    * ``"linear"``: :math:`s = (I - \hat\Sigma^{-1}) x`, in closed form: canonical correlations, and blind to whatever
      else is not normal;
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
        blur: If positive, the denoising form takes the divergence's place: :math:`\sigma` of the noise that blurs
            whitened latents and reference alike. For learned networks and the normal reference.
        deflate: Whether A grows column by column; with ``"lowrank"``.
        reference: ``"normal"``; ``"marginals"`` of every block, for what blocks share alone; or the score of any
            density :math:`\rho`, from latents ``(N, D)``, blocks side by side, to :math:`\nabla \log \rho`, ``(N, D)``.
            With the latter two what is estimated is lost against that reference, as far as its log-Sobolev constant
            is 1. With blocks of parameters x and data y, ``"marginals"`` is the Bayesian setting:
            :math:`s_x = \nabla_x \log \pi(x \mid y) / \pi(x)`, so that the first block's directions are the
            parameters that data inform, and the second's the data that inform them.
        epochs: Most passes over the rows.
        patience: Passes without a better held-out loss before learning stops.
        learning_rate: Adam's.
        batch_size: Rows in a step.
        holdout: Share of the rows held out, for the loss and the diagnostic matrix.
        seed: Random seed.

    Raises:
        OptionError: If an option is unknown or out of range, or does not fit the net.

    Example:
        >>> RatioLearning("lowrank", rank=8, penalty="group", strength=0.01).net
        'lowrank'
    """

    net: str = "free"
    rank: int | None = None
    hidden: tuple[int, ...] = (128, 128)
    penalty: str | None = None
    strength: float = 0.0
    probes: int | None = None
    blur: float = 0.0
    deflate: bool = False
    reference: str | Callable[[np.ndarray], np.ndarray] = "normal"
    epochs: int = 200
    patience: int = 30
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
            if not callable(value) and value not in known:
                raise OptionError(f"Expected {name} among {known}; got {value!r}.")
        if not based and (self.rank is not None or self.penalty == "group"):
            raise OptionError(f"Expected net 'lowrank' or 'potential' for a rank or penalty 'group'; got {self.net!r}.")
        if self.deflate and self.net != "lowrank":
            raise OptionError(f"Expected net 'lowrank' with deflate=True; got {self.net!r}.")
        if self.blur < 0.0 or (self.blur and (self.net == "linear" or self.reference != "normal" or self.probes)):
            raise OptionError(
                "Expected blur >= 0, and above 0 a network, the normal reference and no probes; got "
                f"{self.blur}, {self.net!r}, {self.reference!r} and {self.probes}."
            )
        if not 0.0 < self.holdout < 1.0 or self.strength < 0.0:
            raise OptionError(f"Expected 0 < holdout < 1 and strength >= 0; got {self.holdout} and {self.strength}.")


def learn_ratio(
    train: Rows, test: Rows, eps: float, ppl: PPL, how: RatioLearning
) -> Callable[[np.ndarray], np.ndarray]:
    """The score ratio, from whitened latents ``(N, D)`` to ``(N, D)``.

    Arguments:
        train: Rows to learn from.
        test: Rows whose loss says when to stop.
        eps: What a direction must carry to be added by deflation, in nats.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``, whose networks learn.
        how: How.
    """
    linear = linear_ratio(*train)
    if how.net == "linear":
        return lambda x: x @ linear.T
    dim = train.x.shape[1]
    rank = min(how.rank or dim, dim)
    found = np.zeros((dim, 0))
    slopes = train.x @ linear.T
    if not how.deflate:
        return _learn(train, test, found, _start(slopes, found, rank, how.seed), ppl, how)
    for number in range(rank):
        ratio = _learn(train, test, found, _start(slopes, found, 1, how.seed + number), ppl, how)
        held = ratio(test.x)
        outside = held - held @ found @ found.T
        values, vectors = np.linalg.eigh(outside.T @ outside / len(held))
        if values.sum() < 2.0 * eps:
            break
        found = np.linalg.qr(np.concatenate([found, vectors[:, -1:]], axis=1))[0]
    return ratio


def _start(ratio: np.ndarray, found: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Directions to start from: the leading ones of the linear ratio outside those found, and some noise."""
    ratio = ratio - ratio @ found @ found.T
    leading = np.linalg.eigh(ratio.T @ ratio)[1][:, ::-1][:, :number]
    return leading + 0.1 * np.random.default_rng(seed).standard_normal(leading.shape) / len(leading) ** 0.5


def _learn(
    train: Rows, test: Rows, found: np.ndarray, start: np.ndarray, ppl: PPL, how: RatioLearning
) -> Callable[[np.ndarray], np.ndarray]:
    """Learns a network until the held-out loss rises."""
    dim, wide = train.x.shape[1], found.shape[1] + start.shape[1]
    based = how.net in ("lowrank", "potential")
    outputs: tuple[int, ...] = () if how.net == "potential" else ((wide,) if based else (dim,))
    spec = MLP((wide if based else dim,), outputs, how.hidden, "silu", zero_last=how.net != "score")
    own = RatioProgram(ppl, how, ppl.host.build_all({"ratio": spec}, how.seed)["ratio"], found, start)
    shape = {"rows": Modality((2 * dim,))}
    data, held = _side_by_side(*train), _side_by_side(*test)
    program = Program(own.model, lambda batch: None, ppl.ELBO(), ppl, shape)
    size = min(how.batch_size, len(data))
    options = {"seed": how.seed, "learning_rate": how.learning_rate, "clip": None, "ema": 0.0}
    trainer = ppl.host.Trainer(program, data[:size], **options)
    trainer.begin(Stage())
    best, saved, since = np.inf, trainer.snapshot(), 0
    for epoch in range(how.epochs):
        for batch in minibatches(data, size, seed=how.seed, epoch=epoch):
            trainer.step(batch)
        value = float(trainer.encode(own.held_out, held, size)["rows"].mean())
        if value < best:
            best, saved, since = value, trainer.snapshot(), 0
        else:
            since += 1
        if since > how.patience:
            break
    trainer.restore(saved)
    return lambda x: trainer.encode(own.values, _side_by_side(x), size)["rows"].astype(np.float64)


def _side_by_side(*parts: np.ndarray) -> Batch:
    """Rows of latents, and what they are compared with, as one modality."""
    return Batch({"rows": np.concatenate(parts, axis=1).astype("float32")})


@dataclass(frozen=True, eq=False)
class RatioProgram:
    """Program whose objective is the loss of a score ratio, of latents ``(N, D)`` with their references beside them.

    Arguments:
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        how: How it is learned.
        net: The network g.
        found: Directions found already, ``(D, R)``.
        start: Where free directions start, ``(D, R')``.
    """

    ppl: PPL
    how: RatioLearning
    net: Any
    found: np.ndarray
    start: np.ndarray

    def columns(self, backend: Any, like: Array) -> Array:
        """A: directions found and free ones, those orthogonal to the former and of unit length when deflating."""
        free = self.ppl.host.param("ratio.basis", backend.asarray(self.start, like=like))
        fixed = backend.asarray(self.found, like=like)
        if self.how.deflate:
            free = free - fixed @ (fixed.T @ free)
            free = free / backend.xp.sqrt(backend.xp.sum(free**2, axis=0))
        return backend.xp.concat([fixed, free], axis=1)

    def ratio(self, x: Array) -> tuple[Callable[[Array], Array], Array | None]:
        """The ratio as a function of latents, and the columns A that it is of, where it has any."""
        backend, g = get_backend(x), self.ppl.net("ratio", self.net)
        if self.how.net == "free":
            return g, None
        if self.how.net == "score":
            return lambda y: g(y) + y, None
        a = self.columns(backend, x)
        if self.how.net == "lowrank":
            return lambda y: g(y @ a) @ a.T, a
        return lambda y: backend.vjp(lambda u: g(u @ a), y, backend.xp.ones_like(y[..., 0]))[1], a

    def losses(self, rows: Array) -> tuple[Array, Array]:
        """Loss of each row, without penalties and with them, ``(N,)``."""
        how, dim = self.how, len(self.found)
        x, reference = rows[..., :dim], rows[..., dim:]
        backend = get_backend(x)
        s, a = self.ratio(x)
        rng = self.ppl.host.random()
        if how.blur:
            own = denoising_ratio_losses(backend, s, x, backend.normal(rng, x.shape, x), how.blur)
        else:
            own = ratio_losses(backend, s, x, directions(backend, rng, x, how.probes), reference)
        return own, own + how.strength * penalty(backend, how.penalty, s(x), a) if how.strength else own

    def model(self, batch: Batch) -> None:
        """The model: a factor for each row."""
        value = self.losses(batch["rows"])[1]
        with self.ppl.plate(batch):
            self.ppl.host.factor("ratio", -value)

    def held_out(self, batch: Batch) -> dict[str, Array]:
        """Loss of each row."""
        return {"rows": self.losses(batch["rows"])[0]}

    def values(self, batch: Batch) -> dict[str, Array]:
        """The ratio at each row, ``(N, D)``."""
        return {"rows": self.ratio(batch["rows"])[0](batch["rows"])}


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
