"""Langevin steps and step-size adaptation on numpy, against formulas written out here."""

import numpy as np
import pytest
from scipy import stats

from mmppl.errors import OptionError
from mmppl.inference.kernels import MALA, ULA, Layout, adaptation
from mmppl.mcmc import langevin

LOC, SCALE = np.array([0.3, -1.0]), np.array([0.5, 2.0])


def log_density(z):
    """Independent normals, not normalised; analytic, for the complex step."""
    return (-0.5 * ((z - LOC) / SCALE) ** 2).sum(-1)


def drift(z, s):
    return z - 0.5 * s**2 * (z - LOC) / SCALE**2


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_score_and_the_density_are_those_of_the_target(rng):
    z = rng.normal(size=(5, 2))
    state = langevin.init(log_density, z)
    np.testing.assert_allclose(state.score, (LOC - z) / SCALE**2, rtol=1e-13)
    np.testing.assert_allclose(
        state.log_density, stats.norm.logpdf(z, LOC, SCALE).sum(-1) + np.log(2 * np.pi), atol=1e-13
    )


def test_ula_moves_as_the_formula_says(rng):
    z, noise, s = rng.normal(size=(4, 2)), rng.normal(size=(4, 2)), np.array([0.1, 0.5, 1.0, 2.0])
    state, info = langevin.ula_step(log_density, langevin.init(log_density, z), noise, s)
    np.testing.assert_allclose(state.position, drift(z, s[:, None]) + s[:, None] * noise, rtol=1e-12)
    assert info.accepted.all()
    assert (info.accept_prob == 1.0).all()


def test_mala_accepts_with_the_ratio_of_metropolis_and_hastings(rng):
    z, noise, s = rng.normal(size=(50, 2)), rng.normal(size=(50, 2)), 1.1
    uniform = rng.random(50)
    state, info = langevin.mala_step(log_density, langevin.init(log_density, z), noise, uniform, s)
    proposal = drift(z, s) + s * noise

    def joint(a, b):
        return stats.norm.logpdf(a, LOC, SCALE).sum(-1) + stats.norm.logpdf(b, drift(a, s), s).sum(-1)

    expected = np.minimum(1.0, np.exp(joint(proposal, z) - joint(z, proposal)))
    np.testing.assert_allclose(info.accept_prob, expected, rtol=1e-10)
    assert 5 < info.accepted.sum() < 50
    np.testing.assert_array_equal(info.accepted, uniform < expected)
    np.testing.assert_allclose(state.position, np.where((uniform < expected)[:, None], proposal, z), rtol=1e-12)
    np.testing.assert_allclose(state.score, (LOC - state.position) / SCALE**2, rtol=1e-12)


def test_a_clipped_score_bounds_the_drift_and_stays_exact(rng):
    z, noise = np.array([[50.0, -1.0]]), np.zeros((1, 2))
    state, _ = langevin.ula_step(log_density, langevin.init(log_density, z), noise, 0.2, clip=3.0)
    np.testing.assert_allclose(state.position, [[50.0 - 0.5 * 0.04 * 3.0, -1.0]])
    # Detailed balance: the flow from z to its proposal is the flow back.
    z, noise, s = rng.normal(size=(20, 2)) * 3, rng.normal(size=(20, 2)), 0.9
    start = langevin.init(log_density, z)
    there, go = langevin.mala_step(log_density, start, noise, np.zeros(20), s, clip=0.5)
    clipped = np.clip((LOC - there.position) / SCALE**2, -0.5, 0.5)
    back = (z - there.position - 0.5 * s**2 * clipped) / s
    home, come = langevin.mala_step(log_density, there, back, np.zeros(20), s, clip=0.5)
    np.testing.assert_allclose(home.position, z, rtol=1e-10)
    flow = np.log(go.accept_prob) + start.log_density - 0.5 * (noise**2).sum(-1)
    np.testing.assert_allclose(flow, np.log(come.accept_prob) + there.log_density - 0.5 * (back**2).sum(-1), rtol=1e-9)


def test_a_proposal_that_is_not_a_number_is_refused():
    def broken(z):
        return np.where(z[..., 0].real > 1.0, np.nan, -0.5 * (z**2).sum(-1))

    z = np.zeros((2, 1))
    state, info = langevin.mala_step(broken, langevin.init(broken, z), np.array([[3.0], [0.1]]), np.zeros(2), 1.0)
    np.testing.assert_array_equal(info.accepted, [False, True])
    assert info.accept_prob[0] == 0.0
    np.testing.assert_allclose(state.position, [[0.0], [0.1]])


