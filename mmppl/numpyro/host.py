"""How programs of this face are trained and run, for :mod:`mmppl.inference`."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from numpyro import handlers
from numpyro.infer import SVI

from mmppl.batch import Batch
from mmppl.data import blocks
from mmppl.errors import DataError
from mmppl.inference.averaging import decay
from mmppl.nets.equinox import load as load_net
from mmppl.nets.equinox import state as net_state
from mmppl.nets.spec import Spec
from mmppl.numpyro.objectives import Evaluation
from mmppl.numpyro.posterior import JOINT, Static, chains, guide_log_prob, probe, refine, scores
from mmppl.numpyro.primitives import as_batch, build

__all__ = [
    "JOINT",
    "NAME",
    "Trainer",
    "bind",
    "build_all",
    "chains",
    "dist",
    "factor",
    "find_prior",
    "guide_log_prob",
    "located",
    "log_weights",
    "param",
    "probe",
    "random",
    "refine",
    "sample",
    "scores",
    "simulate",
    "zeros",
]

NAME = "numpyro"
sample, param, factor, scale = numpyro.sample, numpyro.param, numpyro.factor, handlers.scale


def random() -> Any:
    """A random handle, inside a program."""
    return numpyro.prng_key()


def zeros(*shape: int) -> jax.Array:
    """Zeros of a shape."""
    return jnp.zeros(shape)


def located(family: str, loc: jax.Array, scale: float | jax.Array) -> Any:
    """A ``"normal"`` or ``"laplace"`` distribution by location and scale."""
    return {"normal": dist.Normal, "laplace": dist.Laplace}[family](loc, scale)


def build_all(specs: Mapping[str, Spec], seed: int) -> dict[str, Any]:
    """Networks by name, each with initial weights of its own from the seed."""
    seeds = np.random.SeedSequence(seed).generate_state(len(specs))
    return {name: build(spec, int(s)) for (name, spec), s in zip(specs.items(), seeds, strict=True)}


class Trainer:
    """Trains a program stage by stage; the host's SVI finds its parameters and their constraints."""

    def __init__(self, program: Any, batch: Batch, *, seed: int, learning_rate: float, clip: float | None, ema: float):
        self.program, self.rate, self.clip = program, learning_rate, clip
        self.ema = self.own_ema = ema
        key, first = jax.random.split(jax.random.key(seed))
        svi = SVI(program.model, program.guide, optax.sgd(0.0), program.objective)
        start = _start(svi, first, as_batch(batch))
        self.constrain = svi.constrain_fn
        self.params = svi.optim.get_params(start.optim_state)
        self.mutable = start.mutable_state or {}
        self.key = key
        self.average = self.params
        self.encoders: dict[Callable, Callable] = {}

    def begin(self, stage: Any) -> None:
        """Starts a stage: what moves, by which objective, with a new optimiser."""
        self.ema = self.own_ema if stage.ema is None else stage.ema
        moving = [name for name in self.params if stage.moves(_public(name))]
        chain = [] if self.clip is None else [optax.clip_by_global_norm(self.clip)]
        self.optimiser = optax.chain(*chain, optax.adam(self.rate * stage.learning_rate, b1=stage.momentum))
        self.state = self.optimiser.init({name: self.params[name] for name in moving})
        objective = stage.objective or self.program.objective
        pair = stage.model or self.program.model, stage.guide or self.program.guide
        self._step = jax.jit(partial(self._update, objective, pair, tuple(moving)))

    def _update(self, objective, pair, moving, params, mutable, average, state, key, batch):
        key, now = jax.random.split(key)
        still = {name: value for name, value in params.items() if name not in moving}

        step = optax.tree.get(state, "count")

        def loss(train):
            everything = {**self.constrain({**still, **train}), **mutable}
            total, (record, changed) = objective.loss_and_record(now, everything, *pair, batch, step=step)
            return total / len(batch), (record, changed)

        train = {name: params[name] for name in moving}
        (value, (record, changed)), grads = jax.value_and_grad(loss, has_aux=True)(train)
        updates, state = self.optimiser.update(grads, state, train)
        params = {**still, **optax.apply_updates(train, updates)}
        kept = decay(self.ema, step)
        moved = {n: jax.tree.map(lambda a, p: kept * a + (1.0 - kept) * p, average[n], params[n]) for n in moving}
        average = {**average, **moved}
        finite = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(grads))
        return params, {**mutable, **changed}, average, state, key, record, finite

    def step(self, batch: Batch) -> tuple[bool, dict[str, float]]:
        """One step: whether it was finite (else nothing has moved), and the record of the objective."""
        out = self._step(self.params, self.mutable, self.average, self.state, self.key, as_batch(batch))
        *new, record, finite = out
        ok = bool(finite)
        if ok:
            self.params, self.mutable, self.average, self.state, self.key = new
        return ok, {name: float(value) for name, value in record.items()}

    def encode(self, fn: Callable, data: Batch, size: int) -> Batch:
        """The data as frozen encoders see them: ``fn`` of every batch, with the weights as they are."""
        values = {**self.constrain(self.params), **self.mutable}
        if fn not in self.encoders:

            def compiled(v, key, batch):
                return handlers.substitute(handlers.seed(fn, key), data=v)(batch)

            self.encoders[fn] = jax.jit(compiled)
        run = partial(self.encoders[fn], values, self.key)
        parts = [jax.tree.map(np.array, dict(run(as_batch(rows)))) for rows in blocks(data, size)]
        return Batch({n: np.concatenate([p[n] for p in parts])[: len(data)] for n in data.modalities}, data.present)

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Sets parameters by public name."""
        new = {name: jnp.asarray(value, self.params[name].dtype) for name, value in values.items()}
        self.params, self.average = {**self.params, **new}, {**self.average, **new}

    def finish(self) -> None:
        """Ends a stage on the averaged weights, where an average is kept."""
        if self.ema:
            self.params = self.average
        self.average = self.params

    def weights(self) -> dict[str, np.ndarray]:
        """Parameters by public name, the same on both hosts; the averaged ones where an average is kept."""
        return _flat(self.constrain(self.average if self.ema else self.params), self.mutable)

    def snapshot(self) -> dict[str, np.ndarray]:
        """Everything that going on bit for bit needs."""
        key = jax.random.key_data(self.key)
        leaves = jax.tree.leaves((self.params, self.mutable, self.average, self.state, key))
        return {f"{i:05d}": np.array(leaf) for i, leaf in enumerate(leaves)}

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Goes back to a snapshot of the same program and stage."""
        tree = (self.params, self.mutable, self.average, self.state, jax.random.key_data(self.key))
        leaves, structure = jax.tree.flatten(tree)
        if len(leaves) != len(snapshot):
            raise DataError(f"Expected a state of {len(leaves)} arrays; got {len(snapshot)}. It is another program's.")
        new = [jnp.asarray(snapshot[name], leaf.dtype) for name, leaf in zip(sorted(snapshot), leaves, strict=True)]
        self.params, self.mutable, self.average, self.state, key = jax.tree.unflatten(structure, new)
        self.key = jax.random.wrap_key_data(key)


