"""`mmppl diagnose`."""

from typing import Annotated

import typer

from mmppl.cli.options import Force, RunFolder, Seed, new_file

__all__ = ["diagnose"]


def diagnose(
    run: RunFolder,
    num: Annotated[int, typer.Option(help="Test tuples whose posterior is sampled.", min=1)] = 16,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Sample posteriors: RUN/posterior.nc, and a summary.

    The latents of test tuples are drawn by MALA chains and written for ArviZ, with R-hat and effective sample sizes.
    """
    from mmppl import diagnostics
    from mmppl.diagnostics.tables import posterior_table
    from mmppl.inference import Run

    folder = Run(run)
    folder.info()
    file = new_file(folder.path / "posterior.nc", force)
    fitted, dataset = diagnostics.load_run(run)
    idata = diagnostics.sample_posterior(fitted, dataset, num=num, seed=seed, progress=True)
    diagnostics.write_posterior(idata, file)
    print(posterior_table(diagnostics.summarise_posterior(idata)))
    print(f"Wrote {file}")
