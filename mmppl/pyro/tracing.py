"""Runs of programs under Pyro's handlers, read as sample sites."""

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta, ExpandedDistribution, Independent, MaskedDistribution
from pyro.distributions.util import scale_and_mask
from pyro.poutine.replay_messenger import ReplayMessenger

from mmppl._backend.torch import BACKEND
from mmppl.batch import Batch
from mmppl.inference.objectives.runs import Layout, layout
from mmppl.inference.shipped import is_shipped
from mmppl.nets.bound import another_run, evaluated_once
from mmppl.pyro.at_once import gives_the_same
from mmppl.pyro.networks import evaluated, unmoved
from mmppl.sites import PlateFrame, Site, innermost, integrates, unmasked

__all__ = ["Runs", "given", "sample_sites", "site_log_density", "sites_of"]

OURS = ("_particles", "_terms", "_draws")
AROUND = (Independent, ExpandedDistribution)


def given(fn: Callable, values: Mapping[str, Any]) -> Callable:
    """The program with values of latents."""
    trace = poutine.Trace()
    for name, value in values.items():
        trace.add_node(name, name=name, type="sample", value=value, is_observed=False, infer={})
    return _Given(trace=trace)(fn)


class _Given(ReplayMessenger):
    """Replays values, and leaves a site what it says of itself beside its value."""

    def _pyro_sample(self, msg: Any) -> None:
        infer = msg["infer"]
        super()._pyro_sample(msg)
        msg["infer"] = infer


def sample_sites(trace: poutine.Trace) -> dict[str, Any]:
    """Sample sites by name, without those that pick the rows of a plate or record a deterministic value.

    A guide that runs the model with other distributions, as Pyro's ``AutoNormalMessenger``, observes nothing itself.
    """
    sites = {
        name: node
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and not is_subsample(node) and not node["infer"].get("_deterministic", False)
    }
    if any("prior" in node["infer"] for node in sites.values()):
        return {name: node for name, node in sites.items() if not node["is_observed"]}
    return sites


def is_subsample(node: dict) -> bool:
    """Tells whether a sample site only picks the rows of a plate."""
    return type(node["fn"]).__name__ == "_Subsample"


def site_log_density(node: dict, over: float = 1.0) -> torch.Tensor:
    """The log density of a sample site over its batch shape, masked and scaled as the host does, over ``over``."""
    log_prob = node["fn"].log_prob(node["value"], *node["args"], **node["kwargs"])
    scale, mask = node["scale"], node["mask"]
    if over != 1.0:
        scale = scale / over
    if isinstance(mask, torch.Tensor):
        return torch.where(mask, scale_and_mask(log_prob, scale), 0.0)
    return scale_and_mask(log_prob, scale, True if mask is None else mask)


def plain_log_density(node: dict, over: float) -> Callable[[], torch.Tensor] | None:
    """Function for the log density of a sample site without scales and masks; None where ``over`` is all there is."""
    fn, scale = unmasked(node["fn"], MaskedDistribution, AROUND), node["scale"]
    even = not isinstance(scale, torch.Tensor) and scale == over
    if even and (node["mask"] is None or node["mask"] is True) and fn is node["fn"]:
        return None
    return lambda: fn.log_prob(node["value"], *node["args"], **node["kwargs"])


def frames_of(node: dict) -> tuple[PlateFrame, ...]:
    """The plates of the program that a site lies in."""
    return tuple(
        PlateFrame(f.name, f.dim if f.vectorized else None, int(f.size), int(f.full_size or f.size))
        for f in node["cond_indep_stack"]
        if f.name not in OURS
    )


def sites_of(trace: poutine.Trace) -> dict[str, Site]:
    """The sample sites of a trace."""
    return {name: _site(name, node) for name, node in sample_sites(trace).items()}


def _carries_gradients(node: dict) -> bool:
    """Tells whether draws carry the gradients of their parameters, or their density has none."""
    return node["fn"].has_rsample or not site_log_density(node).requires_grad


def _site(name: str, node: dict) -> Site:
    fn, value, latent = node["fn"], node["value"], not node["is_observed"]
    inner = innermost(fn, (*AROUND, MaskedDistribution))
    return Site(
        name,
        value,
        lambda over: site_log_density(node, over),
        frames_of(node),
        len(fn.batch_shape),
        not latent,
        bool(node["infer"].get("is_auxiliary", False)),
        latent and bool(fn.support.is_discrete),
        lambda: _carries_gradients(node),
        lambda over: plain_log_density(node, over),
        isinstance(inner, Delta),
        lambda over: node["scale"] if over == 1.0 else node["scale"] / over,
        integrates(inner),
    )


