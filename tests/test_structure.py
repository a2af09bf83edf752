"""Packages, layers of imports, and rules of the backend protocol, read from the source text.

Every rule is a function from source text to a list of violations; ``PLANTED`` shows to each a text that breaks it.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"mmppl": ROOT / "mmppl", "mmppl.models": ROOT / "models", "mmppl.inference": ROOT / "inference"}

# Lowest first; an import may go down or stay in its layer.
LAYERS = (
    (
        "errors",
        "warn",
        "by_value",
        "checks",
        "compilation",
        "coordinates",
        "likelihoods",
        "names",
        "modality",
        "numerics",
        "memory",
        "presence",
        "display",
        "drawing",
        "progress",
        "representable",
        "writing",
        "_backend",
    ),
    (
        "mmppl",
        "batch",
        "batch_table",
        "batch_values",
        "covariates",
        "graph",
        "sites",
        "subsets",
        "sde",
        "mcmc",
        "aggregation",
        "priors",
        "nets",
        "data",
    ),
    ("inference",),
    ("pyro", "numpyro"),
    ("models",),
    ("metrics", "diagnostics", "testing", "cli", "demo", "__main__"),
)
# Upward imports that cannot be avoided: (importing module, imported package) -> why.
ALLOWED_UPWARD: dict[tuple[str, str], str] = {
    ("mmppl", "models"): "mmppl.load declares a published system anew",
}

FRAMEWORKS = {
    "torch",
    "jax",
    "jaxlib",
    "pyro",
    "numpyro",
    "equinox",
    "optax",
    "diffrax",
    "torchdiffeq",
    "blackjax",
    "flowjax",
    "zuko",
}
# Modules of the project that load a framework, and which of the two sides they are on.
NATIVE = {
    "mmppl._backend.torch": "torch",
    "mmppl._backend.torch_files": "torch",
    "mmppl._backend.jax": "jax",
    "mmppl._backend.jax_arrays": "jax",
    "mmppl.nets.torch": "torch",
    "mmppl.nets.torch_heads": "torch",
    "mmppl.nets.torch_images": "torch",
    "mmppl.nets.equinox": "jax",
    "mmppl.nets.equinox_bfloat16": "jax",
    "mmppl.nets.equinox_heads": "jax",
    "mmppl.nets.equinox_images": "jax",
    "mmppl.nets.equinox_rows": "jax",
    "mmppl.pyro": "torch",
    "mmppl.numpyro": "jax",
}
PURE = (
    "mmppl.aggregation",
    "mmppl.priors",
    "mmppl.sde",
    "mmppl.mcmc",
    "mmppl.inference.objectives",
    "mmppl.inference.kernels",
)


def sources() -> list[tuple[str, Path]]:
    """Module name and path of every file of the package."""
    found = []
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            name = ".".join((package, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
            found.append((name, path))
    return found


def imports(source: str, module: str) -> Iterator[tuple[str, int, bool]]:
    """Dotted names that a module imports, the line, and whether it is inside a function."""
    tree = ast.parse(source)
    lazy = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            names = [".".join(filter(None, (base, node.module, alias.name))) for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        yield from ((name, node.lineno, id(node) in lazy) for name in names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def part_of(module: str) -> str:
    """The part of the project that a module is in; names taken from the top module itself are in its layer."""
    part = module.split(".")[1] if "." in module else "mmppl"
    return part if any(part in layer for layer in LAYERS) else "mmppl"


def layer(name: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if name in names)


def side(module: str) -> str | None:
    return next((side for native, side in NATIVE.items() if within(module, native)), None)


def upward_imports(source: str, module: str) -> list[str]:
    """Imports of a higher layer, also those inside functions and for type checking."""
    return [
        f"{module}:{line} imports {name}, which is above it"
        for name, line, _ in imports(source, module)
        if within(name, "mmppl") and layer(part_of(name)) > layer(part_of(module))
        if (module, part_of(name)) not in ALLOWED_UPWARD
    ]


def framework_imports(source: str, module: str) -> list[str]:
    """Frameworks imported by a shared package, or by one host's package from the other side's world.

    The project's own native modules may be imported inside functions: by then the caller has chosen a host.
    """
    own = side(module)
    mine = {
        "torch": {"torch", "pyro", "torchdiffeq", "zuko"},
        "jax": FRAMEWORKS - {"torch", "pyro", "torchdiffeq", "zuko"},
    }
    found = []
    for name, line, is_lazy in imports(source, module):
        top, other = name.split(".")[0], side(name)
        if top in FRAMEWORKS and top not in mine.get(own or "", set()):
            found.append(f"{module}:{line} imports {top}")
        elif other is not None and other != own and (own is not None or not is_lazy):
            found.append(f"{module}:{line} loads {name}")
    return found


def backend_comparisons(source: str, module: str) -> list[str]:
    """Branches on which backend is in use; only the backend protocol may know."""
    if within(module, "mmppl._backend"):
        return []
    words = ("backend", "xp") if side(module) else ("backend", "xp", "type(")
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            parts = [node.subject]
        else:
            continue
        named = any(
            isinstance(p, ast.Attribute)
            and p.attr in ("name", "__name__", "__module__")
            and any(word in ast.unparse(p.value) for word in words)
            for p in parts
        )
        framework = any(isinstance(p, ast.Constant) and p.value in ("torch", "jax") for p in parts)
        if named or framework:
            found.append(f"{module}:{node.lineno} asks which backend it is: {ast.unparse(node)[:80]}")
    return found


def in_place_writes(source: str, module: str) -> list[str]:
    """Writes into arrays: through a subscript, an augmented assignment, ``method_()`` or ``out=``.

    Dictionaries made in the same file may be filled, and counters may count by a constant.
    """
    tree = ast.parse(source)
    pairs = []
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            pairs.append((node.target, node.value))
        elif isinstance(node, ast.Assign):
            pairs += [(target, node.value) for target in node.targets]
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs += zip(node.targets[0].elts, node.value.elts, strict=False)
    dictionaries = {
        ast.unparse(target)
        for target, value in pairs
        if isinstance(value, ast.Dict | ast.DictComp)
        or (isinstance(value, ast.Call) and ast.unparse(value.func) in ("dict", "defaultdict"))
    }
    found = []
    for node in ast.walk(tree):
        what = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            what = None if ast.unparse(node.value) in dictionaries else ast.unparse(node)
        elif isinstance(node, ast.AugAssign) and not isinstance(node.target, ast.Subscript):
            what = None if isinstance(node.value, ast.Constant) else ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            method = node.func.attr
            if method.endswith("_") and not method.endswith("__"):
                what = ast.unparse(node)
            elif any(keyword.arg == "out" for keyword in node.keywords):
                what = ast.unparse(node)
        if what is not None:
            found.append(f"{module}:{node.lineno} writes in place: {what[:80]}")
    return found


def too_long(source: str, module: str) -> list[str]:
    lines = source.count("\n")
    return [f"{module} has {lines} lines; split it"] if lines > 400 else []


def badly_named(source: str, module: str) -> list[str]:
    return [f"{module}: say what it holds"] if module.split(".")[-1] in ("util", "utils", "helpers", "misc") else []


QUESTIONS = {"What", "How", "Whether", "Where", "Who", "Everything", "Of", "Which", "When", "Why"}


def questions(source: str, module: str) -> list[str]:
    """Summary lines that begin with a question word instead of a noun or a verb."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docs = [ast.get_docstring(node) for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    return [f"{module}: {doc.splitlines()[0]}" for doc in docs if doc and doc.split()[0].strip(",:") in QUESTIONS]


