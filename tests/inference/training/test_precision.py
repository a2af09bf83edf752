"""Networks in bfloat16: the loss they reach, what stays in single precision, and what is refused."""

import importlib

import numpy as np
import pytest

from mmppl.batch import Batch, Modality
from mmppl.data import LinearGaussian
from mmppl.errors import OptionError, RunError
from mmppl.inference import Program, Run, fit
from mmppl.inference.training.run_info import RunInfo

MODALITIES = {"a": Modality((3,)), "b": Modality((2,))}
HOW = {"epochs": 6, "batch_size": 20, "progress": False, "validation": 0.2, "seed": 1}
TOLERANCE = 0.01  # of the loss, as docs/data.md says
MIXED = "bf16-mixed"


@pytest.fixture
def rows():
    values = LinearGaussian(2, {"a": 3, "b": 2}, seed=1).sample(100, seed=0).values
    return Batch(values, {"a": np.arange(100) % 5 != 1, "b": np.arange(100) % 5 != 2})


@pytest.mark.parametrize("name", ["mopoe", "mld"])
def test_the_loss_is_that_of_single_precision(small, rows, name):
    program = small(name, MODALITIES)
    one, mixed = (fit(program, rows, precision=precision, **HOW) for precision in (None, MIXED))
    for own, other in zip(mixed.history, one.history, strict=True):
        for key in ("loss", "validation.loss"):
            assert own[key] == pytest.approx(other[key], rel=TOLERANCE, abs=TOLERANCE)
    assert {w.dtype for w in mixed.weights.values()} == {w.dtype for w in one.weights.values()}
    apart = max(np.abs(mixed.weights[n] - w).max() for n, w in one.weights.items())
    assert 1e-4 < apart < 0.05  # the products were rounded, and nothing else


def test_a_run_is_gone_on_with_in_its_precision(small, rows, tmp_path):
    class Stop:
        def on_epoch(self, event):
            if event.epoch == 3:
                raise KeyError("stop")

    program, how = small("mopoe", MODALITIES), {**HOW, "precision": MIXED}
    whole = fit(program, rows, **how)
    with pytest.raises(Exception, match="stop"):
        fit(program, rows, out=tmp_path / "run", callbacks=[Stop()], **how)
    info = Run(tmp_path / "run").info()
    assert info.precision == MIXED
    with pytest.raises(RunError, match="The run has precision='bf16-mixed', not None"):
        fit(program, rows, out=tmp_path / "run", resume=True, **HOW)
    again = fit(program, rows, out=tmp_path / "run", resume=True, **how)
    assert all(np.array_equal(again.weights[n], w) for n, w in whole.weights.items())


def test_a_run_of_an_earlier_version_says_none():
    from mmppl.inference.training.checksums import of_json

    info = RunInfo(model="custom", options={}, modalities={}, backend="pyro", seed=0)
    content = {name: x for name, x in info.as_dict().items() if name not in ("precision", "checksum")}
    assert RunInfo.read({**content, "checksum": of_json(content)}, "run.json").precision is None


@pytest.mark.parametrize("ours", [True, False])
def test_networks_multiply_in_bfloat16_and_return_single_precision(ppl, ours):
    """Those of specs by their products; the user's own too, as a whole on NumPyro."""
    from mmppl.nets import MLP

    net, w, x = _network(ppl, MLP((3,), (2,), hidden=()) if ours else None)
    found, whole = (np.asarray(y) for y in _called(ppl, net, x))
    exact = x @ w
    rounded = _bfloat16(_bfloat16(x) @ _bfloat16(w))
    assert found.dtype == whole.dtype == np.float32
    np.testing.assert_allclose(whole, exact, atol=1e-6)
    np.testing.assert_allclose(found, rounded, rtol=2**-8)
    assert not np.array_equal(found, whole)


def _network(ppl, spec):
    """A linear network without a bias to speak of, its weights ``(3, 2)``, and data for it."""
    rng = np.random.default_rng(0)
    w, x = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 2), (50, 3)))
    if ppl.host.NAME == "pyro":
        import torch

        from mmppl.nets import torch as nets

        net = torch.nn.Linear(3, 2, bias=False) if spec is None else ppl.build(spec)
        own = {n: (w.T if v.ndim == 2 else 0 * v) for n, v in nets.state(net).items()}
    else:
        import equinox as eqx
        import jax

        from mmppl.nets import equinox as nets

        class Own(eqx.Module):
            weight: jax.Array

            def __call__(self, x):
                return x @ self.weight.T

        net = Own(jax.numpy.zeros((2, 3))) if spec is None else ppl.build(spec)
        own = {n: (w.T if v.ndim == 2 else 0 * v) for n, v in nets.state(net).items()}
    return nets.load(net, own), w, x


def _called(ppl, net, x):
    """The network's outputs in bfloat16, and as they are."""
    name = {"pyro": "mmppl.pyro.bfloat16", "numpyro": "mmppl.nets.equinox_bfloat16"}[ppl.host.NAME]
    in_bfloat16 = importlib.import_module(name).in_bfloat16
    if ppl.host.NAME == "pyro":
        import torch

        with torch.no_grad():
            with in_bfloat16():
                mixed = ppl.net("net", net)(torch.as_tensor(x))
            return mixed, ppl.net("net", net)(torch.as_tensor(x))
    from numpyro import handlers

    with handlers.seed(rng_seed=0):
        with in_bfloat16():
            mixed = ppl.net("one", net)(x if x is None else _jax(x))
        return mixed, ppl.net("two", net)(_jax(x))


def _jax(x):
    import jax.numpy as jnp

    return jnp.asarray(x)


def _bfloat16(x):
    """Rounds to nearest, ties to even, by the upper half of the bits."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def test_what_is_no_precision_or_has_no_networks_is_refused(ppl, small, rows, tmp_path):
    with pytest.raises(OptionError, match="Expected precision .* of None, the program's own, or 'bf16-mixed'.*'16'"):
        fit(small("mopoe", MODALITIES), rows, precision="16", **HOW)
    host, dist = ppl.host, ppl.host.dist

    def model(batch):
        with ppl.plate(batch):
            z = host.sample("z", dist.Normal(host.zeros(2), 1.0).to_event(1))
            ppl.observe("b", dist.Normal(z, 1.0).to_event(1), batch)

    def guide(batch):
        loc = host.param("loc", host.zeros(2))
        with ppl.plate(batch):
            host.sample("z", dist.Normal(loc, 1.0).to_event(1))

    own = Program(model, guide, ppl.ELBO(), ppl, {"b": Modality((2,))})
    data = Batch({"b": rows.values["b"]})
    with pytest.raises(OptionError, match="Expected networks that precision='bf16-mixed' .*the program called none"):
        fit(own, data, precision=MIXED, **HOW)


def test_double_precision_is_refused(double, small, rows, tmp_path):
    with pytest.raises(OptionError, match="Expected float32 beside precision='bf16-mixed' .*default is float64"):
        fit(small("mopoe", MODALITIES), rows, precision=MIXED, out=tmp_path / "run", **HOW)
    assert not (tmp_path / "run").exists()
