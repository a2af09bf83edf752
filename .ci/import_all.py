"""Imports every module of the installed mmppl that needs no host: the core's declared dependencies must be enough."""

import importlib
import importlib.util
from pathlib import Path

import mmppl

HOSTS = ("mmppl.pyro", "mmppl.numpyro", "mmppl._backend.torch", "mmppl._backend.jax", "mmppl.nets.torch")
HOSTS += ("mmppl._backend.torch_files", "mmppl._backend.jax_arrays", "mmppl.nets.equinox", "mmppl.nets.equinox_rows")
HOSTS += ("mmppl.nets.torch_images", "mmppl.nets.equinox_images", "mmppl.demo", "mmppl.__main__")
HOSTS += ("mmppl.nets.torch_heads", "mmppl.nets.equinox_heads", "mmppl.nets.equinox_bfloat16")

root = Path(mmppl.__file__).parent
names = []
for path in sorted(root.rglob("*.py")):
    name = ".".join(("mmppl", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
    if not any(name == host or name.startswith(f"{host}.") for host in HOSTS):
        importlib.import_module(name)
        names.append(name)

assert "site-packages" in str(root), f"mmppl was read from {root}"
assert {"mmppl.models", "mmppl.inference"} <= set(names), names
for bare in ("models", "inference"):
    assert importlib.util.find_spec(bare) is None, f"{bare} can be imported on its own"
print(f"{len(names)} modules imported from the wheel, no host installed")
