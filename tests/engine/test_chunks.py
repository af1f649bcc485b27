"""Whole chunks of steps in compiled.c: its sine, Adam and AdamW in torch's own state, schedules, noise, reconstructions."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from conftest import Steps, data_module, engine_for, problem
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from wavecoder.engine import bindings
from wavecoder.engine.compiled import CompiledEngine, unsupported_reason
from wavecoder.engine.pytorch import PyTorchEngine
from wavecoder.ensemble import Ensemble, flatten_parameters
from wavecoder.networks import DeepAutoencoder
from wavecoder.training.noise import Noise

pytestmark = pytest.mark.skipif(bindings.library() is None, reason=f"nothing was compiled for {bindings.instruction_set()}")

STEPS = 80
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "Adam": partial(torch.optim.Adam, fused=True),
    "Adam with an L2 penalty": partial(torch.optim.Adam, weight_decay=0.01, betas=(0.8, 0.95), eps=1e-6),
    "AdamW": partial(torch.optim.AdamW, weight_decay=0.1, fused=True),
    "Adam with decoupled decay": partial(torch.optim.Adam, weight_decay=0.1, decoupled_weight_decay=True),
    "AMSGrad": partial(torch.optim.Adam, amsgrad=True),
    "SGD": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
}
SCHEDULES: dict[str, Callable[[Optimizer], LRScheduler] | None] = {
    "constant": None,
    "cosine": partial(CosineAnnealingLR, T_max=STEPS),
    "one cycle": partial(OneCycleLR, max_lr=3e-3, total_steps=STEPS + 1),  # it changes the betas too
}


def train(
    engine: Any, optimizer: str, schedule: str = "constant", noise: float = 0.0, chunk: int = 20, threads: int = 1
) -> tuple[Tensor, Tensor, Any]:
    """The losses of 80 steps of three members, their parameters afterwards, and the optimiser's state."""
    ensemble = Ensemble(partial(DeepAutoencoder, 100, 5, nn.Tanh), range(3))
    flat = flatten_parameters(ensemble)
    made = OPTIMIZERS[optimizer]([flat])
    make_schedule = SCHEDULES[schedule]
    trained = engine(problem(ensemble, threads=threads), flat, made, None if make_schedule is None else make_schedule(made))
    source = data_module(3, noise=Noise(train_std=noise), train_size=16 * STEPS, steps_per_execution=chunk)
    losses = torch.cat([trained.execute(each) for each in source.train_dataloader()])
    return losses, flat.detach().clone(), made.state_dict()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_optimisers_and_schedules_are_those_of_torch(optimizer: str, schedule: str) -> None:
    ours, theirs = (train(engine, optimizer, schedule) for engine in (CompiledEngine, PyTorchEngine))
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=0)
    assert ours[2]["param_groups"] == theirs[2]["param_groups"]
    assert ours[2]["state"][0].keys() == theirs[2]["state"][0].keys()
    for name, values in theirs[2]["state"][0].items():
        torch.testing.assert_close(ours[2]["state"][0][name], values, rtol=1e-3, atol=1e-5)


def test_training_noise_is_that_of_the_pytorch_engine() -> None:
    ours, theirs = (train(engine, "Adam", noise=0.3) for engine in (CompiledEngine, PyTorchEngine))
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_length_of_a_chunk_changes_nothing(noise: float) -> None:
    for one, other in pairwise(train(CompiledEngine, "Adam", "cosine", noise, chunk) for chunk in (1, 7, 80)):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_number_of_threads_changes_nothing(noise: float) -> None:
    """Two threads share three members in slices, five have one each."""
    for one, other in pairwise(train(CompiledEngine, "Adam", noise=noise, threads=threads) for threads in (1, 2, 5)):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_a_run_resumes_from_torchs_own_state_by_either_engine() -> None:
    """The state after 40 steps of one engine, given to the other for 40 more."""
    whole, _, _ = train(PyTorchEngine, "Adam")
    for first, second in ((CompiledEngine, PyTorchEngine), (PyTorchEngine, CompiledEngine)):
        ensemble = Ensemble(partial(DeepAutoencoder, 100, 5, nn.Tanh), range(3))
        flat = flatten_parameters(ensemble)
        chunks = list(data_module(3, train_size=16 * STEPS, steps_per_execution=20).train_dataloader())
        made = OPTIMIZERS["Adam"]([flat])
        losses = [first(problem(ensemble), flat, made).execute(chunk) for chunk in chunks[:2]]
        again = OPTIMIZERS["Adam"]([flat])
        again.load_state_dict(made.state_dict())
        losses += [second(problem(ensemble), flat, again).execute(chunk) for chunk in chunks[2:]]
        torch.testing.assert_close(torch.cat(losses), whole, rtol=1e-5, atol=0)


