"""Parts that the systems share: nets for every modality, likelihoods, and the making of a program."""

import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from mmppl.batch import Modality
from mmppl.errors import ModalityError, OptionError
from mmppl.inference.program import Program
from mmppl.nets import decoder, encoder

__all__ = ["autoencoders", "likelihood", "system", "weights"]


def autoencoders(
    modalities: Mapping[str, Modality], latent_dim: int | Mapping[str, int], hidden: int, family: str | None
) -> dict[str, Any]:
    """Specs of an encoder and a decoder for each modality, under the names ``<modality>.encoder`` and ``.decoder``."""
    specs: dict[str, Any] = {}
    for name, modality in modalities.items():
        dim = latent_dim if isinstance(latent_dim, int) else latent_dim[name]
        specs[f"{name}.encoder"] = encoder(modality, dim, hidden, family)
        specs[f"{name}.decoder"] = decoder(modality, dim, hidden)
    return specs


def likelihood(ppl: ModuleType, modality: Modality, output: Any) -> Any:
    """p(x_m | z) from what the decoder returns, as an event of the modality's shape."""
    dist = ppl.host.dist
    event = len(modality.shape)
    if modality.kind == "tokens":
        return dist.Categorical(logits=output).to_event(event)
    if modality.likelihood == "normal":
        return dist.Normal(output, modality.scale).to_event(event)
    if modality.likelihood == "laplace":
        return dist.Laplace(output, modality.scale).to_event(event)
    if modality.likelihood == "bernoulli":
        return dist.Bernoulli(logits=output, validate_args=False).to_event(event)
    raise ModalityError(f"Expected a likelihood among normal, laplace, bernoulli; got '{modality.likelihood}'.")


def weights(modalities: Mapping[str, Modality]) -> dict[str, float]:
    """Factors on the log likelihoods, where they are not 1."""
    return {name: m.weight for name, m in modalities.items() if m.weight != 1.0}


def system(declare: Callable[..., Program]) -> Callable[..., Program]:
    """Makes a system of a declaration: checks its options and remembers how to make it again from another seed."""
    known = inspect.signature(declare).parameters

    def make(modalities: Mapping[str, Modality], *, ppl: ModuleType, seed: int = 0, **options: Any) -> Program:
        unknown = [name for name in options if name not in known]
        if unknown:
            own = [name for name in known if name not in ("modalities", "ppl", "seed")]
            raise OptionError(f"Unknown options {unknown} of '{declare.__name__}'; it has {own}.")
        for name, value in options.items():
            if name.endswith(("_dim", "hidden")) and value < 1:
                raise OptionError(f"Expected option '{name}' of '{declare.__name__}' to be at least 1; got {value}.")
        if not modalities:
            raise ModalityError(f"'{declare.__name__}' needs at least one modality; got none.")
        program = declare(dict(modalities), ppl=ppl, seed=seed, **options)
        fields = {
            "name": declare.__name__,
            "options": options,
            "remake": lambda again, **other: make(modalities, ppl=ppl, seed=again, **{**options, **other}),
        }
        return Program(**{**vars(program), **fields})

    make.__name__, make.__qualname__, make.__doc__ = declare.__name__, declare.__name__, declare.__doc__
    make.__module__ = declare.__module__
    make.__wrapped__ = declare  # type: ignore[attr-defined]
    return make
