"""The hosts' own pictures of a program: what `render_model` draws with graphviz is read off it as it is."""

import importlib

import numpy as np
import pytest

from mmppl import Batch, Modality, models

VIEWS = {"a": Modality((3,)), "b": Modality((2,))}


@pytest.mark.parametrize("host", ["numpyro", "pyro"])
def test_a_host_reads_sites_plate_and_edges_off_a_program(host):
    mm, inspect = importlib.import_module(f"mmppl.{host}"), importlib.import_module(f"{host}.infer.inspect")
    program = models.mvae(VIEWS, ppl=mm, latent_dim=2, hidden=4)
    rows = mm.as_batch(Batch({name: np.zeros((2, *m.shape)) for name, m in VIEWS.items()}))
    found = inspect.get_model_relations(program.model, (rows,))
    assert found["sample_sample"] == {"z": [], "a": ["z"], "b": ["z"]}
    assert found["plate_sample"] == {"batch": ["z", "a", "b"]}
    assert found["observed"] == ["a", "b"]
