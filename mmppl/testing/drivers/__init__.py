"""Drivers: one interface by which tests evaluate, differentiate and sample programs of both hosts."""

from mmppl.testing.drivers.base import Driver, Step, driver

__all__ = ["Driver", "Step", "driver"]
