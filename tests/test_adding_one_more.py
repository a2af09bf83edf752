"""The cost of one more kernel, objective, solver, system, likelihood and prior, in files, as CONTRIBUTING.md says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOSTS = ("pyro", "numpyro")


class Tree:
    """A copy of the package, and the files of it that were changed or made."""

    def __init__(self, folder):
        self.folder, self.touched = folder, set()
        shutil.copytree(ROOT / "mmppl", folder / "mmppl", ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("inference", "models"):
            shutil.copytree(ROOT / part, folder / "mmppl" / part, ignore=shutil.ignore_patterns("__pycache__"))

    def write(self, path, text):
        self.touched.add(path)
        (self.folder / "mmppl" / path).write_text(text)

    def change(self, path, *pairs):
        text = (self.folder / "mmppl" / path).read_text()
        for old, new in pairs:
            assert old in text, (path, old)
            text = text.replace(old, new, 1)
        self.write(path, text)

    def copy(self, path, to, **names):
        """A file as another one, with names changed."""
        text = (self.folder / "mmppl" / path).read_text()
        for old, new in names.items():
            text = re.sub(rf"\b{old}\b", new, text)
        self.write(to, text)

    def run(self, code):
        env = {**os.environ, "PYTHONPATH": str(self.folder)}
        done = subprocess.run([sys.executable, "-c", code], cwd=self.folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip()


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def joined(tree, package, old, new, folder):
    """The name of a shared class on both hosts."""
    line = f"from mmppl.inference.{package}.{folder} import {old}\n"
    tree.change(
        f"inference/{package}/__init__.py",
        (line, f"{line}from mmppl.inference.{package}.new import {new}\n"),
        ("__all__ = [\n", f'__all__ = [\n    "{new}",\n'),
    )  # fmt: skip
    for host in HOSTS:
        tree.change(
            f"{host}/{package}.py",
            (f"{old} = joined(shared.{old})\n", f"{old} = joined(shared.{old})\n{new} = joined(shared.{new})\n"),
            (f'"{old}"', f'"{old}", "{new}"'),
        )


def test_a_kernel_touches_four_files(tree):
    tree.copy("inference/kernels/sgld.py", "inference/kernels/new.py", SGLD="Newest")
    joined(tree, "kernels", "SGLD", "Newest", "sgld")
    tree.change("inference/kernels/__init__.py", ('    "sgld": SGLD,\n', '    "sgld": SGLD,\n    "newest": Newest,\n'))
    found = tree.run("import mmppl.numpyro as mm\nfrom mmppl.inference.posterior.infer import METHODS\n"
                     "print(mm.Newest(None), 'newest' in METHODS, 'Newest' in mm.__all__)")  # fmt: skip
    assert found.endswith("True True")
    assert len(tree.touched) == 4


def test_an_objective_touches_four_files(tree):
    tree.copy("inference/objectives/mvtcae.py", "inference/objectives/new.py", MVTCAE="Newest")
    joined(tree, "objectives", "MVTCAE", "Newest", "mvtcae")
    assert tree.run("import mmppl.numpyro as mm\nprint(mm.Newest(), 'Newest' in mm.__all__)").endswith("True")
    assert len(tree.touched) == 4


def test_a_solver_touches_three_files(tree):
    tree.copy("sde/solvers/heun.py", "sde/solvers/new.py", Heun="Newest")
    heun = "from mmppl.sde.solvers.heun import Heun\n"
    tree.change("sde/solvers/__init__.py", (heun, f"{heun}from mmppl.sde.solvers.new import Newest\n"))
    tree.change(
        "models/common/score_registry.py", ("    Heun,\n", "    Heun,\n    Newest,\n"),
        ('    "heun": Heun,\n', '    "heun": Heun,\n    "newest": Newest,\n'),
    )  # fmt: skip
    assert tree.run("from mmppl.models.common.score_registry import solver_of\n"
                    "print(solver_of('newest', 50).evaluations)") == "49"  # fmt: skip
    assert len(tree.touched) == 3


def test_a_system_touches_three_files(tree):
    tree.copy("models/mopoe.py", "models/newest.py", mopoe="newest")
    line = "from mmppl.models.mopoe import mopoe\n"
    tree.change("models/__init__.py", (line, f"{line}from mmppl.models.newest import newest\n"))
    tree.change(
        "models/catalogue.py", (line, f"{line}from mmppl.models.newest import newest\n"), (" mopoe,", " mopoe, newest,")
    )
    assert tree.run("from mmppl import models\nprint('newest' in models.SYSTEMS)") == "True"
    assert len(tree.touched) == 3


def test_a_likelihood_touches_two_files(tree):
    row = '    "newest": Likelihood(values="counts"),\n'
    tree.change("likelihoods/table.py", ('    "poisson": ', row + '    "poisson": '))
    line = "    backend = get_backend(output)\n"
    own = '    if name == "newest":\n        return host.dist.Poisson(backend.xp.exp(output)).to_event(event)\n'
    tree.change("likelihoods/decoded.py", (line, line + own))
    code = "import jax.numpy as jnp, mmppl.numpyro as mm\nfrom mmppl import Modality\n"
    code += "fn = mm.likelihood(Modality((2,), likelihood='newest'), jnp.zeros(2))\n"
    code += "print(round(float(fn.log_prob(jnp.zeros(2))), 3))"
    assert tree.run(code) == "-2.0"
    assert len(tree.touched) == 2


def test_a_prior_touches_three_files(tree):
    tree.copy("priors/smoothed_laplace.py", "priors/newest.py")
    for host in HOSTS:
        text = (tree.folder / f"mmppl/{host}/priors.py").read_text()
        own = re.search(r"class SmoothedLaplace\(.*?(?=\n\n\nclass |\Z)", text, re.DOTALL).group()
        own = own.replace("SmoothedLaplace", "Newest").replace("smoothed_laplace", "newest").rstrip()
        tree.change(
            f"{host}/priors.py", ("import smoothed_laplace\n", "import newest, smoothed_laplace\n"),
            ('"GaussianMixture", ', '"GaussianMixture", "Newest", '),
            ("\n\n\nclass GaussianMixture", f"\n\n\n{own}\n\n\nclass GaussianMixture"),
        )  # fmt: skip
    code = "import mmppl.numpyro as mm\nfrom mmppl.priors import newest\n"
    code += "newest.log_prob = lambda x, scale, delta: 7.0 * x\n"
    code += "print(float(mm.Newest(1.0, 1.0).log_prob(3.0)), 'Newest' in mm.__all__)"
    assert tree.run(code) == "14.0 True"
    assert len(tree.touched) == 3


def test_contributing_names_files_that_are_there():
    named = re.findall(r"`((?:mmppl|inference|models|tests)/[\w/]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(named) > 15
    assert [path for path in named if not (ROOT / path).exists()] == []
