"""Completion of names in a shell: models, data, hosts, and options of the model that the line names."""

import typer

__all__ = ["complete_data", "complete_hosts", "complete_models", "complete_settings"]


def complete_models(incomplete: str) -> list[str]:
    """Names of models that begin so.

    Example:
        >>> complete_models("mmv")
        ['mmvae', 'mmvae_plus']
    """
    from mmppl.models.catalogue import SYSTEMS

    return [name for name in SYSTEMS if name.startswith(incomplete)]


def complete_data(incomplete: str) -> list[str]:
    """Names of data that begin so; files are the shell's.

    Example:
        >>> complete_data("lin")
        ['linear_gaussian']
    """
    from mmppl.data.loading import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def complete_hosts(incomplete: str) -> list[str]:
    """Names of hosts that begin so."""
    return [name for name in ("numpyro", "pyro") if name.startswith(incomplete)]


def complete_settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Settings ``key=`` that begin so: of the fit, and of the model where the line names one."""
    from mmppl.cli.options import FIT_SETTINGS
    from mmppl.models.catalogue import SYSTEMS, settings

    model = ctx.params.get("model")
    own = [key for key in settings(model) if key != "covariates"] if model in SYSTEMS else []
    keys = [*own, *FIT_SETTINGS]
    return [f"{key}=" for key in keys if key.startswith(incomplete)]
