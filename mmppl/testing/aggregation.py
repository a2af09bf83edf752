"""Contract of aggregated posteriors."""

from typing import Any

import numpy as np

from mmppl.testing.contract import Contract, close

__all__ = ["AggregationContract"]

NAMES = ("a", "b", "c")


class AggregationContract(Contract):
    """Holds an aggregated posterior to what an answer for any subset of modalities promises.

    Subclass it in a test module, set ``host``, and give :meth:`posterior`.

    Example:
        >>> class TestProduct(AggregationContract):
        ...     host = "numpyro"
        ...
        ...     def posterior(self, experts, present):
        ...         return self.driver.mm.Product(experts, present)
    """

    def posterior(self, experts: dict[str, tuple[Any, Any]], present: dict[str, Any]) -> Any:
        """The posterior from experts ``(loc, scale)``, each ``(N, D)``, and boolean masks ``(*, N)``."""
        raise NotImplementedError

    def make(
        self, loc: np.ndarray, scale: np.ndarray, present: np.ndarray, params: dict[str, Any] | None = None
    ) -> Any:
        """The posterior from numpy arrays ``(M, N, D)`` and ``(M, *, N)``; ``params`` may replace the experts."""
        array = self.driver.array
        loc, scale = (params["loc"], params["scale"]) if params else (array(loc), array(scale))
        experts = {name: (loc[i], scale[i]) for i, name in enumerate(NAMES)}
        return self.posterior(experts, {name: array(present[i]) for i, name in enumerate(NAMES)})

    def rows(self, num: int = 5, dim: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Experts and a pattern for each row, the last with nothing present."""
        rng = np.random.default_rng(0)
        present = rng.random((3, num)) < 0.6
        present[0] |= ~present.any(0)
        return (
            rng.normal(size=(3, num, dim)),
            rng.uniform(0.5, 1.5, (3, num, dim)),
            present & (np.arange(num) < num - 1),
        )

    def log_prob(self, fn: Any, z: np.ndarray) -> np.ndarray:
        """The log density as numpy."""
        return self.driver.log_prob(fn, z)

    def test_shapes(self):
        fn = self.make(*self.rows())
        assert tuple(fn.batch_shape) == (5,)
        assert tuple(fn.event_shape) == (2,)
        draws = self.driver.sample(fn, (3,), 0)
        assert draws.shape == (3, 5, 2)
        assert np.isfinite(draws).all()
        assert self.log_prob(fn, draws).shape == (3, 5)
        assert np.isfinite(self.log_prob(fn, draws)).all()

    def test_density_integrates_to_one_and_draws_follow_it(self):
        loc, scale, present = self.rows(dim=1)
        fn = self.make(loc, scale, present)
        grid = np.linspace(-20.0, 20.0, 20_001)
        density = np.exp(self.log_prob(fn, np.broadcast_to(grid[:, None, None], (20_001, 5, 1))))
        cumulative = np.cumsum(density, 0) * (grid[1] - grid[0])
        close(cumulative[-1], np.ones(5), 1e-3)
        num = 4000
        draws = np.sort(self.driver.sample(fn, (num,), 1)[..., 0], axis=0)
        for row in range(5):
            at = np.interp(draws[:, row], grid, cumulative[:, row])
            gap = np.abs(at - (np.arange(num) + 0.5) / num).max()
            # The 1e-4 quantile of the Kolmogorov distribution is 2.23.
            assert gap * np.sqrt(num) < 2.23, row

    def test_rows_of_other_patterns_are_answered_one_by_one(self):
        loc, scale, present = self.rows()
        z = np.random.default_rng(1).normal(size=(5, 2))
        together = self.log_prob(self.make(loc, scale, present), z)
        for row in range(5):
            one = slice(row, row + 1)
            close(self.log_prob(self.make(loc[:, one], scale[:, one], present[:, one]), z[one]), together[one])

    def test_several_subsets_at_once(self):
        loc, scale, present = self.rows()
        z = np.random.default_rng(1).normal(size=(5, 2))
        masks = np.stack([present, np.ones_like(present)], axis=1)
        fn = self.make(loc, scale, masks)
        assert tuple(fn.batch_shape) == (2, 5)
        for i in range(2):
            close(self.log_prob(fn, z)[i], self.log_prob(self.make(loc, scale, masks[:, i]), z))
        assert self.driver.sample(fn, (3,), 0).shape == (3, 2, 5, 2)

    def test_what_a_hidden_expert_holds_changes_no_bit(self):
        loc, scale, present = self.rows()
        hidden = ~present[..., None]
        z = np.random.default_rng(1).normal(size=(5, 2))

        def run(loc, scale):
            fn = self.make(loc, scale, present)
            total = self._total(z, present)
            value, grads = self.driver.value_and_grad(total, {"loc": loc, "scale": scale}, 0)
            return self.log_prob(fn, z), self.driver.sample(fn, (3,), 0), np.array(value), *grads.values()

        plain = run(loc, scale)
        for fill in (7.0, 1e20, np.inf, np.nan):
            for a, b in zip(plain, run(np.where(hidden, fill, loc), np.where(hidden, fill, scale)), strict=True):
                assert np.isfinite(a).all()
                assert a.tobytes() == b.tobytes()

    def test_gradient_reaches_experts_that_are_present(self):
        loc, scale, present = self.rows()
        z = np.random.default_rng(1).normal(size=(5, 2))
        _, grads = self.driver.value_and_grad(self._total(z, present), {"loc": loc, "scale": scale}, 0)
        for grad in grads.values():
            assert (grad.any(-1) == present).all()

    def test_draws_are_made_for_each_datum(self):
        """Neither once for the batch nor by position: rows alike draw apart, and each draws the whole density."""
        loc = np.broadcast_to(np.array([-9.0, 0.0, 9.0])[:, None, None], (3, 6, 1)).copy()
        fn = self.make(loc, np.ones((3, 6, 1)), np.ones((3, 6), bool))
        draws = self.driver.sample(fn, (3000,), 0)[..., 0]
        assert np.abs(np.corrcoef(draws.T) - np.eye(6)).max() < 0.1
        error = draws.std() / np.sqrt(3000)
        assert np.abs(draws.mean(0) - draws.mean()).max() < 5 * error

    def _total(self, z: np.ndarray, present: np.ndarray) -> Any:
        def total(params: dict[str, Any]) -> Any:
            return self.make(params["loc"], params["scale"], present, params).log_prob(self.driver.array(z)).sum()

        return total
