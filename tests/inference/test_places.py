"""Programs that keep something for each datum: places of the rows are those in the data, whoever runs the program."""

import numpy as np
import pytest
from scipy import stats

from mmppl import Batch, Modality
from mmppl._backend import get_backend
from mmppl.covariates import Covariate
from mmppl.data.dataset import split_rows
from mmppl.diagnostics.calibration import simulate
from mmppl.errors import OptionError
from mmppl.inference import Fitted, Program, Stage, fit, generate, infer, log_likelihood

ROWS = 96
OFFSET = np.linspace(-3.0, 3.0, ROWS)[np.random.default_rng(3).permutation(ROWS)]
X = (OFFSET + 1.4 * np.random.default_rng(0).normal(size=ROWS))[:, None]
# The second is nowhere present: it is what is drawn.
AGE = 2.0 * np.random.default_rng(5).normal(size=ROWS)
WHOLE = Batch({"x": X, "y": np.zeros((ROWS, 1))}, {"y": np.zeros(ROWS, bool)}, covariates={"age": AGE})
SOME = np.array([90, 3, 41, 3, 77])
pytestmark = pytest.mark.filterwarnings("ignore:Modality 'y' has no value:mmppl.errors.MissingWarning")


def declared(ppl, covariate=False, size=None, **options):
    """A program of closed form: z of N(0, 1), x and y of N(z + offset, 1), z given x of N((x - offset) / 2, 1 / 2).

    The offset is the program's own, or a covariate.
    """
    host = ppl.host
    own = get_backend(host.zeros(1)).asarray(OFFSET, like=host.zeros(1))

    def offset(batch, rows):
        return (batch.covariates["age"] if covariate else own[rows])[..., None]

    def model(batch):
        idle = host.param("idle", host.zeros(1))  # something to train, that changes nothing
        with ppl.plate(batch, size) as rows:
            z = host.sample("z", host.dist.Normal(host.zeros(1), 1.0).to_event(1))
            for name in batch.modalities:
                ppl.observe(name, host.dist.Normal(z + offset(batch, rows) + 0.0 * idle, 1.0).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch, size) as rows:
            host.sample("z", host.dist.Normal((batch["x"] - offset(batch, rows)) / 2, 0.5**0.5).to_event(1))

    known = {"age": Covariate()} if covariate else {}
    return Program(
        model, guide, ppl.ELBO(), ppl, {"x": Modality((1,)), "y": Modality((1,))}, covariates=known, **options
    )


@pytest.fixture
def program(ppl, double):
    return declared(ppl)


@pytest.mark.parametrize("data", [WHOLE, WHOLE[SOME], WHOLE[SOME][[4, 0]]], ids=["whole", "rows", "rows of rows"])
def test_the_evidence_in_blocks_is_that_of_the_whole(program, data):
    exact = stats.norm.logpdf(data["x"][:, 0], OFFSET[np.arange(ROWS) if data.places is None else data.places], 2**0.5)
    found = log_likelihood(Fitted(program, {"idle": np.zeros(1)}), data, num=20, chunk=200)  # 10 rows a block
    np.testing.assert_allclose(found.value, exact, atol=1e-9)


def test_the_bound_of_minibatches_is_that_of_the_whole(program):
    """The guide is the posterior, so the loss of a step is minus the evidence of its rows, whichever they are."""
    fitted = fit(program, WHOLE, epochs=1, batch_size=32, seed=1, progress=False)
    exact = stats.norm.logpdf(X[:, 0], OFFSET, 2**0.5).mean()
    np.testing.assert_allclose(fitted.history[-1]["loss"], -exact, atol=1e-6)


def test_generated_values_and_chains_are_of_their_own_rows(program):
    fitted, data = Fitted(program, {"idle": np.zeros(1)}), WHOLE[SOME]
    drawn = generate(fitted, data, want=["y"], num=4000, seed=0)["y"][..., 0]
    mean = OFFSET[SOME] + (data["x"][:, 0] - OFFSET[SOME]) / 2
    assert np.abs(drawn.mean(0) - mean).max() < 5 * (1.5 / 4000) ** 0.5
    chains = infer(fitted, data, num_chains=4, num_samples=250, num_warmup=150, seed=0)
    z = np.asarray(chains.draws["z"])[..., 0]
    assert np.abs(z.reshape(-1, len(SOME)).mean(0) - (data["x"][:, 0] - OFFSET[SOME]) / 2).max() < 0.15


