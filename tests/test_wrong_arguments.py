"""Wrong arguments, drawn for every option of every public name: refused by name before any work, or right after all."""

import inspect
import math
from functools import cache
from importlib import import_module
from types import UnionType
from typing import Any, get_origin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmppl import Batch, Modality, data, diagnostics, inference, metrics, models, nets
from mmppl.errors import MMPPLError, OutOfMemoryError
from mmppl.inference import objectives
from mmppl.sde import solvers

HOSTS = ("numpyro", "pyro")
MODALITIES = {"a": Modality((3,)), "b": Modality((2,))}
ROWS = Batch({"a": np.ones((4, 3), np.float32), "b": np.ones((4, 2), np.float32)}, label=np.arange(4))
SMALL = {"latent_dim": 2, "hidden": 4, "width": 4, "depth": 1, "energy_hidden": 4}

# What stands for numbers, texts and names where they are wrong more often than not.
VALUES = (
    *(math.nan, math.inf, -math.inf, -1, -1.0, 0, 2.5, 2**70, True, "3", "", b"3", None, 1 + 2j),
    *(np.array([1.0, None], object), np.ma.masked_array([1.0, 2.0], [True, False]), np.array(1 + 2j), ["3"], object()),
)
# Options that hold a 0, each for a reason.
ZERO = {
    **dict.fromkeys(("seed", "num_warmup", "buffer", "refine", "random", "warmup", "num_prior"), "none of them"),
    **dict.fromkeys(("beta", "local_beta", "alpha", "gamma", "weight", "penalty", "strength", "head_weight"), "none"),
    **dict.fromkeys(
        ("tolerance", "guidance", "finetune", "free_bits", "blur", "noise", "eps", "dropout", "decay"), "none of it"
    ),
    **dict.fromkeys(
        ("p_conditional", "p_marginal", "p_single", "restart", "threshold", "error", "rate", "missing"), "never"
    ),
    **dict.fromkeys(("ema", "momentum", "eta", "start", "end"), "an end of the range"),
    **dict.fromkeys(("private", "shared_dim"), "no such latents"),
    "beside": "no such features",
    "alone": "no such stage",
    **dict.fromkeys(("learning_rate", "delta", "reduce"), "a stage that rests; a density without a rounded centre"),
    **dict.fromkeys(("joint", "given"), "the worst of coherences"),
    "tolerance": "of weights that fall to 0",
    "epoch": "the first",
}
# And those that hold a negative number.
NEGATIVE = {"threshold"}  # of values that may be negative
# Texts that are names of the user's own.
FREE = {"name", "label"}


