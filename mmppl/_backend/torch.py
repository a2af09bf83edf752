"""The torch backend."""

import math
from contextlib import contextmanager

import array_api_compat.torch as xp
import torch

from mmppl._backend.loop import python_scan


class _ZeroWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pull_back, aux, *params):
        # The parameters are kept as they are, not as saved tensors: the pull-back differentiates with respect to
        # these very tensors.
        ctx.pull_back, ctx.aux, ctx.params = pull_back, aux, params
        return torch.zeros((), dtype=params[0].dtype.to_real(), device=params[0].device)

    @staticmethod
    def backward(ctx, *cotangents):
        (cotangent,) = cotangents
        grads = ctx.pull_back(ctx.params, ctx.aux)
        return (None, None, *(cotangent * g for g in grads))


@contextmanager
def _cut(params):
    """Stops gradients at the parameters within, so that one made from another adds nothing to it."""

    def stop(output_nr):
        return lambda grads: tuple(None if i == output_nr else g for i, g in enumerate(grads))

    hooks = [p.grad_fn.register_prehook(stop(p.output_nr)) for p in params if p.grad_fn is not None]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class RowStreams:
    """A stream of random numbers for each row, drawn ahead in blocks of steps."""

    BLOCK = 64

    def __init__(self, seeds):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.blocks = {}

    def draw(self, kind, shape, like):
        """Noise of shape ``(N, *)`` by ``torch.randn`` or ``torch.rand``."""
        key = kind, shape[1:], like.dtype
        block, used = self.blocks.get(key, (None, self.BLOCK))
        if used == self.BLOCK:
            size = (self.BLOCK, *shape[1:])
            block = torch.stack([kind(size, generator=g, dtype=like.dtype) for g in self.generators], dim=1)
            used = 0
        self.blocks[key] = block, used + 1
        return block[used].to(like.device)


class TorchBackend:
    """See :class:`mmppl._backend.protocol.Backend`."""

    xp = xp

    def logsumexp(self, x, axis):
        # Torch's own gradient is NaN where every term is -inf, so those rows are replaced before and after.
        empty = torch.amax(x.detach(), dim=axis, keepdim=True) == -math.inf
        out = torch.logsumexp(torch.where(empty, 0.0, x), dim=axis)
        return torch.where(empty.reshape(out.shape), -math.inf, out)

    def log_softmax(self, x, axis):
        return torch.log_softmax(x, dim=axis)

    def softplus(self, x):
        return torch.logaddexp(x, torch.zeros_like(x))

    def ndtr(self, x):
        # torch.special.ndtr loses the far left tail to cancellation.
        return 0.5 * torch.special.erfc(-math.sqrt(0.5) * x)

    def ndtri(self, x):
        return torch.special.ndtri(x)

    def cholesky(self, matrix):
        root, failed = torch.linalg.cholesky_ex(matrix)
        return torch.where(failed[..., None, None] > 0, math.nan, root)

    def solve_lower(self, lower, right):
        return torch.linalg.solve_triangular(lower, right, upper=False)

    def stop_gradient(self, x):
        if isinstance(x, tuple):
            return tuple(self.stop_gradient(leaf) for leaf in x)
        return x.detach()

    def value_and_grad(self, f, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = f(x)
            (grad,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), grad

    def vjp(self, f, x, v):
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            value = f(x)
            (pulled,) = torch.autograd.grad(value, x, v, create_graph=True)
        return value, pulled

    def grad(self, f, params):
        again = torch.is_grad_enabled()
        live = [p for p in params if p.requires_grad]
        with torch.enable_grad(), _cut(live):
            value = f(params)
            if not value.requires_grad:
                return tuple(torch.zeros_like(p) for p in params)
            # What made the parameters is the caller's to differentiate, so its graph is neither crossed nor freed.
            grads = iter(
                torch.autograd.grad(
                    value, live, allow_unused=True, materialize_grads=True, retain_graph=True, create_graph=again
                )
            )
        return tuple(next(grads) if p.requires_grad else torch.zeros_like(p) for p in params)

    def zero_with_gradient(self, pull_back, params, aux):
        if not (torch.is_grad_enabled() and any(p.requires_grad for p in params)):
            return 0.0
        return _ZeroWithGradient.apply(pull_back, aux, *params)

    def scan(self, f, carry, xs):
        return python_scan(f, carry, xs, torch.stack)

    def cond(self, wanted, f, g, x):
        return f(x) if wanted else g(x)

    def odeint(self, f, y, first, last, rtol, atol):
        from torchdiffeq import odeint

        times = torch.tensor([first, last], dtype=y.dtype, device=y.device)
        return odeint(f, y, times, rtol=rtol, atol=atol, method="dopri5")[-1]

    def normal(self, rng, shape, like):
        if isinstance(rng, RowStreams):
            return rng.draw(torch.randn, shape, like)
        return torch.randn(shape, generator=rng, dtype=like.dtype, device=like.device)

    def uniform(self, rng, shape, like):
        if isinstance(rng, RowStreams):
            return rng.draw(torch.rand, shape, like)
        return torch.rand(shape, generator=rng, dtype=like.dtype, device=like.device)

    def split(self, rng, num):
        return [rng] * num

    def fold_in(self, rng, i):
        return rng

    def rng(self, seed):
        return torch.Generator().manual_seed(seed)

    def asarray(self, x, like=None):
        if like is None:
            return torch.as_tensor(x)
        return torch.as_tensor(x, dtype=like.dtype, device=like.device)

    def to_numpy(self, x):
        return x.detach().cpu().numpy().copy()

    def is_concrete(self, x):
        return True


BACKEND = TorchBackend()