class Source:
    """Rows of the data, from anywhere."""

    def __len__(self):
        return ROWS

    def __getitem__(self, places):
        return WHOLE[places]


HOW = {"epochs": 1, "batch_size": 24, "seed": 1, "progress": False}


@pytest.mark.parametrize("covariate", [False, True], ids=["places", "covariates"])
def test_steps_in_parts_know_what_is_known_of_their_rows(ppl, double, covariate):
    fitted = fit(declared(ppl, covariate), WHOLE, accumulate=3, **HOW)
    exact = stats.norm.logpdf(X[:, 0], AGE if covariate else OFFSET, 2**0.5).mean()
    np.testing.assert_allclose(fitted.history[-1]["loss"], -exact, atol=1e-6)


@pytest.mark.parametrize("covariate", [False, True], ids=["places", "covariates"])
@pytest.mark.parametrize("data", [WHOLE, Source()], ids=["batch", "source"])
def test_stages_of_encoded_rows_know_what_is_known_of_them(ppl, double, data, covariate):
    """Of a source they are kept on the disk; those held out are among the same rows."""
    stages = (Stage("encoded", encode=lambda batch: {"x": 1.0 * batch["x"], "y": 1.0 * batch["y"]}),)
    fitted = fit(declared(ppl, covariate, stages=stages), data, validation=0.25, **HOW)
    exact = stats.norm.logpdf(X[:, 0], AGE if covariate else OFFSET, 2**0.5)
    train, held = split_rows(ROWS, HOW["seed"], 0.25)
    found = fitted.history[-1]
    np.testing.assert_allclose(found["loss"], -exact[train].mean(), atol=1e-6)
    np.testing.assert_allclose(found["validation.loss"], -exact[held].mean(), atol=1e-6)


def test_parts_of_a_plate_that_stands_for_more_rows_are_refused(ppl, double):
    with pytest.raises(OptionError, match="rows are each by themselves.* a plate with size="):
        fit(declared(ppl, size=ROWS), WHOLE, accumulate=3, **HOW)


@pytest.mark.parametrize("batch_size", [24, ROWS])
def test_parameters_of_each_row_belong_to_it(d, double, batch_size):
    """The host takes them by places where rows are fewer than all; a step of all rows has them in another order."""
    mm, ppl = d.mm, d.ppl

    def model(batch):
        idle = ppl.param("idle", d.array([0.0]))
        with mm.plate(batch, ROWS):
            offset = ppl.subsample(d.array(OFFSET), event_dim=0)
            z = ppl.sample("z", d.dist.Normal(offset, 1.0))
            mm.observe("x", d.dist.Normal((z + 0.0 * idle)[..., None], 1.0).to_event(1), batch)

    def guide(batch):
        with mm.plate(batch, ROWS):
            loc = ppl.param("loc", d.array((X[:, 0] + OFFSET) / 2), event_dim=0)
            ppl.sample("z", d.dist.Normal(loc, 0.5**0.5))

    stages = (Stage("idle", train=("idle",)),)
    program = Program(model, guide, mm.ELBO(), mm, {"x": Modality((1,))}, stages=stages)
    fitted = fit(program, WHOLE.select("x"), **HOW | {"batch_size": batch_size})
    exact = stats.norm.logpdf(X[:, 0], OFFSET, 2**0.5)
    np.testing.assert_allclose(fitted.history[-1]["loss"], -exact.mean(), atol=1e-6)
    found = log_likelihood(fitted, WHOLE.select("x")[::-1], num=20)
    np.testing.assert_allclose(found.value, exact[::-1], atol=1e-6)


def test_data_simulated_like_others_are_of_their_rows(program):
    """A residual of x given z and its row's offset is standard normal; with other rows' offsets it is wider."""
    data, latents = simulate(Fitted(program, {"idle": np.zeros(1)}), 300, 0, like=WHOLE[50:])
    assert data.places.min() >= 50
    residual = data["x"] - latents["z"] - OFFSET[data.places][:, None]
    assert abs(residual[data.present["x"]].std() - 1.0) < 0.15
