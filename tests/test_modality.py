"""What a modality may be: refused as it is made, or good for everything that follows."""

import importlib
import json
from dataclasses import asdict

import numpy as np
import pytest

from mmppl import models
from mmppl.batch import Batch, Modality
from mmppl.data import read_npz, write_npz
from mmppl.diagnostics.report.pictures import cell
from mmppl.errors import ModalityError
from mmppl.inference import fit, generate, to_arviz

NAN, INF = float("nan"), float("inf")
SHAPE = "Expected an event shape of whole numbers >= 1"
TOKENS = {"shape": (3,), "kind": "tokens", "vocabulary": 5}
REFUSED = [
    *(({"shape": s}, SHAPE) for s in ((0,), (3, 0), (-1,), (2.0,), (True,), ("3",), (None,), (NAN,), 3, "ab", None)),
    *(({"shape": s, "kind": "image"}, SHAPE) for s in ((0, 4, 4), (1, 4, -4), (1, 4, 4.0))),
    *(({"shape": s, "kind": "image"}, r"shape \(C, H, W\) for kind 'image'") for s in ((), (4,), (4, 4), (1, 1, 4, 4))),
    *(({**TOKENS, "shape": s}, r"shape \(L,\), where a single token is \(1,\)") for s in ((), (2, 3), (1, 1))),
    *(({**TOKENS, "vocabulary": v}, f"whole number >= 1; got {v}") for v in (None, 0, -2, 5.0, True, NAN)),
    ({"shape": (1, 4, 4), "kind": "image", "vocabulary": 5}, "Expected kind 'tokens' with vocabulary=5; got 'image'"),
    ({"shape": (4,), "vocabulary": 5}, "Expected kind 'tokens' with vocabulary=5; got 'vector'"),
    *(({**TOKENS, "padding": p}, "Expected padding to be a token id in") for p in (5, -1, True, False, 0.0, NAN, "0")),
    ({"shape": (4,), "padding": 0}, "Expected padding to be a token id in"),
    ({**TOKENS, "vocabulary": 1, "padding": 0}, "Expected a vocabulary of at least 2 with padding"),
    *(({"shape": (3,), "scale": s}, "Expected a scale > 0") for s in (0, -1.0, NAN, INF, True, "wide", [1.0])),
    ({"shape": (3,), "scale": np.ones(3)}, "Expected a scale > 0"),
    *(({"shape": (3,), "weight": w}, "Expected a weight >= 0") for w in (-1, NAN, INF, True, None, "1", [1.0])),
    *(({"shape": (3,), "likelihood": x}, "Expected a likelihood among") for x in (1, ["normal"], "gauss")),
    *(({"shape": (3,), "kind": k}, "Expected a kind among") for k in (None, 1, ["vector"], "sound")),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda x: str(x)[:60])
def test_what_would_fail_later_is_refused_at_once(options, message):
    with pytest.raises(ModalityError, match=message):
        Modality(**options)


def test_numbers_of_any_kind_are_kept_as_plain_ones():
    one = Modality([np.int64(3)], "tokens", np.int32(5), scale=np.float32(0.5), weight=np.int64(2), padding=np.uint8(1))
    assert one == Modality((3,), "tokens", 5, scale=0.5, weight=2.0, padding=1)
    assert json.loads(json.dumps(asdict(one)))["vocabulary"] == 5


def test_an_array_without_rows_is_refused():
    for value, said in (
        (np.float64(3.0), r"one of shape \(\)"),
        (np.array(3.0), r"one of shape \(\)"),
        ([1.0], "a list"),
    ):
        with pytest.raises(ModalityError, match=rf"Modality 'x': expected an array \(N, \*event\); got {said}"):
            Batch({"x": value})


def test_a_file_says_which_modality_has_no_values(tmp_path):
    for shape in ((4, 0), (4, 1, 0, 3)):
        with pytest.raises(ModalityError, match=f"Modality 'x': {SHAPE}"):
            read_npz(write_npz(tmp_path / "x.npz", {"y": np.ones((4, 1)), "x": np.ones(shape)}, force=True))


ODD = {
    "number": Modality((), scale="learned"),
    "count": Modality((), likelihood="poisson"),
    "wide": Modality((), likelihood="negative_binomial", scale="learned"),
    "grid": Modality((2, 3), scale="learned"),
    "grids": Modality((2, 3), likelihood="zero_inflated_poisson"),
    "pixel": Modality((1, 1, 1), kind="image"),
    "same": Modality((2,), kind="tokens", vocabulary=1),
    "padded": Modality((2,), kind="tokens", vocabulary=2, padding=1),
}


@pytest.mark.parametrize("host", ["numpyro", "pyro"])
def test_odd_shapes_work_to_the_end(host):
    ppl, rng = importlib.import_module(f"mmppl.{host}"), np.random.default_rng(0)

    def draw(m):
        shape = (6, *m.shape)
        whole = m.kind == "tokens" or m.scoring.values == "counts"
        return m.typed(
            np.asarray(rng.integers(m.vocabulary or 3, size=shape) if whole else rng.uniform(0.1, 0.9, shape))
        )

    data = Batch({n: draw(m) for n, m in ODD.items()}, {n: np.arange(6) != i % 6 for i, n in enumerate(ODD)})
    program = models.mvae(ODD, ppl=ppl, latent_dim=1, hidden=4, random=0)
    fitted = fit(program, data, epochs=1, batch_size=3, progress=False)
    made = generate(fitted, data.only("number"), 2)
    assert {n: x.shape for n, x in made.items()} == {n: (2, 6, *m.shape) for n, m in ODD.items()}
    idata = to_arviz(fitted, data, kernel=None, num_samples=4, num_predictive=2, num_prior=2)
    assert idata["posterior_predictive"]["grid"].shape == (1, 2, 6, 2, 3)
    for name, m in ODD.items():
        assert "<" in cell(m, made[name][0, 0], name)