def too_many_arguments(source: str, module: str) -> list[str]:
    """Functions of over 12 arguments; the options of a system and of a command are its own."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and not within(module, "mmppl.cli"):
            options = any(ast.unparse(decorator).startswith("system") for decorator in node.decorator_list)
            given = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs) if a.arg != "self"]
            if len(given) > 12 and not options:
                found.append(f"{module}:{node.lineno} {node.name} has {len(given)} arguments; make objects of them")
    return found


# An argument's description that reStructuredText takes for an item of a list: "K." or "s.", or one after a dash.
ITEM = re.compile(
    r"^\s+\*{0,2}\w+(?:, \w+)*: (?:\(?(?:[A-Za-z#]|[ivxlcdm]+|[IVXLCDM]+|\d+)[.)]|[-+*•])(?:\s|$)", re.MULTILINE
)


def lists_by_accident(source: str, module: str) -> list[str]:
    """Descriptions of arguments that pages would show as lists."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docs = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    return [f"{module}: say more than {found[0].strip()!r}" for doc in docs for found in ITEM.finditer(doc)]


RULES = {
    "summaries": questions,
    "lists": lists_by_accident,
    "arguments": too_many_arguments,
    "layers": upward_imports,
    "frameworks": framework_imports,
    "comparisons": backend_comparisons,
    "in place": in_place_writes,
    "length": too_long,
    "names": badly_named,
}

