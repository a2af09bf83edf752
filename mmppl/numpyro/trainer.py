"""Training of programs on NumPyro, for :mod:`mmppl.inference`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpyro.infer.util import transform_fn

from mmppl._backend.jax_arrays import copied
from mmppl.batch import Batch
from mmppl.data import blocks
from mmppl.data.minibatches import block_seed
from mmppl.errors import OptionError
from mmppl.inference.training.precision import check_networks, check_single
from mmppl.inference.training.schedules import decay
from mmppl.inference.training.settings import check_parts
from mmppl.nets.equinox_bfloat16 import in_bfloat16
from mmppl.nets.transfer import check_arrays
from mmppl.numpyro.autoguides import check_amortized
from mmppl.numpyro.compiling import compiled, compiled_once, random_key, step_compiled, wrapped_key
from mmppl.numpyro.devices import Devices
from mmppl.numpyro.objectives import LeaveOneOut
from mmppl.numpyro.optimizers import checked_optimizer, checked_schedule, grouped, scheduled, updated
from mmppl.numpyro.parts import in_parts, whole_and_parts
from mmppl.numpyro.primitives import as_batch
from mmppl.numpyro.seeded import seeded, threefry
from mmppl.numpyro.state import given
from mmppl.numpyro.threads import alone
from mmppl.numpyro.weights import flat, like, plain, public, start, unflat

__all__ = ["Trainer"]


class _State(NamedTuple):
    """State that a step hands to the next; the averages are of what moves, where they are kept."""

    params: dict[str, Any]
    mutable: dict[str, Any]
    average: dict[str, Any]
    optimiser: Any
    taken: jax.Array  # steps of the stage so far
    steps: jax.Array  # of the stage, over which the learning rate is annealed
    key: jax.Array  # its data

    def averaged(self) -> dict[str, Any]:
        return {**self.params, **self.average}


@dataclass(frozen=True, eq=False)
class _Update:
    """A step of training, of what the step before handed on and a batch."""

    constrain: Callable
    optimiser: optax.GradientTransformation
    rate: float  # a factor, negative where what the optimiser gives is a direction of gradients
    schedule: Any
    ema: float
    objective: Any
    pair: tuple[Callable, Callable]
    structure: Any
    moving: tuple[str, ...]
    parts: int
    precision: str | None

    def __call__(self, leaves: list[jax.Array], batch: Batch) -> tuple[list[jax.Array], dict, jax.Array]:
        state: _State = jax.tree.unflatten(self.structure, leaves)
        key, now = jax.random.split(wrapped_key(state.key))
        fixed = {name: value for name, value in state.params.items() if name not in self.moving}
        step = state.taken

        def loss(train, key, rows):
            everything = {**self.constrain({**fixed, **train}), **state.mutable}
            total, (record, changed) = self.objective.loss_and_record(key, everything, *self.pair, rows, step=step)
            return total / len(batch), (record, changed)

        train = {name: state.params[name] for name in self.moving}
        gradient = jax.value_and_grad(loss, has_aux=True)
        run = gradient if self.parts == 1 else partial(in_parts, gradient, self.parts)
        if self.precision is None:
            (value, (record, changed)), grads = run(train, now, batch)
        else:
            with in_bfloat16() as seen:
                (value, (record, changed)), grads = run(train, now, batch)
            check_networks(bool(seen))
        updates, optimiser = updated(self.optimiser, grads, state.optimiser, train, value)
        rate = self.rate * scheduled(self.schedule, step, state.steps)
        params = {**fixed, **optax.apply_updates(train, jax.tree.map(lambda u: rate * u, updates))}
        decayed = decay(self.ema, step)
        average = {
            name: jax.tree.map(lambda a, p: decayed * a + (1.0 - decayed) * p, own, params[name])
            for name, own in state.average.items()
        }
        finite = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(grads))
        before = [{name: state.params[name] for name in self.moving}, {name: state.mutable[name] for name in changed}]
        finite &= _stays_finite([{name: params[name] for name in self.moving}, changed], before)
        new = jax.tree.leaves(
            _State(
                params,
                {**state.mutable, **changed},
                average,
                optimiser,
                step + 1,
                state.steps,
                jax.random.key_data(key),
            )
        )
        return [jnp.where(finite, a, b) for a, b in zip(new, leaves, strict=True)], record, finite


def _reused(program: Any, key: tuple, make: Callable[[], Callable]) -> Callable:
    """Compiled function of a program, used again where callables have a hash."""
    try:
        hash(key)
    except TypeError:
        return make()
    return program.compiled.get(key, make)


@alone.methods
class Trainer:
    """Trains a program stage by stage; the host's SVI finds its parameters and their constraints.

    The state is stored as leaves, donated to the jitted step: to flatten a tree of many modules takes as long as a
    step.
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
        self.program, self.rate, self.clip, self.devices = program, learning_rate, clip, Devices(devices)
        self.parts, self.seed, self.precision = accumulate, seed, precision
        check_single(precision, str(jnp.result_type(float)))
        self.ema = self.own_ema = ema
        check_amortized(program.guide, as_batch(batch))
        key, first = jax.random.split(random_key(seed))
        svi, begun = start(program, threefry(first), batch)
        self.constrain = svi.constrain_fn
        params, mutable = svi.optim.get_params(begun.optim_state), begun.mutable_state or {}
        taken = jnp.zeros((), jnp.int32)
        self.state = _State(params, mutable, {}, (), taken, jnp.ones(()), jax.random.key_data(key))
        self.given = None if optimizer is None else checked_optimizer(optimizer, params)

    @property
    def state(self) -> _State:
        """The state as it stands, good until the next step."""
        return jax.tree.unflatten(self._structure, self._leaves)

    @state.setter
    def state(self, new: _State) -> None:
        leaves, self._structure = jax.tree.flatten(new)
        # A step destroys what it is given.
        self._leaves = self.devices.copied(copied(leaves))

    def moved(self, stage: Any) -> list[str]:
        """The parameters that a stage moves, by the host's names."""
        return [name for name in self.state.params if stage.trains(public(name))]

    def begin(self, stage: Any, steps: int = 1, schedule: Any = "constant") -> None:
        """Starts a stage of so many steps: what moves, by which objective, with a new optimiser."""
        self.ema = self.own_ema if stage.ema is None else stage.ema
        state = self.state
        moving = {name: state.params[name] for name in self.moved(stage)}
        chain = [] if self.clip is None else [optax.clip_by_global_norm(self.clip)]
        if self.given is None:
            # Of one long vector, an optimiser is one operation where it is one for each array.
            optimiser = optax.flatten(optax.chain(*chain, optax.scale_by_adam(b1=stage.momentum)))
            init = _reused(self.program, ("begin", self.clip, stage.momentum), lambda: compiled_once(optimiser.init))
            rate = -stage.learning_rate
            if callable(schedule) and self.rate is not None:
                raise OptionError(
                    f"Expected schedule= of optax to give the learning rate; got learning_rate={self.rate!r} beside "
                    "it. Leave one out."
                )
            rate = -checked_schedule(schedule, stage.learning_rate) if callable(schedule) else self.rate * rate
        else:
            if callable(schedule):
                raise OptionError(
                    "Expected optimizer= with a schedule of its own, optax.adamw(schedule); got schedule=."
                )
            optimiser, rate = optax.chain(*chain, grouped(self.given, moving)), stage.learning_rate
            init = optimiser.init
        average = moving if self.ema else {}
        begun = {"optimiser": init(moving), "taken": jnp.zeros((), jnp.int32)}
        self.state = state._replace(average=average, steps=jnp.asarray(float(steps)), **begun)
        self.objective = stage.objective or self.program.objective
        self.pair = stage.model or self.program.model, stage.guide or self.program.guide
        how = rate, schedule, self.ema
        what = _Update(
            self.constrain,
            optimiser,
            *how,
            objective=self.objective,
            pair=self.pair,
            structure=self._structure,
            moving=tuple(moving),
            parts=self.parts,
            precision=self.precision,
        )
        settings = *how, self.parts, self.precision, self.clip, stage.momentum, self.given, jnp.result_type(float)
        key = "step", self.objective, *self.pair, self._structure, tuple(moving), *settings
        self._step = _reused(self.program, key, lambda: step_compiled(what))
        self.divides = False  # not known yet

    def end_at(self, steps: int) -> None:
        """Ends the stage after so many steps in all, by which its schedule goes from now on."""
        self.state = self.state._replace(steps=jnp.asarray(float(steps)))

    def step(self, batch: Batch) -> tuple[bool, dict[str, float]]:
        """One step: whether it was finite (else nothing has moved), and the record of the objective."""
        rows = self.devices.rows(batch.for_hosts())
        if self.parts > 1 and not self.divides:
            self._check_divided(rows)
        with self.devices.together():
            self._leaves, record, finite = self._step(self._leaves, rows)
            return bool(finite), {name: float(value) for name, value in record.items()}

    def _check_divided(self, batch: Batch) -> None:
        """Refuses a program whose rows are not each by themselves: the parts of its loss would not sum up to it."""
        objective, pair, structure, constrain = self.objective, self.pair, self._structure, self.constrain

        def both(leaves: list[jax.Array], batch: Batch) -> tuple[jax.Array, jax.Array]:
            state: _State = jax.tree.unflatten(structure, leaves)
            everything = {**constrain(state.params), **state.mutable}

            def loss(key: jax.Array, rows: Batch) -> jax.Array:
                return objective.loss_and_record(key, everything, *pair, rows, step=state.taken)[0]

            return whole_and_parts(loss, self.parts, jax.random.split(wrapped_key(state.key))[1], batch)

        key = "divided", objective, *pair, structure, self.parts, jnp.result_type(float)
        whole, parts = _reused(self.program, key, lambda: compiled(both))(self._leaves, batch)
        check_parts(float(whole), float(parts), len(batch))
        self.divides = True

    def held_out(self, batch: Batch, number: int) -> dict[str, float]:
        """The objective's record of other rows, with the weights as they are, which nothing moves."""
        return self._record_of(self.objective, self.pair, batch, number)

    def conditional(self, batch: Batch, number: int) -> dict[str, float]:
        """Bounds of each modality of other rows given the others, by the program itself."""
        pair = self.program.model, self.program.guide
        return self._record_of(LeaveOneOut(average=True), pair, batch, number)

    def _record_of(self, objective: Any, pair: tuple, batch: Batch, number: int) -> dict[str, float]:
        """An objective's record, which moves nothing."""
        structure, constrain = self._structure, self.constrain

        def record(leaves: list[jax.Array], key: jax.Array, batch: Batch) -> dict:
            state: _State = jax.tree.unflatten(structure, leaves)
            everything = {**constrain(state.averaged()), **state.mutable}
            return objective.loss_and_record(key, everything, *pair, batch, step=state.steps)[1][0]

        key = "held out", objective, *pair, structure, jnp.result_type(float)
        run = _reused(self.program, key, lambda: compiled(record))
        key, rows = self.devices.copied(random_key(number)), self.devices.rows(batch.for_hosts())
        with self.devices.together():
            return {n: float(x) for n, x in run(self._leaves, key, rows).items()}

    def measure(self, fn: Callable, batch: Batch, number: int) -> dict[str, float]:
        """Means over the rows of what ``fn`` tells of them, with the weights that are kept."""
        state = self.state
        values = {**self.constrain(state.averaged()), **state.mutable}

        def measured(v, key, batch):
            return jax.tree.map(jnp.mean, given(seeded(fn, key), data=v)(batch))

        run = _reused(self.program, ("measure", fn), lambda: compiled(measured))
        key, rows = self.devices.copied(random_key(number)), self.devices.rows(as_batch(batch))
        return {n: float(x) for n, x in run(values, key, rows).items()}

    def encode(self, fn: Callable, data: Batch, size: int) -> Batch:
        """The data as frozen encoders see them: ``fn`` of every batch, with the weights as they are."""
        state = self.state
        values = {**self.constrain(state.params), **state.mutable}

        def encoded(v, key, batch):
            return given(seeded(fn, key), data=v)(batch)

        run = _reused(self.program, ("encode", fn), lambda: compiled(encoded))
        parts = []
        for rows in blocks(data, size):
            key = self.devices.copied(random_key(block_seed(self.seed, rows)))
            found = run(values, key, self.devices.rows(as_batch(rows)))
            parts.append(jax.tree.map(np.array, dict(found)))
        values = {n: np.concatenate([p[n] for p in parts])[: len(data)] for n in data.modalities}
        return Batch(values, data.present, data.label, covariates=data.covariates, places=data.places)

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Sets parameters by public name, also the arrays of networks, to values that obey their constraints."""
        state = self.state
        own = {name: [n for n in values if n == name or n.startswith(f"{public(name)}.")] for name in state.params}
        some = {name: value for name, value in state.params.items() if own[name]}
        new = unflat(some, {**flat(self.constrain(some), {}), **values})
        new = transform_fn(self.constrain.args[0], new, invert=True)
        average = {name: new.get(name, value) for name, value in state.average.items()}
        self.state = state._replace(params={**state.params, **new}, average=average)

    def finish(self) -> None:
        """Ends a stage on the averaged weights, where an average is kept."""
        self.state = self.state._replace(params=self.state.averaged())

    def weights(self) -> dict[str, np.ndarray]:
        """Parameters by public name, the same on both hosts; the averaged ones where an average is kept."""
        return flat(self.constrain(self.state.averaged()), self.state.mutable)

    def snapshot(self) -> dict[str, np.ndarray]:
        """State from which training goes on bit for bit."""
        return {f"{i:05d}": plain(leaf) for i, leaf in enumerate(self._leaves)}

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Goes back to a snapshot of the same program and stage."""
        check_arrays(self.snapshot(), snapshot, "the state")
        pairs = zip(sorted(snapshot), self._leaves, strict=True)
        self._leaves = self.devices.copied([like(leaf, snapshot[name]) for name, leaf in pairs])


def _stays_finite(new: Any, old: Any) -> jax.Array:
    """Tells whether no float of a tree is NaN or infinite that was neither before."""
    pairs = zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True)
    floats = [(a, b) for a, b in pairs if jnp.issubdtype(jnp.result_type(a), jnp.floating)]
    parts = [jnp.ravel(jnp.isfinite(a) | ~jnp.isfinite(b)) for a, b in floats]
    return jnp.all(jnp.concatenate([jnp.ones(1, bool), *parts]))