class Runs:
    """Runs a program for one evaluation of an objective; see the protocol of the same name.

    Arguments:
        batch: The batch, with torch tensors.
        args: Further arguments of model and guide.
        kwargs: Their keyword arguments.
    """

    backend = BACKEND

    def __init__(self, batch: Batch, args: tuple = (), kwargs: Mapping[str, Any] | None = None):
        self.args, self.kwargs = args, dict(kwargs or {})
        floats = [v for v in batch.values.values() if v.is_floating_point()]
        self.like = floats[0].new_zeros(()) if floats else torch.zeros(())
        self.keeps_buffers = False  # whether networks leave their buffers as they are
        self.picked: dict[str, torch.Tensor] = {}  # rows that plates drew, the same in every run

    def run(
        self,
        fn: Callable,
        batch: Batch,
        values: Mapping | None = None,
        *,
        axes: tuple = (1, 1),
        rng: Any = None,
        role: str = "density",
    ) -> dict[str, Site]:
        another_run()
        # Networks move once for each draw of the guide and each score of the model, as under the host's Trace_ELBO.
        with _axes(axes), unmoved() if self.keeps_buffers or role == "density" else nullcontext():
            program = given(fn, {**self.picked, **(values or {})})
            trace = poutine.trace(program).get_trace(batch, *self.args, **self.kwargs)
        for name, node in trace.nodes.items():
            if node["type"] == "sample" and is_subsample(node) and len(node["value"]) < node["fn"].size:
                self.picked[name] = node["value"]
        return sites_of(trace)

    def map(self, f: Callable[..., Any], *trees: Any) -> Any:
        number = len(_first(trees))
        return _stack([f(*(_at(tree, i) for tree in trees)) for i in range(number)])

    def same(self, f: Callable[..., tuple[Any, Any]], *trees: Any) -> tuple[Any, Any] | None:
        found = [f(*(_at(tree, i) for tree in trees)) for i in range(len(_first(trees)))]
        first = found[0][1]
        if any(not torch.equal(other, first) for _, other in found):
            return None
        return _stack([each for each, _ in found]), first

    def keys(self, which: int, shape: tuple[int, ...]) -> Any:
        return torch.zeros(shape)  # Pyro has one stream; what is mapped over needs an axis

    def layout(self, model: Callable, guide: Callable, batch: Batch, names: tuple[str, ...]) -> Layout:
        try:
            known = _LAYOUTS.setdefault(model, {})
        except TypeError:  # a program that cannot be referred to weakly is looked at in every step
            known = {}
        key = id(guide), batch.modalities, names
        if key not in known:
            picked = dict(self.picked)
            # Nothing of this run is to be seen in the step: no draws, no statistics of networks, no remembered outputs.
            with torch.random.fork_rng(), evaluated(restore_buffers=True), evaluated_once():
                # The guide is kept beside what was found, so that its identity stays taken.
                known[key] = guide, layout(self, model, guide, batch, names)
            self.picked = picked
        return known[key][1]

    def at_once(self, program: Callable, batch: Batch, draws: tuple, *, masked: bool = False) -> bool:
        return is_shipped(program) or gives_the_same(self, program, batch, draws, masked)

    def frozen(self) -> "Runs":
        out = copy.copy(self)  # gradients are taken of latents alone there
        out.keeps_buffers = True
        return out


_LAYOUTS: WeakKeyDictionary = WeakKeyDictionary()


class _Axis(pyro.plate):
    """A plate of ours, around the whole program: parameters are outside it, wherever they are declared."""

    def _process_message(self, msg: Any) -> None:
        if msg["type"] != "param":
            super()._process_message(msg)

    def _postprocess_message(self, msg: Any) -> None:
        if msg["type"] != "param":
            super()._postprocess_message(msg)


class _axes:
    """Host plates for particles and terms, where there is more than one of them."""

    def __init__(self, sizes: tuple[int, int]):
        wanted = sizes != (1, 1)
        self.plates = [_Axis(OURS[0], sizes[0], dim=-3), _Axis(OURS[1], sizes[1], dim=-2)] if wanted else []

    def __enter__(self) -> None:
        for plate in self.plates:
            plate.__enter__()

    def __exit__(self, *args: Any) -> None:
        for plate in reversed(self.plates):
            plate.__exit__(*args)


def _first(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        return tree
    for part in tree.values() if isinstance(tree, Mapping) else tree:
        found = _first(part)
        if found is not None:
            return found
    return None


def _at(tree: Any, i: int) -> Any:
    if isinstance(tree, Mapping):
        return {name: _at(part, i) for name, part in tree.items()}
    return tuple(_at(part, i) for part in tree) if isinstance(tree, tuple) else tree[i]


def _stack(trees: list[Any]) -> Any:
    first = trees[0]
    if isinstance(first, Mapping):
        return {name: _stack([tree[name] for tree in trees]) for name in first}
    return (
        tuple(_stack(list(parts)) for parts in zip(*trees, strict=True))
        if isinstance(first, tuple)
        else torch.stack(trees)
    )
