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
    """Sample posteriors and test how far to trust them.

    Writes RUN/posterior.nc and RUN/diagnosis.json, and prints a summary.

    The latents of test tuples are drawn by Hamiltonian chains and written for ArviZ, with R-hat and effective sample
    sizes. Then: PSIS k of the guide by observed subset, gaps of its bound, calibration on simulated data, coverage of
    what is held out, and the health of an energy prior. Each that fails is a warning with a remedy.
    """
    from mmppl import diagnostics
    from mmppl.diagnostics.report.tables import diagnosis_text, posterior_table
    from mmppl.inference import Run

    folder = Run(run)
    folder.info()
    file = new_file(folder.path / "posterior.nc", force)
    fitted, dataset = diagnostics.load_run(run)
    idata = diagnostics.sample_posterior(fitted, dataset, num=num, seed=seed, progress=True)
    diagnostics.write_posterior(idata, file)
    print(posterior_table(diagnostics.summarise_posterior(idata)))
    found = diagnostics.diagnose(fitted, dataset, num=num, seed=seed, progress=True)
    folder.write_json("diagnosis.json", found)
    print(diagnosis_text(found, diagnostics.worst_data(idata)))
    print(f"Wrote {file} and diagnosis.json")
