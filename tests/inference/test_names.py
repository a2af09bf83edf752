"""Names of modalities: each is refused at once, by itself, or goes all the way round."""

import importlib
import json

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import mmppl
from mmppl import models
from mmppl.batch import Batch, Modality
from mmppl.cli.options import parse_settings
from mmppl.data import read_npz, write_npz
from mmppl.diagnostics import diagnose, read_posterior, write_posterior
from mmppl.diagnostics.loading import open_data, run_info
from mmppl.diagnostics.report.diagnosis_plots import diagnosis_charts
from mmppl.diagnostics.report.tables import diagnosis_text
from mmppl.errors import ModalityError, OptionError
from mmppl.inference import Program, Run, Stage, fit, generate, infer, log_likelihood, to_arviz
from mmppl.inference.objectives.base import owner
from mmppl.inference.training.fitted import Fitted
from mmppl.models.catalogue import SYSTEMS
from mmppl.names import check_names

REFUSED = [
    *(0, 3, True, None, ("a",), b"a"),
    *("", " ", " a", "a ", "a\n", "\t", "a\x00b", "\ud800", "a\u200bb"),
    *("a/b", "/", "a\\b", "a,b", "a+b", "a$b", "a$$$b", "a$params"),
    *(".", "..", ".a", "a.", "a..b"),
    *("_a", "_particles", "_terms", "_draws"),
    *("batch", "chain", "draw", "datum", "observation", "modality", "file", "allow_pickle"),
    *("a__present", "a__kind", "a.npy"),
]
TAKEN = [
    "a",
    "a.b",
    "Größe 2",
    "日本",
    "😀",
    "x:y=z",
    "a'b\"c",
    "<b>&amp;",
    "label",
    "Z",
    "u",
    "a_dim_0",
    "x__",
    "self",
]
RNG = np.random.default_rng(0)


def rows(*names, number=12):
    present = {names[-1]: np.arange(number) % 3 > 0}
    return Batch({name: RNG.normal(size=(number, i + 1)).astype("f") for i, name in enumerate(names)}, present)


def kinds(data):
    return {name: Modality(x.shape[1:]) for name, x in data.values.items()}


def all_the_way(ppl, name, folder):
    """Fits, writes, reads and draws with a modality of this name beside another one."""
    data = rows("other", name)
    if name == "label":
        file = "linear_gaussian"
    else:
        file = str(write_npz(folder / "data.npz", data, force=True))
        again = read_npz(file)
        assert again.modalities == data.modalities
        np.testing.assert_array_equal(again.present[name], data.present[name])
        assert list(open_data(file).modalities) == ["other", name]
    program = models.mmvae_plus(kinds(data), ppl=ppl, latent_dim=1, private_dim=1, hidden=4)
    info = run_info(file)
    fitted = fit(program, data, epochs=1, batch_size=6, progress=False, out=folder / "run", force=True, info=info)
    assert f"log_lik.{name}" in fitted.history[0]
    assert json.loads((folder / "run" / "run.json").read_text())["modalities"].keys() == {"other", name}
    assert {"other.w", f"{name}.w"} <= infer(fitted, data, method="guide", num_samples=2).draws.keys()
    loaded = mmppl.load(folder / "run")
    assert all(np.array_equal(loaded.weights[n], fitted.weights[n]) for n in fitted.weights)
    for one in (fitted, loaded):
        drawn = generate(one, data.only("other"), 2, want=[name])[name]
        assert drawn.shape == (2, 12, 2)
    write_npz(folder / "drawn.npz", {name: drawn[0], "other": data["other"]}, force=True)
    assert np.isfinite(log_likelihood(fitted, data[1:3], num=5, given=[name]).value).all()
    idata = to_arviz(fitted, data, kernel=None, num_samples=3, num_predictive=2, num_prior=2)
    tree = read_posterior(write_posterior(idata, folder / "posterior.nc"))
    np.testing.assert_array_equal(tree["observed_data"][name].values[1:3], data[name][1:3])
    assert set(tree["log_likelihood"]["modality"].values) == {"other", name}
    assert f"{name}.w" in tree["posterior"]
    setting = parse_settings([f"likelihood={name}:laplace,other:normal"], "mvae", {"likelihood": {}})[0]
    models.mvae(kinds(data), ppl=ppl, **setting)
    assert Run(folder / "run").history()[0].keys() == fitted.history[0].keys()


