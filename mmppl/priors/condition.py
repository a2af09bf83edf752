"""Conditions of a joint density of blocks, and queries of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from mmppl._backend import Backend
from mmppl.errors import DataError, OptionError
from mmppl.priors.blocks import Blocks
from mmppl.priors.coordinates import Coordinates

Array = Any

__all__ = ["BlockRoles", "Condition", "Query", "parse_condition"]


class BlockRoles(NamedTuple):
    """Roles of the blocks of a datum, boolean ``(*, M)``; what is neither diffused nor clean is absent."""

    diffused: Array
    clean: Array


class Condition(NamedTuple):
    """A condition of a joint density.

    Arguments:
        loc: Values of the clean blocks, ``(*, D)``; ignored elsewhere.
        scale: Standard deviations where those are draws of Normals, ``(*, D)``; None where they are exact.
        roles: Which blocks are asked for and which are known, ``(*, M)``.
    """

    loc: Array
    scale: Array | None
    roles: BlockRoles


@dataclass(frozen=True)
class Query:
    """Query of a joint density: a condition, and all that answers it.

    Arguments:
        backend: The backend of the arrays.
        net: The network, ``(*, D + M)``, blocks and times.
        condition: Which blocks are asked for and which are known, and their values.
        coordinates: Coordinates that the network works in.
        energy: The network of the pairwise guidance, if any.
    """

    backend: Backend
    net: Callable[[Array], Array]
    condition: Condition
    coordinates: Coordinates
    energy: Any = None

    @property
    def roles(self) -> BlockRoles:
        """Roles of the blocks: asked for, known or absent, ``(*, M)``."""
        return self.condition.roles

    @property
    def present(self) -> Array:
        """Blocks that are asked for or known, boolean ``(*, M)``."""
        return self.roles.diffused | self.roles.clean

    def with_roles(self, roles: BlockRoles) -> "Query":
        """This query with other roles of the blocks."""
        return replace(self, condition=self.condition._replace(roles=roles))


def parse_condition(
    backend: Backend,
    blocks: Blocks,
    values: Mapping[str, Any],
    present: Mapping[str, Array] | None,
    want: tuple[str, ...] | None,
) -> Condition:
    """Condition from values by block: arrays, or pairs of location and scale.

    Arguments:
        backend: The backend of the arrays.
        blocks: The blocks.
        values: Known blocks, ``(*, size)`` each, or pairs of them; at least one.
        present: Where they are known, ``(*,)``; everywhere by default.
        want: Blocks to generate; None for all. The others are absent.

    Raises:
        ModalityError: If a block is unknown or has another dimension.
        OptionError: If nothing is given, or some values are pairs and others are not.
        DataError: If a value is not finite where it is present.
    """
    blocks.check(values)
    blocks.check(present or {})
    blocks.check(dict.fromkeys(want or ()))
    if not values:
        raise OptionError("Expected at least one known block; got none. Sample the joint density itself.")
    pairs = {name: isinstance(value, tuple) for name, value in values.items()}
    if any(pairs.values()) != all(pairs.values()):
        raise OptionError(f"Expected arrays for all blocks or pairs (loc, scale) for all; got pairs for {pairs}.")
    xp = backend.xp
    locs = {name: value[0] if pairs[name] else value for name, value in values.items()}
    scales = {name: value[1] for name, value in values.items()} if any(pairs.values()) else None
    some = next(iter(locs.values()))
    yes = xp.isfinite(some[..., 0]) | True
    masks = {name: yes if not present or name not in present else present[name] for name in locs}
    for name, loc in locs.items():
        if backend.is_concrete(loc) and not bool(xp.all(xp.isfinite(loc) | ~masks[name][..., None])):
            raise DataError(f"Block '{name}' is not finite where it is present. Look at its encoder.")
    clean = blocks.stack({name: masks.get(name, ~yes) for name in blocks.names})
    wanted = blocks.stack({name: yes if want is None or name in want else ~yes for name in blocks.names})

    def fill(parts: Mapping[str, Array], default: float) -> Array:
        def blank(size: int) -> Array:
            return xp.zeros((*some.shape[:-1], size), dtype=some.dtype) + default

        known = {}
        for name, size in blocks.items():
            value, mask = parts.get(name), masks.get(name, yes)
            known[name] = (
                blank(size) if value is None else xp.where(mask[..., None], value, default * xp.ones_like(value))
            )
        return blocks.join(known)

    scale = None if scales is None else fill(scales, 1.0)
    return Condition(fill(locs, 0.0), scale, BlockRoles(wanted & ~clean, clean))
