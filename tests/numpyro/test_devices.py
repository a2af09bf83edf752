"""Fits on several devices of JAX: losses, weights and run folders are those of one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import mmppl.numpyro as mm
from mmppl import models
from mmppl.data import load
from mmppl.errors import OptionError
from mmppl.inference import Fitted, fit, generate, infer
from mmppl.numpyro.devices import Devices

SCRIPT = Path(__file__).parents[1] / "inference" / "fit_on_devices.py"
sys.path.insert(0, str(SCRIPT.parent))

from fit_on_devices import HOW, program, rows  # noqa: E402

FOUR = "--xla_force_host_platform_device_count=4"
PLACED = """
import jax, numpy as np
import mmppl.numpyro as mm
from mmppl.batch import Batch
from mmppl.numpyro.devices import Devices

devices = Devices(4)
rows = devices.rows(Batch({"a": np.ones((8, 3), np.float32)}))
print(sorted((s.device.id, s.data.shape) for s in rows["a"].addressable_shards))
print({s.data.shape for s in devices.rows(Batch({"a": np.ones((6, 3), np.float32)}))["a"].addressable_shards})
w = devices.copied(np.ones((3, 2), np.float32))
step = jax.jit(jax.grad(lambda w, x: (x @ w).sum()))
print("all-reduce" in step.lower(w, rows["a"]).compile().as_text())
"""
SHARED_OUT = """
from contextlib import nullcontext
import equinox as eqx, jax, jax.numpy as jnp
import mmppl.numpyro as mm
from jax.sharding import PartitionSpec
from mmppl.nets import MLP
from mmppl.nets.equinox_rows import divided, spread
from mmppl.numpyro.devices import Devices

devices = Devices(4)
weights, rest = eqx.partition(mm.build(MLP((5,), (7,), hidden=(64, 64)), 0), eqx.is_array)
weights = devices.copied(weights)
# Particles, terms, rows.
z = jax.random.normal(jax.random.key(0), (2, 3, 32, 5))
rows = jax.sharding.NamedSharding(devices.divided.mesh, PartitionSpec(None, None, "rows"))

def gradient(weights, z):
    return jax.grad(lambda w: (eqx.combine(w, rest)(z) ** 2).sum())(weights)

found, work = [], []
for z, how in ((z, nullcontext()), (jax.device_put(z, rows), nullcontext()), (jax.device_put(z, rows), divided(rows))):
    with how:
        made = jax.jit(lambda w, z: gradient(w, z)).lower(weights, z).compile()
    found.append(made(weights, z))
    work.append(made.cost_analysis()["flops"])
print([round(x / work[0], 1) for x in work])
pairs = zip(*map(jax.tree.leaves, found[::2]))
print(all(jnp.abs(a - b).max() < 1e-4 * jnp.abs(a).max() for a, b in pairs))
with divided(devices.divided):
    chains = jax.jit(lambda key: spread(jax.random.normal(key, (8, 2))))(jax.random.key(0))
    few = jax.jit(lambda key: spread(jax.random.normal(key, (6, 2))))(jax.random.key(0))
print([x.addressable_shards[0].data.shape for x in (chains, few)])
"""
ONE_AFTER_ANOTHER = """
import mmppl.numpyro as mm
from mmppl import models
from mmppl.data import load
from mmppl.inference import fit

data = load("linear_gaussian", num_train=32, num_test=6)
program = models.ebm(data.modalities, ppl=mm, latent_dim=2, hidden=4, energy_hidden=4, chains=8, steps=2)
for number in (2, 4):
    fitted = fit(program, data.train, epochs=2, batch_size=16, progress=False, devices=number)
    print(round(fitted.history[0]["loss"], 3))
"""
DRAWN = """
import sys, warnings
import numpy as np
import mmppl.numpyro as mm
from mmppl import models
from mmppl.data import load
from mmppl.inference import Fitted, generate, infer
from mmppl.numpyro.host import Trainer, on_devices
from mmppl.numpyro.primitives import as_batch

warnings.simplefilter("ignore")
data = load("linear_gaussian", num_train=20, num_test=70)
rows = data.test.only("a")
program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=4)
weights = Trainer(program, data.train, seed=0, learning_rate=1e-3, clip=None, ema=0.0).weights()
fitted = Fitted(program, weights)

def drawn(n):
    yield generate(fitted, rows, 2, chunk=100, devices=n)
    yield generate(fitted, num=100, chunk=48, devices=n)
    how = {"num_chains": 2, "num_samples": 3, "num_warmup": 0, "devices": n}
    yield infer(fitted, rows[:64], method="ula", step_size=0.01, **how).draws
    yield infer(fitted, rows, method="psis", num_samples=5, devices=n).draws

