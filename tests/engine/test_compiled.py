"""The compiled engine against autograd in double precision, for each instruction set that this CPU has."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import Steps, engine_for, problem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wavecoder.engine import Engine, bindings
from wavecoder.engine.bindings import ACTIVATIONS, LOSSES
from wavecoder.ensemble import Ensemble
from wavecoder.networks import DeepAutoencoder

# a CPU that has AVX512 has AVX2 too
SETS = {"AVX512": ["AVX512", "AVX2"], "AVX2": ["AVX2"]}.get(bindings.instruction_set(), [])
pytestmark = pytest.mark.skipif(bindings.library() is None, reason=f"nothing was compiled for {bindings.instruction_set()}")

MakeNetwork = Callable[[], nn.Module]


@pytest.fixture(params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Makes the compiled engine take one of the libraries that this CPU can run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bindings, "instruction_set", lambda: request.param)
        bindings.library.cache_clear()
        found = bindings.library()
        assert found is not None
        assert found.instruction_set == request.param
        yield request.param
    bindings.library.cache_clear()


def prepare(make_network: MakeNetwork, seeds: range, loss: nn.Module | None = None) -> Engine:
    """The compiled engine, whose gradient is so far not a number."""
    engine = engine_for(problem(Ensemble(make_network, seeds), loss), "compiled")
    engine.gradient.fill_(float("nan"))
    return engine


def gradients(engine: Engine) -> list[Tensor]:
    """The gradient of each parameter, `[member, …]`."""
    return [
        part.clone()
        for part in engine.gradient.split([p.numel() // len(engine.flat) for p in engine.problem.ensemble.parameters()], 1)
    ]


def exactly(
    make_network: MakeNetwork, seeds: range, loss: nn.Module, inputs: Tensor, targets: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """The losses and gradients of plain networks by autograd in double precision."""
    losses, rows = [], []
    for seed, x, y in zip(seeds, inputs.double(), targets.double(), strict=True):
        torch.manual_seed(seed)
        network = make_network().double()
        value = loss(network(x), y)
        losses.append(value.detach())
        rows.append([gradient.flatten() for gradient in torch.autograd.grad(value, list(network.parameters()))])
    return torch.stack(losses), [torch.stack(parts) for parts in zip(*rows, strict=True)]


def signals(members: int, batch: int, length: int, size: float = 1.0) -> Tensor:
    return size * torch.randn(members, length, batch, generator=torch.Generator().manual_seed(batch)).mT


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("latent", [1, 5])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_and_loss(activation: type[nn.Module], latent: int, loss: type[nn.Module]) -> None:
    make_network = partial(DeepAutoencoder, 100, latent, activation)
    inputs, targets = signals(3, 64, 100, 3.0), signals(3, 64, 100, 3.0).flip(1)  # on both sides of Huber's knee
    engine = prepare(make_network, range(3), loss())
    losses = engine.loss_and_gradient(inputs, targets, 0, 0)
    expected_losses, expected = exactly(make_network, range(3), loss(), inputs, targets)
    torch.testing.assert_close(losses.double(), expected_losses, rtol=1e-5, atol=0)
    for gradient, wanted in zip(gradients(engine), expected, strict=True):
        torch.testing.assert_close(gradient.double(), wanted, rtol=1e-4, atol=2e-6 * float(wanted.abs().max() + 1e-3))
    assert not engine.gradient.isnan().any()


# the fixture is the same for all examples
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    members=st.integers(1, 4),
    batch=st.integers(1, 70),
    length=st.integers(2, 40),
    widths=st.lists(st.integers(1, 40), max_size=3),
    bias=st.booleans(),
    latent_activation=st.booleans(),
    activation=st.sampled_from([nn.PReLU, nn.Tanh, nn.GELU, nn.Identity]),
)
def test_every_shape(
    instruction_set: str,
    members: int,
    batch: int,
    length: int,
    widths: list[int],
    bias: bool,
    latent_activation: bool,
    activation: type[nn.Module],
) -> None:
    make_network = partial(DeepAutoencoder, length, 1, activation, widths, bias, latent_activation)
    inputs, targets = signals(members, batch, length), signals(members, batch, length, 0.5)
    engine = prepare(make_network, range(members))
    losses = engine.loss_and_gradient(inputs, targets, 0, 0)
    expected_losses, expected = exactly(make_network, range(members), nn.MSELoss(), inputs, targets)
    torch.testing.assert_close(losses.double(), expected_losses, rtol=1e-5, atol=1e-6)
    for gradient, wanted in zip(gradients(engine), expected, strict=True):
        torch.testing.assert_close(gradient.double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize(("activation", "argument"), [(nn.LeakyReLU, 0.3), (nn.LeakyReLU, -0.1), (nn.PReLU, 0.6)])
def test_slopes_are_those_of_the_layers(activation: type[nn.Module], argument: float) -> None:
    names = {nn.LeakyReLU: "negative_slope", nn.PReLU: "init"}
    make_network = partial(DeepAutoencoder, 100, 5, partial(activation, **{names[activation]: argument}))
    inputs = signals(2, 20, 100)
    engine = prepare(make_network, range(2))
    losses = engine.loss_and_gradient(inputs, inputs, 0, 0)
    expected_losses, expected = exactly(make_network, range(2), nn.MSELoss(), inputs, inputs)
    torch.testing.assert_close(losses.double(), expected_losses, rtol=1e-5, atol=0)
    for gradient, wanted in zip(gradients(engine), expected, strict=True):
        torch.testing.assert_close(gradient.double(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("instruction_set")
def test_a_member_depends_neither_on_the_others_nor_on_the_threads() -> None:
    make_network = partial(DeepAutoencoder, 100, 5, nn.GELU)
    inputs = signals(5, 64, 100)
    together = prepare(make_network, range(5))
    losses = together.loss_and_gradient(inputs, inputs, 0, 0)
    gradient = together.gradient.clone()
    shared = engine_for(problem(Ensemble(make_network, range(5)), threads=2), "compiled")
    assert torch.equal(shared.loss_and_gradient(inputs, inputs, 0, 0), losses)
    assert torch.equal(shared.gradient, gradient)
    alone = prepare(make_network, range(3, 4))
    assert torch.equal(alone.loss_and_gradient(inputs[3:4], inputs[3:4], 0, 0), losses[3:4])
    assert torch.equal(alone.gradient, gradient[3:4])


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_and_overflow_stay_with_their_member(activation: type[nn.Module], loss: type[nn.Module]) -> None:
    engine = prepare(partial(DeepAutoencoder, 100, 5, activation), range(3), loss())
    inputs = signals(3, 20, 100)
    inputs[0, 3, 7] = float("nan")
    inputs[1] *= 1e30
    losses = engine.loss_and_gradient(inputs, inputs, 0, 0)
    assert losses[0].isnan()
    assert not losses[1].isfinite() or losses[1] > 1e29
    assert losses[2].isfinite()
    assert engine.gradient[2].isfinite().all()


def test_signals_that_do_not_fit_are_refused() -> None:
    engine = prepare(partial(DeepAutoencoder, 100, 5), range(2))
    fitting = signals(2, 8, 100)
    for wrong in (signals(3, 8, 100), signals(2, 8, 90)):
        with pytest.raises(ValueError, match="do not fit networks of 2 members and signals of 100 values"):
            engine.loss_and_gradient(wrong, wrong, 0, 0)
    assert engine.gradient.isnan().all()
    engine.loss_and_gradient(fitting.double(), fitting.double(), 0, 0)
    other = prepare(partial(DeepAutoencoder, 100, 5), range(2))
    other.loss_and_gradient(fitting.contiguous(), fitting.contiguous(), 0, 0)  # however they are stored
    assert torch.equal(engine.gradient, other.gradient)


@pytest.mark.parametrize(
    "change", [lambda values: values[:, :3].clone(), torch.Tensor.double, lambda values: values.mT.contiguous().mT]
)
def test_an_optimisers_state_that_does_not_fit_is_refused(change: Callable[[Tensor], Tensor]) -> None:
    engine = prepare(partial(DeepAutoencoder, 100, 5), range(2))
    steps = Steps([(signals(2, 8, 100), signals(2, 8, 100))] * 5)
    engine.execute(steps)
    state, before = engine.optimizer.state[engine.flat], engine.flat.detach().clone()
    state["exp_avg_sq"] = change(state["exp_avg_sq"])
    with pytest.raises(ValueError, match=r"the optimiser's exp_avg_sq is .* and must be like the parameters"):
        engine.execute(steps)
    assert torch.equal(engine.flat, before)


def test_steps_change_the_networks_parameters() -> None:
    engine = prepare(partial(DeepAutoencoder, 100, 5), range(2))
    before = [parameter.detach().clone() for parameter in engine.problem.ensemble.parameters()]
    losses = engine.execute(Steps([(signals(2, 8, 100), signals(2, 8, 100))] * 5))
    assert losses.shape == (5, 2)
    assert (losses[-1] < losses[0]).all()
    for parameter, values in zip(engine.problem.ensemble.parameters(), before, strict=True):
        assert not torch.equal(parameter, values)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.with_name("compiled.c").write_text("/* another */"), "was compiled from another version"),
        (lambda file: file.write_bytes(b"\x7fELF"), "cannot be loaded"),
        (lambda file: file.unlink(), "was not compiled when this was installed"),
    ],
    ids=["stale", "broken", "missing"],
)
def test_a_library_that_cannot_be_used_is_a_warning_in_the_log(
    spoil: Callable[[Path], object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for file in Path(bindings.__file__).parent.glob("compiled.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(bindings, "_SOURCE", tmp_path / "compiled.c")
    monkeypatch.setattr(bindings, "instruction_set", lambda: "AVX2")
    spoil(tmp_path / "compiled.avx2.so")
    assert bindings.library.__wrapped__() is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert message in record.getMessage()


def test_the_narrower_library_serves_where_the_wider_one_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in Path(bindings.__file__).parent.glob("compiled.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(bindings, "_SOURCE", tmp_path / "compiled.c")
    monkeypatch.setattr(bindings, "instruction_set", lambda: "AVX512")
    (tmp_path / "compiled.avx512.so").unlink()
    found = bindings.library.__wrapped__()
    assert found is not None
    assert found.instruction_set == "AVX2"


def test_other_cpus_have_no_library_and_need_no_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bindings, "instruction_set", lambda: "NEON")
    assert bindings.library.__wrapped__() is None
    assert not caplog.records
