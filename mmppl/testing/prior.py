"""Contract of priors."""

from typing import Any

import numpy as np

from mmppl.testing.contract import Contract, close, within_error

__all__ = ["PriorContract"]


class PriorContract(Contract):
    r"""Holds a prior to what a distribution of the host promises.

    Its draws agree with its density (Stein's identity), and its learning gradient with both: for a normalised
    density :math:`\mathbb{E}_{z \sim p_\theta}[\nabla_\theta \log p_\theta(z)] = 0`, whether the normaliser is known
    or, as in an energy-tilted prior, only its gradient is.

    Subclass it in a test module, set ``host``, ``params`` and ``dim``, and give :meth:`prior`.

    Attributes:
        params: Arrays by name, float64; every one must take part in the density.
        dim: D, the size of the event.
        draws: Number of draws for the two identities.
        repeats: Number of gradients for the second.

    Example:
        >>> class TestNormal(PriorContract):
        ...     host, dim = "numpyro", 2
        ...     params = {"scale": np.array([0.5, 2.0])}
        ...
        ...     def prior(self, params):
        ...         return self.driver.dist.Normal(0.0, params["scale"]).to_event(1)
    """

    params: dict[str, np.ndarray]
    dim: int
    draws = 2000
    repeats = 16

    def prior(self, params: dict[str, Any]) -> Any:
        """The prior, from the host's arrays; event shape ``(D,)`` and no batch shape."""
        raise NotImplementedError

    def make(self, seed: int = 0) -> Any:
        """The prior with the contract's own parameters."""
        params = {name: self.driver.array(value) for name, value in self.params.items()}
        return self.driver.call(lambda: self.prior(params), seed)

    def points(self, *shape: int) -> np.ndarray:
        """Points at which the density is looked at."""
        return np.random.default_rng(0).normal(size=(*shape, self.dim))

    def log_prob(self, fn: Any, z: np.ndarray) -> np.ndarray:
        """The log density as numpy."""
        return self.driver.log_prob(fn, z)

    def test_shapes(self):
        fn = self.make()
        assert tuple(fn.batch_shape) == ()
        assert tuple(fn.event_shape) == (self.dim,)
        for shape in ((), (3,), (2, 3)):
            assert self.log_prob(fn, self.points(*shape)).shape == shape
            draws = self.driver.sample(fn, shape, 0)
            assert draws.shape == (*shape, self.dim)
            assert np.isfinite(draws).all()

    def test_each_point_has_its_own_density(self):
        z, fn = self.points(4), self.make()
        close(self.log_prob(fn, z), [self.log_prob(fn, point) for point in z])

    def test_log_prob_is_deterministic(self):
        z = self.points(4)
        first, second = self.log_prob(self.make(0), z), self.log_prob(self.make(1), z)
        assert first.tobytes() == second.tobytes()
        assert np.isfinite(first).all()

    def test_samples_follow_the_seed(self):
        fn = self.make()
        first, again, other = (self.driver.sample(fn, (4,), seed) for seed in (0, 0, 1))
        assert first.tobytes() == again.tobytes()
        assert (first != other).any()
        assert len(np.unique(first, axis=0)) == 4

    def test_expand(self):
        fn, z = self.make(), self.points(2, 3)
        wide = fn.expand((3,))
        assert tuple(wide.batch_shape) == (3,)
        close(self.log_prob(wide, z), self.log_prob(fn, z))
        draws = self.driver.sample(wide, (2,), 0)
        assert draws.shape == (2, 3, self.dim)
        assert len(np.unique(draws.reshape(6, -1), axis=0)) == 6

    def test_mask(self):
        fn, z = self.make(), self.points(3)
        keep = np.array([True, False, True])
        masked = fn.expand((3,)).mask(self.driver.array(keep))
        close(self.log_prob(masked, z), np.where(keep, self.log_prob(fn, z), 0.0))

    def test_event_of_events(self):
        fn, z = self.make(), self.points(3)
        event = fn.expand((3,)).to_event(1)
        assert tuple(event.event_shape) == (3, self.dim)
        close(self.log_prob(event, z), self.log_prob(fn, z).sum())

    def test_plate(self):
        params = {name: self.driver.array(value) for name, value in self.params.items()}
        ppl, z = self.driver.ppl, self.points(3)

        def program():
            fn = self.prior(params)
            with ppl.plate("rows", 3):
                return ppl.sample("z", fn)

        assert self.driver.numpy(self.driver.call(program, 0)).shape == (3, self.dim)
        close(self.driver.log_joint(program, {"z": z}), self.log_prob(self.make(), z).sum())

    def test_samples_agree_with_the_density(self):
        z = self.driver.sample(self.make(), (self.draws,), 3)
        score = self._score(z)
        # Stein: E[score g + g'] = 0, for g = 1 and for two bounded functions of the own coordinate.
        within_error(score)
        within_error(score * np.tanh(z) + np.cosh(z) ** -2.0)
        within_error(score * np.sin(2.0 * z) + 2.0 * np.cos(2.0 * z))

    def test_gradient_reaches_every_parameter(self):
        z = self.points(5)
        _, grads = self.driver.value_and_grad(self._total(z), self.params, 0)
        assert grads.keys() == self.params.keys()
        for name, grad in grads.items():
            assert np.isfinite(grad).all(), name
            assert grad.any(), f"no gradient reaches {name}"

    def test_mean_learning_gradient_under_the_prior_is_zero(self):
        draws = self.driver.sample(self.make(), (self.repeats * self.draws,), 5)
        z = draws.reshape(self.repeats, self.draws, self.dim)

        def mean(params, z):
            return self.prior(params).log_prob(z).sum() / self.draws

        for grad in self.driver.repeat_grad(mean, self.params, z).values():
            within_error(grad.reshape(self.repeats, -1))

    def _total(self, z: np.ndarray) -> Any:
        return lambda params: self.prior(params).log_prob(self.driver.array(z)).sum()

    def _score(self, z: np.ndarray) -> np.ndarray:
        params = {name: self.driver.array(value) for name, value in self.params.items()}
        total = self.driver.value_and_grad(lambda at: self.prior(params).log_prob(at["z"]).sum(), {"z": z}, 0)
        return total[1]["z"]
