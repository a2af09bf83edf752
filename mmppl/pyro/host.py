"""How programs of this face are trained and run, for :mod:`mmppl.inference`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mmppl._backend.torch import BACKEND
from mmppl.batch import Batch
from mmppl.data import blocks
from mmppl.errors import DataError
from mmppl.inference.averaging import decay
from mmppl.nets.bound import registered_in
from mmppl.nets.spec import Spec
from mmppl.pyro.located import located
from mmppl.pyro.objectives import Evaluation
from mmppl.pyro.posterior import JOINT, chains, guide_log_prob, probe, refine, scores, seeded, sites_of
from mmppl.pyro.primitives import as_batch, build, own_modules

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

NAME = "pyro"
CHAINS = "chains"
sample, param, factor, scale = pyro.sample, pyro.param, pyro.factor, poutine.scale


def random() -> Any:
    """A random handle, inside a program."""
    return None


def zeros(*shape: int) -> torch.Tensor:
    """Zeros of a shape."""
    return torch.zeros(*shape)


def build_all(specs: Mapping[str, Spec], seed: int) -> dict[str, Any]:
    """Networks by name, each with initial weights of its own from the seed."""
    seeds = np.random.SeedSequence(seed).generate_state(len(specs))
    return {name: build(spec, int(s)) for (name, spec), s in zip(specs.items(), seeds, strict=True)}


class _Store:
    """Parameters and networks of a fit's own, so that fits meet neither in Pyro's global store nor in a program."""

    def __init__(self) -> None:
        self.state: dict = {"params": {}, "constraints": {}}
        self.modules: dict[str, torch.nn.Module] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        with pyro.get_param_store().scope(self.state), own_modules(self.modules):
            yield


class Trainer:
    """Trains a program stage by stage; the parameters are those that its model and guide register."""

    def __init__(self, program: Any, batch: Batch, *, seed: int, learning_rate: float, clip: float | None, ema: float):
        self.program, self.rate, self.clip = program, learning_rate, clip
        self.ema = self.own_ema = ema
        self.store = _Store()
        with seeded(seed):
            self.rng = torch.get_rng_state()
            with self.store.open():
                _register(program, batch)
        self.modules = self.store.modules
        self.known: dict = {}  # networks whose parameters the store has; to ask it again takes a tenth of a step
        self.params = dict(self.store.state["params"])
        self.average = {name: p.detach().clone() for name, p in self.params.items()}

    def begin(self, stage: Any) -> None:
        """Starts a stage: what moves, by which objective, with a new optimiser."""
        self.ema = self.own_ema if stage.ema is None else stage.ema
        self.moving = {name: p for name, p in self.params.items() if stage.moves(_public(name))}
        for name, p in self.params.items():
            p.requires_grad_(name in self.moving)
        for module in self.modules.values():
            # Pyro asks for evaluation mode where a module's parameters are frozen.
            module.train(any(p.requires_grad for p in module.parameters()))
        rate = self.rate * stage.learning_rate
        self.optimiser = torch.optim.Adam(
            self.moving.values(), rate, betas=(stage.momentum, 0.999), eps=1e-8, fused=True
        )
        self.objective = stage.objective or self.program.objective
        self.pair = stage.model or self.program.model, stage.guide or self.program.guide

    def step(self, batch: Batch) -> tuple[bool, dict[str, float]]:
        """One step: whether it was finite (else nothing has moved), and the record of the objective."""
        batch = as_batch(batch)
        kept = {name: m.chains for name, m in self.modules.items() if hasattr(m, CHAINS)}
        # Pyro's validation would raise on the first NaN; here it is told by the loss.
        with torch.random.fork_rng(), self.store.open(), registered_in(self.known), pyro.validation_enabled(False):
            torch.set_rng_state(self.rng)
            self.optimiser.zero_grad(set_to_none=True)
            done = max((float(state["step"]) for state in self.optimiser.state.values()), default=0.0)
            loss = self.objective.differentiable_loss(*self.pair, batch, step=done) / len(batch)
            loss.backward()
            grads = [p.grad for p in self.moving.values() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(grads)
            record = {name: float(value) for name, value in self.objective.record.items()}
            if not (torch.isfinite(loss) and torch.isfinite(norm)):
                for name, value in kept.items():
                    self.modules[name].chains = value
                return False, record
            if self.clip is not None:
                torch.nn.utils.clip_grads_with_norm_(list(self.moving.values()), self.clip, norm)
            self.optimiser.step()
            self.rng = torch.get_rng_state()
        if self.ema:
            average = get_ema_multi_avg_fn(float(decay(self.ema, np.array(done))))
            average([self.average[name] for name in self.moving], list(self.moving.values()), None)
        return True, record

    def encode(self, fn: Callable, data: Batch, size: int) -> Batch:
        """The data as frozen encoders see them: ``fn`` of every batch, with the weights as they are."""
        with torch.random.fork_rng(), torch.no_grad(), self.store.open():
            parts = [{n: BACKEND.to_numpy(x) for n, x in fn(as_batch(rows)).items()} for rows in blocks(data, size)]
        return Batch({n: np.concatenate([p[n] for p in parts])[: len(data)] for n in data.modalities}, data.present)

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Sets parameters by public name."""
        own = {_public(name): name for name in self.params}
        with torch.no_grad():
            for name, value in values.items():
                for tensors in (self.params, self.average):
                    tensors[own[name]].copy_(torch.tensor(value))

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
            out = {_public(n): BACKEND.to_numpy(v) for n, v in pyro.get_param_store().items()}
        for name, module in self.modules.items():
            out |= {f"{name}.{b}": BACKEND.to_numpy(value) for b, value in module.named_buffers()}
        return out

    def snapshot(self) -> dict[str, np.ndarray]:
        """Everything that going on bit for bit needs."""
        out = {f"param.{n}": BACKEND.to_numpy(p) for n, p in self.params.items()}
        out |= {f"average.{n}": BACKEND.to_numpy(p) for n, p in self.average.items()}
        for name, p in self.moving.items():
            for key, value in self.optimiser.state.get(p, {}).items():
                out[f"optimiser.{name}.{key}"] = BACKEND.to_numpy(value)
        for name, module in self.modules.items():
            out |= {f"buffer.{name}.{b}": BACKEND.to_numpy(value) for b, value in module.named_buffers()}
        return out | {"rng": self.rng.numpy().copy()}

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Goes back to a snapshot of the same program and stage."""
        lost = [n for n in self.params if f"param.{n}" not in snapshot]
        if lost:
            raise DataError(f"The state has no parameters {lost[:3]}; it is another program's.")
        with torch.no_grad():
            for name, p in self.params.items():
                p.copy_(torch.tensor(snapshot[f"param.{name}"]))
                self.average[name].copy_(torch.tensor(snapshot[f"average.{name}"]))
        for name, p in self.moving.items():
            prefix = f"optimiser.{name}."
            state = {k.removeprefix(prefix): torch.tensor(v) for k, v in snapshot.items() if k.startswith(prefix)}
            if state:
                self.optimiser.state[p] = state
        for name, module in self.modules.items():
            _load_buffers(module, {k.removeprefix("buffer."): v for k, v in snapshot.items()}, name)
        self.rng = torch.tensor(snapshot["rng"])


def bind(program: Any, weights: Mapping[str, np.ndarray], batch: Batch) -> tuple[Callable, Callable]:
    """The program's model and guide with these weights: ordinary Pyro callables with a store of their own."""
    store = _Store()
    with store.open(), seeded(0):
        _register(program, batch)
        with torch.no_grad():
            for name, value in pyro.get_param_store().items():
                given = torch.tensor(np.asarray(weights[_public(name)]))
                if "$$$" in name:
                    value.copy_(given)
                else:
                    pyro.get_param_store()[name] = given
        for name, module in store.modules.items():
            _load_buffers(module, weights, name)
            module.eval()

    def within(fn: Callable) -> Callable:
        def bound(*args: Any, **kwargs: Any) -> Any:
            with store.open():
                return fn(*args, **kwargs)

        return bound

    return within(program.model), within(program.guide)


