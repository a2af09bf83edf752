"""MultiVae's side of :mod:`benchmarks.multivae`: a worker in an environment where MultiVae is installed.

Its networks are those of ours, built from the same specs with the same initial weights, wrapped in what MultiVae takes;
its batches have the same rows in the same order. Its log likelihood is estimated by importance sampling from its own
posterior, drawn anew for each datum, as its own estimators draw one expert for a whole batch.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import library

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # The usual torchvision is built for graphics cards and finds no operators of its own beside a torch without. What
    # MultiVae imports of it needs none, only that these have names.
    for loaded in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[loaded]
    operators = library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from multivae import models as theirs
from multivae.models.base.base_utils import stable_poe
from multivae.models.nn.base_architectures import BaseJointEncoder, BaseMultilatentEncoder
from pythae.data.datasets import DatasetOutput
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn.base_architectures import BaseDecoder, BaseEncoder
from torch.distributions import Categorical, Laplace, Normal

from benchmarks.worker import serve, timed
from mmppl.batch import Modality
from mmppl.nets import MLP, LocScale, decoder, encoder
from mmppl.nets.torch import build

__all__ = ["start"]

# Each as its paper has it, with the prior and the weights of terms that ours has.
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "mvae": ("MVAE", {"k": 1, "warmup": 0}),
    "mmvae": ("MMVAE", {"K": 1, "loss": "iwae_looser", "learn_prior": False}),
    "mopoe": ("MoPoE", {}),
    "mvtcae": ("MVTCAE", {"alpha": 5 / 6, "beta": 1.0}),
    "mmvae_plus": ("MMVAEPlus", {"K": 1, "loss": "iwae_looser", "modalities_specific_dim": 8}),
    "jmvae": ("JMVAE", {"alpha": 0.1, "warmup": 0}),
}


class Encoder(BaseEncoder):
    """Our encoder; texts come as one-hot numbers, as MultiVae scores them."""

    def __init__(self, net: torch.nn.Module, dim: int, text: bool, laplace: bool):
        super().__init__()
        self.net, self.latent_dim, self.text, self.laplace = net, dim, text, laplace

    def forward(self, x: torch.Tensor) -> ModelOutput:
        loc, scale = self.net(x.argmax(-1) if self.text else x)
        # A normal posterior takes log variances; a Laplace one what a softmax makes scales of.
        return ModelOutput(embedding=loc, log_covariance=torch.log(scale) * (1 if self.laplace else 2))


class SharedPrivate(BaseMultilatentEncoder):
    """Our two encoders of a modality with a private latent."""

    def __init__(self, shared: Encoder, private: Encoder):
        super().__init__()
        self.shared, self.private = shared, private
        self.latent_dim, self.style_dim = shared.latent_dim, private.latent_dim

    def forward(self, x: torch.Tensor) -> ModelOutput:
        z, w = self.shared(x), self.private(x)
        return ModelOutput(style_embedding=w.embedding, style_log_covariance=w.log_covariance, **z)


class Joint(BaseJointEncoder):
    """Our joint encoder: features of all modalities side by side."""

    def __init__(self, features: dict[str, torch.nn.Module], head: torch.nn.Module, dim: int, texts: set[str]):
        super().__init__()
        self.features, self.head = torch.nn.ModuleDict(features), head
        self.latent_dim, self.texts = dim, texts

    def forward(self, x: dict[str, torch.Tensor]) -> ModelOutput:
        own = {m: x[m].argmax(-1) if m in self.texts else x[m] for m in self.features}
        loc, scale = self.head(torch.cat([net(own[m]) for m, net in self.features.items()], -1))
        return ModelOutput(embedding=loc, log_covariance=2.0 * torch.log(scale))


class Decoder(BaseDecoder):
    def __init__(self, net: torch.nn.Module, dim: int):
        super().__init__()
        self.net, self.latent_dim = net, dim

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.net(z))


def make(system: str, modalities: dict[str, Modality], latent_dim: int, hidden: int, seed: int) -> Any:
    """The model, with initial weights drawn as :func:`mmppl.models.common.declare.autoencoders` has them drawn."""
    kind, options = SYSTEMS[system]
    laplace, private = system in ("mmvae", "mmvae_plus"), options.get("modalities_specific_dim", 0)
    specs: dict[str, Any] = {}
    for name, m in modalities.items():
        specs[f"{name}.encoder"] = encoder(m, latent_dim, hidden, "normal")
        if private:
            specs[f"{name}.private"] = encoder(m, private, hidden, "normal")
        specs[f"{name}.decoder"] = decoder(m, latent_dim + private, hidden)
    if system == "jmvae":
        specs |= {f"{name}.features": encoder(m, hidden, hidden, None) for name, m in modalities.items()}
        specs["encoder"] = LocScale(MLP((len(modalities) * hidden,), (2 * latent_dim,), (hidden,)))
    seeds = np.random.SeedSequence(seed).generate_state(len(specs))
    nets = {name: build(spec, int(s)) for (name, spec), s in zip(specs.items(), seeds, strict=True)}
    texts = {name for name, m in modalities.items() if m.kind == "tokens"}
    encoders: dict[str, Any] = {n: Encoder(nets[f"{n}.encoder"], latent_dim, n in texts, laplace) for n in modalities}
    if private:
        encoders = {
            n: SharedPrivate(own, Encoder(nets[f"{n}.private"], private, n in texts, laplace))
            for n, own in encoders.items()
        }
    shapes = {n: (*m.shape, m.vocabulary) if m.kind == "tokens" else m.shape for n, m in modalities.items()}
    settings = getattr(theirs, f"{kind}Config")(
        n_modalities=len(modalities),
        latent_dim=latent_dim,
        input_dims=shapes,
        decoders_dist={n: "categorical" if n in texts else m.likelihood for n, m in modalities.items()},
        decoder_dist_params={n: {"scale": m.scale} for n, m in modalities.items() if n not in texts},
        **options,
    )
    decoders = {n: Decoder(nets[f"{n}.decoder"], latent_dim + private) for n in modalities}
    more = {}
    if system == "jmvae":
        features = {n: nets[f"{n}.features"] for n in modalities}
        more["joint_encoder"] = Joint(features, nets["encoder"], latent_dim, texts)
    return getattr(theirs, kind)(settings, encoders, decoders, **more)


def log_likelihood(system: str, model: Any, data: dict[str, torch.Tensor], modalities: Any, num: int) -> np.ndarray:
    """Importance-sampled log likelihoods ``(N,)``, the proposal of each datum drawn for itself."""
    inputs = DatasetOutput(data=data)
    laplace = system in ("mmvae", "mmvae_plus")
    family = Laplace if laplace else Normal

    def posterior(own: Any, loc: str = "embedding", log_scale: str = "log_covariance") -> Any:
        raw = own[log_scale]
        return family(own[loc], torch.softmax(raw, -1) * raw.shape[-1] + 1e-6 if laplace else torch.exp(0.5 * raw))

    own = {n: model.encoders[n](x) for n, x in data.items()}
    if system == "jmvae":
        parts = [posterior(model.joint_encoder(data))]
    elif laplace:
        parts = [posterior(o) for o in own.values()]
    else:
        locs, logs = (torch.stack([o[k] for o in own.values()]) for k in ("embedding", "log_covariance"))
        if system != "mvtcae":
            locs, logs = (torch.cat([x, torch.zeros_like(x[:1])]) for x in (locs, logs))
        loc, log_variance = stable_poe(locs, logs)
        parts = [Normal(loc, torch.exp(0.5 * log_variance))]
    draws = torch.stack([p.sample((num,)) for p in parts])
    chosen = torch.randint(len(parts), (1, num, draws.shape[2], 1)).expand(1, *draws.shape[1:])
    z = draws.gather(0, chosen)[0]
    log_q = torch.logsumexp(torch.stack([p.log_prob(z).sum(-1) for p in parts]), 0) - np.log(len(parts))
    log_weight = family(0.0, 1.0).log_prob(z).sum(-1) - log_q
    for name, m in modalities.items():
        code = z
        if system == "mmvae_plus":
            q = posterior(own[name], "style_embedding", "style_log_covariance")
            w = q.sample((num,))
            log_weight = log_weight + (family(0.0, 1.0).log_prob(w) - q.log_prob(w)).sum(-1)
            code = torch.cat([z, w], -1)
        out = model.decoders[name](code.reshape(-1, code.shape[-1])).reconstruction
        out = out.reshape(*code.shape[:-1], *out.shape[1:])
        if m.kind == "tokens":
            log_lik = Categorical(logits=out).log_prob(inputs.data[name].argmax(-1))
        else:
            log_lik = {"normal": Normal, "laplace": Laplace}[m.likelihood](out, m.scale).log_prob(data[name])
        log_weight = log_weight + log_lik.reshape(*code.shape[:2], -1).sum(-1)
    return (torch.logsumexp(log_weight, 0) - np.log(num)).numpy()


def start(
    *,
    data: str,
    modalities: dict[str, dict[str, Any]],
    system: str,
    latent_dim: int,
    hidden: int,
    seed: int,
    batch_size: int,
    learning_rate: float,
    tests: int,
    joint: int,
    likelihood_rows: int,
    particles: int,
) -> dict[str, Callable[..., Any]]:
    """The functions of the worker."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (MultiVae draws from it)
    own = {name: Modality(**fields) for name, fields in modalities.items()}
    files = np.load(data)

    def one_hot(x: torch.Tensor, number: int) -> torch.Tensor:
        return torch.nn.functional.one_hot(x, number).float()

    def tensors(split: str) -> dict[str, torch.Tensor]:
        out = {n: torch.as_tensor(files[f"{split}.{n}"]) for n in own}
        return {n: one_hot(x, m.vocabulary) if (m := own[n]).vocabulary else x for n, x in out.items()}

    train, test = tensors("train"), tensors("test")
    model = make(system, own, latent_dim, hidden, seed)
    optimiser = torch.optim.Adam(model.parameters(), learning_rate)
    number_of_rows = len(next(iter(train.values())))

    def endless() -> Iterator[torch.Tensor]:
        epoch = 0
        while True:
            order = np.random.default_rng([seed, epoch]).permutation(number_of_rows)
            for first in range(0, number_of_rows - batch_size + 1, batch_size):
                yield torch.as_tensor(order[first : first + batch_size])
            epoch += 1

    rows = endless()

    def step() -> None:
        chosen = next(rows)
        loss = model(DatasetOutput(data={n: x[chosen] for n, x in train.items()}), epoch=1).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def steps(number: int) -> float:
        model.train()
        return timed(step, number)

    def means(out: Any) -> dict[str, np.ndarray]:
        return {n: (x.argmax(-1) if own[n].vocabulary else x).numpy() for n, x in out.items()}

    @torch.no_grad()
    def measure(path: str) -> dict[str, float]:
        model.eval()
        made = {}
        drawn = model.generate_from_prior(joint)
        if system == "mmvae_plus":
            # Its own answer keeps one private latent for all modalities; the model has one of each.
            w = {n: Laplace(0.0, 1.0).sample((joint, 8)) for n in own}
            z = drawn.z[:, :latent_dim]
            drawn = ModelOutput(z=z, one_latent_space=False, modalities_z=w)
        made |= {f"joint.{n}": x for n, x in means(model.decode(drawn)).items()}
        some = DatasetOutput(data={n: x[:tests] for n, x in test.items()})
        for given in [(n,) for n in own] + [tuple(m for m in own if m != n) for n in own]:
            want = [n for n in own if n not in given]
            out = means(model.predict(some, cond_mod=list(given), gen_mod=want))
            made |= {f"{'+'.join(given)}.{n}": out[n] for n in want}
        np.savez(path, **made)
        scored = [
            log_likelihood(system, model, {n: x[i : i + 10] for n, x in test.items()}, own, particles)
            for i in range(0, likelihood_rows, 10)
        ]
        value = np.concatenate(scored)
        return {"value": float(value.mean())}

    return {"steps": steps, "measure": measure}


if __name__ == "__main__":
    serve(start)
