r"""``mt_diffusion`` as it has learned, against exact answers: ``python -m benchmarks.mt_trained [HOST] [--seeds 0]``.

Two standard normal coordinates and the sign of the first as a label, so that given :math:`z_t` with :math:`a^2 +
\sigma^2 = 1` the noise has variance :math:`a^2`, and the label is up with probability :math:`\Phi(a z_t / \sigma)`.
Writes benchmarks/results/mt_trained/.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special, stats

from benchmarks.pages import Row, cells, parser, resumed
from mmppl import Batch, Modality, models
from mmppl._backend import get_backend
from mmppl.inference import Fitted, fit, generate
from mmppl.priors.condition import BlockRoles
from mmppl.priors.multi_task.loss import MultiTaskNoise

ROWS, TESTED, TIMES = 20_000, 50_000, np.linspace(0.05, 0.95, 10)
MODALITIES = {"pair": Modality((2,)), "label": Modality((), kind="category", categories=2)}
OPTIONS: dict[str, Any] = {"space": "data", "strength": 0.0, "net": "residual", "width": 64, "depth": 2, "ema": 0.999}
OWN: dict[str, Any] = {"p_conditional": 0.5, "p_marginal": 0.0, "head_weight": 0.5, "solver": "ancestral", "steps": 200}
SETTINGS: dict[str, Any] = {"epochs": 40, "batch_size": 200, "learning_rate": 2e-3}
KEPT = Path("benchmarks/results/mt_trained")


def main() -> None:
    """Fits what has not been fitted yet, and prints its errors."""
    asked = parser(__doc__).parse_args()
    for _ in resumed(KEPT, cells(["sign"], asked), run):
        pass


def run(_: str, host: str, seed: int) -> Row:
    """One fit: the largest error of the cross-entropy, the relative one of the noise, and the agreement of draws."""
    program = models.make("mt_diffusion", MODALITIES, ppl=import_module(f"mmppl.{host}"), **OPTIONS, **OWN)
    fitted = fit(program, _data(ROWS, seed), seed=seed, progress=False, **SETTINGS)
    found = [_errors(fitted, time) for time in TIMES]
    drawn = generate(fitted, num=5000, seed=seed)
    read = generate(fitted, {"pair": drawn["pair"]}, want=["label"], seed=seed)["label"][0]
    return {
        "cross-entropy": max(abs(float(ours - exact)) for (ours, exact), _ in found),
        "noise": float(sum(ours for _, (ours, _) in found) / sum(exact for _, (_, exact) in found) - 1.0),
        "agreement": float(((drawn["pair"][:, 0] > 0) == (drawn["label"] == 1)).mean()),
        "read": float(((drawn["pair"][:, 0] > 0) == (read == 1)).mean()),
        "seconds": sum(record["seconds"] for record in fitted.history),
    }


def _data(rows: int, seed: int) -> Batch:
    z = np.random.default_rng(seed).standard_normal((rows, 2)).astype("float32")
    return Batch({"pair": z, "label": (z[:, 0] > 0).astype(np.int64)})


def _prior(fitted: Fitted) -> Any:
    """The distribution of codes, with the learned weights."""
    ppl, rows = fitted.program.ppl, _data(2, 0)
    if ppl.__name__.endswith("numpyro"):
        import jax
        from numpyro import handlers

        seeded = handlers.seed(fitted.model, jax.random.key(0))
        fn = handlers.trace(seeded).get_trace(ppl.as_batch(rows))["z"]["fn"]
    else:
        from pyro import poutine

        fn = poutine.trace(fitted.model).get_trace(ppl.as_batch(rows)).nodes["z"]["fn"]
    while not hasattr(fn, "coordinates"):
        fn = fn.base_dist
    return fn


def _errors(fitted: Fitted, time: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Cross-entropy of the label and squared error of the noise at a time, ours and the least there is."""
    prior = _prior(fitted)
    net = prior._net() if hasattr(prior, "_net") else prior.net
    data, like = _data(TESTED, 1), fitted.program.ppl.host.zeros(1)
    backend = get_backend(like)
    space, learning = prior.model.space, prior.model.learning
    up = np.asarray(data["label"])[:, None] == np.arange(2)
    loc, scale = fitted.weights["prior.loc"], fitted.weights["prior.scale"]
    z = (np.concatenate([np.asarray(data["pair"]), up], axis=1) - loc) / scale
    noise = np.random.default_rng(2).standard_normal(z.shape)
    t, one = np.full((len(z), 1), time), np.ones((len(z), 1))
    draws = MultiTaskNoise(*(backend.asarray(x, like=like) for x in (one, one, one, one, t, noise)))
    asked = backend.asarray(np.ones((len(z), 2), bool))
    found = learning.losses(backend, space, net, backend.asarray(z, like=like), BlockRoles(asked, ~asked), draws)
    loss = np.asarray(backend.to_numpy(found), dtype=float)
    now = np.array(learning.first + (1.0 - learning.first) * time)
    a, sigma = float(space.sde.mean_factor(now)), float(space.sde.scale(now))
    weight = np.asarray(backend.to_numpy(learning.weights(backend, space, like)))[-1]
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    p = stats.norm.cdf(a * nodes / sigma)
    entropy = ((special.entr(p) + special.entr(1 - p)) * weights).sum() / weights.sum()
    # The loss is that of the velocity, the noise's over a squared.
    return (loss[:, 2:].sum(1).mean() / weight, float(entropy)), (loss[:, :2].mean() * a * a, a * a)


if __name__ == "__main__":
    main()