def find_prior(model: Callable, batch: Batch) -> dict[str, Any]:
    """Latents of a model whose prior has a ``log_normalizer``, with the prior."""
    out = {}
    with seeded(0), torch.no_grad():
        sites = sites_of(poutine.trace(model).get_trace(as_batch(batch)))
    for name, site in sites.items():
        fn = site["fn"]
        while not hasattr(fn, "log_normalizer") and hasattr(fn, "base_dist"):
            fn = fn.base_dist
        if hasattr(fn, "log_normalizer"):
            out[name] = fn
    return out


def log_normalizer(prior: Any, seed: int) -> Any:
    """The prior's log Z, from a seed."""
    with seeded(seed):
        return prior.log_normalizer()


def log_weights(model: Callable, guide: Callable, objective: Any, batch: Batch, seed: int) -> np.ndarray:
    """The objective's log importance weights of its first term, ``(K, N)``."""
    batch = as_batch(batch)
    with seeded(seed), torch.no_grad():
        return BACKEND.to_numpy(objective.log_weights(Evaluation(model, guide, batch), batch, None)[:, 0, :])


def latents(model: Callable, guide: Callable, batch: Batch, num: int, seed: int, prior_rows: np.ndarray) -> dict:
    """Draws of the latents, ``(num, N, *event)``: from the guide, or from the prior in ``prior_rows``."""
    batch = as_batch(batch)
    with seeded(seed), torch.no_grad():
        out, drawn = {}, {}
        if not prior_rows.all():
            with pyro.plate("_draws", num, dim=-2):
                out = _hidden(poutine.trace(guide).get_trace(batch))
        if prior_rows.any():
            with pyro.plate("_draws", num, dim=-2):
                drawn = _hidden(poutine.trace(model).get_trace(batch.only()))
    rows = torch.as_tensor(prior_rows)
    if not out or not drawn:
        return out or drawn
    return {n: torch.where(rows.reshape(rows.shape + (1,) * (z.ndim - 2)), drawn[n], z) for n, z in out.items()}


