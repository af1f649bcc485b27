"""The training step of deep autoencoders, compiled for the CPUs that most machines have.

Python's side of backpropagation.c, which is compiled when the package is installed (hatch_build.py): once for each instruction
set, and PyTorch says which of them this CPU has. Where there is none, as without a C compiler, backpropagation.py does the same
with PyTorch's operators.
"""

import ctypes
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wavecoder.autoencoder import Activation, Autoencoder, Linear, PReLU

ACTIVATIONS = ("identity", "relu", "sigmoid", "tanh", "leaky_relu", "prelu", "gelu")  # in the order of backpropagation.c
LOSSES = ("mse", "l1", "huber")  # likewise

Signals = Float[Tensor, "replica batch time"]


class _Layer(ctypes.Structure):
    """`struct layer` of backpropagation.c."""

    _fields_ = [(name, ctypes.c_long) for name in ("inputs", "outputs", "activation", "weight", "bias", "slope")]


def instruction_set() -> str:
    """The widest vectors that PyTorch finds on this CPU: AVX512, AVX2 or another word."""
    return torch.backends.cpu.get_cpu_capability()


@cache
def library() -> ctypes.CDLL | None:
    """What backpropagation.c was compiled to for this CPU; None if it was not."""
    file = Path(__file__).with_name(f"backpropagation.{instruction_set().lower()}.so")
    if not file.exists():
        return None
    compiled = ctypes.CDLL(str(file))
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
        ValueError: It cannot be done for this network here, see `why_not`.
    """

    def __init__(self, network: Autoencoder, flat: nn.Parameter) -> None:
        if reason := why_not(network):
            raise ValueError(reason)
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
        """Where a parameter begins in the one tensor, in floats."""
        return -1 if parameter is None else (parameter.data_ptr() - self._flat.data_ptr()) // parameter.element_size()

    def __call__(
        self, inputs: Signals, targets: Signals, loss: str = "mse", batch: int | None = None
    ) -> Float[Tensor, " replica"]:
        """The loss of each replica, writing its gradient to the `.grad` of every parameter.

        Args:
            inputs: What the networks are given.
            targets: What they should give.
            loss: mse, l1 or huber (with its knee at 1), a mean over signals and samples.
            batch: Number of signals in the gradient's mean, if other processes add theirs; by default those given.
        """
        compiled = library()
        assert compiled is not None
        assert self._flat.grad is not None
        signals = inputs.shape[1]
        columns = [values.mT.contiguous() for values in (inputs, targets)]  # which they are, as `Waves.at` makes them
        threads = torch.get_num_threads()
        needed = threads * compiled.workspace(len(self._layers), self._layers, signals)
        if len(self._work) < needed:
            self._work = torch.empty(needed)
        losses = torch.empty((self._replicas,))
        compiled.loss_and_gradients(
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
