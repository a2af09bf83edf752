"""Common ground of the contracts."""

from contextlib import ExitStack

import numpy as np

from mmppl.testing.drivers import Driver, driver

__all__ = ["Contract", "close", "within_error"]


class Contract:
    """Base of the contracts: a host, in double precision while a test runs.

    Attributes:
        host: ``"numpyro"`` or ``"pyro"``.
        driver: Drives that host.
    """

    host: str
    driver: Driver

    def setup_method(self) -> None:
        """Starts a test."""
        self.driver = driver(self.host)
        self._open = ExitStack()
        self._open.enter_context(self.driver.double())

    def teardown_method(self) -> None:
        """Ends it."""
        self._open.close()


def close(got: object, wanted: object, rtol: float = 1e-8) -> None:
    """Raises AssertionError unless the two agree."""
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=rtol, atol=rtol)


def within_error(draws: np.ndarray, wanted: np.ndarray | float = 0.0, errors: float = 4.5) -> None:
    """Raises AssertionError unless the mean over the first axis is within standard errors of what it should be."""
    error = draws.std(0, ddof=1) / np.sqrt(len(draws))
    off = np.abs(draws.mean(0) - wanted)
    worst = np.max(off / np.maximum(error, 1e-12))
    assert worst < errors, f"mean {draws.mean(0)} is {worst:.1f} standard errors from {wanted}"
