"""A folder in which what JAX has compiled is kept for other processes."""

import os
import sys
from pathlib import Path

from mmppl.checks import checked
from mmppl.errors import OptionError

__all__ = ["cache_compilation"]

FOLDER, SECONDS, BYTES = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_compilation_cache_max_size",
)
HOME = "~/.cache"
# What takes longer than this to compile is kept, and the oldest of it goes where there is more than a GiB.
KEPT = {SECONDS: 0.2, BYTES: 2**30}


@checked()
def cache_compilation(folder: str | os.PathLike | None = None) -> Path:
    """Keeps what NumPyro programs compile to in a folder, so that the next process or notebook does not wait again.

    The command line does so by itself. It is one setting of JAX for the whole process, best made before anything is
    compiled, by JAX's persistent compilation cache; Pyro programs compile nothing. Where JAX has a folder
    already, by ``JAX_COMPILATION_CACHE_DIR`` or by its configuration, that one stays unless another is named here.

    Arguments:
        folder: The folder; by default ``mmppl/jax`` in the user's folder of caches (``XDG_CACHE_HOME``, or
            ``~/.cache``). The oldest results go where it holds more than a GiB.

    Returns:
        The folder.

    Raises:
        OptionError: If the folder cannot be made or written to.

    Example:
        >>> import mmppl
        >>> folder = mmppl.cache_compilation()
    """
    jax = sys.modules.get("jax")
    configured = os.environ.get(FOLDER.upper()) or (jax and getattr(jax.config, FOLDER))
    if folder is None and configured:
        return Path(configured)
    base = Path(os.environ.get("XDG_CACHE_HOME") or HOME)
    path = base / "mmppl" / "jax" if folder is None else Path(folder)
    try:
        path = path.expanduser()
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # a RuntimeError where the user has no home
        raise OptionError(f"Expected a folder that can be made for compiled programs; got {path}: {error}.") from None
    if not os.access(path, os.W_OK):
        raise OptionError(f"Expected a folder for compiled programs that can be written to; got {path}.")
    for name, value in {FOLDER: str(path), **KEPT}.items():
        # JAX reads its environment when it is imported, which may have happened.
        if name == FOLDER or name.upper() not in os.environ:
            os.environ[name.upper()] = str(value)
            if jax:
                jax.config.update(name, value)
    return path