placed = next(on_devices(2, [lambda: as_batch(rows[:64])]))
assert {s.data.shape for s in placed["a"].addressable_shards} == {(32, 3)}
for one, two in zip(drawn(1), drawn(2)):
    print(max(float(np.abs(one[n] - two[n]).max()) for n in one))
"""


def run(*args):
    """Runs Python with four devices on the CPU."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} {FOUR}"
    done = subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, env={**os.environ, "XLA_FLAGS": flags}, check=False
    )
    assert not done.returncode, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize("system", ["mopoe", "ebm", "mld"])
def test_four_devices_give_what_one_gives(system, tmp_path, same_on_devices):
    same_on_devices(run(str(SCRIPT), "numpyro", "1,2,4", system, str(tmp_path)))


def test_rows_are_divided_and_weights_copied():
    assert run("-c", PLACED) == [str([(i, (2, 3)) for i in range(4)]), "{(6, 3)}", "True"]


def test_networks_share_out_the_rows_of_several_terms():
    """Without rows first, each of four devices goes through the products of all rows."""
    assert run("-c", SHARED_OUT) == ["[1.0, 1.0, 0.3]", "True", "[(2, 2), (6, 2)]"]


def test_a_program_goes_from_two_devices_to_four():
    """What is compiled for a number of devices serves that number alone."""
    first, second = run("-W", "ignore", "-c", ONE_AFTER_ANOTHER)
    assert first == second


def test_draws_on_two_devices_are_those_of_one():
    assert max(map(float, run("-c", DRAWN))) < 1e-5


def test_two_processes_give_what_one_gives_and_end_together(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, str(SCRIPT.parents[1] / "numpyro" / "fit_in_processes.py")]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([*command, str(rank), port, str(tmp_path)], **how) for rank in (0, 1)]
    (said, failed), (said_too, _) = (process.communicate(timeout=300) for process in both)
    assert [process.returncode for process in both] == [0, 1], failed[-3000:]
    lines = [line for line in said.splitlines() if "Error" in line]
    assert lines[0].startswith("OptionError Expected devices=2 (--devices), those of all 2 processes that jax.distri")
    assert lines[1].startswith("OptionError Expected devices=1 in each of the 2 processes")
    assert lines[2].startswith("TrainingError Another process of the fit has ended, and this one with it")
    assert "OptionError Expected devices=2" in said_too
    one = fit(program("mopoe", mm), rows(), out=tmp_path / "one", **HOW)
    found, other = (np.load(tmp_path / f"{rank}.npz") for rank in (0, 1))
    for name, value in {**one.weights, "loss": one.history.table()["loss"]}.items():
        np.testing.assert_array_equal(found[name], other[name])
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == sorted(p.name for p in (tmp_path / "one").iterdir())
    assert len((tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()) >= 2


def test_more_devices_than_there_are_or_than_divide_are_refused(tmp_path):
    data = load("linear_gaussian")
    own = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=4)
    trainer = mm.host.Trainer(own, data.train[:20], seed=0, learning_rate=1e-3, clip=None, ema=0.0)
    fitted, number = Fitted(own, trainer.weights()), len(jax.local_devices()) + 1
    how = {"epochs": 1, "progress": False, "out": tmp_path / "run"}
    with pytest.raises(
        OptionError, match=rf"devices \(--devices\) of at most {number - 1}, as JAX has .*; got {number}"
    ):
        fit(own, data.train[:20], devices=number, batch_size=number, **how)
    with pytest.raises(OptionError, match=rf"devices \(--devices\) of at most {number - 1}, as JAX has"):
        generate(fitted, num=4, devices=number)
    with pytest.raises(OptionError, match="Expected devices=None with method='nuts', .* got devices=2"):
        infer(fitted, data.test[:4], method="nuts", devices=2)
    with pytest.raises(OptionError, match=r"Expected devices \(--devices\) of at most .*; got 99"):  # not a batch_size
        fit(own, data.train[:20], devices=99, **how)
    with pytest.raises(OptionError, match="Expected a batch_size that .* accumulate=3 divide; got batch_size=20"):
        fit(own, data.train[:20], accumulate=3, **how)
    with pytest.raises(OptionError, match=r"Expected devices \(--devices\) to be a whole number, devices >= 1; got"):
        fit(own, data.train[:20], devices=0, **how)
    assert not (tmp_path / "run").exists()


def test_one_device_places_nothing():
    data = load("linear_gaussian").train[:4]
    assert Devices(1).rows(data) is data
    assert isinstance(Devices(1).copied(np.ones(2)), np.ndarray)
