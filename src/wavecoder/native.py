"""The training step of deep autoencoders, compiled for the CPUs that most machines have.

Python's side of backpropagation.c, which is compiled when the package is installed (hatch_build.py): once for each instruction
set, and PyTorch says which of them this CPU has. Where there is none, as without a C compiler, backpropagation.py does the same
with PyTorch's operators.
"""

import ctypes
import hashlib
import logging
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavecoder.autoencoder import Activation, Autoencoder, Linear, PReLU

ACTIVATIONS = ("identity", "relu", "sigmoid", "tanh", "leaky_relu", "prelu", "gelu")  # in the order of backpropagation.c
LOSSES = ("mse", "l1", "huber")  # likewise

Signals = Float[Tensor, "replica batch time"]

log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("backpropagation.c")


class _Layer(ctypes.Structure):
    """`struct layer` of backpropagation.c."""

    _fields_ = [(name, ctypes.c_long) for name in ("inputs", "outputs", "activation", "weight", "bias", "slope")]


class Library(NamedTuple):
    """What backpropagation.c was compiled to for one instruction set, AVX512 or AVX2."""

    compiled: ctypes.CDLL
    instruction_set: str


def instruction_set() -> str:
    """The widest vectors that PyTorch finds on this CPU: AVX512, AVX2 or another word."""
    return torch.backends.cpu.get_cpu_capability()


@cache
def library() -> Library | None:
    """What backpropagation.c was compiled to for this CPU; None, and a line in the log, if there is nothing that can be used."""
    sets = {"AVX512": ["AVX512", "AVX2"], "AVX2": ["AVX2"]}.get(instruction_set(), [])
    reason = None
    for name in sets:
        file = _SOURCE.with_suffix(f".{name.lower()}.so")
        try:
            return Library(_load(file), name)
        except OSError as error:
            reason = reason or (f"cannot be loaded ({error})" if file.exists() else "was not compiled when this was installed")
        except ValueError:
            reason = reason or "was compiled from another version; install again"
    if reason:
        log.warning("the training step %s, so it is slower", reason)
    return None


def _load(file: Path) -> ctypes.CDLL:
    """Load one library and say what its functions take.

    Raises:
        OSError: It is not there or cannot be loaded.
        ValueError: It was made from another version of the source.
    """
    compiled = ctypes.CDLL(str(file))
    made_from = (ctypes.c_char * 64).in_dll(compiled, "source_sha256").value.decode()  # ValueError if it has none
    if made_from != hashlib.sha256(_SOURCE.read_bytes()).hexdigest():
        raise ValueError(f"{file.name} is not made from {_SOURCE.name}")
    number, decimal, address = ctypes.c_long, ctypes.c_float, ctypes.c_void_p
    compiled.workspace.argtypes = [number, address, number]
    compiled.workspace.restype = number
    compiled.loss_and_gradients.argtypes = [
        *(number, number, number, address),  # replicas, batch, depth, layers
        *(address, address, address, address),  # parameters, gradients, inputs, targets
        *(number, decimal, decimal),  # loss, scale, slope
        *(address, address, number),  # losses, work, threads
    ]
    compiled.loss_and_gradients.restype = None
    return compiled


class CompiledBackpropagation:
    """Does what `backpropagation.loss_and_gradients` does, on a CPU.

    Args:
        network: A stack whose layers are all `Linear`, `Activation` or `PReLU`.
        flat: Its parameters, from `flatten_parameters`, with a gradient from `flatten_gradients`.

    Raises:
        ValueError: It cannot be done for this network here, see `why_not`, or its parameters are not part of `flat`.
    """

    def __init__(self, network: Autoencoder, flat: nn.Parameter) -> None:
        found = library()
        if (reason := why_not(network)) or found is None:
            raise ValueError(reason)
        self._compiled = found.compiled
        self._flat = flat
        first = network.layers[0]
        assert isinstance(first, Linear)
        self._replicas, _, self._samples = first.weight.shape
        self._slope = 0.0
        layers = []
        for layer in network.layers:
            if isinstance(layer, Linear):
                _, outputs, inputs = layer.weight.shape
                layers.append(_Layer(inputs, outputs, 0, self._place(layer.weight), self._place(layer.bias), -1))
            elif isinstance(layer, PReLU):
                layers[-1].activation, layers[-1].slope = ACTIVATIONS.index("prelu"), self._place(layer.slope)
            else:
                assert isinstance(layer, Activation)
                layers[-1].activation = ACTIVATIONS.index(layer.name)
                self._slope = layer.slope or 0.0
        self._layers = (_Layer * len(layers))(*layers)
        self._work = torch.empty(0)

    def _place(self, parameter: nn.Parameter | None) -> int:
        """Where a parameter begins in the one tensor, in floats; -1 for one that is not there."""
        if parameter is None:
            return -1
        place = (parameter.data_ptr() - self._flat.data_ptr()) // parameter.element_size()
        if place < 0 or place + parameter.numel() > self._flat.numel() or not parameter.is_contiguous():
            raise ValueError("the network's parameters are not part of the one tensor")
        return place

    def __call__(
        self, inputs: Signals, targets: Signals, loss: str = "mse", batch: int | None = None
    ) -> Float[Tensor, " replica"]:
        """The loss of each replica, writing its gradient to the `.grad` of every parameter.

        Args:
            inputs: What the networks are given.
            targets: What they should give.
            loss: mse, l1 or huber (with its knee at 1), a mean over signals and samples.
            batch: Number of signals in the gradient's mean, if other processes add theirs; by default those given.

        Raises:
            ValueError: These are not signals for this network.
        """
        assert self._flat.grad is not None
        signals = inputs.shape[1]
        for values in (inputs, targets):
            if values.shape != (self._replicas, signals, self._samples) or values.dtype != torch.float32:
                raise ValueError(f"{list(values.shape)} {values.dtype}: not signals of {self._replicas} replicas of this network")
        columns = [values.mT.contiguous() for values in (inputs, targets)]  # which they are, as `Waves.at` makes them
        threads = torch.get_num_threads()
        needed = threads * self._compiled.workspace(len(self._layers), self._layers, signals)
        if len(self._work) < needed:
            self._work = torch.empty(needed)
        losses = torch.empty((self._replicas,))
        self._compiled.loss_and_gradients(
            *(self._replicas, signals, len(self._layers), self._layers),
            *(each.data_ptr() for each in (self._flat, self._flat.grad, *columns)),
            *(LOSSES.index(loss), 1 / ((batch or signals) * self._samples), self._slope),
            *(losses.data_ptr(), self._work.data_ptr(), threads),
        )
        return losses


def why_not(network: Autoencoder) -> str | None:
    """Why the compiled step cannot train a network; None if it can."""
    if any(parameter.device.type != "cpu" or parameter.dtype != torch.float32 for parameter in network.parameters()):
        return "the network is not on a CPU in single precision"
    if not all(isinstance(layer, Linear | Activation | PReLU) for layer in network.layers):
        return "the network has other layers"  # the tied ones
    if library() is None:
        return f"nothing was compiled for {instruction_set()}"
    return None


def training_step(network: Autoencoder) -> str:
    """What trains a network: the instruction set of the compiled step, or PyTorch."""
    found = library() if why_not(network) is None else None
    return "PyTorch" if found is None else found.instruction_set