@pytest.mark.parametrize("name", REFUSED, ids=repr)
def test_a_name_is_refused_wherever_it_comes_in(ppl, name):
    said = repr(name).replace("\\", "\\\\").replace("(", r"\(").replace(")", r"\)")
    said = said.replace("+", r"\+").replace("$", r"\$").replace(".", r"\.")
    modality = Modality((1,))
    with pytest.raises(ModalityError, match=f"got {said}"):
        Batch({"other": np.zeros((2, 1)), name: np.zeros((2, 1))})
    with pytest.raises(ModalityError, match=f"got {said}"):
        Program(lambda batch: None, lambda batch: None, ppl.ELBO(), ppl, {"other": modality, name: modality})
    with pytest.raises(ModalityError, match=f"got {said}"):
        models.mvae({"other": modality, name: modality}, ppl=ppl)


@pytest.mark.parametrize("name", ["a/b", "", "batch", "_a", "a b ", "a__kind", "a.npy"])
def test_a_name_is_refused_in_a_file(name, tmp_path):
    write_npz(tmp_path / "x.npz", {name: np.zeros((2, 1))})
    with pytest.raises(ModalityError, match=f"Expected names of modalities .* got '{name}'"):
        read_npz(tmp_path / "x.npz")


def test_names_are_refused_beside_others(ppl):
    for names in (["a", "a_dim_0"], ["a_dim_12", "b", "a"], ["a", "a_observation"]):
        with pytest.raises(ModalityError, match=r"got 'a_(dim_\d+|observation)' beside 'a'"):
            check_names(names)
    check_names(["a_dim_0", "b", "a_dim_x"])


@pytest.mark.parametrize(
    ("ppl", "name"),
    [("numpyro", "a.b Größe 日本😀")] + [("pyro", name) for name in ("a.b", "Größe 2 日本😀", "x:y=z 'q\" <b>&amp;")],
    indirect=["ppl"],
)
def test_a_name_goes_all_the_way_round(ppl, name, tmp_path):
    all_the_way(ppl, name, tmp_path)


def refusal(make):
    """What a refusal of names says; None where there is none."""
    try:
        make()
    except ModalityError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", ["chain", "draw", "datum", "", "z_latent", "é.z 😀", "enc/z"])
def test_a_latent_goes_into_arviz_by_its_name_or_is_refused(ppl, name, tmp_path):
    sample, dist, zero = ppl.host.sample, ppl.host.dist, ppl.host.zeros(1)

    def guide(batch, scored=()):
        with ppl.plate(batch):
            for latent in (name, "z"):
                value = sample(latent, dist.Normal(zero, 1.0).to_event(1))
            for modality in scored:
                ppl.observe(modality, dist.Normal(value, 1.0).to_event(1), batch)

    def model(batch):
        guide(batch, batch.modalities)

    data = Batch({"a": np.zeros((4, 1), "f")})
    fitted = Fitted(Program(model, guide, ppl.ELBO(), ppl, {"a": Modality((1,))}), {})
    if name in ("é.z 😀", "enc/z"):
        idata = to_arviz(fitted, data, kernel=None, num_samples=3)
        tree = read_posterior(write_posterior(idata, tmp_path / "posterior.nc"))
        for group in ("posterior", "prior"):
            assert tree[group][name.replace("/", ".")].dims[-1] == name.replace("/", ".") + "_latent"
        return
    with pytest.raises(OptionError, match=f"names of latents .* got '{name}'"):
        to_arviz(fitted, data, kernel=None, num_samples=3)


