"""NumPyro's automatic guides: which of them answer for any rows, and which cannot."""

from collections.abc import Callable, Iterator

import jax
from numpyro.infer.autoguide import AutoGuide, AutoGuideList, AutoLaplaceApproximation

from mmppl.batch import Batch
from mmppl.inference.posterior.site_densities import refuse_laplace, refuse_rows
from mmppl.numpyro.tracing import Runs

__all__ = ["check_amortized"]


def check_amortized(guide: Callable, batch: Batch) -> None:
    """Refuses an automatic guide with latents in the plate of the data, and that of Laplace."""

    def check(part: AutoGuide, key: jax.Array) -> None:
        refuse_rows(part, Runs({}, key).run(part.model, batch, rng=key), batch)

    for part in _parts(guide):
        if isinstance(part, AutoLaplaceApproximation):
            refuse_laplace(part)
        jax.eval_shape(lambda key, part=part: check(part, key), jax.random.key(0))


def _parts(guide: Callable) -> Iterator[AutoGuide]:
    if isinstance(guide, AutoGuideList):
        for part in guide:
            yield from _parts(part)
    elif isinstance(guide, AutoGuide):
        yield guide
