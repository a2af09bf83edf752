"""Training of programs on Pyro, for :mod:`mmppl.inference`."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pyro
import torch
from torch.distributions import transform_to
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mmppl._backend.torch import BACKEND
from mmppl.batch import Batch
from mmppl.data import blocks
from mmppl.data.minibatches import block_seed
from mmppl.inference.training.held_out import weighted_mean, weights_of
from mmppl.inference.training.precision import check_networks, check_single
from mmppl.inference.training.schedules import decay
from mmppl.inference.training.settings import check_parts
from mmppl.nets.bound import registered_in
from mmppl.nets.transfer import check_arrays
from mmppl.pyro.autoguides import check_amortized
from mmppl.pyro.bfloat16 import in_bfloat16
from mmppl.pyro.networks import DIVIDER, Buffers, entered, evaluated, evaluation_mode
from mmppl.pyro.objectives import LeaveOneOut
from mmppl.pyro.optimizers import StageOptimizer, checked_optimizer
from mmppl.pyro.posterior import seeded
from mmppl.pyro.primitives import as_batch
from mmppl.pyro.processes import Together
from mmppl.pyro.shares import Share
from mmppl.pyro.threads import alone
from mmppl.pyro.weights import Store, array, public

__all__ = ["Trainer"]


@alone.methods
class Trainer:
    """Trains a program stage by stage; the parameters are those that its model and guide register.

    In a step every network is in the mode that the program gave it, unless a stage leaves all its parameters as they
    are; anywhere else it is in evaluation mode.
    """

    def __init__(
        self,
        program: Any,
        batch: Batch,
        *,
        seed: int,
        learning_rate: float | None,
        clip: float | None,
        ema: float,
        optimizer: Any = None,
        devices: int = 1,
        accumulate: int = 1,
        precision: str | None = None,
    ):
        self.program, self.rate, self.clip, self.together = program, learning_rate, clip, Together(devices)
        self.parts, self.seed, self.precision = accumulate, seed, precision
        check_single(precision, str(torch.get_default_dtype()).removeprefix("torch."))
        self.ema = self.own_ema = ema
        self.store = Store()
        check_amortized(program.guide, as_batch(batch))
        with seeded(seed):
            self.rng = torch.get_rng_state()
            self.store.register(program, batch)
        self.params = dict(self.store.state["params"])
        self.average = {name: p.detach().clone() for name, p in self.params.items()}
        own = {public(name): p for name, p in self.params.items()}
        self.given = None if optimizer is None else checked_optimizer(optimizer, own)
        self.taken, self.steps = 0, 1

    def begin(self, stage: Any, steps: int = 1, schedule: Any = "constant") -> None:
        """Starts a stage of so many steps: what moves, by which objective, with a new optimiser."""
        self.ema = self.own_ema if stage.ema is None else stage.ema
        self.moving = {name: self.params[name] for name in self.moved(stage)}
        for name, p in self.params.items():
            p.requires_grad_(name in self.moving)
        networks = self.store.networks
        # Pyro asks for evaluation mode where a network's parameters are frozen.
        self.frozen_modules = [m for name, n in networks.items() if self._is_frozen(name, stage) for m in n.modules()]
        own = {public(name): p for name, p in self.moving.items()}
        how = {"factor": stage.learning_rate, "momentum": stage.momentum, "schedule": schedule, "steps": steps}
        self.optimiser = StageOptimizer(self.given, own, rate=self.rate, **how)
        self.taken, self.steps = 0, steps
        self.objective = stage.objective or self.program.objective
        self.pair = stage.model or self.program.model, stage.guide or self.program.guide

    def end_at(self, steps: int) -> None:
        """Ends the stage after so many steps in all, by which its schedule goes from now on."""
        self.steps = self.optimiser.steps = steps

    def moved(self, stage: Any) -> list[str]:
        """The parameters that a stage moves, by the host's names."""
        return [name for name in self.params if stage.trains(public(name))]

    def _is_frozen(self, network: str, stage: Any) -> bool:
        """Tells whether a stage leaves a network as it is; one without parameters has a name still."""
        own = [name for name in self.params if name.startswith(f"{network}{DIVIDER}")]
        return not (any(name in self.moving for name in own) if own else stage.trains(f"{network}."))

    def step(self, batch: Batch) -> tuple[bool, dict[str, float]]:
        """One step: whether it was finite (else nothing has moved), and the record of the objective."""
        networks = [m for network in self.store.networks.values() for m in network.modules()]
        before = Buffers([*networks, *(part for _, part in self.store.parts)])
        moving = list(self.moving.values())
        with self._training():
            divided = self.together.number * self.parts > 1
            if divided and not self.taken:
                self._check_divided(batch, before)
            self.optimiser.zero_grad()
            with nullcontext() if self.precision is None else in_bfloat16() as networks_in_bfloat16:
                loss, record = self._in_parts(batch, before) if divided else self._backward(batch)
            if networks_in_bfloat16 is not None:
                check_networks(networks_in_bfloat16.seen)
            norm = torch.nn.utils.get_total_norm([p.grad for p in moving if p.grad is not None])
            if not (math.isfinite(loss) and torch.isfinite(norm) and self._all(before.stay_finite())):
                before.give_back()
                return False, record
            if self.clip is not None:
                torch.nn.utils.clip_grads_with_norm_(moving, self.clip, norm)
            self.optimiser.step(self.taken)
            self.rng = torch.get_rng_state()
        if self.ema:
            average = get_ema_multi_avg_fn(float(decay(self.ema, np.array(float(self.taken)))))
            average([self.average[name] for name in self.moving], moving, None)
        self.taken += 1
        return True, record

    def _backward(self, batch: Batch) -> tuple[float, dict[str, float]]:
        """The loss of each datum, whose gradient parameters then have, and the record."""
        torch.set_rng_state(self.rng)
        loss = self.objective.differentiable_loss(*self.pair, as_batch(batch), step=float(self.taken)) / len(batch)
        loss.backward()
        return float(loss.detach()), {name: float(value) for name, value in self.objective.record.items()}

    def _in_parts(self, batch: Batch, before: Buffers) -> tuple[float, dict[str, float]]:
        """The same, of parts that are gone through one after another, and by several processes."""
        total, records, weights = 0.0, [], []
        for number, rows in enumerate(self.together.shares(len(batch), self.parts)):
            if number:
                before.give_back()  # chains begin in each part where they do in the whole
            own, loss = self._share_of_loss(batch, rows)
            (loss / len(batch)).backward()  # draws of chains are the same in all parts
            total += float(loss.detach())
            records.append({name: float(value) for name, value in self.objective.record.items()})
            weights.append(weights_of(records[-1], own))
        own_record = weighted_mean(records, weights)
        own_weight = {name: sum(weight[name] for weight in weights) for name in weights[0]}
        if self.together.number == 1:
            return total / len(batch), own_record
        self.together.add_gradients(list(self.moving.values()))
        products = [own_record[name] * weight for name, weight in own_weight.items()]
        total, *sums = self.together.add([total, *products, *own_weight.values()])
        found = zip(own_record, sums[: len(products)], sums[len(products) :], strict=True)
        return total / len(batch), {name: float(x / weight) if weight else 0.0 for name, x, weight in found}

    def _share_of_loss(self, batch: Batch, rows: slice) -> tuple[Batch, torch.Tensor]:
        """Some rows, and their part of the loss, with the noise that they have in the whole batch."""
        torch.set_rng_state(self.rng)
        own = batch[rows]
        with Share(rows.start, len(own), len(batch)):
            return own, self.objective.differentiable_loss(*self.pair, as_batch(own), step=float(self.taken))

    def _check_divided(self, batch: Batch, before: Buffers) -> None:
        """Refuses a program whose rows are not each by themselves: the parts of its loss would not sum up to it."""
        with torch.no_grad():
            part = 0.0
            for rows in self.together.shares(len(batch), self.parts):
                part += float(self._share_of_loss(batch, rows)[1])
                before.give_back()
            torch.set_rng_state(self.rng)
            whole = float(self.objective.differentiable_loss(*self.pair, as_batch(batch), step=float(self.taken)))
            before.give_back()
        total = part if self.together.number == 1 else float(self.together.add([part])[0])
        check_parts(whole, total, len(batch))

    def _all(self, true: bool) -> bool:
        """Tells whether it is so in all processes."""
        return true if self.together.number == 1 else self.together.add([float(not true)])[0] == 0.0

    @contextmanager
    def _training(self) -> Iterator[None]:
        known = registered_in(self.store.known)
        # Pyro's validation would raise on the first NaN; here the loss shows it.
        with (
            torch.random.fork_rng(),
            self.store.open(),
            known,
            evaluation_mode(self.frozen_modules),
            pyro.validation_enabled(False),
        ):
            yield

    def held_out(self, batch: Batch, number: int) -> dict[str, float]:
        """The objective's record of other rows, with the weights as they are, which nothing moves."""
        return self._record_of(self.objective, self.pair, batch, number)

    def conditional(self, batch: Batch, number: int) -> dict[str, float]:
        """Bounds of each modality of other rows given the others, by the program itself."""
        pair = self.program.model, self.program.guide
        return self._record_of(LeaveOneOut(average=True), pair, batch, number)

    def _record_of(self, objective: Any, pair: tuple, batch: Batch, number: int) -> dict[str, float]:
        """An objective's record, which moves nothing."""
        known, unchecked = registered_in(self.store.known), pyro.validation_enabled(False)
        evaluating = evaluated(restore_buffers=True)
        with seeded(number), torch.no_grad(), self.store.open(), known, evaluating, unchecked, self._averaged():
            for network in self.store.networks.values():
                entered(network)
            objective.differentiable_loss(*pair, batch, step=float(self.steps))
        return {name: float(value) for name, value in objective.record.items()}

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Parameters at their averages within the context, where averages are kept."""
        before = {name: p.detach().clone() for name, p in self.params.items()} if self.ema else {}
        try:
            for name in before:
                self.params[name].copy_(self.average[name])
            yield
        finally:
            for name, value in before.items():
                self.params[name].copy_(value)

    def measure(self, fn: Callable, batch: Batch, number: int) -> dict[str, float]:
        """Means over the rows of what ``fn`` tells of them, with the weights that are kept."""
        with seeded(number), torch.no_grad(), self.store.open(), evaluated(restore_buffers=True), self._averaged():
            for network in self.store.networks.values():
                entered(network)
            return {n: float(x.mean()) for n, x in fn(as_batch(batch)).items()}

    def encode(self, fn: Callable, data: Batch, size: int) -> Batch:
        """The data as frozen encoders see them: ``fn`` of every batch, with the weights as they are."""
        parts = []
        with torch.no_grad(), self.store.open(), evaluated():
            for network in self.store.networks.values():
                entered(network)
            for rows in blocks(data, size):
                with seeded(block_seed(self.seed, rows)):
                    parts.append({n: BACKEND.to_numpy(x) for n, x in fn(as_batch(rows)).items()})
        values = {n: np.concatenate([p[n] for p in parts])[: len(data)] for n in data.modalities}
        return Batch(values, data.present, data.label, covariates=data.covariates, places=data.places)

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Sets parameters by public name, to values that obey their constraints."""
        own, constraints = {public(name): name for name in self.params}, self.store.state["constraints"]
        with torch.no_grad():
            for public_name, value in values.items():
                name = own[public_name]
                unconstrained = transform_to(constraints[name]).inv(torch.tensor(value))
                for tensors in (self.params, self.average):
                    tensors[name].copy_(unconstrained)

    def finish(self) -> None:
        """Ends a stage on the averaged weights, where an average is kept."""
        with torch.no_grad():
            for name, average in self.average.items():
                (self.params[name] if self.ema else average).copy_(average if self.ema else self.params[name])
        for p in self.params.values():
            p.requires_grad_(True)

    def weights(self) -> dict[str, np.ndarray]:
        """Parameters by public name, the same on both hosts; the averaged ones where an average is kept."""
        from_state = {"params": dict(self.average if self.ema else self.params)}
        with pyro.get_param_store().scope({**from_state, "constraints": self.store.state["constraints"]}):
            out = {public(n): array(v) for n, v in pyro.get_param_store().items()}
        return out | self.store.buffers()

    def snapshot(self) -> dict[str, np.ndarray]:
        """State from which training goes on bit for bit."""
        out = {f"param.{n}": array(p) for n, p in self.params.items()}
        out |= {f"average.{n}": array(p) for n, p in self.average.items()}
        out |= self.optimiser.snapshot()
        out |= {f"buffer.{name}": value for name, value in self.store.buffers().items()}
        return out | {"rng": self.rng.numpy().copy(), "taken": np.array(self.taken)}

    def _alike(self, snapshot: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A snapshot of this program and stage, with what only training makes where the one given has it.

        That are the optimiser's parts of the parameters that it has moved, and buffers of networks, such as chains.
        """
        out = self.snapshot()
        buffers = tuple(f"buffer.{name}." for name in self.store.networks)
        out |= {name: np.zeros_like(value) for name, value in snapshot.items() if name.startswith(buffers)} | out
        return out | self.optimiser.alike(snapshot)

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Goes back to a snapshot of the same program and stage."""
        check_arrays(self._alike(snapshot), snapshot, "the state")
        with torch.no_grad():
            for name, p in self.params.items():
                p.copy_(torch.tensor(snapshot[f"param.{name}"]))
                self.average[name].copy_(torch.tensor(snapshot[f"average.{name}"]))
        self.taken = int(snapshot["taken"])
        self.optimiser.restore(snapshot, self.taken)
        buffers = {k.removeprefix("buffer."): v for k, v in snapshot.items() if k.startswith("buffer.")}
        self.store.load(buffers)
        self.rng = torch.tensor(snapshot["rng"])
