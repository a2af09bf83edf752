"""The systems by name."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mmppl.batch import Modality
from mmppl.errors import OptionError
from mmppl.inference.host import PPL
from mmppl.inference.training.program import Program
from mmppl.models.common.documented import arguments
from mmppl.models.ebm import ebm
from mmppl.models.ebm_plus import ebm_plus
from mmppl.models.ivae import ivae
from mmppl.models.jmvae import jmvae
from mmppl.models.masked import masked
from mmppl.models.mld import mld
from mmppl.models.mld_inpaint import mld_inpaint
from mmppl.models.mld_uni import mld_uni
from mmppl.models.mmjsd import mmjsd
from mmppl.models.mmvae import mmvae
from mmppl.models.mmvae_plus import mmvae_plus
from mmppl.models.mopoe import mopoe
from mmppl.models.mt_diffusion import mt_diffusion
from mmppl.models.mvae import mvae
from mmppl.models.mvtcae import mvtcae
from mmppl.models.nexus import nexus
from mmppl.models.sbm import sbm

__all__ = ["SYSTEMS", "Option", "make", "options", "settings"]

_ALL = (
    *(jmvae, mvae, mmvae, mopoe, mmjsd, mvtcae, mmvae_plus, nexus),
    *(masked, ivae),
    *(ebm, ebm_plus),
    *(mld, mld_inpaint, mld_uni, sbm, mt_diffusion),
)
# Where one alone would be refused.
EXAMPLES = {
    ("ebm", "encoder"): "--set refine=10 --set encoder=amortised",
    ("ivae", "label"): "--set label=digit",
    ("mt_diffusion", "net"): "--set net=residual",
    ("mt_diffusion", "reduce"): "--set reduce=none",
    ("mt_diffusion", "solver"): "--set solver=heun",
}
# Types in words, by what an annotation holds, the first that fits.
WORDS = {"Mapping": "mapping", "bool": "true or false", "float": "number", "int": "whole number", "str": "text"}
SYSTEMS: dict[str, Callable[..., Program]] = {declare.__name__: declare for declare in _ALL}


class Option(NamedTuple):
    """An option of a system.

    Arguments:
        name: Its name.
        kind: Its type, in words.
        default: Its default, as ``--set`` takes it.
        text: Description.
        example: How the command line sets it; empty where it cannot.
    """

    name: str
    kind: str
    default: str
    text: str
    example: str


def make(name: str, modalities: Mapping[str, Modality], *, ppl: PPL, **options: Any) -> Program:
    """The program of a published system by name.

    Arguments:
        name: The name, as ``mmppl systems`` lists them.
        modalities: What each modality is, by name.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``.
        options: Options of the system, see its page.

    Raises:
        OptionError: If the name or an option is unknown.

    Example:
        >>> import mmppl.numpyro as mm
        >>> from mmppl import Modality
        >>> make("mvae", {"a": Modality((3,)), "b": Modality((2,))}, ppl=mm, latent_dim=2, hidden=8).name
        'mvae'
    """
    if name not in SYSTEMS:
        raise OptionError(f"Unknown model '{name}'; expected one of {sorted(SYSTEMS)}.")
    return SYSTEMS[name](modalities, ppl=ppl, **options)


def settings(name: str) -> dict[str, Any]:
    """The options of a system with their defaults.

    Example:
        >>> settings("mvae")["random"]
        1
    """
    parameters = inspect.signature(SYSTEMS[name]).parameters
    return {k: p.default for k, p in parameters.items() if p.default is not inspect.Parameter.empty and k != "seed"}


def options(name: str) -> list[Option]:
    """The options of a system, as its signature and its docstring say.

    Raises:
        OptionError: If the system is unknown.

    Example:
        >>> options("mvae")[1]
        Option(name='hidden', kind='whole number', default='256', text='Width of the nets.', example='--set hidden=512')
    """
    if name not in SYSTEMS:
        raise OptionError(f"Unknown model '{name}'; expected one of {', '.join(SYSTEMS)}.")
    parameters = inspect.signature(SYSTEMS[name]).parameters
    said = arguments(inspect.getdoc(SYSTEMS[name]) or "")
    found = [
        _option(key, value, parameters[key].annotation, said.get(key, "")) for key, value in settings(name).items()
    ]
    return [option._replace(example=EXAMPLES.get((name, option.name), option.example)) for option in found]


def _option(name: str, default: Any, annotation: Any, text: str) -> Option:
    by_name = {"likelihood": "image:laplace", "scale": "image:0.75", "weight": "image:0.5"}
    if name in by_name:
        return Option(name, "by modality", "as modalities say", text, f"--set {name}={by_name[name]}")
    if name == "covariates":
        return Option(name, "by name, or none", "none", text, "--covariates site:category,age")
    said = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    words = [word for key, word in WORDS.items() if key in said]
    one, by_modality = said.partition("Mapping")[::2]
    if "float" in one and by_modality:
        words = ["number, or by modality"]
    kind = (words[0] if words else "mapping") + (" or none" if default is None else "")
    shown = f"{default:.4g}" if isinstance(default, float) and len(str(default)) > 8 else str(default)
    shown = shown.lower() if default is None or isinstance(default, bool) else shown
    return Option(name, kind, shown, text, _example(name, default, said, text))


def _example(name: str, default: Any, said: str, text: str) -> str:
    """One that differs from the default, where the command line can give any."""
    if "Mapping" in said and "float" not in said.partition("Mapping")[0]:
        return ""
    if isinstance(default, bool):
        value: Any = str(not default).lower()
    elif isinstance(default, int):
        value = 2 * default or 1
    elif isinstance(default, float):
        value = {True: 0.99, False: f"{default / 2 or 0.1:.2g}"}[0.9 < default < 1]
    elif isinstance(default, str):
        words = [word for word in re.findall(r'"(\w+)"', text) if word != default]
        value = words[0] if words else "gaussian_mixture" if name == "prior" else default
    elif "float" in said:
        value = 0.1
    elif "int" in said:
        value = 100
    elif "str" in said:
        value = next(iter(re.findall(r'"(\w+)"', text)), "image")
    else:
        return ""
    return f"--set {name}={value}"
