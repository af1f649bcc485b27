"""The compiled engine: fully connected autoencoders on CPUs, several times faster than autograd.

Python's side of compiled.c, which is compiled when the package is installed (hatch_build.py), once for each instruction set;
PyTorch says which of them this CPU has.
"""

import ctypes
import hashlib
import logging
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavecoder.engine.base import Engine, Problem, Signals
from wavecoder.networks import DeepAutoencoder

ACTIVATIONS = (nn.Identity, nn.ReLU, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.PReLU, nn.GELU)  # in the order of compiled.c
LOSSES = (nn.MSELoss, nn.L1Loss, nn.HuberLoss)  # likewise

log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("compiled.c")


class _Layer(ctypes.Structure):
    """`struct layer` of compiled.c."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("inputs", "outputs", "activation", "weight", "bias", "slope")),
        ("fixed_slope", ctypes.c_float),
    ]


class Library(NamedTuple):
    """compiled.c built for one instruction set, AVX512 or AVX2."""

    functions: ctypes.CDLL
    instruction_set: str


def instruction_set() -> str:
    """The widest vectors that PyTorch finds on this CPU: AVX512, AVX2 or another word."""
    return torch.backends.cpu.get_cpu_capability()


@cache
def library() -> Library | None:
    """compiled.c built for this CPU; None, with a warning in the log, if there is no build that can be used."""
    candidates = {"AVX512": ["AVX512", "AVX2"], "AVX2": ["AVX2"]}.get(instruction_set(), [])
    problem = None
    for name in candidates:
        file = _SOURCE.with_suffix(f".{name.lower()}.so")
        try:
            return Library(_load(file), name)
        except OSError as error:
            problem = problem or (f"cannot be loaded ({error})" if file.exists() else "was not compiled when this was installed")
        except ValueError:
            problem = problem or "was compiled from another version of its source; install again"
    if problem:
        log.warning("the compiled engine %s, so training is slower", problem)
    return None


def _load(file: Path) -> ctypes.CDLL:
    """Load one library and declare its functions.

    Raises:
        OSError: It is not there or cannot be loaded.
        ValueError: It was built from another version of the source.
    """
    functions = ctypes.CDLL(str(file))
    built_from = (ctypes.c_char * 64).in_dll(functions, "source_sha256").value.decode()  # ValueError if it has none
    if built_from != hashlib.sha256(_SOURCE.read_bytes()).hexdigest():
        raise ValueError(f"{file.name} is not built from {_SOURCE.name}")
    number, address = ctypes.c_long, ctypes.c_void_p
    functions.workspace.argtypes = [number, address, number]
    functions.workspace.restype = number
    functions.loss_and_gradients.argtypes = [
        *(number, number, number, number, address),  # members, parameters of each, batch, depth, layers
        *(address, address, address, address),  # parameters, gradients, inputs, targets
        *(number, address, address, number),  # loss, losses, work, threads
    ]
    functions.loss_and_gradients.restype = None
    return functions


def unsupported_reason(problem: Problem) -> str | None:
    """Why the compiled engine does not apply to a problem; None if it does.

    The engine compares exact types with those that it knows, and declines all others, so nothing has to be registered here.
    """
    if problem.device.type != "cpu":
        return f"the compiled engine runs on CPUs, not on {problem.device.type}"
    if problem.precision != "32-true":
        return f"the compiled engine computes in 32 bits, not in {problem.precision}"
    if problem.torch_compile:
        return "engine.torch_compile is for the PyTorch engine"
    if problem.accumulate > 1:
        return "the compiled engine does not accumulate gradients"
    unknown = _unknown_layer(problem.ensemble.network) or _unknown_loss(problem.loss)
    if unknown is not None:
        return f"the compiled engine does not know {unknown}"
    if not all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in problem.ensemble.parameters()):
        return "the compiled engine trains all parameters, in 32 bits"
    return None if library() else f"the compiled engine was not built for this CPU ({instruction_set()})"


def _unknown_layer(network: nn.Module) -> str | None:
    if type(network) is not DeepAutoencoder:
        return type(network).__name__
    layers = [*network.encoder, *network.decoder]
    parts = [id(part) for layer in layers for part in (layer, *layer.parameters())]
    if len(set(parts)) < len(parts):
        return "layers that are used more than once"
    after_linear = False
    for layer in layers:
        is_linear = type(layer) is nn.Linear and {name for name, _ in layer.named_parameters()} <= {"weight", "bias"}
        if not is_linear and not (after_linear and _is_known_activation(layer)):
            return str(layer)
        after_linear = is_linear
    return None


def _is_known_activation(layer: nn.Module) -> bool:
    if isinstance(layer, nn.GELU):
        return type(layer) is nn.GELU and layer.approximate == "none"
    if isinstance(layer, nn.PReLU):
        return type(layer) is nn.PReLU and layer.num_parameters == 1
    return type(layer) in ACTIVATIONS


def _unknown_loss(loss: Any) -> str | None:
    known = type(loss) in LOSSES and loss.reduction == "mean" and getattr(loss, "delta", 1.0) == 1.0
    return None if known else f"the loss {loss}"


class CompiledEngine(Engine):
    """Loss and gradient of all members in one call of compiled.c, members shared among the threads.

    The arguments are those of `Engine`, for a problem without `unsupported_reason`.
    """

    def __init__(self, problem: Problem, *arguments: Any, **others: Any) -> None:
        super().__init__(problem, *arguments, **others)
        found = library()
        assert found is not None
        self._functions = found.functions
        self._layers = self._described(problem.ensemble.network)
        self._loss = LOSSES.index(type(problem.loss))
        self._work = torch.empty(0)

    def _described(self, network: nn.Module) -> ctypes.Array[_Layer]:
        places, place = {}, 0
        for name, parameter in network.named_parameters():
            places[name] = place
            place += parameter.numel() // len(self.flat)
        layers: list[_Layer] = []
        for name, module in network.named_modules():
            if isinstance(module, nn.Linear):
                bias = places.get(f"{name}.bias", -1)
                layers.append(_Layer(module.in_features, module.out_features, 0, places[f"{name}.weight"], bias, -1, 0.0))
            elif type(module) in ACTIVATIONS:
                layers[-1].activation = ACTIVATIONS.index(type(module))
                layers[-1].slope = places.get(f"{name}.weight", -1)
                layers[-1].fixed_slope = getattr(module, "negative_slope", 0.0)
        return (_Layer * len(layers))(*layers)

    def loss_and_gradient(self, inputs: Signals, targets: Signals, epoch: int, step: int) -> Float[Tensor, " member"]:
        members, batch, length = inputs.shape
        if (members, length) != (len(self.flat), self._layers[0].inputs) or targets.shape != inputs.shape:
            raise ValueError(f"inputs {list(inputs.shape)} and targets {list(targets.shape)} do not fit the networks")
        columns = [values.float().mT.contiguous() for values in (inputs, targets)]  # sinusoids are rendered so
        threads = torch.get_num_threads()
        needed = threads * self._functions.workspace(len(self._layers), self._layers, batch)
        if len(self._work) < needed:
            self._work = torch.empty(needed)
        losses = torch.empty(members)
        self._functions.loss_and_gradients(
            *(members, self.flat.shape[1], batch, len(self._layers), self._layers),
            *(values.data_ptr() for values in (self.flat, self.gradient, *columns)),
            *(self._loss, losses.data_ptr(), self._work.data_ptr(), threads),
        )
        return losses
