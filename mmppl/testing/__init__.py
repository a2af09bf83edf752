"""Contracts for pytest: subclass one, name a host, give a constructor, and the tests hold your own class to them."""

from mmppl.testing.aggregation import AggregationContract
from mmppl.testing.drivers import Driver, Step, driver
from mmppl.testing.gaussian_multi_task import GaussianMultiTask
from mmppl.testing.gaussian_score import GaussianScore
from mmppl.testing.kernel import KernelContract
from mmppl.testing.objective import ObjectiveContract
from mmppl.testing.prior import PriorContract

__all__ = [
    "AggregationContract",
    "Driver",
    "GaussianMultiTask",
    "GaussianScore",
    "KernelContract",
    "ObjectiveContract",
    "PriorContract",
    "Step",
    "driver",
]
