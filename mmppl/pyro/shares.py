"""Shares of a batch: random numbers of some of its rows, as the whole batch would have drawn them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmppl.errors import OptionError

__all__ = ["Share"]

aten = torch.ops.aten
NORMAL = (aten.normal.Tensor_Tensor, aten.normal.Tensor_float, aten.normal.float_Tensor)
LIKE = {aten.randn_like: "normal_", aten.rand_like: "uniform_"}
# Draws whose random numbers are as many whatever their parameters are; of others the streams would part.
BY_VALUE = (aten.bernoulli, aten.multinomial)


class Share(TorchDispatchMode):
    """Within, random numbers for the rows of a share are those that they have in the whole batch.

    Whatever has an axis as long as the share, the first such, is drawn for all rows, of which the share's are kept.
    Anything else is drawn as it is, so that the streams of all shares stay together.

    Arguments:
        start: The share's first row in the batch.
        number: Its rows.
        total: The batch's.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> whole = torch.randn(2, 6, 3)
        >>> _ = torch.manual_seed(0)
        >>> with Share(4, 2, 6):
        ...     part = torch.distributions.Normal(torch.zeros(5, 2, 3), 1.0).sample()
        >>> part.shape
        torch.Size([5, 2, 3])
    """

    def __init__(self, start: int, number: int, total: int):
        super().__init__()
        self.start, self.number, self.total = start, number, total
        self._kinds: dict[Any, Callable | None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func not in self._kinds:
            self._kinds[func] = self._kind(func)
        draw = self._kinds[func]
        return func(*args, **kwargs) if draw is None else draw(func, args, kwargs)

    def _kind(self, func: Any) -> Callable | None:
        """The way to draw by an operation; None where it draws nothing."""
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return None
        names = [argument.name for argument in func._schema.arguments]
        if "size" in names:
            return lambda func, args, kwargs: self._sized(func, args, kwargs, names.index("size"))
        if func in NORMAL:
            return self._normal
        if func.overloadpacket in LIKE:
            return self._like
        if func.overloadpacket in BY_VALUE:
            return self._by_value
        tensors = [a for a in func._schema.arguments if str(a.type) == "Tensor"]
        return self._filled if func._schema.name.endswith("_") and len(tensors) == 1 else self._other

    def _axis(self, shape: Sequence[int]) -> int | None:
        return next((axis for axis, size in enumerate(shape) if size == self.number), None)

    def _wide(self, shape: Sequence[int], axis: int) -> list[int]:
        return [self.total if i == axis else size for i, size in enumerate(shape)]

    def _own(self, whole: torch.Tensor, axis: int) -> torch.Tensor:
        return whole.narrow(axis, self.start, self.number).contiguous()

    def _sized(self, func: Any, args: tuple, kwargs: dict, place: int) -> torch.Tensor:
        size = args[place] if place < len(args) else kwargs["size"]
        axis = self._axis(size)
        if axis is None:
            return func(*args, **kwargs)
        wide = self._wide(size, axis)
        if place < len(args):
            args = (*args[:place], wide, *args[place + 1 :])
        else:
            kwargs = {**kwargs, "size": wide}
        return self._own(func(*args, **kwargs), axis)

    def _drawn(self, like: torch.Tensor, shape: Sequence[int], method: str, kwargs: dict) -> torch.Tensor:
        """Noise of a shape, by a method of an empty tensor."""
        axis = self._axis(shape)
        wide = list(shape) if axis is None else self._wide(shape, axis)
        noise = getattr(like.new_empty(wide), method)(generator=kwargs.get("generator"))
        return noise if axis is None else self._own(noise, axis)

    def _normal(self, func: Any, args: tuple, kwargs: dict) -> torch.Tensor:
        mean, std = args[0], args[1] if len(args) > 1 else kwargs.get("std", 1.0)
        like = mean if isinstance(mean, torch.Tensor) else std
        shape = torch.broadcast_shapes(*(x.shape for x in (mean, std) if isinstance(x, torch.Tensor)))
        return self._drawn(like, shape, "normal_", kwargs) * std + mean

    def _like(self, func: Any, args: tuple, kwargs: dict) -> torch.Tensor:
        return self._drawn(args[0], args[0].shape, LIKE[func.overloadpacket], kwargs)

    def _filled(self, func: Any, args: tuple, kwargs: dict) -> torch.Tensor:
        axis = self._axis(args[0].shape)
        if axis is None:
            return func(*args, **kwargs)
        whole = args[0].new_empty(self._wide(args[0].shape, axis))
        return args[0].copy_(self._own(func(whole, *args[1:], **kwargs), axis))

    def _by_value(self, func: Any, args: tuple, kwargs: dict) -> torch.Tensor:
        """Draws of the whole batch, with the values of the share in its place and some others elsewhere."""
        given, flat = args[0], func.overloadpacket is aten.multinomial and args[0].ndim == 2
        # Rows of multinomial are those of all axes before the last, of which the data's is the innermost.
        split = flat and given.shape[0] % self.number == 0
        values = given.reshape(-1, self.number, given.shape[-1]) if split else given
        axis = 1 if split else None if flat else self._axis(given.shape)
        if axis is None:
            return func(*args, **kwargs)
        places = torch.arange(self.total, device=given.device) - self.start
        whole = values.index_select(axis, places.clamp(0, self.number - 1))
        if not split:
            return self._own(func(whole, *args[1:], **kwargs), axis)
        found = func(whole.reshape(-1, given.shape[-1]), *args[1:], **kwargs)
        return self._own(found.reshape(values.shape[0], self.total, -1), 1).reshape(given.shape[0], -1)

    def _other(self, func: Any, args: tuple, kwargs: dict) -> Any:
        shapes = [tuple(x.shape) for x in args if isinstance(x, torch.Tensor)]
        if not any(self.number in shape or math.prod(shape) % self.number == 0 for shape in shapes):
            return func(*args, **kwargs)
        raise OptionError(
            "Expected draws that can be divided (devices=, accumulate=); got "
            f"{func._schema.name.removeprefix('aten::')}, which takes more random numbers for some values than others. "
            "Fit with devices=1 and accumulate=1."
        )
