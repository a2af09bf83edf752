"""Groups of parameters by the beginnings of their names."""

from collections.abc import Iterable, Sequence

from mmppl.errors import OptionError

__all__ = ["check_groups", "group_of"]


def group_of(name: str, beginnings: Iterable[str]) -> str:
    """The longest of the beginnings that a parameter's public name has.

    Example:
        >>> group_of("image.encoder.0.weight", ["", "image.", "image.decoder."])
        'image.'
    """
    return max((begin for begin in beginnings if f"{name}.".startswith(begin)), key=len)


def check_groups(beginnings: Sequence[str], names: Iterable[str]) -> None:
    """Checks that every parameter is in a group, and every group has one.

    Raises:
        OptionError: Names the parameters or the groups that are left.
    """
    names = list(names)
    left = [name for name in names if not any(f"{name}.".startswith(begin) for begin in beginnings)]
    if left:
        raise OptionError(
            f"Expected optimizer= to have a beginning of every parameter's name; got none for {left[:3]}. Add one for "
            "'', which all others have."
        )
    used = {group_of(name, beginnings) for name in names}
    empty = [begin for begin in beginnings if begin not in used]
    if empty:
        raise OptionError(f"Expected optimizer= with beginnings of {names[:3]}, ...; got {empty}, which none has.")