def bind(program: Any, weights: Mapping[str, np.ndarray], batch: Batch) -> tuple[Callable, Callable]:
    """The program's model and guide with these weights: ordinary NumPyro callables."""
    svi = SVI(program.model, program.guide, optax.sgd(0.0), program.objective)
    start = _start(svi, jax.random.key(0), as_batch(batch))
    params = {**svi.get_params(start), **(start.mutable_state or {})}
    full = _unflat(params, weights)
    return handlers.substitute(program.model, data=full), handlers.substitute(program.guide, data=full)


def find_prior(model: Callable, batch: Batch) -> dict[str, Any]:
    """Latents of a model whose prior has a ``log_normalizer``, with the prior."""
    sites = handlers.trace(handlers.seed(model, jax.random.key(0))).get_trace(as_batch(batch))
    out = {}
    for name, site in sites.items():
        fn = site.get("fn")
        while fn is not None and not hasattr(fn, "log_normalizer") and hasattr(fn, "base_dist"):
            fn = fn.base_dist
        if hasattr(fn, "log_normalizer"):
            out[name] = fn
    return out


def log_normalizer(prior: Any, seed: int) -> Any:
    """The prior's log Z, from a seed."""
    return prior.log_normalizer(jax.random.key(seed))


def log_weights(model: Callable, guide: Callable, objective: Any, batch: Batch, seed: int) -> np.ndarray:
    """The objective's log importance weights of its first term, ``(K, N)``."""
    return np.array(_log_weights(Static((model, guide, objective)), as_batch(batch), jax.random.key(seed)))


@eqx.filter_jit
def _log_weights(program: Any, batch: Batch, key: jax.Array) -> jax.Array:
    model, guide, objective = program.value
    first, second = jax.random.split(key)
    return objective.log_weights(Evaluation(model, guide, {}, first, batch), batch, second)[:, 0, :]


