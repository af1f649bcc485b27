"""What all engines do around the gradient."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from conftest import Steps, engine_for, problem
from torch import Tensor, nn
from torch.optim import Optimizer

from wavecoder.engine.base import Chunk, is_elementwise
from wavecoder.engine.compiled import CompiledEngine
from wavecoder.ensemble import Ensemble
from wavecoder.networks import DeepAutoencoder

MakeOptimizer = Callable[..., Optimizer]

deep = partial(DeepAutoencoder, 100, 5, nn.Tanh)
sgd = partial(torch.optim.SGD, lr=0.3, momentum=0.9)


def batches(members: int, steps: int = 20, size: int = 16) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(steps, 2, members, size, 100, generator=generator)
    return [(inputs, targets) for inputs, targets in drawn]


def train_plainly(seed: int, pairs: list[tuple[Tensor, Tensor]], clip: Callable[[list[nn.Parameter]], object]) -> Tensor:
    """The losses of a plain loop, where gradients are clipped before each step."""
    torch.manual_seed(seed)
    network, losses = deep(), []
    optimizer = sgd(network.parameters())
    for inputs, targets in pairs:
        loss = nn.functional.mse_loss(network(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        clip(list(network.parameters()))
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


@pytest.mark.parametrize("members", [1, 3])
def test_clipping_by_value_is_pytorchs(members: int, engine: str) -> None:
    pairs, limit = batches(members), 1e-3
    losses = engine_for(problem(Ensemble(deep, range(members)), clip_value=limit), engine, sgd).execute(Steps(pairs))
    free = engine_for(problem(Ensemble(deep, range(members))), engine, sgd).execute(Steps(pairs))
    assert not torch.allclose(losses[-1], free[-1], rtol=3e-4)
    for i in range(members):
        mine = [(inputs[i], targets[i]) for inputs, targets in pairs]
        expected = train_plainly(i, mine, lambda parameters: nn.utils.clip_grad_value_(parameters, limit))
        torch.testing.assert_close(losses[:, i], expected, rtol=1e-5, atol=0)


def test_clipping_by_norm_is_pytorchs_for_one_member(engine: str) -> None:
    pairs, limit = batches(1), 1e-3
    losses = engine_for(problem(Ensemble(deep, [4]), clip_norm=limit), engine, sgd).execute(Steps(pairs))
    free = engine_for(problem(Ensemble(deep, [4])), engine, sgd).execute(Steps(pairs))
    assert not torch.allclose(losses[-1], free[-1], rtol=3e-4)
    mine = [(inputs[0], targets[0]) for inputs, targets in pairs]
    expected = train_plainly(4, mine, lambda parameters: nn.utils.clip_grad_norm_(parameters, limit))
    torch.testing.assert_close(losses[:, 0], expected, rtol=1e-5, atol=0)


def test_gradients_of_the_parts_of_a_batch_average_to_that_of_the_whole(engine: str) -> None:
    """So processes that share a batch train as one does."""
    trained = engine_for(problem(Ensemble(deep, range(2))), engine)
    (inputs, targets), parts = batches(2)[0], []
    losses = trained.loss_and_gradient(inputs, targets, 0, 0)
    whole = trained.gradient.clone()
    losses_of_parts = []
    for rank in range(2):
        losses_of_parts.append(trained.loss_and_gradient(inputs[:, rank::2], targets[:, rank::2], 0, 0))
        parts.append(trained.gradient.clone())
    torch.testing.assert_close(torch.stack(parts).mean(0), whole, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(torch.stack(losses_of_parts).mean(0), losses)


def test_gradients_are_averaged_over_the_processes_before_they_are_clipped(engine: str) -> None:
    averaged = engine_for(problem(Ensemble(deep, range(2)), clip_value=1e-3), engine, sgd)
    averaged.average = lambda gradient: gradient.fill_(0.5)
    averaged.execute(Steps(batches(2)[:1]))
    torch.testing.assert_close(averaged.gradient, torch.full_like(averaged.flat, 1e-3))


def test_what_other_engines_would_do_with_chunks_does_not_matter(engine: str) -> None:
    """The losses and parameters are the same however the steps are divided into chunks."""
    pairs = batches(2)
    whole, parts = (engine_for(problem(Ensemble(deep, range(2))), engine) for _ in range(2))
    losses = whole.execute(Steps(pairs))
    pieces = [parts.execute(Steps(pairs[first : first + 7], 0, first)) for first in range(0, 20, 7)]
    assert isinstance(Steps(pairs), Chunk)
    assert [len(piece) for piece in pieces] == [7, 7, 6]
    assert torch.equal(torch.cat(pieces), losses)
    assert torch.equal(parts.flat, whole.flat)


def test_losses_are_those_before_each_step(engine: str) -> None:
    pairs = batches(2)
    ensemble = Ensemble(deep, range(2))
    with torch.no_grad():
        expected = (ensemble(pairs[0][0]) - pairs[0][1]).square().mean((1, 2))
    losses = engine_for(problem(ensemble), engine).execute(Steps(pairs))
    assert losses.shape == (20, 2)
    torch.testing.assert_close(losses[0], expected)


def test_an_optimizer_may_evaluate_the_loss_several_times(engine: str) -> None:
    evaluated = []
    trained = engine_for(problem(Ensemble(deep, [0])), engine, torch.optim.LBFGS)
    gradient_of = trained.loss_and_gradient

    def counted(*arguments: Any) -> Tensor:
        evaluated.append(1)
        return gradient_of(*arguments)

    trained.loss_and_gradient = counted  # type: ignore[method-assign]
    losses = trained.execute(Steps([batches(1)[0]] * 5))  # always the same batch
    assert losses.shape == (5, 1)
    assert len(evaluated) > 20
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize(
    "optimizer",
    [
        *(torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RAdam, torch.optim.NAdam, torch.optim.RMSprop),
        *(torch.optim.Adagrad, torch.optim.Adamax, torch.optim.Adadelta, torch.optim.ASGD, torch.optim.Rprop),
        *(
            sgd,
            partial(torch.optim.Adam, fused=True, weight_decay=0.1),
            partial(torch.optim.SGD, lr=0.1, nesterov=True, momentum=0.5),
        ),
    ],
)
def test_optimizers_that_keep_members_apart_are_known_by_what_they_do(optimizer: MakeOptimizer) -> None:
    assert is_elementwise(optimizer, num_members=2)


class ClippedSGD(torch.optim.SGD):
    """Clips a gradient whose norm is above 1000, as one would only notice with large gradients."""

    def step(self, closure: Any = None) -> Any:
        loss = closure()
        torch.nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 1000.0)
        super().step()
        return loss


@pytest.mark.parametrize(
    "optimizer",
    [
        *(torch.optim.LBFGS, torch.optim.Adafactor, torch.optim.Muon, ClippedSGD),
        partial(torch.optim.LBFGS, lr=1, line_search_fn="strong_wolfe"),
    ],
)
def test_optimizers_that_would_tie_members_together_are_known_by_what_they_do(optimizer: MakeOptimizer) -> None:
    assert not is_elementwise(optimizer, num_members=1)
    with pytest.raises(ValueError, match="would tie seeds together"):
        is_elementwise(optimizer, num_members=2)


@pytest.mark.filterwarnings("ignore")
def test_an_optimizer_that_diverges_may_still_be_elementwise() -> None:
    assert is_elementwise(partial(torch.optim.SGD, lr=1e38), num_members=2)


def test_what_an_optimizer_says_of_its_arguments_is_heard() -> None:
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        is_elementwise(partial(torch.optim.Adam, lr=-1), num_members=1)


def test_errors_are_measured_a_part_at_a_time_for_many_members(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = engine_for(problem(Ensemble(deep, range(32))), "pytorch")
    inputs, targets = torch.randn(300, 100), torch.randn(300, 100)
    whole, sizes = measured.reconstruct(inputs), []
    reconstruct = measured.reconstruct

    def counted(signals: Tensor) -> Tensor:
        sizes.append(len(signals))
        return reconstruct(signals)

    monkeypatch.setattr(measured, "reconstruct", counted)
    expected = (whole.double() - targets).square().mean(2).sum(1)
    torch.testing.assert_close(measured.squared_errors(inputs, targets), expected, rtol=1e-6, atol=0)
    assert sizes == [128, 128, 44]


@pytest.mark.parametrize("members", [1, 3])
def test_members_are_measured_on_signals_of_their_own(members: int, engine: str) -> None:
    measured = engine_for(problem(Ensemble(deep, range(members))), engine)
    inputs, targets = torch.randn(2, members, 150, 100, generator=torch.Generator().manual_seed(0))
    outputs, errors = measured.reconstruct(inputs), measured.squared_errors(inputs, targets)
    assert outputs.shape == (members, 150, 100)
    for i in range(members):
        torch.testing.assert_close(outputs[i], measured.reconstruct(inputs[i])[i], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(errors[i], measured.squared_errors(inputs[i], targets[i])[i], rtol=1e-6, atol=0)


@pytest.mark.parametrize(("members", "steps"), [(1, 100), (64, 100), (128, 50), (10_000, 1)])
def test_chunks_of_many_members_are_short(members: int, steps: int) -> None:
    assert CompiledEngine.steps_per_execution(members) == steps