words = st.one_of(
    st.text(max_size=8),
    st.text(alphabet="ab._ /+:$,=é日-", min_size=1, max_size=6),
    st.sampled_from([name for name in (*REFUSED, *TAKEN) if isinstance(name, str)]),
)


@pytest.mark.pyro
@given(words)
@settings(max_examples=25)
@example("label")
@example("a_dim_0")
def test_any_name_is_refused_or_goes_all_the_way_round(tmp_path_factory, name):
    ppl = importlib.import_module("mmppl.pyro")
    folder = tmp_path_factory.mktemp("names")
    said = refusal(lambda: check_names([name, "other"]))
    if said is not None:
        assert repr(name) in said
        assert refusal(lambda: Batch({name: np.zeros((1, 1)), "other": np.zeros((1, 1))})) == said
        return
    if name in ("z", "other"):
        return
    all_the_way(ppl, name, folder)


@given(st.text(max_size=6))
@settings(max_examples=300)
def test_what_is_not_refused_can_be_written_and_read(tmp_path_factory, name):
    assume(name != "other")
    values = {name: np.ones((2, 1)), "other": np.zeros((2, 1))}
    said = refusal(lambda: Batch(values))
    if said is not None:
        assert repr(name) in said
        return
    batch = Batch(values)
    if name != "label":
        path = tmp_path_factory.mktemp("file") / "x.npz"
        assert read_npz(write_npz(path, batch)).modalities == batch.modalities
    setting, _ = parse_settings([f"scale={name}:2,other:learned"], "mvae", {"scale": {}})
    assert setting == {"scale": {name: 2.0, "other": "learned"}}


def test_the_longest_name_owns_a_latent():
    names = ("a", "a.b", "b")
    found = {
        site: owner(site, names) for site in ("a.w", "a.b.w", "a.b", "a.bc.w", "b.w", "c.a.w", "z", "a", "a.b.c.d")
    }
    assert found == {
        **{"a.w": 0, "a.b.w": 1, "a.b": 0, "a.bc.w": 0, "b.w": 2, "c.a.w": None, "z": None, "a": None, "a.b.c.d": 1}
    }


@pytest.mark.parametrize(
    ("ppl", "system", "order"),
    [
        *(("numpyro", "mmvae_plus", 1), ("numpyro", "masked", 1)),
        *(("pyro", "mmvae_plus", 1), ("pyro", "mmvae_plus", -1), ("pyro", "nexus", 1), ("pyro", "mld", -1)),
    ],
    indirect=["ppl"],
)
def test_other_names_of_the_same_modalities_change_nothing(ppl, system, order):
    """Modalities a and a.b are as a and c are, also where their private latents or their parameters are told apart."""
    data, losses = rows("a", "a.b", number=18), []
    options = {"private_dim": 1} if system == "mmvae_plus" else {}
    options |= {"private": 1} if system == "masked" else {}
    for other in ("a.b", "c"):
        names = dict(zip(data.modalities, ("a", other), strict=True))
        named = list(names.items())[::order]
        batch = Batch({to: data[of] for of, to in named}, {to: data.present[of] for of, to in named})
        program = models.make(system, kinds(batch), ppl=ppl, hidden=4, **options)
        fitted = fit(program, batch, epochs=2, batch_size=6, progress=False)
        losses.append([record["loss"] for record in fitted.history])
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_a_modality_named_as_a_latent_is_refused_where_the_program_runs(ppl, host):
    """A program without that latent takes it."""
    dist, sample = ppl.host.dist, ppl.host.sample

    def pair(latent, guided=True):
        def model(batch):
            with ppl.plate(batch):
                x = sample(latent, dist.Normal(ppl.host.zeros(2), 1.0).to_event(1))
                for name in batch.modalities:
                    ppl.observe(name, dist.Normal(x[..., : batch[name].shape[1]], 1.0).to_event(1), batch)

        def guide(batch):
            with ppl.plate(batch):
                if guided:
                    sample(
                        latent, dist.Normal(ppl.host.zeros(2), ppl.host.param("s", ppl.host.zeros(1) + 1.0)).to_event(1)
                    )

        return model, guide

    data = rows("other", "z")
    said = "Modality 'z': expected a name of its own; the program has a site that is called so already"
    for guided in (True, False):
        program = Program(*pair("z", guided), ppl.ELBO(), ppl, kinds(data))
        with pytest.raises(ModalityError, match=said):
            fit(program, data, epochs=1, progress=False)
    program = Program(*pair("z"), ppl.ELBO(), ppl, kinds(data))
    fitted = Fitted(program, {"s": np.ones(1, "f")})
    for use in (generate, infer, log_likelihood, to_arviz):
        with pytest.raises(ModalityError, match=said):
            use(fitted, data)
    with pytest.raises(ModalityError, match="'z'"):
        host.stepper(ppl.ELBO(), *pair("z"))(data, 0)
    taken = Program(*pair("y"), ppl.ELBO(), ppl, kinds(data))
    assert generate(fit(taken, data, epochs=1, progress=False), data.only("other"))["z"].shape == (1, 12, 2)