def bare(*functions: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    return {fn.__name__: (fn, {}) for fn in functions}


@cache
def calls(host: str) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Public names, and arguments that each needs beside the one that is drawn."""
    mm = import_module(f"mmppl.{host}")
    program = models.mvae(MODALITIES, ppl=mm, **{name: SMALL[name] for name in ("latent_dim", "hidden")})
    fitted = inference.Fitted(program, {})
    blocks = import_module("mmppl.priors").Blocks(("a", "b"), (2, 2))
    linear = data.load("linear_gaussian", num_train=8, num_test=4)
    out: dict[str, tuple[Any, dict[str, Any]]] = {}
    for name, system in models.SYSTEMS.items():
        own = {key: value for key, value in SMALL.items() if key in inspect.signature(system).parameters}
        kinds = MODALITIES | {"label": Modality((), "category", categories=3)} if name == "ivae" else MODALITIES
        out[name] = system, {"modalities": kinds, "ppl": mm, **own}
    for name in inference.kernels.__all__ if hasattr(inference, "kernels") else ():
        if name in mm.__all__:
            out[name] = getattr(mm, name), {"model": program.model}
    for name in objectives.__all__:
        if name in mm.__all__ and name not in ("Refined", "WarmUp"):
            out[name] = getattr(mm, name), {}
    out |= {"Refined": (mm.Refined, {"objective": mm.MMVAE()}), "WarmUp": (mm.WarmUp, {"steps": 3})}
    out |= bare(mm.Conditioning, mm.LangevinChains, mm.MultiTaskLoss, mm.MultiTimeScoreMatching)
    out |= bare(mm.ProbabilityFlow, mm.TwistedSMC, inference.RatioLearning, inference.Stage)
    out |= {"PairwiseGuidance": (mm.PairwiseGuidance, {"blocks": blocks}), "plate": (mm.plate, {"batch": ROWS})}
    out |= {"SharedSpace": (mm.SharedSpace, {"blocks": blocks}), "build": (mm.build, {"spec": nets.MLP((2,), (2,))})}
    out |= {"spline_flow": (mm.spline_flow, {"dim": 2, "layers": 2, "hidden": 2})}
    out |= bare(*(getattr(import_module("mmppl.sde"), name) for name in ("VP", "SubVP", "VE")))
    out |= bare(*(getattr(solvers, name) for name in solvers.__all__ if inspect.isclass(getattr(solvers, name))))
    shapes = {"in_shape": (2,), "out_shape": (2,)}
    out |= {"MLP": (nets.MLP, shapes), "Energy": (nets.Energy, {"latent_dim": 2})}
    out |= {"encoder": (nets.encoder, {"modality": MODALITIES["a"], "latent_dim": 2})}
    out |= {"decoder": (nets.decoder, {"modality": MODALITIES["a"], "latent_dim": 2})}
    out |= {"Modality": (Modality, {"shape": (3,)})}
    fit = {"program": program, "data": ROWS, "progress": False, "epochs": 1}
    out |= {"fit": (inference.fit, fit), "infer": (inference.infer, {"program": fitted, "data": ROWS})}
    on_rows = ("log_likelihood", "to_arviz", "refine")
    out |= {name: (getattr(inference, name), {"fitted": fitted, "data": ROWS}) for name in on_rows}
    alone = (inference.generate, inference.log_normalizer, inference.trajectory, diagnostics.calibrate)
    out |= {fn.__name__: (fn, {"fitted": fitted}) for fn in alone}
    on_rows = ("coverage", "energy_health", "gaps", "guide_k")
    out |= {name: (getattr(diagnostics, name), {"fitted": fitted, "data": ROWS}) for name in on_rows}
    on_sets = ("evaluate", "diagnose", "sample_posterior")
    out |= {name: (getattr(diagnostics, name), {"fitted": fitted, "dataset": linear}) for name in on_sets}
    out |= {"rate_distortion": (diagnostics.rate_distortion, {"fitted": fitted, "batch": ROWS})}
    out |= {"simulate": (diagnostics.simulate, {"fitted": fitted, "num": 1})}
    few: dict[str, Any] = dict.fromkeys(("num_train", "num_test"), 4)
    views = dict.fromkeys(("latent_dim", "views", "dim", "components"), 1)
    for name, more in (("linear_gaussian", {}), ("labelled_mixture", {}), ("mixture_views", views)):
        out[name] = getattr(import_module(f"mmppl.data.{name}"), name), few | more
    out |= {"hide": (data.hide, {"batch": ROWS, "rate": 0.5})}
    out |= {"minibatches": (lambda **k: next(data.minibatches(**k)), {"batch": ROWS, "size": 2, "seed": 0, "epoch": 0})}
    x = np.random.default_rng(0).normal(size=(20, 2))
    out |= {
        "f1": (metrics.f1, {"samples": x, "data": x}),
        "clip_score": (metrics.clip_score, {"first": x, "second": x}),
    }
    out |= {"frechet": (metrics.frechet, {"features_a": x, "features_b": x})}
    out |= {"mean_correlation": (metrics.mean_correlation, {"z": x, "recovered": x})}
    measured = dict.fromkeys(("joint", "given", "frechet", "frechet_given"), 0.5)
    out |= {"selection_score": (metrics.selection_score, measured)}
    both = {"real": (x, x), "made": (x, x)}
    return out | {"mutual_information_divergence": (metrics.mutual_information_divergence, both)}


# These run once their arguments are right, which others prove; so the values that they may hold are not tried.
RUN = {
    *("fit", "infer", "log_likelihood", "to_arviz", "refine", "generate", "log_normalizer", "trajectory", "calibrate"),
    *("coverage", "energy_health", "gaps", "guide_k", "evaluate", "diagnose", "sample_posterior", "rate_distortion"),
    *("simulate",),
}


@cache
def options(host: str) -> tuple[tuple[str, str, Any], ...]:
    """Every option: its function, its name, and what it may be by its annotation or, without one, its default."""
    shared = inspect.signature(objectives.Objective.__init__).parameters
    out = []
    for call, (fn, _) in calls(host).items():
        parameters = dict(inspect.signature(fn).parameters)
        if call in objectives.__all__ and "options" in parameters:
            parameters |= {name: shared[name] for name in list(shared)[1:]}
        if call == "minibatches":
            parameters = dict(inspect.signature(data.minibatches).parameters)
        for name, parameter in parameters.items():
            hint = parameter.annotation
            kinds = {t for t in (getattr(hint, "__args__", None) or (hint,)) if isinstance(t, type)}
            every = len(kinds) == len(getattr(hint, "__args__", None) or (hint,))
            if every and kinds <= {int, float, bool, str, type(None)} and get_origin(hint) in (None, UnionType):
                out.append((call, name, frozenset(kinds)))
    return tuple(out)


def holds(kinds: frozenset, value: Any) -> bool:
    """Whether a value is of a kind."""
    if value is None or isinstance(value, bool | str):
        return type(value) in kinds
    if isinstance(value, int):
        return bool(kinds & {int, float}) and (abs(value) < 2**62 or (float in kinds and abs(value) < 3e38))
    return isinstance(value, float) and math.isfinite(value) and float in kinds


def verdict(host: str, call: str, name: str, kinds: frozenset, value: Any) -> str | None:
    """Nothing, or what is wrong with how a call with one drawn argument ends."""
    fn, needed = calls(host)[call]
    right = holds(kinds, value)
    if right and call in RUN and not (isinstance(value, int | float) and value < 0):
        return None
    said = f"{call}({name}={value!r})"
    try:
        fn(**{**needed, name: value})
    except MMPPLError as error:
        return None if name in str(error) or value is None else f"unnamed: {said}: '{error}'"
    except Exception as error:
        return f"foreign: {said}: {type(error).__name__}: {error}"
    if isinstance(value, str) and right:
        return None if name in FREE else f"accepted: {said}"
    if right and isinstance(value, int | float) and not isinstance(value, bool):
        if value < 0 and name not in NEGATIVE or value == 0 and name not in ZERO:
            return f"accepted: {said}"
    return None if right else f"accepted: {said}"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("call", "name"),
    [("linear_gaussian", "num_train"), ("labelled_mixture", "labels"), ("Ancestral", "steps"), ("mld", "depth")],
)
def test_what_no_memory_holds_is_told_with_what_asked_for_it(host, call, name):
    fn, needed = calls(host)[call]
    with pytest.raises(OutOfMemoryError, match=rf"Out of memory in .*{name}.*: "):
        fn(**{**needed, name: 10**15})


@pytest.mark.parametrize("host", HOSTS)
@settings(max_examples=400)
@given(draw=st.data())
def test_wrong_arguments_are_refused_by_name(host, draw):
    call, name, kinds = draw.draw(st.sampled_from(options(host)))
    value = draw.draw(st.sampled_from(VALUES) | st.floats() | st.integers(-3, 0) | st.text(max_size=2))
    assert verdict(host, call, name, kinds, value) is None
