"""Patch nets against plain strided convolutions of the same cost, forward and backward, on both hosts.

Run as ``python -m benchmarks.nets``. Both nets take images of polydigits, (3, 16, 16), or of PolyMNIST, (3, 28, 28), to
32 numbers, with nearly the same multiplications:

* convolution: two 4x4 convolutions of stride 2 (24 and 48 channels), GELU, flatten, linear;
* patches: :class:`mmppl.nets.PatchEncoder` with its default settings.

What counts is the ratio of the two within a host, measured in turns in one process. Batches are of 64, so that XLA's
scratch memory stays below 32 MB: glibc maps larger blocks anew at every call, and clearing their pages then costs as
much as the net (``MALLOC_MMAP_THRESHOLD_`` and ``MALLOC_TRIM_THRESHOLD_`` lift that limit).
"""

import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from mmppl.nets import PatchEncoder, equinox, initial_weights
from mmppl.nets import torch as torch_nets

SHAPES, OUT, CHANNELS, KERNEL = ((3, 16, 16), (3, 28, 28)), 32, (24, 48), 4
BATCH, ROUNDS = 64, 30


def run(shape: tuple[int, int, int]) -> dict[str, float]:
    """Milliseconds of one forward and backward pass by host and form, multiplications per image, and the ratios."""
    x = np.random.default_rng(0).random((BATCH, *shape), dtype=np.float32)
    spec = PatchEncoder(shape, (OUT,))
    steps = {
        "torch convolution": torch_step(torch_convolution(shape), x),
        "torch patches": torch_step(torch_nets.build(spec, 0), x),
        "jax convolution": jax_step(*jax_convolution(shape), x),
        "jax patches": jax_step(*patches(spec), x),
    }
    best = dict.fromkeys(steps, np.inf)
    for _ in range(ROUNDS):
        for name, step in steps.items():
            step()
            start = time.perf_counter()
            step()
            best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return {
        **best,
        "torch ratio": best["torch convolution"] / best["torch patches"],
        "jax ratio": best["jax convolution"] / best["jax patches"],
        "convolution multiplications": convolution_cost(shape),
        "patches multiplications": patch_cost(spec),
    }


def torch_convolution(shape: tuple[int, int, int]) -> nn.Module:
    """The convolution net as torch users write it."""
    (c, h, w), (a, b) = shape, CHANNELS
    return nn.Sequential(
        nn.Conv2d(c, a, KERNEL, 2, 1),
        nn.GELU(),
        nn.Conv2d(a, b, KERNEL, 2, 1),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(b * h * w // 16, OUT),
    )


def torch_step(net: nn.Module, x: np.ndarray) -> Callable[[], object]:
    """A forward and backward pass on torch."""
    data, params = torch.tensor(x), list(net.parameters())
    return lambda: torch.autograd.grad(net(data).square().sum(), params)


def jax_convolution(shape: tuple[int, int, int]) -> tuple[dict[str, jax.Array], Callable]:
    """The convolution net as JAX users write it."""
    (c, h, w), (a, b) = shape, CHANNELS
    shapes = {"0": (a, c, KERNEL, KERNEL), "1": (b, a, KERNEL, KERNEL), "2": (b * h * w // 16, OUT)}
    rng = np.random.default_rng(0)
    params = {k: jnp.asarray(0.05 * rng.standard_normal(s), "float32") for k, s in shapes.items()}
    params |= {f"bias {k}": jnp.zeros(n) for k, n in zip("012", (a, b, OUT), strict=True)}

    def net(params, x):
        for k in "01":
            x = jax.lax.conv_general_dilated(x, params[k], (2, 2), ((1, 1), (1, 1)))
            x = jax.nn.gelu(x + params[f"bias {k}"][:, None, None], approximate=False)
        return x.reshape(len(x), -1) @ params["2"] + params["bias 2"]

    return params, net


def patches(spec: PatchEncoder) -> tuple[equinox.Net, Callable]:
    """The patch net as parameters and a function of them."""
    params, static = eqx.partition(equinox.build(spec, 0), eqx.is_inexact_array)
    return params, lambda params, x: eqx.combine(params, static)(x)


def jax_step(params, net: Callable, x: np.ndarray) -> Callable[[], object]:
    """A jitted forward and backward pass on JAX."""
    data = jnp.asarray(x)
    grad = jax.jit(jax.grad(lambda params, x: jnp.sum(net(params, x) ** 2)))
    return lambda: jax.block_until_ready(grad(params, data))


def convolution_cost(shape: tuple[int, int, int]) -> int:
    """Multiplications of the convolution net per image."""
    (c, h, w), (a, b) = shape, CHANNELS
    return (h * w // 4) * a * c * KERNEL**2 + (h * w // 16) * (b * a * KERNEL**2 + b * OUT)


def patch_cost(spec: PatchEncoder) -> int:
    """Multiplications of the patch net per image: every matrix is applied to each patch, but the head's once."""
    tokens = (spec.in_shape[1] // spec.size) * (spec.in_shape[2] // spec.size)
    matrices = {name: w for name, w in initial_weights(spec, 0).items() if w.ndim == 2}
    cost = sum(w.size * tokens for w in matrices.values() if w.shape[1] not in (tokens, tokens * spec.width))
    mixing = sum(w.size * spec.width for w in matrices.values() if w.shape[1] == tokens)
    head = sum(w.size for w in matrices.values() if w.shape[1] == tokens * spec.width)
    return cost + mixing + head


def main() -> None:
    """Prints a table for each shape."""
    for shape in SHAPES:
        result = run(shape)
        print(f"forward and backward, {BATCH} images of {shape}, milliseconds")
        print(f"{'':8}{'convolution':>14}{'patches':>12}{'ratio':>10}")
        for host in ("torch", "jax"):
            convolution, patch, ratio = (result[f"{host} {column}"] for column in ("convolution", "patches", "ratio"))
            print(f"{host:8}{convolution:14.2f}{patch:12.2f}{ratio:10.2f}")
        cost = result["convolution multiplications"], result["patches multiplications"]
        print(f"million multiplications per image: {cost[0] / 1e6:.2f} and {cost[1] / 1e6:.2f}")


if __name__ == "__main__":
    main()
