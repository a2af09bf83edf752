"""The backend protocol: functions beyond the array API standard that shared packages may call.

Rules: no function enters without two call sites; arrays in, arrays out; randomness is explicit (``rng`` is a
``numpy.random.Generator``, a ``torch.Generator`` or ``None`` for Pyro's global stream, or a JAX key). Several in one
handle, a vector of JAX keys or torch's ``RowStreams``, are one for each row: noise of shape ``(N, *)`` then has rows
that are the same in any batch.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

Array = Any
Tree = Any


class Backend(Protocol):
    """The functions of a backend."""

    @property
    def xp(self) -> ModuleType:
        """The array API namespace."""

    # Special functions -------------------------------------------------------------------------------------------
    def logsumexp(self, x: Array, axis: int | tuple[int, ...]) -> Array:
        """``log sum exp`` over ``axis``; -inf for all -inf, with a zero gradient there."""

    def log_softmax(self, x: Array, axis: int) -> Array:
        """Normalised log probabilities over ``axis``."""

    def softplus(self, x: Array) -> Array:
        """``log(1 + exp x)``, elementwise."""

    def ndtr(self, x: Array) -> Array:
        """The standard normal distribution function, elementwise."""

    def ndtri(self, x: Array) -> Array:
        """The standard normal quantile function, elementwise."""

    # Linear algebra ----------------------------------------------------------------------------------------------
    def cholesky(self, matrix: Array) -> Array:
        """The lower Cholesky factor of positive definite matrices ``(*, D, D)``; NaN where a matrix has none."""

    def solve_lower(self, lower: Array, right: Array) -> Array:
        """Solutions ``(*, D, K)`` of C X = B, of lower triangular C ``(*, D, D)`` and B ``(*, D, K)``."""

    # Differentiation ---------------------------------------------------------------------------------------------
    def stop_gradient(self, x: Tree) -> Tree:
        """The same values, cut off from differentiation."""

    def value_and_grad(self, f: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
        """``f(x)`` of shape ``(*,)`` and the gradient of its sum, of the shape of ``x``; both cut off."""

    def vjp(self, f: Callable[[Array], Array], x: Array, v: Array) -> tuple[Array, Array]:
        """``f(x)`` and its derivative pulled back from ``v``, of the shape of ``x``; both differentiable again."""

    def grad(self, f: Callable[[Tree], Array], params: Tree) -> Tree:
        """The gradient of a scalar function with respect to a tree of parameters (zeros where unused)."""

    def zero_with_gradient(self, pull_back: Callable[[Tree, Tree], Tree], params: Tree, aux: Tree) -> Array:
        """A scalar 0 whose gradient with respect to ``params`` is ``pull_back(params, aux)``.

        ``pull_back`` runs in the backward pass only, so nothing is computed unless a gradient is asked for.
        """

    # Loops -------------------------------------------------------------------------------------------------------
    def scan(self, f: Callable[[Tree, Tree], tuple[Tree, Tree]], carry: Tree, xs: Tree) -> tuple[Tree, Tree]:
        """Runs ``carry, y = f(carry, x)`` over the first axis of every array of ``xs``; stacks the ``y``."""

    def cond(self, wanted: Array, f: Callable[[Tree], Tree], g: Callable[[Tree], Tree], x: Tree) -> Tree:
        """``f(x)`` where a 0-d boolean holds and ``g(x)`` else, of the same shapes; only that one is computed."""

    def odeint(self, f: Callable[[Array, Array], Array], y: Array, first: float, last: float, rtol: float, atol: float):
        """Solves ``dy/dt = f(t, y)`` from ``first`` to ``last`` by an adaptive Runge-Kutta method of order 5."""

    # Randomness --------------------------------------------------------------------------------------------------
    def normal(self, rng: Any, shape: tuple[int, ...], like: Array) -> Array:
        """Standard normal noise of the dtype and device of ``like``."""

    def uniform(self, rng: Any, shape: tuple[int, ...], like: Array) -> Array:
        """Noise uniform on [0, 1), of the dtype and device of ``like``."""

    def split(self, rng: Any, num: int) -> list[Any]:
        """``num`` random handles; a stateful handle is returned ``num`` times."""

    def fold_in(self, rng: Any, i: Array) -> Any:
        """The handle of the i-th of many draws, for loops; a stateful handle is returned as it is."""

    def rng(self, seed: int) -> Any:
        """A fresh random handle."""

    # Boundary ----------------------------------------------------------------------------------------------------
    def asarray(self, x: Any, like: Array | None = None) -> Array:
        """An array of this backend; with ``like``, of its dtype and device."""

    def to_numpy(self, x: Array) -> Any:
        """A numpy copy, cut off from differentiation."""

    def is_concrete(self, x: Array) -> bool:
        """Tells whether values may be looked at now (False while JAX traces)."""
