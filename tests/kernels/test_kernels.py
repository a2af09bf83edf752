"""The kernels on numpy: integrators, learned scales, temperatures, against formulas."""

import numpy as np
import pytest
from scipy.linalg import expm

from mmppl._backend import get_backend
from mmppl._backend.numpy import BACKEND
from mmppl.errors import OptionError
from mmppl.inference import kernels
from mmppl.inference.kernels import integrators, mass
from mmppl.mcmc import langevin

SCALE = np.array([0.1, 1.0, 5.0])


def normal(z):
    return -0.5 * np.sum((z / SCALE) ** 2, axis=-1)


def modes(z):
    """Two unit normals at -5 and 5, the first three times as likely."""
    return BACKEND.logsumexp(np.stack([np.log(0.75) - 0.5 * (z + 5.0) ** 2, np.log(0.25) - 0.5 * (z - 5.0) ** 2]), 0)[
        ..., 0
    ]


def run(kernel, log_density, start, num_warmup, num_samples, seed=0):
    """Draws after warm-up, ``(draws, chains, D)``, and the last state."""
    backend = get_backend(start)
    rng, draws = backend.rng(seed), []
    state = kernel.init_chains(log_density, start)
    for t in range(num_warmup + num_samples):
        state, _ = kernel.step(log_density, state, kernel.noise(backend, rng, state), num_warmup)
        if t >= num_warmup:
            draws.append(backend.to_numpy(state.chains.position))
    return np.stack(draws), state