def decode(model: Callable, hidden: Mapping, batch: Batch, seed: int, mean: bool) -> dict[str, np.ndarray]:
    """Draws (or means) of every modality of the batch given latents ``(num, N, *event)``."""
    num = next(iter(hidden.values())).shape[0]
    given = poutine.Trace()
    for name, value in hidden.items():
        given.add_node(name, name=name, type="sample", value=torch.as_tensor(value), is_observed=False, infer={})
    with seeded(seed), torch.no_grad(), pyro.plate("_draws", num, dim=-2):
        free = poutine.uncondition(poutine.replay(model, trace=given))
        sites = sites_of(poutine.trace(free).get_trace(as_batch(batch)))
    names = batch.modalities
    return {n: BACKEND.to_numpy(_mean(sites[n]["fn"]) if mean else sites[n]["value"]) for n in names}


def _mean(fn: Any) -> torch.Tensor:
    # A zero-inflated distribution has a base too, but a mean of its own.
    while isinstance(fn, dist.Independent | dist.MaskedDistribution | dist.ExpandedDistribution):
        fn = fn.base_dist
    return fn.logits.argmax(-1) if isinstance(fn, dist.Categorical) else fn.mean


def simulate(model: Callable, guide: Callable, batch: Batch, num: int, seed: int, mean: bool, prior_rows: np.ndarray):
    """Draws of latents and of every modality: two dictionaries of ``(num, N, *event)``."""
    hidden = latents(model, guide, batch, num, seed, prior_rows)
    return {n: BACKEND.to_numpy(z) for n, z in hidden.items()}, decode(model, hidden, batch, seed + 1, mean)


def _register(program: Any, batch: Batch) -> None:
    """Runs the guide and the model once, so that every parameter and network is in the store."""
    batch = as_batch(batch[:1])
    with torch.no_grad():
        trace = poutine.trace(program.guide).get_trace(batch)
        poutine.trace(poutine.replay(program.model, trace=trace)).get_trace(batch)


def _load_buffers(module: Any, weights: Mapping[str, np.ndarray], name: str) -> None:
    """Buffers of a module, the chains of an energy among them, which it has only once it was trained."""
    if f"{name}.{CHAINS}" in weights:
        module.register_buffer(CHAINS, torch.tensor(weights[f"{name}.{CHAINS}"]))


def _hidden(trace: Any) -> dict:
    return {n: s["value"] for n, s in sites_of(trace).items() if not s["is_observed"]}


def _public(name: str) -> str:
    return name.replace("$$$", ".")
