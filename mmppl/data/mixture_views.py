"""Several non-linear views of one mixture of Gaussians."""

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import above, at_least, checked, within
from mmppl.data.dataset import Dataset
from mmppl.data.hiding import hide
from mmppl.errors import OptionError

__all__ = ["MixtureViews", "mixture_views"]

DRAWS, SHARE = 10_000, 0.25


@checked(latent_dim=at_least(1), views=at_least(1), dim=at_least(1), components=at_least(1), noise=above(0))
class MixtureViews:
    r"""A mixture of Gaussians, seen through a network of its own for each modality.

    .. math::
        c \sim \mathrm{U}\{0, \dots, K - 1\}, \quad z \mid c \sim N(\mu_c, \mathrm{diag}\, \sigma_c^2), \quad
        x_m = A_{m3}\, \phi(A_{m2}\, \phi(A_{m1} z)) + s \epsilon_m, \quad \epsilon_m \sim N(0, I)

    with :math:`\phi` a leaky ReLU of slope 0.1, means uniform on (-5, 5), variances on (0.5, 3). Columns of A are
    uniform on (-1, 1) and scaled to unit length, and of 10,000 such matrices the quarter is taken that is best
    conditioned. The component c is not among the modalities; it is the label of the rows.

    Arguments:
        latent_dim: Dimension D of z.
        views: Number M of modalities.
        dim: Dimension of each.
        components: Number K of Gaussians.
        noise: s > 0.
        seed: Random seed, of matrices, means and variances.

    Attributes:
        loc: :math:`\mu`, ``(K, D)``.
        scale: :math:`\sigma`, ``(K, D)``.
        layers: :math:`A_{m1}, A_{m2}, A_{m3}`, by name.

    Raises:
        OptionError: If a size or the noise is out of range.

    References:
        | Learning multi-modal generative models with permutation-invariant encoders and tighter variational objectives
        | (Hirt et al., 2024), section 5.2, five modalities, https://arxiv.org/abs/2309.00380
        | Variational Autoencoders and Nonlinear ICA: A Unifying Framework (Khemakhem et al., 2020)
        | https://arxiv.org/abs/1907.04809

    Example:
        >>> truth = MixtureViews(2, views=2, dim=3)
        >>> batch, z = truth.sample_with_latent(4, seed=1)
        >>> batch["view1"].shape, z.shape
        ((4, 3), (4, 2))
    """

    slope = 0.1

    def __init__(
        self,
        latent_dim: int = 10,
        views: int = 5,
        dim: int = 25,
        components: int = 5,
        noise: float = 0.5,
        seed: int = 0,
    ) -> None:
        if min(latent_dim, views, dim, components) < 1 or noise <= 0:
            raise OptionError(
                f"Expected latent_dim, views, dim, components >= 1 and noise > 0; got {latent_dim}, {views}, {dim}, "
                f"{components}, {noise}."
            )
        rng = np.random.default_rng(seed)
        self.latent_dim, self.dim, self.components, self.noise = latent_dim, dim, components, float(noise)
        self.loc = rng.uniform(-5.0, 5.0, (components, latent_dim))
        self.scale = np.sqrt(rng.uniform(0.5, 3.0, (components, latent_dim)))
        first = well_conditioned(rng, (dim, latent_dim), views)
        later = well_conditioned(rng, (dim, dim), 2 * views)
        self.layers = {f"view{m}": (first[m], later[2 * m], later[2 * m + 1]) for m in range(views)}

    @property
    def modalities(self) -> dict[str, Modality]:
        """The modalities: vectors, scored by a normal of a learned scale for each coordinate."""
        return {name: Modality((self.dim,), likelihood="normal", scale="learned") for name in self.layers}

    def decode(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """The modalities without their noise, ``(*, dim)`` each."""
        out = {}
        for name, layers in self.layers.items():
            x = z @ layers[0].T
            for layer in layers[1:]:
                x = np.where(x > 0, x, self.slope * x) @ layer.T
            out[name] = x
        return out

    def sample(self, num: int, seed: int) -> Batch:
        """``num`` rows, all modalities present."""
        return self.sample_with_latent(num, seed)[0]

    def sample_with_latent(self, num: int, seed: int) -> tuple[Batch, np.ndarray]:
        """``num`` rows, and the latents z that they came from, of shape ``(num, D)``."""
        rng = np.random.default_rng(seed)
        label = rng.integers(self.components, size=num)
        z = self.loc[label] + self.scale[label] * rng.standard_normal((num, self.latent_dim))
        values = {name: x + self.noise * rng.standard_normal(x.shape) for name, x in self.decode(z).items()}
        return Batch(values, label=label), z


def well_conditioned(rng: np.random.Generator, shape: tuple[int, int], number: int) -> np.ndarray:
    """Matrices with columns of unit length, as well conditioned as the best quarter of many, ``(number, *shape)``."""
    drawn = rng.uniform(-1.0, 1.0, (max(DRAWS, round(2 * number / SHARE)), *shape))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    condition = np.linalg.cond(drawn)
    return drawn[condition <= np.quantile(condition, SHARE)][:number]


@checked(
    latent_dim=at_least(1),
    views=at_least(1),
    dim=at_least(1),
    components=at_least(1),
    noise=above(0),
    missing=within(0, 1, open_ends=")"),
    num_train=at_least(1),
    num_test=at_least(1),
)
def mixture_views(
    *,
    seed: int = 0,
    latent_dim: int = 10,
    views: int = 5,
    dim: int = 25,
    components: int = 5,
    noise: float = 0.5,
    missing: float = 0.0,
    num_train: int = 5000,
    num_test: int = 5000,
) -> Dataset:
    """A data set drawn from a :class:`MixtureViews`, which is its ``truth``.

    ``truth.sample_with_latent(num_train + num_test, seed + 1)`` gives the same rows with their latents.

    Arguments:
        seed: Seed of the maps and of the rows.
        latent_dim: Dimension D of z.
        views: Number M of modalities.
        dim: Dimension of each modality.
        components: Number K of Gaussians.
        noise: Deviation s of the noise.
        missing: Share of values hidden, in training and test rows alike, see :func:`mmppl.data.hide`.
        num_train: Training rows.
        num_test: Test rows.

    Example:
        >>> mixture_views(latent_dim=2, views=2, dim=3, num_train=6, num_test=2).test["view0"].shape
        (2, 3)
    """
    truth = MixtureViews(latent_dim, views, dim, components, noise, seed)
    rows = truth.sample(num_train + num_test, seed + 1)
    train, test = hide(rows[:num_train], missing, seed=seed), hide(rows[num_train:], missing, seed=seed + 1)
    return Dataset("mixture_views", truth.modalities, train, test, truth)
