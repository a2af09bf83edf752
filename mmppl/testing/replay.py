"""The same noise for every backend, so that what they make of it can be compared number by number."""

from typing import Any

import numpy as np

from mmppl._backend import Backend

__all__ = ["replay", "replayed"]


def replayed(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Noise that depends on its kind (``"normal"`` or ``"uniform"``) and size alone, so the order of draws is free.

    Example:
        >>> bool((replayed("normal", (2, 3)).ravel() == replayed("normal", (6,))).all())
        True
    """
    size = int(np.prod(shape))
    rng = np.random.default_rng([size, kind == "normal"])
    return (rng.standard_normal(size) if kind == "normal" else rng.random(size)).reshape(shape)


def replay(monkeypatch: Any, backend: Backend) -> None:
    """Has a backend draw :func:`replayed` noise, for as long as pytest's ``monkeypatch`` lasts."""
    for kind in ("normal", "uniform"):

        def draw(rng: Any, shape: tuple[int, ...], like: Any, kind: str = kind) -> Any:
            return backend.asarray(replayed(kind, shape), like=like)

        monkeypatch.setattr(backend, kind, draw)
