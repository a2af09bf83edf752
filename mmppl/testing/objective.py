"""Contract of objectives."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch
from mmppl.data import LinearGaussian
from mmppl.nets import MLP, LocScale
from mmppl.testing.contract import Contract, close, within_error

__all__ = ["LinearProgram", "ObjectiveContract"]


_STEPPERS: dict = {}
SPOILT = {"spoil": np.full(1, 0.3), "widen": np.array(0.4)}


class LinearProgram:
    """A linear-Gaussian program of a host, with a guide that is exact for every subset, or spoilt on purpose.

    The guide is a product of one expert for each modality and the prior, which is exact where the latent has one
    dimension. Its parameter ``"spoil"`` ``(1,)`` is added to the experts' means, and their scales are multiplied by
    ``exp(widen)``.

    Arguments:
        driver: Drives the host.
        truth: The program, as numbers; its latent has dimension 1.
        size: Rows of the whole data set, for the plate; the batch's by default.
    """

    def __init__(self, driver: Any, truth: LinearGaussian, size: int | None = None):
        self.driver, self.truth, self.size = driver, truth, size
        self.start = {"spoil": np.zeros(1), "widen": np.zeros(())}

    def param(self, name: str) -> Any:
        """A parameter of the guide."""
        return self.driver.ppl.param(name, self.driver.array(self.start[name]))

    def model(self, batch: Batch) -> None:
        """The generative process."""
        d, ppl, mm = self.driver, self.driver.ppl, self.driver.mm
        with mm.plate(batch, self.size):
            z = ppl.sample("z", d.dist.Normal(d.array(np.zeros(1)), 1.0).to_event(1))
            for name in batch.modalities:
                weight, bias = d.array(self.truth.weight[name]), d.array(self.truth.bias[name])
                mean = z * weight[:, 0] + bias
                mm.observe(name, d.dist.Normal(mean, self.truth.noise[name]).to_event(1), batch)

    def guide(self, batch: Batch) -> None:
        """The product of the exact experts and the prior."""
        d, mm = self.driver, self.driver.mm
        spoil, widen = self.param("spoil"), self.param("widen")
        xp = get_backend(spoil).xp
        experts = {}
        for name in batch.modalities:
            weight = self.truth.weight[name][:, 0] / self.truth.noise[name]
            precision = float(weight @ weight)
            pull = d.array(weight / self.truth.noise[name] / precision)
            mean = ((batch[name] - d.array(self.truth.bias[name])) * pull).sum(-1)[..., None]
            experts[name] = (mean + spoil, precision**-0.5 * xp.exp(widen) * xp.ones_like(mean))
        with mm.plate(batch, self.size):
            d.ppl.sample("z", mm.Product(experts, batch.present))

    def encoders(self, spoil: float = 0.0) -> Callable[[Batch], None]:
        """A guide whose encoders are networks with the exact experts' weights; ``spoil`` is added to their means."""
        d, truth = self.driver, self.truth
        builder = import_module(f"mmppl.nets.{'equinox' if d.name == 'numpyro' else 'torch'}")
        nets = {}
        for name, dim in truth.dims.items():
            weight = truth.weight[name][:, 0] / truth.noise[name]
            precision = weight @ weight
            pull = weight / truth.noise[name] / precision
            # The scale is softplus(raw + log(e - 1)).
            raw = np.log(np.expm1(precision**-0.5)) - np.log(np.expm1(1.0))
            state = {
                "layers.1.weight": np.stack([pull, np.zeros_like(pull)]),
                "layers.1.bias": np.array([spoil - pull @ truth.bias[name], raw]),
            }
            spec = LocScale(MLP((dim,), (2,), hidden=()), floor=0.0)
            nets[name] = builder.load(builder.build(spec, 0, "float64"), state)

        def guide(batch: Batch) -> None:
            experts = {name: d.mm.net(f"{name}.encoder", nets[name])(*batch.inputs(name)) for name in batch.modalities}
            with d.mm.plate(batch, self.size):
                d.ppl.sample("z", d.mm.Product(experts, batch.present))

        return guide


