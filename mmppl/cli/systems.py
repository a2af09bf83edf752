"""`mmppl systems`."""

import inspect

__all__ = ["systems"]


def systems() -> None:
    """List the models, their papers and settings."""
    from mmppl.models.catalogue import SYSTEMS, settings

    for name, make in SYSTEMS.items():
        text = inspect.getdoc(make) or ""
        print(f"{name}: {text.splitlines()[0]}")
        for line in references(text):
            print(f"    {line}")
        for key, value in settings(name).items():
            print(f"    --set {key}={str(value).lower() if isinstance(value, bool) else value}")
        print()


def references(docstring: str) -> list[str]:
    """The lines of a docstring's section ``References``.

    Example:
        >>> references("A model." + chr(10) + "References:" + chr(10) + "    | A paper" + chr(10) + "    | a link")
        ['A paper', 'a link']
    """
    _, _, after = docstring.partition("References:\n")
    lines = []
    for line in after.splitlines():
        if not line.strip().startswith("|"):
            break
        lines.append(line.strip().removeprefix("|").strip())
    return lines