def test_a_latent_of_the_guide_named_as_a_modality_is_refused(ppl, host):
    dist, sample = ppl.host.dist, ppl.host.sample

    def model(batch):
        with ppl.plate(batch):
            ppl.observe("x", dist.Normal(ppl.host.zeros(1), 1.0).to_event(1), batch)

    def guide(batch):
        with ppl.plate(batch):
            sample("x", dist.Normal(ppl.host.zeros(1), 1.0).to_event(1))

    with pytest.raises(ModalityError, match=r"Expected latents with names of their own; got \['x'\]"):
        host.stepper(ppl.ELBO(), model, guide)(rows("x"), 0)


def test_systems_refuse_the_names_of_their_parts(ppl):
    one = Modality((1,))
    for system in SYSTEMS:
        for names in (("z", "b"), ("a", "a.w"), ("a.private.x", "a"), ("a", "b", "a.encoder")):
            with pytest.raises(ModalityError, match=f"called as parts of the system.*got '{max(names, key=odd)}'"):
                models.make(system, dict.fromkeys(names, one), ppl=ppl)
    for system in ("ebm", "ebm_plus"):
        with pytest.raises(ModalityError, match="got 'energy', whose networks would be trained with 'energy.'"):
            models.make(system, {"energy": one, "b": one}, ppl=ppl)
        models.make(system, {"energy use": one, "b": one, "prior": one}, ppl=ppl)
    models.mvae({"energy": one, "a.b": one, "a": one, "w": one, "encoder": one}, ppl=ppl)


def test_a_stage_trains_a_network_and_none_whose_name_goes_on_otherwise():
    """As either host calls it: by its own name, or by its arrays'."""
    stage = Stage(train=("a.encoder.",))
    moving = [n for n in ("a.encoder", "a.encoder.layers.1.bias", "a.encoder2", "a.encoder2.bias") if stage.trains(n)]
    assert moving == ["a.encoder", "a.encoder.layers.1.bias"]


def odd(name):
    return name == "z", len(name)


def test_subsets_are_told_apart_and_drawn(ppl):
    data = rows("a", "日本")
    program = models.mvae(kinds(data), ppl=ppl, latent_dim=1, hidden=4)
    fitted = fit(program, data, epochs=1, batch_size=6, progress=False)
    found = diagnose(fitted, type("Data", (), {"test": data, "modalities": kinds(data), "train": data}), num=6)
    assert found["guide_k"].keys() == {"a", "日本", "a+日本"}
    assert "Calibration error of 日本 held out" in diagnosis_text(found, [])
    assert any("日本" in svg for *_, svg in diagnosis_charts(found))
