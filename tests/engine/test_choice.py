"""Which engine is chosen, and the reason that is given."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from conftest import problem
from own_networks import ConvolutionalAutoencoder, ResidualAutoencoder, VariationalAutoencoder
from torch import nn

from wavecoder.engine import bindings, choose, compiled
from wavecoder.engine.bindings import ACTIVATIONS, LOSSES
from wavecoder.engine.compiled import CompiledEngine, unsupported_reason
from wavecoder.engine.pytorch import PyTorchEngine
from wavecoder.ensemble import Ensemble
from wavecoder.networks import DeepAutoencoder, TiedLinearAutoencoder

MakeNetwork = Callable[[], nn.Module]
deep = partial(DeepAutoencoder, 100, 5)
needs_library = pytest.mark.skipif(bindings.library() is None, reason=f"nothing was compiled for {bindings.instruction_set()}")


class Derived(DeepAutoencoder):
    """What it computes is its own business."""


class DerivedLoss(nn.MSELoss):
    """Likewise."""


def frozen() -> nn.Module:
    network = deep()
    next(network.parameters()).requires_grad_(False)
    return network


def with_one_activation_module() -> nn.Module:
    shared = nn.PReLU()
    return deep(lambda: shared)


def with_tied_weights() -> nn.Module:
    network = deep(widths=(50, 50))
    network.decoder[2].weight = network.encoder[2].weight
    return network


def with_weight_normalisation() -> nn.Module:
    network = deep()
    nn.utils.parametrizations.weight_norm(network.encoder[0])
    return network


def with_pruned_weights() -> nn.Module:
    from torch.nn.utils import prune

    network = deep()
    prune.random_unstructured(network.encoder[0], "weight", 0.5)
    return network


def with_two_activations_in_a_row() -> nn.Module:
    network = deep()
    network.encoder.append(nn.GELU())
    return network


def starting_with_an_activation() -> nn.Module:
    network = deep(nn.Tanh)
    network.encoder.insert(0, nn.Tanh())
    return network


NETWORKS: dict[str, tuple[MakeNetwork, str]] = {
    "silu": (partial(deep, nn.SiLU), r"SiLU\(\)"),
    "gelu by tanh": (partial(deep, partial(nn.GELU, approximate="tanh")), r"GELU\(approximate='tanh'\)"),
    "slope for each feature": (partial(deep, partial(nn.PReLU, num_parameters=50)), r"PReLU\(num_parameters=50\)"),
    "dropout": (partial(deep, partial(nn.Dropout, 0.1)), r"Dropout\(p=0.1, inplace=False\)"),
    "derived": (partial(Derived, 100, 5), "Derived"),
    "tied": (partial(TiedLinearAutoencoder, 100, 5), "TiedLinearAutoencoder"),
    "residual": (partial(ResidualAutoencoder, 100, 5), "ResidualAutoencoder"),
    "convolutional": (partial(ConvolutionalAutoencoder, 100, 5), "ConvolutionalAutoencoder"),
    "variational": (partial(VariationalAutoencoder, 100, 5), "VariationalAutoencoder"),
    "one activation module": (with_one_activation_module, "layers that are used more than once"),
    "tied weights": (with_tied_weights, "layers that are used more than once"),
    "weight normalisation": (with_weight_normalisation, "(?s:Parametrized.*)"),
    "pruned": (with_pruned_weights, r"Linear\(in_features=100, out_features=50, bias=True\)"),
    "two activations": (with_two_activations_in_a_row, r"GELU\(approximate='none'\)"),
    "activation first": (starting_with_an_activation, r"Tanh\(\)"),
}
LOSSES_UNKNOWN: dict[str, tuple[Any, str]] = {
    "smooth l1": (nn.SmoothL1Loss(), r"the loss SmoothL1Loss\(\)"),
    "huber with another knee": (nn.HuberLoss(delta=2.0), r"the loss HuberLoss\(delta=2.0\)"),
    "sum": (nn.MSELoss(reduction="sum"), r"the loss MSELoss\(reduction=sum\)"),
    "derived": (DerivedLoss(), r"the loss DerivedLoss\(\)"),
    "function": (nn.functional.mse_loss, "the loss mse_loss"),
    "lambda": (lambda x, y: (x - y).abs().mean(), "the loss <lambda>"),
}
CONDITIONS: dict[str, tuple[dict[str, Any], str]] = {
    "meta": ({"device": torch.device("meta")}, "the compiled engine runs on CPUs, not on meta"),
    "cuda": ({"device": torch.device("cuda", 0)}, "the compiled engine runs on CPUs, not on cuda"),
    "precision": ({"precision": "bf16-mixed"}, "the compiled engine computes in 32 bits, not in bf16-mixed"),
    "double precision": ({"precision": "64-true"}, "the compiled engine computes in 32 bits, not in 64-true"),
    "accumulation": ({"accumulate": 4}, "the compiled engine does not accumulate gradients"),
    "torch.compile": ({"torch_compile": True}, "engine.torch_compile=true is for the PyTorch engine"),
}


def check_declined(make_network: MakeNetwork, reason: str, loss: Any = None, **conditions: Any) -> None:
    for num_members in (1, 2):
        posed = problem(Ensemble(make_network, range(num_members)), loss, **conditions)
        chosen = choose(posed)
        assert chosen.engine is PyTorchEngine
        assert chosen.name == "PyTorch"
        assert chosen.reason == unsupported_reason(posed)
        with pytest.raises(ValueError, match=f"^{reason}$") as refusal:
            choose(posed, "compiled")
        assert str(refusal.value) == chosen.reason


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_it_does_not_know_are_declined(name: str) -> None:
    make_network, unknown = NETWORKS[name]
    check_declined(make_network, f"the compiled engine does not know {unknown}")


@pytest.mark.parametrize("name", LOSSES_UNKNOWN)
def test_losses_that_it_does_not_know_are_declined(name: str) -> None:
    loss, unknown = LOSSES_UNKNOWN[name]
    check_declined(deep, f"the compiled engine does not know {unknown}", loss)


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_under_which_it_does_not_work_are_declined(name: str) -> None:
    conditions, reason = CONDITIONS[name]
    check_declined(deep, reason, **conditions)


@pytest.mark.parametrize("make_network", [frozen, lambda: deep().double()], ids=["frozen", "double"])
def test_parameters_that_it_cannot_train_are_declined(make_network: MakeNetwork) -> None:
    check_declined(make_network, "the compiled engine trains all parameters, in 32 bits")


def test_without_a_library_everything_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "library", lambda: None)
    check_declined(deep, rf"the compiled engine was not built for this CPU \({bindings.instruction_set()}\)")


@needs_library
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_is_taken_for_everything_it_knows(activation: type[nn.Module], loss: type[nn.Module]) -> None:
    found = bindings.library()
    assert found is not None
    for arguments in ({}, {"bias": False}, {"latent_activation": False}, {"widths": (30,)}, {"widths": ()}):
        for wanted in ("auto", "compiled"):
            chosen = choose(problem(Ensemble(partial(deep, activation, **arguments), range(2)), loss()), wanted)
            assert chosen == (CompiledEngine, f"compiled {found.instruction_set}", "the fastest for this network")


@needs_library
def test_it_is_taken_where_the_conditions_allow_it() -> None:
    for conditions in ({"processes": 2}, {"clip_value": 1.0}, {"clip_norm": 1.0}, {"seed": 9}):
        assert choose(problem(Ensemble(deep, [0]), **conditions), "compiled").engine is CompiledEngine
    inplace = partial(deep, partial(nn.ReLU, inplace=True))
    assert choose(problem(Ensemble(inplace, [0])), "compiled").engine is CompiledEngine


@needs_library
def test_the_name_tells_which_library_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    found = bindings.library()
    assert found is not None
    monkeypatch.setattr("wavecoder.engine.library", lambda: found._replace(instruction_set="AVX2"))
    assert choose(problem(Ensemble(deep, [0]))).name == "compiled AVX2"


def test_the_pytorch_engine_can_be_asked_for() -> None:
    assert choose(problem(Ensemble(deep, range(2))), "pytorch") == (PyTorchEngine, "PyTorch", "engine=pytorch")


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^fastest: no such engine; there are auto, compiled, pytorch$"):
        choose(problem(Ensemble(deep, [0])), "fastest")
