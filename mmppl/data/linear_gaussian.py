"""Linear-Gaussian modalities of one latent: evidence, posterior and conditionals in closed form, the truth of tests."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import above, at_least, checked
from mmppl.data.dataset import Dataset
from mmppl.errors import ModalityError, OptionError

__all__ = ["LinearGaussian", "linear_gaussian"]

DIMS = {"a": 3, "b": 2, "c": 4}


@checked(latent_dim=at_least(1), noise=above(0))
class LinearGaussian:
    r"""Modalities that are linear in a shared standard normal latent, with independent noise.

    .. math::
        z \sim N(0, I_D), \qquad x_m = W_m z + b_m + \sigma_m \epsilon_m, \quad \epsilon_m \sim N(0, I_{d_m})

    Everything is float64 and exact for every pattern of present modalities and of their elements, another one in each
    row if need be: the posterior precision is :math:`P = I + \sum_{m \in S} W_m^T W_m / \sigma_m^2`, of the rows of
    W that belong to elements observed.

    Arguments:
        latent_dim: Dimension D of z.
        dims: Dimension :math:`d_m` of each modality, by name.
        seed: Seed of the weights (standard normal) and of the offsets (standard normal).
        noise: Noise scale :math:`\sigma_m > 0`, in data units; one for all, or by name.

    Attributes:
        weight: :math:`W_m` of shape ``(d_m, D)``, by name.
        bias: :math:`b_m` of shape ``(d_m,)``, by name.
        noise: :math:`\sigma_m`, by name.

    Raises:
        OptionError: If a dimension or a scale is not positive, or ``noise`` does not name the modalities.

    References:
        Bishop, "Pattern Recognition and Machine Learning" (2006), section 2.3.3.

    Example:
        >>> truth = LinearGaussian(2, {"a": 3, "b": 1}, seed=0)
        >>> batch = truth.sample(4, seed=1)
        >>> truth.evidence(batch.only("b")).shape, truth.posterior(batch)[1].shape
        ((4,), (4, 2, 2))
    """

    def __init__(
        self, latent_dim: int, dims: Mapping[str, int], seed: int = 0, noise: float | Mapping[str, float] = 0.5
    ) -> None:
        if latent_dim < 1 or not dims or min(dims.values()) < 1:
            raise OptionError(f"Expected positive dimensions; got latent_dim={latent_dim}, dims={dict(dims)}.")
        scales = dict(noise) if isinstance(noise, Mapping) else dict.fromkeys(dims, noise)
        if set(scales) != set(dims) or min(scales.values()) <= 0:
            raise OptionError(f"Expected a positive noise for each of {list(dims)}; got {scales}.")
        rng = np.random.default_rng(seed)
        self.latent_dim = latent_dim
        self.dims = dict(dims)
        self.noise = {name: float(scales[name]) for name in dims}
        self.weight = {name: rng.standard_normal((size, latent_dim)) for name, size in dims.items()}
        self.bias = {name: rng.standard_normal(size) for name, size in dims.items()}

    @property
    def modalities(self) -> dict[str, Modality]:
        r"""The modalities: vectors, scored by a normal of scale :math:`\sigma_m`."""
        return {
            name: Modality((size,), likelihood="normal", scale=self.noise[name]) for name, size in self.dims.items()
        }

    def sample(self, num: int, seed: int) -> Batch:
        """``num`` rows, all modalities present."""
        return self.sample_with_latent(num, seed)[0]

    def sample_with_latent(self, num: int, seed: int) -> tuple[Batch, np.ndarray]:
        """``num`` rows, and the latents z that they came from, of shape ``(num, D)``."""
        rng = np.random.default_rng(seed)
        z = rng.standard_normal((num, self.latent_dim))
        noise = {name: rng.standard_normal((num, size)) for name, size in self.dims.items()}
        values = {m: z @ self.weight[m].T + self.bias[m] + self.noise[m] * noise[m] for m in self.dims}
        return Batch(values), z

    def posterior(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        r"""Exact :math:`p(z | x_S)`, S being what is present in the row.

        Returns:
            Mean of shape ``(N, D)`` and covariance of shape ``(N, D, D)``.
        """
        precision, information = self._information(batch)
        cov = np.linalg.inv(precision)
        return (cov @ information[..., None])[..., 0], cov

    def evidence(self, batch: Batch) -> np.ndarray:
        r"""Exact :math:`\log p(x_S)` of each row in nats, of shape ``(N,)``; 0 where nothing is present.

        By the matrix determinant lemma and Woodbury's identity, with
        :math:`h = \sum_m W_m^T r_m / \sigma_m^2` and :math:`r_m = x_m - b_m`:

        .. math::
            \log p(x_S) = -\tfrac12 \Big[ \sum_{m \in S} \big( d_m \log 2 \pi \sigma_m^2 + |r_m|^2 / \sigma_m^2 \big)
            + \log |P| - h^T P^{-1} h \Big]
        """
        precision, information = self._information(batch)
        mean = np.linalg.solve(precision, information[..., None])[..., 0]
        total = np.linalg.slogdet(precision)[1] - (information * mean).sum(-1)
        for name in batch:
            residual = (np.asarray(batch[name]) - self.bias[name]) / self.noise[name]
            term = np.log(2 * np.pi * self.noise[name] ** 2) + residual**2
            total = total + np.where(batch.there(name), term, 0.0).sum(-1)
        return -0.5 * total

    def conditional_joint(self, batch: Batch, targets: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        r"""Exact :math:`p(x_T | x_S)` of the targets stacked in the order given; S is what is present, less T.

        Returns:
            Mean of shape ``(N, d)`` and covariance of shape ``(N, d, d)``, d being the sum of the targets' dimensions.

        Raises:
            ModalityError: If a target is unknown.
        """
        unknown = [name for name in targets if name not in self.dims]
        if unknown or not targets:
            raise ModalityError(f"Expected targets among {list(self.dims)}; got {list(targets)}.")
        mean, cov = self.posterior(batch.without(*(name for name in targets if name in batch.values)))
        weight = np.concatenate([self.weight[name] for name in targets])
        bias = np.concatenate([self.bias[name] for name in targets])
        noise = np.concatenate([np.full(self.dims[name], self.noise[name] ** 2) for name in targets])
        return mean @ weight.T + bias, weight @ cov @ weight.T + np.diag(noise)

    def conditional(self, batch: Batch, targets: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        r"""Exact :math:`p(x_t | x_S)` of each target by itself; S is what is present, less *all* targets.

        Returns:
            Mean of shape ``(N, d_t)`` and covariance of shape ``(N, d_t, d_t)``, by name.

        Raises:
            ModalityError: If a target is unknown.
        """
        mean, cov = self.conditional_joint(batch, targets)
        out, start = {}, 0
        for name in targets:
            part = slice(start, start + self.dims[name])
            out[name] = mean[:, part], cov[:, part, part]
            start = part.stop
        return out

    def _information(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Posterior precision P (N, D, D) and the vector h = P mean (N, D)."""
        unknown = [name for name in batch if name not in self.dims]
        if unknown:
            raise ModalityError(f"Expected modalities among {list(self.dims)}; got {unknown}.")
        precision = np.tile(np.eye(self.latent_dim), (len(batch), 1, 1))
        information = np.zeros((len(batch), self.latent_dim))
        for name in batch:
            weight = self.weight[name] / self.noise[name] ** 2
            there = np.asarray(batch.there(name), float)
            precision += np.einsum("id,ni,ie->nde", weight, there, self.weight[name])
            information += (there * (np.asarray(batch[name]) - self.bias[name])) @ weight
        return precision, information


@checked(latent_dim=at_least(1), noise=above(0), num_train=at_least(1), num_test=at_least(1))
def linear_gaussian(
    *,
    seed: int = 0,
    latent_dim: int = 2,
    dims: Mapping[str, int] | None = None,
    noise: float | Mapping[str, float] = 0.5,
    num_train: int = 1000,
    num_test: int = 200,
) -> Dataset:
    """A data set drawn from a :class:`LinearGaussian`, which is its ``truth``; values are float64.

    Arguments:
        seed: Seed of the weights and of the rows.
        latent_dim: Dimension D of the latent.
        dims: Dimension of each modality by name; by default a: 3, b: 2, c: 4.
        noise: Noise scale, one for all modalities or by name.
        num_train: Training rows.
        num_test: Test rows.

    Example:
        >>> data = linear_gaussian(latent_dim=1, dims={"x": 2}, num_train=5, num_test=2)
        >>> data.truth.evidence(data.test).shape
        (2,)
    """
    truth = LinearGaussian(latent_dim, dims or DIMS, seed, noise)
    rows = truth.sample(num_train + num_test, seed + 1)
    return Dataset("linear_gaussian", truth.modalities, rows[:num_train], rows[num_train:], truth)