def test_reconstructions_are_those_of_the_ensemble() -> None:
    ensemble = Ensemble(partial(DeepAutoencoder, 100, 5, nn.PReLU), range(3))
    engine = engine_for(problem(ensemble), "compiled")
    for count in (1, 63, 64, 150):
        signals = torch.randn(count, 100)
        torch.testing.assert_close(engine.reconstruct(signals), ensemble(signals), rtol=1e-5, atol=1e-6)
        targets = torch.randn(count, 100)
        expected = (ensemble(signals).double() - targets).square().mean(2).sum(1)
        torch.testing.assert_close(engine.squared_errors(signals, targets), expected, rtol=1e-6, atol=0)


def test_the_sine_is_exact_over_the_whole_range_of_angles() -> None:
    found = bindings.library()
    assert found is not None
    special = torch.tensor([0.0, -0.0, 1e5, -1e5, 1e6, -3e7, 1e20])
    angles = torch.cat([torch.linspace(-1e5, 1e5, 1_000_001), torch.linspace(-20, 20, 100_001), special])
    values = torch.empty_like(angles)
    found.functions.sines(len(angles), angles.data_ptr(), values.data_ptr())
    assert (values - torch.sin(angles.double())).abs().max() < 2e-7
    bad = torch.tensor([float("nan"), float("inf")])
    found.functions.sines(2, bad.data_ptr(), values.data_ptr())
    assert values[:2].isnan().all()


def test_signals_that_do_not_fit_are_refused() -> None:
    engine = engine_for(problem(Ensemble(partial(DeepAutoencoder, 100, 5, nn.Tanh), range(3))), "compiled")
    wrong: list[Callable[[], Any]] = [
        lambda: engine.execute(next(iter(data_module(2).train_dataloader()))),
        lambda: engine.execute(next(iter(data_module(3, signal_length=50).train_dataloader()))),
        lambda: engine.execute(Steps([(torch.zeros(3, 8, 90), torch.zeros(3, 8, 90))])),
        lambda: engine.execute(Steps([(torch.zeros(3, 8, 100), torch.zeros(3, 7, 100))])),
        lambda: engine.reconstruct(torch.zeros(4, 50)),
        lambda: engine.reconstruct(torch.zeros(2, 4, 100)),
    ]
    for call in wrong:
        with pytest.raises(ValueError, match="do not fit"):
            call()


def test_signals_in_double_precision_are_converted() -> None:
    signals = [torch.randn(3, 8, 100, dtype=torch.float64) for _ in range(4)]
    losses = []
    for name in ("compiled", "pytorch"):
        engine = engine_for(problem(Ensemble(partial(DeepAutoencoder, 100, 5, nn.Tanh), range(3))), name)
        losses.append(engine.execute(Steps([(x, x) for x in signals])))
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)


class Layers(nn.Sequential):
    """What it computes is its own business."""


def spoilt(kind: str) -> nn.Module:
    network = DeepAutoencoder(100, 5, nn.Tanh)
    first = network.encoder[0]
    assert isinstance(first.weight, nn.Parameter)
    if kind == "activation at the end":
        network.decoder.append(nn.Tanh())
    elif kind == "parameter of its own":
        network.extra = nn.Parameter(torch.zeros(3))
    elif kind == "hook":
        first.register_forward_hook(lambda module, inputs, output: 2 * output)
    elif kind == "hook of a parameter":
        first.weight.register_hook(lambda gradient: 2 * gradient)
    elif kind == "hook after accumulation":
        first.weight.register_post_accumulate_grad_hook(lambda parameter: None)
    elif kind == "another encoder":
        network.encoder = Layers(*network.encoder)
    elif kind in ("forward", "encode", "decode", "training_loss"):
        vars(network)[kind] = lambda *arguments: arguments[0]
    elif kind == "forward of a layer":
        vars(network.decoder[1])["forward"] = torch.sin
    else:
        network.decoder[-1] = nn.Linear(50, 90)
    return network


@pytest.mark.parametrize(
    ("kind", "unknown"),
    {
        "activation at the end": "layers in this order",
        "parameter of its own": "modules or parameters outside its layers",
        "hook": "hooks",
        "hook of a parameter": "hooks",
        "hook after accumulation": "hooks",
        "another encoder": "Layers",
        "another size": "layers in this order",
        **dict.fromkeys(("forward", "encode", "decode", "training_loss", "forward of a layer"), "methods that were replaced"),
    }.items(),
)
def test_altered_networks_are_declined(kind: str, unknown: str) -> None:
    assert unsupported_reason(problem(Ensemble(partial(spoilt, kind), [0]))) == f"the compiled engine does not know {unknown}"