PLANTED = [
    ("lists", "mmppl.batch", '"""A batch.\n\nArguments:\n    num: K.\n"""'),
    ("summaries", "mmppl.batch", '"""What a batch is."""'),
    ("layers", "mmppl.batch", "from mmppl.inference import fit"),
    ("layers", "mmppl.priors.energy.tilted", "def f():\n    import mmppl.models.ebm"),
    ("layers", "mmppl.inference.training.fit", "from mmppl import pyro"),
    ("layers", "mmppl.inference.training.fit", "from importlib import import_module\nimport_module('mmppl.cli')"),
    ("layers", "mmppl._backend.loop", "from mmppl import Batch"),
    ("layers", "mmppl.models.ebm", "from ..diagnostics import psis"),
    ("layers", "mmppl.models.ebm", "if TYPE_CHECKING:\n    from mmppl.cli import main"),
    ("frameworks", "mmppl.batch", "import torch"),
    ("frameworks", "mmppl.batch", "def f():\n    from jax import numpy"),
    ("frameworks", "mmppl.models.ebm", "import numpyro.distributions as dist"),
    ("frameworks", "mmppl.models.ebm", "import mmppl.pyro as mm"),
    ("frameworks", "mmppl.pyro.plate", "import jax"),
    ("frameworks", "mmppl.pyro.plate", "def f():\n    import mmppl.numpyro"),
    ("frameworks", "mmppl.numpyro.plate", "from mmppl.nets.torch import build"),
    ("frameworks", "mmppl.nets", "from mmppl.nets import torch"),
    ("comparisons", "mmppl.priors.energy.tilted", "if backend.name == 'x': pass"),
    ("comparisons", "mmppl.priors.energy.tilted", "'torch' in get_backend(x).xp.__name__"),
    ("comparisons", "mmppl.priors.energy.tilted", "if kind == 'jax': pass"),
    ("comparisons", "mmppl.priors.energy.tilted", "match backend.name:\n    case _: pass"),
    ("in place", "mmppl.priors.energy.tilted", "x[0] = 1.0"),
    ("in place", "mmppl.priors.energy.tilted", "x, begin = y, {}\nx[0] = 1.0"),
    ("in place", "mmppl.priors.energy.tilted", "x[mask] += y"),
    ("in place", "mmppl.priors.energy.tilted", "total += y"),
    ("in place", "mmppl.priors.energy.tilted", "x.add_(y)"),
    ("in place", "mmppl.priors.energy.tilted", "xp.add(x, y, out=x)"),
    ("in place", "mmppl.priors.energy.tilted", "del x[0]"),
    ("length", "mmppl.batch", "x = 1\n" * 401),
    ("arguments", "mmppl.models.ebm", f"def f({', '.join('abcdefghijkl')}, *, m=0): pass"),
    ("names", "mmppl.data.utils", ""),
]

HARMLESS = [
    ("arguments", "mmppl.models.ebm", f"@system\ndef f({', '.join('abcdefghijkl')}, *, m=0): pass"),
    ("layers", "mmppl.models.ebm", "from mmppl.inference import fit\nfrom mmppl import Batch"),
    ("frameworks", "mmppl.pyro.plate", "import torch, pyro\nfrom mmppl.nets.torch import build"),
    ("frameworks", "mmppl.cli", "def f():\n    import mmppl.pyro"),
    ("comparisons", "mmppl.cli", "if modality.name == 'image' or host == 'numpyro': pass"),
    ("comparisons", "mmppl._backend", "if backend.name == 'torch': pass"),
    ("in place", "mmppl.priors.energy.tilted", "out = {}\nout['a'] = x\ncount += 1"),
    ("in place", "mmppl.priors.energy.tilted", "out, begin = {}, 0\nout[name] = x"),
]


@pytest.mark.parametrize("rule", RULES)
def test_the_project_keeps_the_rule(rule):
    files = sources()
    if rule == "in place":
        files = [(name, path) for name, path in files if any(within(name, pure) for pure in PURE)]
    if rule in ("length", "names"):
        files += [(path.stem, path) for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 3
    violations = [v for name, path in files for v in RULES[rule](path.read_text(), name)]
    assert not violations, "\n".join(violations)


@pytest.mark.parametrize(("rule", "module", "source"), PLANTED)
def test_a_planted_violation_is_caught(rule, module, source):
    assert len(RULES[rule](source, module)) == 1


@pytest.mark.parametrize(("rule", "module", "source"), HARMLESS)
def test_what_is_allowed_passes(rule, module, source):
    assert RULES[rule](source, module) == []


def test_every_part_has_a_layer():
    parts = {name.split(".")[1] for name, _ in sources() if "." in name}
    assert parts <= {part for layer in LAYERS for part in layer}


def test_no_exception_is_stale(monkeypatch):
    exceptions = dict(ALLOWED_UPWARD)
    monkeypatch.setattr(f"{__name__}.ALLOWED_UPWARD", {}, raising=True)
    for module, target in exceptions:
        source = dict(sources())[module].read_text()
        assert any(f"imports mmppl.{target}" in v for v in upward_imports(source, module)), (module, target)


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {name for name, path in sources() if path.name == "__init__.py"}
    assert set(listed) == found
    orphans = {path.parent for _, path in sources()} - {path.parent for _, path in sources() if path.stem == "__init__"}
    assert not orphans, "folders of modules without an __init__.py"


def test_only_tests_named_for_it_need_torch():
    words = {"pyro", "torch", "parity"}
    for path in (ROOT / "tests").rglob("*.py"):
        parts = path.relative_to(ROOT / "tests").with_suffix("").parts
        if any(word in words for part in parts for word in part.split("_")):
            continue
        for name, line, is_lazy in imports(path.read_text(), path.stem):
            torch_side = name.split(".")[0] in ("torch", "pyro") or side(name) == "torch"
            assert is_lazy or not torch_side, f"{path}:{line} imports {name} at the top; see tests/conftest.py"
