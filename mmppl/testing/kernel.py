"""The contract of a kernel, for third parties too."""

import warnings
from importlib import import_module
from typing import Any
from unittest import SkipTest

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch

__all__ = ["KernelContract"]

LOC = np.array([[0.0, 1.0], [-2.0, 0.5], [3.0, 3.0]])


class KernelContract:
    r"""What every kernel must do under its host's ``MCMC``: subclass it, and pytest runs the tests.

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
        size = np.asarray(self._effective_size(draws))
        assert (size > 20.0).all(), f"Too few effective draws to tell: {size.min():.0f}. Raise num_samples."
        worst = np.abs(error / (draws.std((0, 1)) / np.sqrt(size))).max()
        assert worst < 4.0, f"Off by {worst:.1f} Monte-Carlo standard errors; the largest error is {error}."

    def _run(
        self, scale: np.ndarray, *, seed: int, num_chains: int = 1, num_warmup: int | None = None, num_samples: int = 0
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Draws ``(chains, draws, N, D)`` and diagnostics, each with a leading axis of chains."""
        face, host = import_module(f"mmppl.{self.host}"), import_module(self.host)
        dist = import_module(f"{self.host}.distributions")
        batch = face.as_batch(Batch({"loc": LOC.astype("float32"), "scale": scale[:, None].astype("float32")}))

        def model(batch: Batch) -> None:
            with face.plate(batch):
                host.sample("z", dist.Normal(batch["loc"], batch["scale"]).to_event(1))

        run = {"numpyro": _on_numpyro, "pyro": _on_pyro}[self.host]
        mcmc = import_module(f"{self.host}.infer").MCMC
        warmup = self.num_warmup if num_warmup is None else num_warmup
        with warnings.catch_warnings():
            # Chains may be drawn one after the other, or in forked processes; either is fine here.
            warnings.simplefilter("ignore")
            return run(mcmc, self.kernel(model), batch, seed, num_chains, warmup, num_samples or self.num_samples)

    def _effective_size(self, draws: np.ndarray) -> Any:
        own = import_module(f"mmppl.{self.host}").as_batch(Batch({"draws": draws}))["draws"]
        home = {"numpyro": "numpyro.diagnostics", "pyro": "pyro.ops.stats"}[self.host]
        return import_module(home).effective_sample_size(own)


def _on_numpyro(host: Any, kernel: Any, batch: Batch, seed: int, chains: int, warmup: int, samples: int) -> tuple:
    mcmc = host(
        kernel,
        num_warmup=warmup,
        num_samples=samples,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    key = get_backend(batch["loc"]).rng(seed)
    mcmc.run(key, batch, extra_fields=("accept_prob", "log_density", "step_size"))
    fields = {name: np.asarray(x) for name, x in mcmc.get_extra_fields(group_by_chain=True).items()}
    fields["step_size"] = fields["step_size"][:, -1]
    return np.asarray(mcmc.get_samples(group_by_chain=True)["z"], dtype=float), fields


def _on_pyro(host: Any, kernel: Any, batch: Batch, seed: int, chains: int, warmup: int, samples: int) -> tuple:
    import_module(host.__module__.partition(".")[0]).set_rng_seed(seed)
    mcmc = host(kernel, warmup_steps=warmup, num_samples=samples, num_chains=chains, disable_progbar=True)
    mcmc.run(batch)
    found = mcmc.diagnostics()
    names = {"accept_prob": "accept_prob", "log_density": "log_density", "step_size": "step size"}
    fields = {name: np.stack([x.numpy() for x in found[theirs].values()]) for name, theirs in names.items()}
    return mcmc.get_samples(group_by_chain=True)["z"].numpy().astype(float), fields