class ObjectiveContract(Contract):
    """Holds an objective to what a bound for any pattern of missing modalities promises.

    Subclass it in a test module, set ``host``, and give :meth:`objective`.

    Attributes:
        exact: Whether the loss with the exact guide is minus :meth:`bound`, for every draw; otherwise only its mean
            is held below it.

    Example:
        >>> class TestELBO(ObjectiveContract):
        ...     host = "numpyro"
        ...
        ...     def objective(self, particles):
        ...         return self.driver.mm.ELBO(particles)
    """

    exact = True

    def objective(self, particles: int) -> Any:
        """The objective with K particles."""
        raise NotImplementedError

    def bound(self, truth: LinearGaussian, batch: Batch) -> np.ndarray:
        """Upper bound of the objective for each row, ``(N,)``: the evidence."""
        return truth.evidence(batch)

    def rows(self) -> tuple[LinearGaussian, Batch]:
        """A program and rows with every pattern of missing modalities."""
        truth = LinearGaussian(1, {"a": 2, "b": 1, "c": 2}, seed=3, noise=0.7)
        present = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
        return truth, Batch(truth.sample(6, 4).values, {name: present[:, i] for i, name in enumerate("abc")})

    def stepper(self, truth: LinearGaussian, particles: int, size: int | None = None) -> Any:
        """Evaluates the objective on the program; kept, for the sake of hosts that compile."""
        key = (type(self), self.host, particles, size)
        if key not in _STEPPERS:
            program = LinearProgram(self.driver, truth, size)
            _STEPPERS[key] = self.driver.stepper(self.objective(particles), program.model, program.guide)
        return _STEPPERS[key]

    def test_exact_guide_reaches_the_evidence(self):
        truth, batch = self.rows()
        wanted = -self.bound(truth, batch).sum()
        for particles in (1, 3):
            losses = np.array([self.stepper(truth, particles)(batch, seed).loss for seed in range(3)])
            if self.exact:
                close(losses, wanted)
            else:
                assert losses.mean() > wanted

    def test_more_particles_are_tighter(self):
        truth, batch = self.rows()
        means, errors = [], []
        for particles in (1, 3, 24):
            step = self.stepper(truth, particles)
            losses = np.array([step(batch, seed, SPOILT).loss for seed in range(40)])
            means.append(losses.mean())
            errors.append(losses.std(ddof=1) / np.sqrt(40))
        assert means[0] > means[1] > means[2]
        assert means[2] > -self.bound(truth, batch).sum() - 4 * errors[2]

    def test_what_a_hidden_value_holds_changes_no_bit(self):
        truth, batch = self.rows()
        step = self.stepper(truth, 3)
        plain = step(batch, 0, SPOILT)
        assert all(np.isfinite(grad).all() for grad in plain.grads.values())
        for fill in (0.0, 3.0, 1e30, np.nan, np.inf):
            values = {n: np.where(batch.present[n][:, None], v, fill) for n, v in batch.values.items()}
            filled = step(Batch(values, batch.present), 0, SPOILT)
            assert filled.loss == plain.loss
            assert filled.record == plain.record
            assert all(filled.grads[name].tobytes() == plain.grads[name].tobytes() for name in plain.grads)

    def test_a_batch_is_its_rows(self):
        truth, batch = self.rows()
        step = self.stepper(truth, 3)
        together = np.array([step(batch, seed, SPOILT).loss for seed in range(20)])
        alone = [np.array([step(batch[row], 1000 + seed, SPOILT).loss for seed in range(20)]) for row in range(6)]
        within_error(together - np.sum(alone, axis=0))

    def test_the_plate_scales_outside_the_logarithm(self):
        truth, batch = self.rows()
        outs = [self.stepper(truth, 3, size)(batch, 0, SPOILT) for size in (600, 1200)]
        # What the logarithm sees, and so the record, knows nothing of the size.
        for size, out in zip((600, 1200), outs, strict=True):
            close(out.loss, size * out.record["loss"])
            assert out.record == outs[0].record

    def test_record_names_every_modality(self):
        truth, batch = self.rows()
        out = self.stepper(truth, 3)(batch, 0)
        assert set(out.record) == {"loss", "kl", "log_lik.a", "log_lik.b", "log_lik.c"}
        close(out.record["loss"] * len(batch), out.loss)