@pytest.mark.parametrize("name", integrators.INTEGRATORS)
def test_integrators_have_their_order_and_run_backwards(name):
    """Against the exact motion of oscillators of unlike frequencies."""
    integrator = integrators.find(name)
    z, v = np.array([[0.1, -0.7, 2.0]]), np.array([[0.4, 1.1, -0.3]])
    scale = np.array([0.7, 1.0, 5.0])

    def log_density(z):
        return -0.5 * np.sum((z / scale) ** 2, axis=-1)

    start = langevin.init(log_density, z)
    exact = np.array([expm([[0.0, 1.0], [-1.0 / s**2, 0.0]]) @ [z[0, i], v[0, i]] for i, s in enumerate(scale)]).T
    errors = []
    for steps in (8, 16):
        there, arrived = integrators.trajectory(log_density, start, v, np.array([1.0 / steps]), integrator, steps)
        errors.append(np.abs(np.concatenate([there.position, arrived]) - exact).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(integrator.order, abs=0.15)
    home, left = integrators.trajectory(log_density, there, -arrived, np.array([1.0 / steps]), integrator, steps)
    np.testing.assert_allclose(home.position, z, atol=1e-12)
    np.testing.assert_allclose(left, -v, atol=1e-12)


@pytest.mark.parametrize("name", integrators.INTEGRATORS)
def test_the_limit_of_an_integrator_is_where_motion_runs_away(name):
    integrator, far = integrators.find(name), {}
    start = langevin.init(lambda z: -0.5 * np.sum(z**2, axis=-1), np.ones((1, 1)))
    for share in (0.999, 1.001):
        step = np.array([share * integrator.limit])
        there, _ = integrators.trajectory(
            lambda z: -0.5 * np.sum(z**2, axis=-1), start, np.ones((1, 1)), step, integrator, 400
        )
        far[share] = np.abs(there.position).max()
    assert far[0.999] < 100 < 1e6 < far[1.001]


@pytest.mark.parametrize("name", integrators.INTEGRATORS)
def test_a_learned_step_is_stable_in_one_dimension(name):
    """There acceptance stays high up to the limit, and the step size of some chains would be learned past it."""
    torch = pytest.importorskip("torch")
    backend, start = get_backend(torch.zeros(1)), 0.4 * torch.linspace(-2.0, 2.0, 2000)[:, None]
    rng, kernel, diverging = backend.rng(1), kernels.HMC(None, integrator=name), 0

    def log_density(z):
        return -0.5 * ((z / 0.4) ** 2).sum(-1)

    state = kernel.init_chains(log_density, start)
    for t in range(200):
        state, info = kernel.step(log_density, state, kernel.noise(backend, rng, state), 100)
        diverging = diverging + (t >= 100) * info.diverging
    assert diverging.max() <= 1
    # Nor are steps much shorter than they need to be.
    assert state.step_size.median() > 0.3 * integrators.find(name).limit


def test_an_orbit_is_as_accurate_as_steps_one_by_one():
    start, v = langevin.init(normal, np.ones((1, 3))), np.ones((1, 3))
    integrator, s = integrators.find("fourth_order"), np.array([0.05])
    once = integrators.trajectory(normal, start, v, s, integrator, 3)
    here, speed = start, v
    for _ in range(3):
        here, speed = integrators.trajectory(normal, here, speed, s, integrator, 1)
    np.testing.assert_allclose(once[0].position, here.position, rtol=1e-12)
    np.testing.assert_allclose(once[1], speed, rtol=1e-12)


def test_scales_are_learned_for_each_chain_and_coordinate():
    start = np.zeros((40, 3))
    factor = np.repeat([1.0, 10.0], 20)

    def log_density(z):
        return normal(z / factor[:, None])

    draws, state = run(kernels.HMC(None, num_steps=4, dense_mass=False), log_density, start, 300, 100)
    np.testing.assert_allclose(state.mass.scale.reshape(2, 20, 3).mean(1), [SCALE, 10 * SCALE], rtol=0.25)
    spread = draws.reshape(100, 2, 20, 3).std((0, 2))
    np.testing.assert_allclose(spread, [SCALE, 10 * SCALE], rtol=0.2)
    # Without them a step is as short as the narrowest coordinate asks.
    plain = run(kernels.HMC(None, num_steps=4, adapt_mass_matrix=False), log_density, start, 300, 1)[1]
    assert plain.step_size[:20].mean() < 0.3 < state.step_size[:20].mean()


def test_the_scale_of_a_window_is_its_regularised_deviation():
    x = np.random.default_rng(0).normal(size=(100, 2, 3))
    known = mass.start(x[0])
    for t in range(100):
        known, ended = mass.update(known, x[t], x[t], np.array(t), 100)
        assert ended == (t == 89)
        np.testing.assert_allclose(known.scale, 1.0 if t < 89 else known.scale)
    n = 75
    expected = np.sqrt(n / (n + 5) * x[15:90].var(0, ddof=1) + 1e-3 * 5 / (n + 5))
    np.testing.assert_allclose(known.scale, expected, rtol=1e-12)


def test_a_dense_window_joins_scores_and_draws():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 2, 3)) @ np.array([[1.0, 0.9, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 2.0]])
    g = 3.0 + 2.0 * rng.normal(size=(100, 2, 3)) - x
    known = mass.start(x[0], dense=True)
    for t in range(100):
        known, _ = mass.update(known, x[t], g[t], np.array(t), 100)
    n = 75
    for chain in range(2):
        root = np.linalg.cholesky(((n - 1) * np.cov(g[15:90, chain].T) + 5.0 * np.eye(3)) / (n + 5))
        seen = root.T @ np.cov(x[15:90, chain].T) @ root
        half = np.linalg.cholesky((n * seen + 15.0 * np.eye(3)) / (n + 15))
        np.testing.assert_allclose(known.scale[chain], np.linalg.inv(root).T @ half, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(known.inverse[chain] @ known.scale[chain], np.eye(3), atol=1e-10)
    y, score = np.random.default_rng(1).normal(size=(2, 2, 3))
    np.testing.assert_allclose(known.out(y)[0], known.scale[0] @ y[0], rtol=1e-12)
    np.testing.assert_allclose(known.scale_score(score)[0], known.scale[0].T @ score[0], rtol=1e-12)
    np.testing.assert_allclose(known.unscale_score(known.scale_score(score)), score, rtol=1e-9)


@pytest.mark.pyro
@pytest.mark.parametrize("kernel", [kernels.HMC, kernels.UnderdampedLangevin, kernels.MALA], ids=lambda k: k.__name__)
def test_dense_scales_take_long_steps_along_a_ridge(kernel):
    """Two coordinates that go together: the moments are right, and steps are several times as long."""
    import torch

    cov = np.array([[1.0, 0.99], [0.99, 1.0]])
    precision = torch.tensor(np.linalg.inv(cov))

    def ridge(z):
        return -0.5 * torch.sum((z @ precision) * z, dim=-1)

    def sized(**options):
        return run(
            kernel(None, adapt_mass_matrix=True, **options), ridge, torch.zeros(200, 2, dtype=torch.float64), 600, 300
        )

    draws, state = sized(dense_mass=True)
    learned = (state.mass.scale @ state.mass.scale.mT).mean(0)
    np.testing.assert_allclose(learned, cov, rtol=0.15)
    np.testing.assert_allclose(np.cov(draws.reshape(-1, 2).T), cov, atol=0.08)
    assert state.step_size.mean() > 3.0 * sized(dense_mass=False)[1].step_size.mean()


def test_dense_without_learning_is_refused():
    with pytest.raises(OptionError, match="pass adapt_mass_matrix=True with dense_mass=True"):
        kernels.MALA(None, dense_mass=True)


def test_underdamped_chains_turn_round_where_they_refuse():
    kernel = kernels.UnderdampedLangevin(None, step_size=0.5, adapt_step_size=False, adapt_mass_matrix=False)

    def unit(z):
        return -0.5 * np.sum(z**2, axis=-1)

    state = kernel.init_chains(unit, np.ones((2, 3)))
    noise = (np.ones((2, 3)), np.zeros((2, 3)), np.array([0.0, 1.0]))
    after, info = kernel.step(unit, state, noise, 0)
    assert info.accepted.tolist() == [True, False]
    kept = np.exp(-0.25)
    np.testing.assert_allclose(after.chains.momentum[1], -kept * np.sqrt(1 - kept**2), rtol=1e-12)
    np.testing.assert_array_equal(after.chains.position[1], 1.0)


def test_annealing_ends_at_the_posterior_itself():
    kernel = kernels.AnnealedLangevin(None, hottest=50.0, step_size=0.5, adapt_step_size=False)
    plain = kernels.MALA(None, step_size=0.5, adapt_step_size=False)
    cold = plain.init_chains(modes, np.zeros((5, 1)))
    rng = np.random.default_rng(0)
    noise = plain.noise(BACKEND, rng, cold)
    for i, beta in ((0, 1 / 50), (15, 50**-0.5), (30, 1.0), (39, 1.0), (40, 1.0)):
        state = cold._replace(i=np.array(i))
        after, info = kernel.step(modes, state, noise, 40)
        flat, same = plain.step(
            lambda z, b=beta: b * modes(z),
            state._replace(chains=langevin.init(lambda z, b=beta: b * modes(z), state.chains.position)),
            noise,
            40,
        )
        np.testing.assert_allclose(after.chains.position, flat.chains.position, rtol=1e-9)
        np.testing.assert_allclose(info.accept_prob, same.accept_prob, rtol=1e-9)
        np.testing.assert_allclose(after.chains.log_density, modes(after.chains.position), rtol=1e-9)


def test_replicas_cross_between_modes_and_langevin_chains_do_not():
    start = np.full((60, 1), 5.0)
    tempered = run(kernels.TemperedLangevin(None, hottest=15.0), modes, start, 100, 300)[0]
    share = (tempered < 0).mean(0)
    assert abs(share.mean() - 0.75) < 4 * share.std() / np.sqrt(60)
    within = tempered[tempered < 0]
    assert within.mean() == pytest.approx(-5.0, abs=0.1)
    assert within.std() == pytest.approx(1.0, abs=0.1)
    stuck = np.sign(run(kernels.MALA(None), modes, start, 100, 100)[0])
    assert (stuck == stuck[0]).all()


def test_stochastic_steps_shrink():
    kernel = kernels.SGLD(None, step_size=0.1, decay=0.5, delay=10.0)
    state = kernel.init_chains(normal, np.zeros((2, 3)))
    for t in range(3):
        noise = kernel.noise(BACKEND, np.random.default_rng(t), state)
        size = 0.1 * (1 + t / 10) ** -0.25
        expected = state.chains.position + 0.5 * size**2 * state.chains.score + size * noise[0]
        state, _ = kernel.step(normal, state, noise, 0)
        np.testing.assert_allclose(state.chains.position, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kernels.HMC(None, num_steps=0), "Expected num_steps >= 1; got 0"),
        (lambda: kernels.HMC(None, integrator="euler"), "Unknown integrator 'euler'; expected one of"),
        (lambda: kernels.UnderdampedLangevin(None, friction=0.0), "Expected friction > 0; got 0.0"),
        (lambda: kernels.AnnealedLangevin(None, hottest=0.5), "Expected hottest >= 1; got 0.5"),
        (lambda: kernels.TemperedLangevin(None, replicas=1), "Expected replicas >= 2; got 1"),
        (lambda: kernels.TemperedLangevin(None, hottest=1.0), "Expected hottest > 1; got 1.0"),
        (lambda: kernels.SGLD(None, decay=-1.0), "Expected decay >= 0; got -1.0"),
        (lambda: kernels.SGLD(None, delay=0.0), "Expected delay > 0; got 0.0"),
        (lambda: kernels.MALA(None, step_size=float("nan")), "Expected step_size to be a finite number > 0; got nan"),
    ],
)
def test_options_out_of_range_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()
