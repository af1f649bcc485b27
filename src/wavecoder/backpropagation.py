"""The loss of a stack of autoencoders and its gradient, written out instead of left to autograd.

A training step of these networks is some forty small operations. Autograd adds to each its bookkeeping, copies gradients into
place, and hands the optimiser many small tensors; here gradients are written in place, into one tensor that the optimiser reads
in one call. The tests hold the result against autograd's.

On most CPUs the same is done in one compiled call (native.py), which is faster still; this is what it is held against, and what
serves GPUs and everything else.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from wavecoder import native
from wavecoder.autoencoder import Autoencoder

Signals = Float[Tensor, "replica batch time"]


def _mse(errors: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    losses = torch.linalg.vector_norm(errors, dim=(1, 2)).square_().div_(errors[0].numel())
    return losses, errors.mul_(2 * scale)


def _l1(errors: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return errors.abs().mean((1, 2)), errors.sign_().mul_(scale)


def _huber(errors: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    losses = functional.huber_loss(errors, torch.zeros_like(errors), reduction="none").mean((1, 2))
    return losses, errors.clamp_(-1, 1).mul_(scale)


LOSSES: dict[str, Callable[[Tensor, float], tuple[Tensor, Tensor]]] = {"mse": _mse, "l1": _l1, "huber": _huber}
"""From errors, which are overwritten: the mean loss of each replica, and the derivatives of the samples' losses times a scale."""


@torch.no_grad()
def loss_and_gradients(
    network: Autoencoder, inputs: Signals, targets: Signals, loss: str = "mse", batch: int | None = None
) -> Float[Tensor, " replica"]:
    """The loss of each replica, writing its gradient to the `.grad` of every parameter.

    Args:
        network: A stack whose parameters have gradients, see `flatten_gradients`.
        inputs: What the networks are given.
        targets: What they should give.
        loss: mse, l1 or huber (with its knee at 1), a mean over signals and samples.
        batch: Number of signals in the gradient's mean, if other processes add theirs; by default those given.
    """
    layers = network.layers
    activations = [inputs.mT]
    for layer in layers:
        activations.append(layer.forward(activations[-1]))
    errors = activations[-1] - targets.mT
    losses, gradient = LOSSES[loss](errors, 1 / ((batch or inputs.shape[1]) * inputs.shape[2]))
    for layer, x, y in zip(layers[:0:-1], activations[-2:0:-1], activations[:1:-1], strict=True):
        gradient = layer.backward(x, y, gradient)
    layers[0].write_gradients(activations[0], gradient)
    return losses


def backpropagation(network: Autoencoder, flat: nn.Parameter) -> Callable[..., Float[Tensor, " replica"]]:
    """The fastest way to do what `loss_and_gradients` does for one network, whose parameters and gradients are `flat`."""
    if native.why_not(network) is None:
        return native.CompiledBackpropagation(network, flat)
    return partial(loss_and_gradients, network)


def flatten_parameters(network: nn.Module) -> nn.Parameter:
    """Move all parameters of a network into one tensor, for an optimiser to update in one call.

    The network works on as before: its parameters are views of that tensor. Moving it to another device parts them again.
    """
    flat = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in network.parameters()]))
    for parameter, values in _parts(network, flat.data):
        parameter.data = values
    return flat


def flatten_gradients(network: nn.Module, flat: nn.Parameter) -> Tensor:
    """Make the gradient of the one tensor from `flatten_parameters`, at first 0, and those of the parameters views of it."""
    flat.grad = torch.zeros_like(flat)
    for parameter, gradient in _parts(network, flat.grad):
        parameter.grad = gradient
    return flat.grad


def _parts(network: nn.Module, flat: Tensor) -> Iterator[tuple[nn.Parameter, Tensor]]:
    parameters = list(network.parameters())
    parts = flat.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        yield parameter, part.view_as(parameter)
