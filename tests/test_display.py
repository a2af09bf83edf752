"""Objects that show themselves: short texts and pages of HTML, with no array and no address in them."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from mmppl import Batch, Modality, models
from mmppl.covariates import Covariate
from mmppl.data import load
from mmppl.data.dataset import Dataset
from mmppl.data.kinds import kinds_rows
from mmppl.diagnostics import Coverage, CoverageBySubset
from mmppl.display import columns
from mmppl.errors import DataError, ModalityError
from mmppl.inference import Draws, Fitted, History, LogLikelihood, Posterior
from mmppl.sde import VP
from mmppl.sde.solvers import Heun

VOID = {"img", "br"}


class Balanced(HTMLParser):
    """Counts on tags that are closed in turn."""

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def check(thing, *words):
    """Checks both texts of an object, which say the words."""
    text = repr(thing)
    assert len(text.encode()) <= 4096
    assert text.count("\n") < 40
    parser = Balanced()
    parser.feed(thing._repr_html_() if hasattr(thing, "_repr_html_") else "")
    assert not parser.open
    shown = " ".join(parser.texts).replace("\xa0", " ")  # an error stays on the line of its estimate
    for said in (text, shown):
        assert not re.search(r"0x[0-9a-f]{6}|array\(|tensor\(|dtype=", said), said
    for word in words:
        assert word in text
        assert word in shown or not hasattr(thing, "_repr_html_")


def base_of(ppl):
    return ppl.host.dist.Normal(ppl.host.zeros(2), 1.0).to_event(1)


def test_what_is_cut_says_so():
    view = Modality((4,), coordinates=tuple(f"coordinate {i} of quite a long name" for i in range(4)))
    rows = Batch({"x": np.ones((1, 4))})
    line = columns(kinds_rows({"x": view}, rows))[-1]
    assert len(line) <= 116
    assert line.endswith("coordinate 0 of quite a long name, coordinate 1 of quite...")
    assert columns([("y" * 44, "vector")]) == [f"{'y' * 37}...  vector"]
    assert repr(rows).endswith("  1 row: x")


def test_a_data_set_says_what_covariates_are():
    rows = Batch({"x": np.ones((4, 2))}, covariates={"site": np.array(["n", "s"] * 2), "age": np.arange(4.0)})
    known = {"site": Covariate("category", names=("n", "s")), "age": Covariate()}
    data = Dataset("birds", {"x": Modality((2,))}, rows[:3], rows[3:], rows=rows, covariates=known)
    check(data, "covariate site: category of n, s", "covariate age: number")


def test_a_batch_says_what_is_there():
    image = np.random.default_rng(0).random((4, 1, 3, 3), np.float32)
    batch = Batch({"ink": image, "word": np.ones((4, 2))}, {"word": np.eye(4, 2) > 0})
    check(batch, "Batch of 4 rows", "4 of 4 rows", "2 of 8 values", "2 rows: ink + word", "2 rows: ink")
    assert batch._repr_html_().count("<img ") == 4
    assert batch.without("ink")._repr_html_().count("<img ") == 0
    check(Batch({f"<m{i}>": np.ones((3, 1)) for i in range(300)}, {"<m0>": np.eye(3)[0] > 0}), "3 rows")
    check(Batch({}, num=3), "Batch of 3 rows")


def test_a_data_set_and_a_modality_are_short():
    data = load("polydigits")
    check(data, "Dataset 'polydigits': 8000 training rows, 2000 test rows", "discretized_logistic")
    check(load("linear_gaussian", num_train=10, num_test=5), "10 training rows")
    modality = Modality((), kind="category", names=tuple(f"class {i}" for i in range(900)))
    check(modality, "'class 0'", "900 in all")
    assert eval(repr(data.modalities["word"]), {"Modality": Modality}) == data.modalities["word"]
    many = {f"view {i} with a name that is long": Modality((3,)) for i in range(200)}
    rows = Batch({name: np.ones((2, 3), np.float32) for name in many})
    check(Dataset("many", many, rows, rows), "2 training rows")


def test_a_history_shows_its_curves():
    lines = [{"epoch": i, "stage": "joint", "steps": 4, "seconds": 1.0, "loss": 9.0 - i} for i in range(900)]
    lines[3]["validation.loss"] = 5.0
    history = History(lines)
    check(history, "History of 900 epochs")
    assert repr(history) == "History of 900 epochs: loss 9 to -890 nats, held out 5"
    assert history._repr_html_().count("<polyline") == 2
    assert repr(History()) == "History of no epochs"
    two = [{"epoch": 1, "stage": "a", "loss": 9.0, "log_lik.x": -3.0}, {"epoch": 2, "stage": "b", "loss": 0.5}]
    check(History([dict(two[0]), {**two[1], "log_lik.x": float("nan")}]), "2 epochs")
    shown = History(two)._repr_html_()
    assert shown.count("<polyline") == 3
    assert "nan" not in shown
    assert "stage b" in shown
    stages = [{"epoch": e, "stage": "ab"[e > 2], "loss": 9.0 / e, "kl": 1.0} for e in (1, 2, 3, 4, 5)]
    places = History(stages).plot("loss", "kl").axes
    assert [place.get_title() for place in places] == ["a", "b", "a", "b"]
    assert [place.lines[0].get_xdata().tolist() for place in places[:2]] == [[1, 2], [3, 4, 5]]


def test_an_estimate_says_whether_it_is_trusted():
    by = np.full(5, "normal", object)
    good = LogLikelihood(np.zeros(5), np.ones(5), np.full(5, 0.1), -3.25, 0.5, by)
    bad = good._replace(pareto_k=np.full(5, 2.0))
    assert repr(good) == "LogLikelihood of 5 data: mean -3.25 nats ± 0.5; 0% of the data have k above 0.7"
    assert "not to be trusted; 100%" in repr(bad)
    assert "±" not in repr(bad)


def test_coverage_is_a_table_by_level():
    levels = np.array([0.2, 0.5, 0.8, 0.95])
    one = Coverage(levels, {"b": levels - 0.1}, {"b": np.full(4, 0.02)}, {"b": np.ones(10)})
    check(CoverageBySubset({(): one, ("a",): one}), "0.10 off", "80% sets", "0.70 ± 0.02", "nothing")


def test_draws_show_images_shares_and_intervals():
    modalities = {
        "ink": Modality((1, 2, 2), kind="image"),
        "word": Modality((1,), kind="tokens", vocabulary=27),
        "age": Modality((2,)),
    }
    age = np.stack([np.arange(101.0), np.full(101, 7.0)], axis=-1)[:, None]
    values = {
        "ink": np.zeros((101, 1, 1, 2, 2)) + np.arange(101)[:, None, None, None, None] / 8,
        "word": np.where(np.arange(101) < 76, 1, 2)[:, None, None],
        "age": age,
    }
    draws = Draws(values, modalities)
    check(draws, "101 of each of 1 rows", "101 x 1 x 2, float64", "tokens")
    ink, word, numbers = draws.show().axes
    assert ink.images[0].get_array().shape == (8, 8)  # three by three of 2 x 2, a line between
    assert ink.images[0].get_array()[3, 3] == 0.5  # the fifth of them
    widths = {t.get_text(): bar.get_width() for t, bar in zip(word.get_yticklabels(), word.patches, strict=True)}
    assert widths == {"a": 76 / 101, "b": 25 / 101}
    wide, narrow = (lines.get_segments() for lines in numbers.collections)
    np.testing.assert_allclose([wide[0][:, 1], narrow[0][:, 1]], [[5, 95], [25, 75]])
    assert np.ptp(wide[1][:, 1]) == 0
    from_prior = Draws({"age": age[:, 0]}, modalities, given=False)
    check(from_prior, "101 from the prior")
    assert len(from_prior.show().axes) == 1


def test_objectives_have_their_options_by_name(ppl):
    shown = ppl.MoPoE(2, strata="all", weights={}, beta=ppl.WarmUp(10))
    assert repr(shown).startswith("MoPoE(particles=2, strata='all', beta=WarmUp(")
    assert repr(ppl.ELBO(weights={"a": 2.0}, score=None)) == "ELBO(weights={'a': 2.0})"
    assert repr(ppl.MVTCAE()) == "MVTCAE()"


def test_coordinates_in_several_units_are_drawn_each_in_its_range():
    bird = Modality((3,), coordinates=("mass", "wing", "eggs"), units=("g", "mm", ""))
    values = np.array([[[3500.0, 18.0, 1.0], [4500.0, 20.0, 1.0]], [[4000.0, 20.0, 1.0], [4500.0, 22.0, 1.0]]])
    first, second = Draws({"bird": values}, {"bird": bird}).show().axes
    ticks = ["mass (g): 3500 to 4500", "wing (mm): 18 to 22", "eggs: 1 to 1"]
    for place, median in ((first, [0.25, 0.25, 0.0]), (second, [1.0, 0.75, 0.0])):
        np.testing.assert_allclose(place.lines[0].get_ydata(), median)
        assert [tick.get_text() for tick in place.get_xticklabels()] == ticks
        assert not len(place.get_yticks())
    assert first.get_ylabel() == "bird\neach in its range"
    same = bird.but(units="mm")
    assert Draws({"bird": values[..., :1].repeat(3, -1)}, {"bird": same}).show().axes[0].get_ylabel() == "bird"
    assert "each in its range" in Draws({"bird": values}, {"bird": same}).show().axes[0].get_ylabel()


def test_draws_whose_keys_have_changed_show_themselves_and_are_refused_by_name():
    def draws(rows=2):
        return Draws({"a": np.zeros((5, rows, 3)), "b": np.zeros((5, rows, 3))}, modalities)

    modalities = {"a": Modality((3,)), "b": Modality((3,))}
    added, fewer, cleared = draws(), draws(), draws()
    added["c"] = np.ones(())
    check(added, "5 of each of 2 rows", "no modality", "one value, float64")
    with pytest.raises(ModalityError, match="got 'c' too. Take it out before show"):
        added.show()
    del fewer["a"]
    check(fewer, "5 of each of 2 rows")
    assert len(fewer.show().axes) == 2
    cleared.clear()
    check(cleared, "Draws: none")
    with pytest.raises(DataError, match="Expected draws of one modality or more to show; got none"):
        cleared.show()
    check(draws(rows=0), "5 of each of 0 rows")
    with pytest.raises(DataError, match=r"draws of 'a' of shape \(K, N, 3\), each axis at least 1; got \(5, 0, 3\)"):
        draws(rows=0).show()
    fewer["b"] = fewer["b"][0]
    with pytest.raises(DataError, match=r"draws of 'b' .* got \(2, 3\)"):
        fewer.show()


def test_programs_fits_and_posteriors_begin_with_what_is_wrong(ppl):
    data = load("linear_gaussian", num_train=64, num_test=4)
    program = models.ebm(data.modalities, ppl=ppl, latent_dim=2, hidden=4, energy_hidden=4)
    check(program, "Program 'ebm'", "MMVAE(", "backbone", "energy")
    own = models.mvae(data.modalities, ppl=ppl, latent_dim=2, hidden=4, beta=1 / 3, prior=lambda: base_of(ppl))
    check(own, "beta=0.3333", "prior=")
    weights = {"a.encoder.0.weight": np.ones((3, 4)), "energy.0.weight": np.ones(5)}
    history = [
        {"epoch": e + 1, "stage": "joint", "loss": 4.0, "validation.loss": x} for e, x in enumerate((3.0, 2.0, 9.0))
    ]
    fitted = Fitted(program, weights, History(history))
    check(fitted, "Fitted 'ebm'", "17 weights", "lowest in epoch 2")
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(2, 50, 4, 2)) + np.arange(2)[:, None, None, None] * 9
    object.__setattr__(fitted, "places", type("Places", (), {"rows": ("z",), "outside": ()})())
    posterior = Posterior(fitted, data.test, "hmc", {"z": draws})
    check(posterior, "Posterior of 4 data by hmc: 2 chains of 50 draws", "R-hat of 'z' is above")
    assert repr(posterior).splitlines()[1].startswith("  ! R-hat")
    still = Posterior(fitted, data.test, "guide", {"z": rng.normal(size=(1, 9, 4, 2))}, chains=False)
    assert "9 draws each" in repr(still)
    assert len(posterior.plot(datum=1).axes) == 4


def test_priors_kernels_and_solvers_have_no_address(ppl):
    dist, z = ppl.host.dist, ppl.host.zeros(2)
    base = dist.Normal(z, 1.0).to_event(1)
    mixture = ppl.GaussianMixture(ppl.host.zeros(6).reshape(3, 2), 1.0)
    shown = [ppl.EnergyTilted(base, None), ppl.SmoothedLaplace(z, 1.0, 0.1), mixture]
    shown += [ppl.MALA(None), ppl.HMC(None), VP(), Heun(19), ppl.LangevinChains(), ppl.MoPoE(2, beta=ppl.WarmUp(3))]
    for thing in shown:
        check(thing, type(thing).__name__.lstrip("_"))
    assert "event_shape=(2,)" in repr(shown[0])
    assert repr(VP()) == "VP(beta_0=0.1, beta_1=20.0)"
    assert repr(ppl.MVTCAE(alpha=5 / 6)) == "MVTCAE(alpha=0.8333)"
    assert ppl.MVTCAE(alpha=5 / 6).written() == "MVTCAE(alpha=0.8333333333333334)"

    tables = {type(thing).__name__: thing._repr_html_() for thing in shown if hasattr(thing, "_repr_html_")}
    assert list(tables) == ["EnergyTilted", "SmoothedLaplace", type(mixture).__name__, "MoPoE"]
    assert "<td>event shape</td><td>(2,)</td>" in tables["EnergyTilted"]
    assert "<td>particles</td><td>2</td>" in tables["MoPoE"]
    assert "<td>beta</td><td>WarmUp(" in tables["MoPoE"]
    assert not any("0x" in text for text in tables.values())


@pytest.mark.pyro
def test_a_batch_of_tensors_and_one_that_is_traced_show_themselves():
    import jax
    import torch

    check(Batch({"a": torch.ones(2, 3)}, {"a": torch.tensor([True, False])}), "1 of 2 rows")
    seen = []
    jax.jit(lambda x: (seen.append(repr(Batch({"a": x}, {"a": x[:, 0] > 0}))), x)[1])(np.ones((2, 3)))
    assert "traced" in seen[0]
