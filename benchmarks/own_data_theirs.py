"""Packages for the same job, each in its own environment: ``python -m benchmarks.own_data_theirs NAME IN OUT SEED``.

IN is an .npz of standardised columns, ``train.<view>`` and ``test.<view>``, NaN where something is hidden; OUT gets
what the package says of all values of test rows. mofaflex and MuVI know rows that they were fitted to alone, so test
rows are among these, with their gaps. What is not said here is as the package has it.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

Views = dict[str, np.ndarray]
LATENT = 32
DRAWS = 200


def mofaflex(train: Views, test: Views, seed: int) -> Views:
    """MOFA-FLEX with its options for MOFA, but for the number of factors."""
    import pandas
    from anndata import AnnData
    from mofaflex import MOFAFLEX, DataOptions, ModelOptions, TrainingOptions

    def table(name: str) -> AnnData:
        x = np.concatenate([train[name], test[name]])
        rows, columns = (
            pandas.DataFrame(index=[f"{who}{i}" for i in range(n)]) for who, n in zip("rc", x.shape, strict=True)
        )
        return AnnData(x.astype(np.float32), rows, columns)

    tables = {"all": {name: table(name) for name in train}}
    model = MOFAFLEX(
        tables,
        DataOptions(plot_data_overview=False),
        ModelOptions(n_factors=LATENT, weight_prior="Horseshoe", factor_prior="Normal", likelihoods="Normal"),
        # Saved by default, which ends in an error where pandas 3 has texts that anndata does not write.
        TrainingOptions(device="cpu", lr=0.05, seed=seed, save_path=False),
    )
    # Standardised columns are centred and divided by one number a view: that of what is there.
    factors, weights = model.get_factors(return_type="numpy")["all"], model.get_weights(return_type="numpy")
    factors = factors if factors.shape[0] == len(tables["all"][next(iter(train))]) else factors.T
    out = {}
    for name, own in weights.items():
        x = tables["all"][name].X
        loading = own if own.shape[0] == factors.shape[1] else own.T
        out[name] = (np.nanmean(x, axis=0) + (factors @ loading) * np.nanstd(x))[-len(test[name]) :]
    return out


def muvi(train: Views, test: Views, seed: int) -> Views:
    """MuVI without prior knowledge of features."""
    from muvi import MuVI

    both = {name: np.concatenate([x, test[name]]) for name, x in train.items()}
    model = MuVI(both, n_factors=LATENT, device="cpu")
    model.fit(seed=seed, verbose=False)
    out = {}
    for name, x in model.get_reconstructed().items():
        centred = both[name] - np.nanmean(both[name], axis=0)
        out[name] = (np.nanmean(both[name], axis=0) + x * np.nanstd(centred))[-len(test[name]) :]
    return out


def multivae(kind: str) -> Callable[[Views, Views, int], Views]:
    """A model of MultiVae with its own networks: where its data lack something, they lack a whole view."""

    def fill(train: Views, test: Views, seed: int) -> Views:
        import torch
        from multivae.data.datasets import IncompleteDataset
        from multivae.trainers import BaseTrainer, BaseTrainerConfig

        from benchmarks.multivae_theirs import theirs  # which makes torchvision load

        torch.manual_seed(seed)

        def dataset(rows: Views) -> IncompleteDataset:
            there = {n: ~np.isnan(x).all(1) for n, x in rows.items()}
            values = {
                n: torch.tensor(np.where(there[n][:, None], x, 0.0), dtype=torch.float32) for n, x in rows.items()
            }
            return IncompleteDataset(values, {n: torch.tensor(x) for n, x in there.items()})

        sizes = {name: (x.shape[1],) for name, x in train.items()}
        config = getattr(theirs, f"{kind}Config")(n_modalities=len(sizes), latent_dim=LATENT, input_dims=sizes)
        model = getattr(theirs, kind)(config)
        with TemporaryDirectory() as folder:
            how = BaseTrainerConfig(
                output_dir=folder, num_epochs=100, learning_rate=1e-3, seed=seed, keep_best_on_train=True, no_cuda=True
            )
            BaseTrainer(model, dataset(train), training_config=how).train()
        rows, out = dataset(test), {name: np.zeros(x.shape) for name, x in test.items()}
        there = np.stack([rows.masks[name].numpy() for name in test], 1)
        model.eval()
        for pattern in np.unique(there, axis=0):
            own = np.flatnonzero((there == pattern).all(1))
            part = IncompleteDataset(
                {n: x[own] for n, x in rows.data.items()}, {n: x[own] for n, x in rows.masks.items()}
            )
            given = [name for name, has in zip(test, pattern, strict=True) if has]
            with torch.no_grad():
                drawn = model.predict(part[:], cond_mod=given, gen_mod="all", N=DRAWS)
            for name in out:
                x = drawn[name].reshape(DRAWS, len(own), -1) if drawn[name].shape[0] == DRAWS else drawn[name]
                axis = 0 if x.shape[0] == DRAWS else 1
                out[name][own] = x.mean(axis).numpy()
        return out

    return fill


PACKAGES = {"mofaflex": mofaflex, "muvi": muvi}
PACKAGES |= {f"multivae_{kind.lower()}": multivae(kind) for kind in ("MVAE", "MoPoE", "MVTCAE")}


def main() -> None:
    """Reads a file, fills its gaps and writes another."""
    name, source, target, seed = sys.argv[1:]
    arrays = dict(np.load(source))
    parts = [
        {n.partition(".")[2]: x for n, x in arrays.items() if n.startswith(f"{part}.")} for part in ("train", "test")
    ]
    np.savez(Path(target), **PACKAGES[name](*parts, int(seed)))


if __name__ == "__main__":
    main()
