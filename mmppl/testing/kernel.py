"""The contract of a kernel, for third parties too."""

import warnings
from typing import Any
from unittest import SkipTest

import numpy as np

from mmppl.batch import Batch
from mmppl.testing.drivers import driver

__all__ = ["KernelContract"]

LOC = np.array([[0.0, 1.0], [-2.0, 0.5], [3.0, 3.0]])


class KernelContract:
    r"""Contract of kernels under their host's ``MCMC``: subclass it, and pytest runs the tests.

    The target is a normal posterior of known mean and variance for each datum of a plate, so everything is compared
    with closed forms.

    Attributes:
        host: ``"numpyro"`` or ``"pyro"``.
        num_warmup: Steps of warm-up.
        num_samples: Draws for the moments; fewer make the test less sharp, not less right.
        variance: Stationary variance of the kernel for a standard normal target: 1 for an exact kernel,
            :math:`1 / (1 - s^2 / 4)` for unadjusted steps of size s.
        adjusted: Whether the kernel refuses proposals.

    Example:
        >>> import mmppl.numpyro as mm
        >>> class TestMyKernel(KernelContract):
        ...     host = "numpyro"
        ...     def kernel(self, model):
        ...         return mm.MALA(model)
    """

    host: str
    num_warmup = 300
    num_samples = 3000
    variance = 1.0
    adjusted = True

    def kernel(self, model: Any) -> Any:
        """A new kernel for the posterior of ``model``."""
        raise NotImplementedError

    def test_stationary_moments(self) -> None:
        """Mean and variance of every coordinate lie within four Monte-Carlo standard errors of the truth."""
        draws, _ = self._run(np.ones(3), seed=0)
        centred = draws - LOC
        self._within(centred, 0.0)
        self._within(centred**2, self.variance)

    def test_each_datum_is_accepted_alone(self) -> None:
        """Data on very different scales: some steps move one datum and not the other, and acceptance differs."""
        if not self.adjusted:
            raise SkipTest("The kernel takes every proposal.")
        draws, fields = self._run(np.array([1.0, 0.05, 1.0]), seed=1, num_warmup=0, num_samples=400)
        moved = (np.diff(draws[0], axis=0) != 0.0).any(-1)
        assert (moved[:, 0] & ~moved[:, 1]).any()
        accept = fields["accept_prob"][0]
        assert accept.shape == (400, 3)
        assert accept[100:, 0].mean() > accept[100:, 1].mean()

    def test_chains_are_kept_apart(self) -> None:
        """Several chains have draws of their own, each around the truth."""
        draws, _ = self._run(np.ones(3), seed=2, num_chains=2, num_samples=500)
        assert draws.shape == (2, 500, 3, 2)
        assert not np.array_equal(draws[0], draws[1])
        assert np.abs(draws.mean(1) - LOC).max() < 1.0

    def test_the_seed_decides(self) -> None:
        """The same seed gives the same draws bit for bit, another seed others."""
        one, again, other = (self._run(np.ones(3), seed=s, num_samples=20)[0] for s in (3, 3, 4))
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)

    def test_diagnostics(self) -> None:
        """Acceptance is a probability, step sizes are positive, and the log density is that of the draws."""
        scale = np.array([1.0, 0.5, 2.0])
        draws, fields = self._run(scale, seed=5, num_samples=50)
        z = (draws - LOC) / scale[:, None]
        expected = (-0.5 * z**2 - np.log(scale)[:, None] - 0.5 * np.log(2.0 * np.pi)).sum(-1)
        np.testing.assert_allclose(fields["log_density"], expected, rtol=1e-4, atol=1e-4)
        assert fields["accept_prob"].shape == (1, 50, 3)
        assert ((fields["accept_prob"] >= 0.0) & (fields["accept_prob"] <= 1.0)).all()
        assert fields["step_size"].shape == (1, 3)
        assert (fields["step_size"] > 0.0).all()

    def _within(self, draws: np.ndarray, truth: float) -> None:
        error = draws.mean((0, 1)) - truth
        size = driver(self.host).effective_size(draws)
        assert (size > 20.0).all(), f"Too few effective draws to tell: {size.min():.0f}. Raise num_samples."
        worst = np.abs(error / (draws.std((0, 1)) / np.sqrt(size))).max()
        assert worst < 4.0, f"Off by {worst:.1f} Monte-Carlo standard errors; the largest error is {error}."

    def _run(
        self, scale: np.ndarray, *, seed: int, num_chains: int = 1, num_warmup: int | None = None, num_samples: int = 0
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Draws ``(chains, draws, N, D)`` and diagnostics, each with a leading axis of chains."""
        host = driver(self.host)
        batch = host.mm.as_batch(Batch({"loc": LOC.astype("float32"), "scale": scale[:, None].astype("float32")}))

        def model(batch: Batch) -> None:
            with host.mm.plate(batch):
                host.ppl.sample("z", host.dist.Normal(batch["loc"], batch["scale"]).to_event(1))

        sizes = {
            "chains": num_chains,
            "warmup": self.num_warmup if num_warmup is None else num_warmup,
            "samples": num_samples or self.num_samples,
        }
        with warnings.catch_warnings():
            # Chains may be drawn one after the other, or in forked processes; either is fine here.
            warnings.simplefilter("ignore")
            draws, fields = host.run_chains(self.kernel(model), batch, seed=seed, **sizes)
        return draws["z"].astype(float), fields