def test_each_datum_is_accepted_alone_and_learns_its_own_step(rng):
    """Two data on scales 1 and 0.01: with one step size the second refuses what the first takes."""
    scales = np.array([1.0, 0.01])
    kernel = MALA(None, step_size=0.5, target_accept_prob=0.574)

    def two(z):
        return -0.5 * z[..., 0] ** 2 / scales**2

    state = kernel.init_chains(two, np.array([[0.1], [0.001]]))
    noise = (np.array([[0.5], [0.5]]), np.array([0.5, 0.5]))
    state, info = kernel.step(two, state, noise, 2000)
    np.testing.assert_array_equal(info.accepted, [True, False])
    for _ in range(2000):
        state, info = kernel.step(two, state, (rng.normal(size=(2, 1)), rng.random(2)), 2001)
    # In one dimension the step at a given acceptance is proportional to the scale of the target.
    assert state.step_size[0] / state.step_size[1] == pytest.approx(100.0, rel=0.25)
    frozen = state.step_size
    accept = []
    for _ in range(3000):
        state, info = kernel.step(two, state, (rng.normal(size=(2, 1)), rng.random(2)), 2001)
        accept.append(info.accept_prob)
    np.testing.assert_array_equal(state.step_size, frozen)
    np.testing.assert_allclose(np.mean(accept, 0), 0.574, atol=0.05)
    np.testing.assert_allclose(state.mean_accept_prob, np.mean(accept, 0), rtol=1e-10)


def test_dual_averaging_is_that_of_the_paper(rng):
    """Equations (5) and (6) of Hoffman & Gelman, written as sums."""
    accept = rng.random((30, 3))
    memory = adaptation.start(0.2, np.zeros(3))
    average = 0.0
    for t in range(1, 31):
        memory = adaptation.update(memory, accept[t - 1], 0.6)
        total = (0.6 - accept[:t]).sum(0)
        log_step = np.log(2.0) - np.sqrt(t) / 0.05 * total / (t + 10)
        average = t**-0.75 * log_step + (1 - t**-0.75) * average
        np.testing.assert_allclose(memory.log_step, log_step, rtol=1e-12)
        np.testing.assert_allclose(memory.log_average, average, rtol=1e-12)


def test_the_joint_state_is_one_chain(rng):
    """A position without leading axes: one acceptance, one step size."""
    kernel = MALA(None, step_size=0.3)
    state = kernel.init_chains(log_density, rng.normal(size=2))
    state, info = kernel.step(log_density, state, (rng.normal(size=2), np.asarray(rng.random())), 5)
    assert info.accept_prob.shape == state.step_size.shape == state.chains.log_density.shape == ()
    assert state.i == 1


def test_ula_keeps_its_step_size(rng):
    kernel = ULA(None, step_size=0.3)
    state = kernel.init_chains(log_density, rng.normal(size=(3, 2)))
    for _ in range(5):
        state, _ = kernel.step(log_density, state, (rng.normal(size=(3, 2)),), 5)
    assert state.adapt_state is None
    np.testing.assert_array_equal(state.step_size, [0.3] * 3)


def test_layout_goes_there_and_back(rng):
    latents = {"w": rng.normal(size=3), "z": rng.normal(size=(4, 3, 2)), "v": rng.normal(size=(3, 5))}
    shapes = {name: z.shape for name, z in latents.items()}
    per_datum = Layout(shapes, {"w": 0, "z": 1, "v": 0})
    position = per_datum.pack(latents)
    assert position.shape == (3, 1 + 8 + 5)
    np.testing.assert_array_equal(position[2, 1:9].reshape(4, 2), latents["z"][:, 2])
    joint = Layout(shapes, None)
    assert joint.pack(latents).shape == (3 + 24 + 15,)
    for layout in (per_datum, joint):
        back = layout.unpack(layout.pack(latents))
        assert all(np.array_equal(back[name], latents[name]) for name in latents)
    with pytest.raises(OptionError, match=r"Expected unconstrained initial values of shapes .*'w': \(3,\)"):
        joint.check({"w": np.zeros(2)})


@pytest.mark.parametrize("options", [{"step_size": 0.0}, {"step_size": np.nan}, {"clip": -1.0}])
def test_options_out_of_range_are_refused(options):
    name = next(iter(options))
    for kernel in (MALA, ULA):
        with pytest.raises(OptionError, match=f"Expected {name} .*> 0"):
            kernel(None, **options)


@pytest.mark.parametrize("target", [0.0, 1.0, 1.5])
def test_a_target_outside_the_unit_interval_is_refused(target):
    with pytest.raises(OptionError, match=r"Expected target_accept_prob in \(0, 1\)"):
        MALA(None, target_accept_prob=target)
