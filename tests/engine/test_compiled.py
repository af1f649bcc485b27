"""The compiled training step against autograd, for each instruction set that this CPU has."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_backpropagation import ELEMENTWISE, SLOPES
from torch import Tensor

from wavecoder import native
from wavecoder.autoencoder import DeepAutoencoder, TiedLinearAutoencoder
from wavecoder.backpropagation import backpropagation, flatten_gradients, flatten_parameters, loss_and_gradients

# a CPU that has AVX512 has AVX2 too
SETS = {"AVX512": ["AVX512", "AVX2"], "AVX2": ["AVX2"]}.get(native.instruction_set(), [])
pytestmark = pytest.mark.skipif(native.library() is None, reason=f"nothing was compiled for {native.instruction_set()}")


@pytest.fixture(params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Makes the compiled step one of those that this CPU can take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "instruction_set", lambda: request.param)
        native.library.cache_clear()
        yield request.param
    native.library.cache_clear()


def prepare(network: DeepAutoencoder) -> tuple[native.CompiledBackpropagation, Tensor]:
    """The compiled step of a network, and its gradient, so far not a number."""
    flat = flatten_parameters(network)
    gradient = flatten_gradients(network, flat).fill_(float("nan"))
    return native.CompiledBackpropagation(network, flat), gradient


def signals(replicas: int, batch: int, samples: int, size: float = 1.0) -> Tensor:
    return size * torch.randn(replicas, samples, batch, generator=torch.Generator().manual_seed(batch)).mT


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("loss", ELEMENTWISE)
@pytest.mark.parametrize("activation", native.ACTIVATIONS)
def test_every_activation_and_loss(activation: str, loss: str) -> None:
    network = DeepAutoencoder(100, 5, range(3), activation, SLOPES.get(activation))
    inputs, targets = signals(3, 64, 100, 3.0), signals(3, 64, 100, 3.0).flip(1)
    compiled, gradient = prepare(network)
    losses = compiled(inputs, targets, loss)
    exact = DeepAutoencoder(100, 5, range(3), activation, SLOPES.get(activation)).double()
    plain = ELEMENTWISE[loss](exact(inputs.double()), targets.double(), reduction="none").mean((1, 2))
    expected = torch.autograd.grad(plain.sum(), list(exact.parameters()))
    torch.testing.assert_close(losses.double(), plain.detach(), rtol=1e-5, atol=0)
    for parameter, wanted in zip(network.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad.double(), wanted, rtol=1e-4, atol=2e-6 * float(wanted.abs().max() + 1e-3))
    assert not gradient.isnan().any()


# the fixture is the same for all examples
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    num_seeds=st.integers(1, 4),
    batch=st.integers(1, 70),
    samples=st.integers(2, 40),
    widths=st.lists(st.integers(1, 40), max_size=3),
    bias=st.booleans(),
    latent_activation=st.booleans(),
    whole_batch=st.none() | st.integers(70, 200),
    activation=st.sampled_from(["prelu", "tanh", "gelu"]),
)
def test_every_shape(
    instruction_set: str,
    replicas: int,
    batch: int,
    samples: int,
    widths: list[int],
    bias: bool,
    latent_activation: bool,
    whole_batch: int | None,
    activation: str,
) -> None:
    network = DeepAutoencoder(samples, 1, range(replicas), activation, 0.25, widths, bias, latent_activation)
    inputs, targets = signals(replicas, batch, samples), signals(replicas, batch, samples, 0.5)
    compiled, gradient = prepare(network)
    losses, computed = compiled(inputs, targets, "mse", whole_batch), gradient.clone()
    torch.testing.assert_close(losses, loss_and_gradients(network, inputs, targets, "mse", whole_batch), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(computed, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("instruction_set")
def test_a_replica_does_not_feel_the_others_nor_the_threads() -> None:
    inputs = signals(5, 64, 100)
    stack, gradient = prepare(DeepAutoencoder(100, 5, range(5), "gelu"))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        losses = stack(inputs, inputs)
    finally:
        torch.set_num_threads(before)
    parts = gradient.clone()
    stack(inputs, inputs)
    assert torch.equal(gradient, parts)
    network = DeepAutoencoder(100, 5, range(3, 4), "gelu")
    single, _ = prepare(network)
    assert torch.equal(single(inputs[3:4], inputs[3:4]), losses[3:4])
    together = DeepAutoencoder(100, 5, range(5), "gelu")
    compiled, _ = prepare(together)
    compiled(inputs, inputs)
    for one, all_of_them in zip(network.parameters(), together.parameters(), strict=True):
        assert one.grad is not None
        assert all_of_them.grad is not None
        assert torch.equal(one.grad[0], all_of_them.grad[3])


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("activation", native.ACTIVATIONS)
def test_what_is_not_a_number_or_too_large_stays_with_its_replica(activation: str) -> None:
    network = DeepAutoencoder(100, 5, range(3), activation, SLOPES.get(activation))
    compiled, _ = prepare(network)
    inputs = signals(3, 20, 100)
    inputs[0, 3, 7] = float("nan")
    inputs[1] *= 1e30
    losses = compiled(inputs, inputs)
    assert losses[0].isnan()
    assert not losses[1].isfinite() or losses[1] > 1e30
    assert losses[2].isfinite()
    assert all(parameter.grad is not None and parameter.grad[2].isfinite().all() for parameter in network.parameters())


def test_it_is_taken_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(network: DeepAutoencoder | TiedLinearAutoencoder) -> bool:
        flat = flatten_parameters(network)
        flatten_gradients(network, flat)
        return isinstance(backpropagation(network, flat), native.CompiledBackpropagation)

    assert chosen(DeepAutoencoder(100, 5, range(2)))
    assert not chosen(DeepAutoencoder(100, 5, range(2)).double())
    assert not chosen(TiedLinearAutoencoder(100, 5, range(2)))
    monkeypatch.setattr(native, "library", lambda: None)
    assert not chosen(DeepAutoencoder(100, 5, range(2)))


def test_only_its_own_parameters_and_signals_are_touched() -> None:
    network = DeepAutoencoder(100, 5, range(2))
    compiled, _ = prepare(network)
    for wrong in (signals(3, 8, 100), signals(2, 8, 90), signals(2, 8, 100).double()):
        with pytest.raises(ValueError, match="not signals of 2 replicas"):
            compiled(wrong, wrong)
    flat = flatten_parameters(network)
    flatten_gradients(network, flat)
    network.load_state_dict({name: values.clone() for name, values in network.state_dict().items()}, assign=True)
    with pytest.raises(ValueError, match="not part of the one tensor"):
        native.CompiledBackpropagation(network, flat)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.with_suffix(".c").write_text("/* another */"), "was compiled from another version"),
        (lambda file: file.write_bytes(b"\x7fELF"), "cannot be loaded"),
        (lambda file: file.unlink(), "was not compiled when this was installed"),
    ],
)
def test_a_library_that_cannot_be_used_is_a_line_in_the_log(
    spoil: Callable[[Path], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for file in Path(native.__file__).parent.glob("backpropagation.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(native, "_SOURCE", tmp_path / "backpropagation.c")
    monkeypatch.setattr(native, "instruction_set", lambda: "AVX2")
    spoil(tmp_path / "backpropagation.avx2.so" if "version" not in said else tmp_path / "backpropagation.so")
    assert native.library.__wrapped__() is None
    assert said in caplog.text
