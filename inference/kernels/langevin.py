"""Transitions of the Langevin kernels: adjusted by an acceptance, or unadjusted."""

from typing import Any

from mmppl._backend import Backend
from mmppl.inference.kernels.base import Kernel, KernelState, LogDensity
from mmppl.mcmc.langevin import LangevinInfo, LangevinState, mala_step, ula_step

Array = Any

__all__ = ["AdjustedLangevin", "UnadjustedLangevin"]


class AdjustedLangevin(Kernel):
    """Base of kernels whose transition is :func:`~mmppl.mcmc.langevin.mala_step`."""

    def transition(
        self, log_density: LogDensity, chains: LangevinState, noise: tuple[Array, ...], step_size: Array
    ) -> tuple[LangevinState, LangevinInfo]:
        normal, uniform = noise
        return mala_step(log_density, chains, normal, uniform, step_size, self.clip)


class UnadjustedLangevin(Kernel):
    """Base of kernels whose transition is :func:`~mmppl.mcmc.langevin.ula_step`, which takes every proposal."""

    def noise(self, backend: Backend, rng: Any, state: KernelState) -> tuple[Array, ...]:
        position = state.chains.position
        return (backend.normal(rng, tuple(position.shape), position),)

    def transition(
        self, log_density: LogDensity, chains: LangevinState, noise: tuple[Array, ...], step_size: Array
    ) -> tuple[LangevinState, LangevinInfo]:
        return ula_step(log_density, chains, noise[0], step_size, self.clip)