def latents(model: Callable, guide: Callable, batch: Batch, num: int, seed: int, prior_rows: np.ndarray) -> dict:
    """Draws of the latents, ``(num, N, *event)``: from the guide, or from the prior in ``prior_rows``."""
    rows = None if not prior_rows.any() else bool(prior_rows.all()) or jnp.asarray(prior_rows)
    return _latents(Static((model, guide)), as_batch(batch), num, jax.random.key(seed), rows)


@eqx.filter_jit
def _latents(program: Any, batch: Batch, num: int, key: jax.Array, rows: Any) -> dict:
    model, guide = program.value
    first, second = jax.random.split(key)
    keys = jax.random.split(first, num)
    out = {}
    if rows is not True:
        out = jax.vmap(lambda k: _hidden(handlers.trace(handlers.seed(guide, k)).get_trace(batch)))(keys)
    if rows is None:
        return out
    with numpyro.plate("_draws", num, dim=-2):
        drawn = _hidden(handlers.trace(handlers.seed(model, second)).get_trace(batch.only()))
    if rows is True:
        return drawn
    return {n: jnp.where(rows.reshape(rows.shape + (1,) * (z.ndim - 2)), drawn[n], z) for n, z in out.items()}


def _hidden(sites: Mapping) -> dict:
    return {n: s["value"] for n, s in sites.items() if s["type"] == "sample" and not s["is_observed"]}


def decode(model: Callable, hidden: Mapping, batch: Batch, seed: int, mean: bool) -> dict[str, np.ndarray]:
    """Draws (or means) of every modality of the batch given latents ``(num, N, *event)``."""
    draws = _decode(Static(model), dict(hidden), as_batch(batch), jax.random.key(seed), mean)
    return {name: np.array(value) for name, value in draws.items()}


@eqx.filter_jit
def _decode(program: Any, hidden: dict, batch: Batch, key: jax.Array, mean: bool) -> dict:
    num = next(iter(hidden.values())).shape[0]

    def one(values: dict, k: jax.Array) -> dict:
        free = handlers.uncondition(handlers.substitute(handlers.seed(program.value, k), data=values))
        sites = handlers.trace(free).get_trace(batch)
        return {n: _mean(sites[n]["fn"]) if mean else sites[n]["value"] for n in batch.modalities}

    return jax.vmap(one)(hidden, jax.random.split(key, num))


def _mean(fn: Any) -> jax.Array:
    # A zero-inflated distribution has a base too, but a mean of its own.
    while isinstance(fn, dist.Independent | dist.MaskedDistribution | dist.ExpandedDistribution):
        fn = fn.base_dist
    return jnp.argmax(fn.logits, -1) if isinstance(fn, dist.CategoricalLogits) else fn.mean


def simulate(model: Callable, guide: Callable, batch: Batch, num: int, seed: int, mean: bool, prior_rows: np.ndarray):
    """Draws of latents and of every modality: two dictionaries of ``(num, N, *event)``."""
    hidden = latents(model, guide, batch, num, seed, prior_rows)
    return {n: np.array(z) for n, z in hidden.items()}, decode(model, hidden, batch, seed + 1, mean)


def _start(svi: SVI, key: jax.Array, batch: Batch) -> Any:
    """SVI's first state, compiled: run operation by operation a program takes seconds."""
    start = jax.jit(svi.init)(key, batch)
    try:
        svi.constrain_fn(svi.optim.get_params(start.optim_state))
    except jax.errors.UnexpectedTracerError:
        # A bound of a constraint is an array that the program computes, so the program has to run.
        start = svi.init(key, batch)
    return start


def _public(name: str) -> str:
    return name.removesuffix("$params")


def _flat(params: Mapping, mutable: Mapping) -> dict[str, np.ndarray]:
    out = {}
    for name, value in {**params, **mutable}.items():
        if isinstance(value, jax.Array):
            out[name] = np.array(value)
        elif name.endswith("$chains"):
            out[name.replace("$", ".")] = np.array(value["chains"])
        else:
            out |= {f"{_public(name)}.{leaf}": array for leaf, array in net_state(value).items()}
    return out


def _unflat(params: Mapping, weights: Mapping[str, np.ndarray]) -> dict:
    out = {}
    for name, value in params.items():
        if isinstance(value, jax.Array):
            out[name] = jnp.asarray(weights[name], value.dtype)
        elif name.endswith("$chains"):
            out[name] = {"chains": jnp.asarray(weights[name.replace("$", ".")], value["chains"].dtype)}
        else:
            own = {leaf: weights[f"{_public(name)}.{leaf}"] for leaf in net_state(value)}
            out[name] = load_net(value, own)
    return out
