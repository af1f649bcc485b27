"""Networks and losses that are refused before anything is trained, and those that are not."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from own_networks import ConvolutionalAutoencoder, Normalised, Plain, ResidualAutoencoder, VariationalAutoencoder
from torch import Tensor, nn

from wavecoder.ensemble import Ensemble, check_network
from wavecoder.networks import DeepAutoencoder, TiedLinearAutoencoder

MakeNetwork = Callable[[], nn.Module]


class WrongOutput(Plain):
    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)[:, :19]


class WrongLatent(Plain):
    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)[:, :1]

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(torch.cat([z, z], dim=1))


class WrongForward(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)


class ReturnsMore(Plain):
    def forward(self, x: Tensor) -> Any:
        return self.decode(self.encode(x)), 0


class NoEncode(nn.Linear):
    def __init__(self) -> None:
        super().__init__(20, 20)


class NoDecode(NoEncode):
    def encode(self, x: Tensor) -> Tensor:
        return self(x)


class NothingToTrain(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)


class LooksAtValues(Plain):
    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x if x.mean() > 0 else -x)


class AddsTensorOfItsOwn(Plain):
    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z) + torch.arange(20)


class Thresholded(Plain):
    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z) > 0


class InDoublePrecision(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.double()


class CountsSteps(Plain):
    """Has a buffer that its own loss changes, as a warm-up does."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))

    def training_loss(self, inputs: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        self.steps = self.steps + 1
        return loss(self(inputs), targets) / self.steps


class RunningMean(Plain):
    """Has a buffer that silence does not change."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(20))

    def encode(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.encoder(x - self.mean)


@pytest.mark.parametrize("num_members", [1, 3])
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Thresholded, "the loss has no gradient with respect to the parameters, so nothing can be trained"),
        (WrongOutput, r"WrongOutput\.decode gives shape \[2, 19\] for two signals; it must give \[2, 20\]"),
        (WrongLatent, r"WrongLatent\.encode gives shape \[2, 1\] for two signals; it must give \[2, 2\]"),
        (WrongForward, r"WrongForward\.forward gives shape \[2, 2\] for two signals; it must give \[2, 20\]"),
        (ReturnsMore, r"ReturnsMore\.forward gives a tuple; it must give a tensor"),
        (NoEncode, "NoEncode has no method encode"),
        (NoDecode, "NoDecode has no method decode"),
        (NothingToTrain, "NothingToTrain has no parameters to train"),
    ],
)
def test_networks_that_cannot_be_trained_are_refused(
    network: MakeNetwork, message: str, num_members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ensemble, "forward", inspect.unwrap(Ensemble.forward))  # here its annotations are checked too
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_network(network, nn.MSELoss(), 20, 2, num_members)


@pytest.mark.parametrize("num_members", [1, 3])
def test_a_loss_of_another_shape_is_refused(num_members: int) -> None:
    with pytest.raises(ValueError, match=r"the loss gives shape \[2, 20\] for a batch; it must give one number"):
        check_network(Plain, nn.MSELoss(reduction="none"), 20, 2, num_members)


@pytest.mark.parametrize("num_members", [1, 3])
@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda outputs, targets: (outputs.detach() - targets).square().mean(), "has no gradient"),
        (lambda outputs, targets: torch.ones(()), "has no gradient"),
        (lambda outputs, targets: (outputs - targets).square().mean().item(), "gives a float; it must give a tensor"),
    ],
    ids=["detached", "constant", "number"],
)
def test_losses_that_nothing_can_be_trained_by_are_refused(loss: Any, message: str, num_members: int) -> None:
    with pytest.raises(ValueError, match=f"^the loss {message}"):
        check_network(Plain, loss, 20, 2, num_members)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        check_network(partial(DeepAutoencoder, 20, 2, depth=3), nn.MSELoss(), 20, 2)


@pytest.mark.parametrize("num_members", [1, 3])
@pytest.mark.parametrize(
    "network", [DeepAutoencoder, TiedLinearAutoencoder, ResidualAutoencoder, ConvolutionalAutoencoder, VariationalAutoencoder]
)
def test_networks_that_can_be_trained_pass(network: Callable[[int, int], nn.Module], num_members: int) -> None:
    before = torch.get_rng_state()
    check_network(partial(network, 100, 5), nn.MSELoss(), 100, 5, num_members)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("network", "num_members"), [(AddsTensorOfItsOwn, 1), (AddsTensorOfItsOwn, 3), (LooksAtValues, 1)], ids=str
)
def test_networks_that_need_values_are_tried_on_the_cpu(network: MakeNetwork, num_members: int) -> None:
    check_network(network, nn.MSELoss(), 20, 2, num_members)


def test_a_network_that_looks_at_values_cannot_have_several_members() -> None:
    with pytest.raises(ValueError, match=r"works with num_seeds=1 only: .*data-dependent control flow"):
        check_network(LooksAtValues, nn.MSELoss(), 20, 2, num_members=2)


def test_running_statistics_are_refused_for_several_members() -> None:
    check_network(Normalised, nn.MSELoss(), 100, 5)
    with pytest.raises(ValueError, match=r"works with num_seeds=1 only: .* keeps running statistics"):
        check_network(Normalised, nn.MSELoss(), 100, 5, num_members=2)


@pytest.mark.parametrize(("network", "buffer"), [(CountsSteps, "steps"), (RunningMean, "mean")])
def test_changing_buffers_are_refused_for_several_members(network: MakeNetwork, buffer: str) -> None:
    check_network(network, nn.MSELoss(), 20, 2)
    with pytest.raises(ValueError, match=f"^works with num_seeds=1 only: changes its buffer {buffer}, "):
        check_network(network, nn.MSELoss(), 20, 2, num_members=2)


@pytest.mark.parametrize("num_members", [1, 3])
def test_networks_in_double_precision_pass(num_members: int) -> None:
    check_network(InDoublePrecision, nn.MSELoss(), 20, 2, num_members)


def test_nothing_large_is_made_to_check_a_network() -> None:
    """A network of four thousand million parameters, 16 GB, fits no test machine but the meta device."""
    check_network(partial(DeepAutoencoder, 100, 5, widths=(20_000_000,)), nn.MSELoss(), 100, 5)
