"""Non-linear data with a label: latents that are identifiable through it, and the evidence by quadrature."""

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import above, at_least, checked, within
from mmppl.data.dataset import Dataset
from mmppl.errors import ModalityError
from mmppl.numerics import log_mean_exp

__all__ = ["LabelledMixture", "labelled_mixture"]


@checked(latent_dim=at_least(1), labels=at_least(1), noise=above(0), slope=within(0, 1, open_ends="("))
class LabelledMixture:
    r"""A Gaussian for each label, seen through an invertible non-linear map.

    .. math::
        u \sim \mathrm{U}\{0, \dots, K - 1\}, \quad z \mid u \sim N(\mu_u, \mathrm{diag}\, \sigma_u^2), \quad
        x = \phi(z A) A + s \epsilon, \quad \epsilon \sim N(0, I_D)

    with A orthogonal, :math:`\phi` a leaky ReLU, means uniform on (-5, 5) and variances on (0.5, 3).

    Arguments:
        latent_dim: D, of z and of x.
        labels: Number K of labels.
        noise: s > 0.
        slope: Slope of :math:`\phi` below zero, in (0, 1]; 1 makes the map linear.
        seed: Random seed, of A and of the means and variances.

    Attributes:
        loc: :math:`\mu`, ``(K, D)``.
        scale: :math:`\sigma`, ``(K, D)``.
        mixing: A, ``(D, D)``.

    Raises:
        OptionError: If a size or the noise is out of range.

    References:
        | Learning multi-modal generative models with permutation-invariant encoders and tighter variational objectives
        | (Hirt et al., 2024), section 5.2, https://arxiv.org/abs/2309.00380
        | Variational Autoencoders and Nonlinear ICA: A Unifying Framework (Khemakhem et al., 2020)
        | https://arxiv.org/abs/1907.04809

    Example:
        >>> truth = LabelledMixture(seed=0)
        >>> truth.sample(4, seed=1)["label"].shape
        (4, 1)
    """

    def __init__(
        self, latent_dim: int = 2, labels: int = 5, noise: float = 0.1, slope: float = 0.1, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.latent_dim, self.labels, self.noise, self.slope = latent_dim, labels, float(noise), float(slope)
        self.loc = rng.uniform(-5.0, 5.0, (labels, latent_dim))
        self.scale = np.sqrt(rng.uniform(0.5, 3.0, (labels, latent_dim)))
        self.mixing = np.linalg.qr(rng.standard_normal((latent_dim, latent_dim)))[0]

    @property
    def modalities(self) -> dict[str, Modality]:
        """The modalities: ``x``, a vector with known noise, and ``label``, one token."""
        return {
            "x": Modality((self.latent_dim,), scale=self.noise),
            "label": Modality((1,), kind="tokens", vocabulary=self.labels),
        }

    def sample(self, num: int, seed: int) -> Batch:
        """``num`` rows, all modalities present."""
        return self.sample_with_latent(num, seed)[0]

    def sample_with_latent(self, num: int, seed: int) -> tuple[Batch, np.ndarray]:
        """``num`` rows, and the latents z that they came from, ``(num, D)``."""
        rng = np.random.default_rng(seed)
        label = rng.integers(0, self.labels, num)
        z = self.loc[label] + self.scale[label] * rng.standard_normal((num, self.latent_dim))
        x = self.forward(z) + self.noise * rng.standard_normal((num, self.latent_dim))
        return Batch({"x": x, "label": label[:, None]}, label=label), z

    def forward(self, z: np.ndarray) -> np.ndarray:
        """x without its noise, ``(*, D)``."""
        mixed = z @ self.mixing
        return np.where(mixed > 0, mixed, self.slope * mixed) @ self.mixing

    def inverse(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """z of a noiseless x, and the log determinant of dz/dx."""
        mixed = x @ self.mixing.T
        z = np.where(mixed > 0, mixed, mixed / self.slope) @ self.mixing.T
        return z, (mixed <= 0).sum(-1) * -np.log(self.slope)

    def evidence(self, batch: Batch, points: int = 4096) -> np.ndarray:
        r"""Log density of what is present of each row, ``(N,)``, in nats; 0 where nothing is.

        .. math:: p(x \mid u) = \mathbb{E}_\epsilon\big[ p_f(x - s \epsilon \mid u) \big], \qquad
            p_f(y \mid u) = N\big(f^{-1}(y); \mu_u, \mathrm{diag}\, \sigma_u^2\big)
            \Big| \frac{\partial f^{-1}}{\partial y} \Big|

        by quasi-Monte Carlo over the noise.

        Arguments:
            batch: Rows of ``x`` and ``label``.
            points: Number of quadrature points, a power of 2.

        Raises:
            ModalityError: If the batch has other modalities.
        """
        # Imported here: SciPy changes warning filters when it is loaded.
        from scipy.special import ndtri
        from scipy.stats import qmc

        if set(batch.modalities) != {"x", "label"}:
            raise ModalityError(f"Expected the modalities x and label; got {list(batch.modalities)}.")
        sobol = qmc.Sobol(self.latent_dim, seed=0).random(points)
        noise = self.noise * ndtri(np.clip(sobol, 1e-12, 1.0 - 1e-12))
        here, there = np.asarray(batch.present["x"]), np.asarray(batch.present["label"])
        label = np.asarray(batch["label"])[:, 0]
        out = np.where(there, -np.log(self.labels), 0.0)
        for row in np.flatnonzero(here):
            z, log_det = self.inverse(np.asarray(batch["x"])[row] - noise)
            unit = (z[:, None] - self.loc) / self.scale
            log_prob = -0.5 * (unit**2 + np.log(2.0 * np.pi)).sum(-1) - np.log(self.scale).sum(-1) + log_det[:, None]
            given = log_mean_exp(log_prob)
            out[row] += given[label[row]] if there[row] else log_mean_exp(given)
        return out


@checked(
    latent_dim=at_least(1),
    labels=at_least(1),
    noise=above(0),
    slope=within(0, 1, open_ends="("),
    num_train=at_least(1),
    num_test=at_least(1),
)
def labelled_mixture(
    *,
    seed: int = 0,
    latent_dim: int = 2,
    labels: int = 5,
    noise: float = 0.1,
    slope: float = 0.1,
    num_train: int = 4000,
    num_test: int = 1000,
) -> Dataset:
    """A data set drawn from a :class:`LabelledMixture`, which is its ``truth``.

    ``truth.sample_with_latent(num_train + num_test, seed + 1)`` gives the same rows with their latents.

    Arguments:
        seed: Seed of the map and of the rows.
        latent_dim: Dimension D of z and x.
        labels: Number K of labels.
        noise: Deviation s of the noise.
        slope: Slope of the leaky ReLU.
        num_train: Training rows.
        num_test: Test rows.

    Example:
        >>> labelled_mixture(num_train=6, num_test=2).test["x"].shape
        (2, 2)
    """
    truth = LabelledMixture(latent_dim, labels, noise, slope, seed)
    rows = truth.sample(num_train + num_test, seed + 1)
    return Dataset("labelled_mixture", truth.modalities, rows[:num_train], rows[num_train:], truth)
