"""`mmppl report`."""

from mmppl.cli.options import Force, RunFolder, Seed, new_file

__all__ = ["report"]


def report(run: RunFolder, seed: Seed = 0, force: Force = False) -> None:
    """Write one self-contained page, RUN/report.html.

    Beside it stands the card of the model, RUN/README.md. Curves, pictures, coherence, chains and energies; what
    "mmppl evaluate" and "mmppl diagnose" have not yet computed is computed first.
    """
    from mmppl import diagnostics
    from mmppl.diagnostics.card import check_card
    from mmppl.inference import Run

    folder = Run(run)
    folder.info()
    new_file(folder.path / "report.html", force)
    check_card(folder)
    print(f"Wrote {diagnostics.report(run, seed=seed, progress=True)}")
    print(f"Wrote {diagnostics.card(run)}")
