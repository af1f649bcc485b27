"""Ensembles: independent copies of any network, one for each seed, as one module.

The parameters of all members are stacked, `[member, …]`, and `torch.func.vmap` runs the network over them. With one member it is
the network itself.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

Signals = Float[Tensor, "member batch time"] | Float[Tensor, "batch time"]
_LARGE = 10_000_000  # parameters of a network that is not built just to try it

Loss = Callable[[Tensor, Tensor], Tensor]
Latents = Float[Tensor, "member batch latent"] | Float[Tensor, "batch latent"]


class Ensemble(nn.Module):
    """Independent members of one kind of network, each with the initial weights that its own seed gives.

    Member i is what `torch.manual_seed(seeds[i]); make_network()` makes, to the bit. The methods take signals for each member,
    `[member, batch, time]`, or the same for all, `[batch, time]`. Random layers such as dropout draw differently for each member,
    from PyTorch's global generator.

    Args:
        make_network: Makes one network.
        seeds: The seed of each member.

    Attributes:
        network: The network. With several members its parameters are stacked, and it cannot be called by itself.
        num_members: Number of members.

    Raises:
        ValueError: There are several members, and the network keeps running statistics, as batch normalisation does, or its
            parameters have hooks.

    Example:
        >>> from wavecoder.networks import TiedLinearAutoencoder
        >>> ensemble = Ensemble(lambda: TiedLinearAutoencoder(100, 5), seeds=range(3))
        >>> ensemble(torch.zeros(8, 100)).shape
        torch.Size([3, 8, 100])
    """

    def __init__(self, make_network: Callable[[], nn.Module], seeds: Sequence[int]) -> None:
        super().__init__()
        members = [_seeded(make_network, seed) for seed in seeds]
        self.network = members[0]
        self.num_members = len(members)
        if self.num_members > 1:
            for name, module in self.network.named_modules():
                if getattr(module, "track_running_stats", False):
                    raise ValueError(f"{name} keeps running statistics, which an ensemble of several members cannot")
            for name, parameter in self.network.named_parameters():
                if has_hooks(parameter):
                    raise ValueError(f"{name} has a hook, which an ensemble of several members would lose")
            _stack(self.network, *stack_module_state(members))

    def forward(self, x: Signals) -> Float[Tensor, "member batch time"]:
        """The reconstruction of each signal by each member."""
        return self.apply_to_members(reconstruction, x)

    def encode(self, x: Signals) -> Float[Tensor, "member batch latent"]:
        """The latent of each signal in each member."""
        return self.apply_to_members(lambda network, signals: network.encode(signals), x)

    def decode(self, z: Latents) -> Float[Tensor, "member batch time"]:
        """The signal of each latent in each member."""
        return self.apply_to_members(lambda network, latents: network.decode(latents), z)

    def apply_to_members(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """What a function of one network and some tensors gives for every member.

        Args:
            function: Takes the network of one member and its tensors.
            inputs: Tensors `[batch, …]` that are the same for all members, or `[member, batch, …]`; they are converted to the
                type of the parameters.

        Returns:
            The results of all members, stacked along a first axis.
        """
        dtype = trained_parameters(self)[0].dtype
        inputs = tuple(values.to(dtype) for values in inputs)
        if self.num_members == 1:
            return function(self.network, *(values.squeeze(0) if values.dim() == 3 else values for values in inputs))[None]
        call = _Call(self.network, function)
        state = dict(call.named_parameters()) | dict(call.named_buffers())
        dims = tuple(0 if values.dim() == 3 else None for values in inputs)
        return vmap(lambda each, *rest: functional_call(call, each, rest), (0, *dims), randomness="different")(state, *inputs)


class _Call(nn.Module):
    """A function of a network as a module, because `functional_call` takes modules only."""

    def __init__(self, network: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network = network
        self.function = function

    def forward(self, *inputs: Any) -> Tensor:
        return self.function(self.network, *inputs)


def _seeded(make_network: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make_network()


def _stack(network: nn.Module, parameters: dict[str, Any], buffers: dict[str, Any]) -> None:
    """Replace the parameters and buffers of a network by stacked ones; what its modules share they share afterwards too."""
    stacked: dict[int, Tensor] = {
        id(parameter): nn.Parameter(parameters[name].detach(), parameter.requires_grad)
        for name, parameter in network.named_parameters()
    }
    stacked |= {id(values): buffers[name] for name, values in network.named_buffers()}
    for module in network.modules():
        own = (module.named_parameters, module.named_buffers)
        for name, values in [pair for named in own for pair in named(recurse=False, remove_duplicate=False)]:
            setattr(module, name, stacked[id(values)])


def has_hooks(parameter: Tensor) -> bool:
    """Whether a parameter has hooks of its own, which see its gradient."""
    return any(getattr(parameter, kind, None) for kind in ("_backward_hooks", "_post_accumulate_grad_hooks"))


def flatten_parameters(ensemble: Ensemble) -> nn.Parameter:
    """Move the trained parameters of an ensemble into one tensor, for an optimiser to update in one call.

    The ensemble works as before: its parameters are views of that tensor. Moving it to another device separates them again.

    Returns:
        The one tensor, `[member, parameter]`.
    """
    rows = [parameter.detach().reshape(ensemble.num_members, -1) for parameter in trained_parameters(ensemble)]
    flat = nn.Parameter(torch.cat(rows, dim=1))
    for parameter, values in _parts(ensemble, flat.data):
        parameter.data = values
    return flat


def flatten_gradients(ensemble: Ensemble, flat: nn.Parameter) -> Float[Tensor, "member parameter"]:
    """Make the gradient of the one tensor from `flatten_parameters`, at first 0, and those of the parameters views of it."""
    flat.grad = torch.zeros_like(flat)
    for parameter, gradient in _parts(ensemble, flat.grad):
        parameter.grad = gradient
    return flat.grad


def _parts(ensemble: Ensemble, flat: Tensor) -> Iterator[tuple[nn.Parameter, Tensor]]:
    parameters = trained_parameters(ensemble)
    parts = flat.split([parameter.numel() // ensemble.num_members for parameter in parameters], dim=1)
    for parameter, part in zip(parameters, parts, strict=True):
        yield parameter, part.view(parameter.shape)


def trained_parameters(ensemble: Ensemble) -> list[nn.Parameter]:
    """The parameters that are trained: all but frozen ones."""
    return [parameter for parameter in ensemble.parameters() if parameter.requires_grad]


def reconstruction(network: nn.Module, signals: Tensor) -> Any:
    """What one network makes of signals, `[batch, time]`: its `forward`, or if it has none, `decode` of `encode`.

    A tensor of the same shape, which `check_network` makes sure of.
    """
    if type(network).forward is nn.Module.forward:
        return network.decode(network.encode(signals))  # type: ignore[operator]
    return network(signals)


def loss_of(network: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor) -> Any:
    """The loss of one network on one batch, `[batch, time]`: a tensor, which `check_network` makes sure of.

    A network may say itself what it is trained on, as a variational autoencoder does, by a method
    `training_loss(inputs, targets, loss)`.
    """
    own: Any = getattr(network, "training_loss", None)
    return loss(reconstruction(network, inputs), targets) if own is None else own(inputs, targets, loss)


def check_network(
    make_network: Callable[[], nn.Module], loss: Loss, signal_length: int, latent_dim: int, num_members: int = 1
) -> None:
    """Find out whether a network can be trained here, before anything large is made.

    The network is built without memory for its parameters, on PyTorch's meta device, and given two signals. Small networks, and
    those that cannot run there because they look at values, run on the CPU: the first operator on the meta device takes a second
    to import.

    Args:
        make_network: Makes one network.
        loss: From reconstructions and targets to one number.
        signal_length: Number of values in a signal.
        latent_dim: Size of the latent.
        num_members: Number of members that the ensemble shall have.

    Raises:
        ValueError: It lacks a method, gives tensors of another shape, has nothing to train, cannot run for several members, or
            the loss gives no number that has a gradient.
        Exception: Whatever the network or the loss raises.
    """
    arguments = (make_network, loss, signal_length, latent_dim, num_members)
    if sum(parameter.numel() for parameter in outline(make_network, 1).parameters()) > _LARGE:
        try:
            _try_network(*arguments, "meta")
            return
        except (NotImplementedError, RuntimeError) as error:
            if "meta" not in str(error).lower():
                raise
    try:
        _try_network(*arguments, "cpu")
    except Exception as error:
        if num_members > 1:
            check_network(make_network, loss, signal_length, latent_dim)  # what one member cannot do either is said as such
            raise ValueError(f"works with num_seeds=1 only: {error}") from error
        raise


def outline(make_network: Callable[[], nn.Module], num_members: int) -> Ensemble:
    """An ensemble whose parameters take no memory, unless its networks look at values when they are made."""
    try:
        with torch.device("meta"):
            return Ensemble(make_network, range(num_members))
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error).lower():
            raise
        return Ensemble(make_network, range(num_members))


def _tensor_from(method: str, network: nn.Module, values: Tensor) -> Tensor:
    result = reconstruction(network, values) if method == "forward" else getattr(network, method)(values)
    if not isinstance(result, Tensor):
        raise ValueError(f"{type(network).__name__}.{method} gives a {type(result).__name__}; it must give a tensor")
    return result


def _try_network(
    make_network: Callable[[], nn.Module], loss: Loss, signal_length: int, latent_dim: int, num_members: int, device: str
) -> None:
    seeds = range(min(num_members, 2))
    with torch.device(device), torch.random.fork_rng(devices=[]):  # some networks draw random numbers
        ensemble = Ensemble(make_network, seeds)
        network = ensemble.network
        if missing := [method for method in ("encode", "decode") if not hasattr(network, method)]:
            raise ValueError(f"{type(network).__name__} has no method {missing[0]}")
        if not trained_parameters(ensemble):
            raise ValueError(f"{type(network).__name__} has no parameters to train")
        signals = torch.arange(len(seeds) * 2 * signal_length).sin().view(len(seeds), 2, signal_length)
        latents = ensemble.apply_to_members(partial(_tensor_from, "encode"), signals)
        given = {
            "encode": latents,
            "decode": ensemble.apply_to_members(partial(_tensor_from, "decode"), latents),
            "forward": ensemble.apply_to_members(partial(_tensor_from, "forward"), signals),
        }
        for method, values in given.items():
            wanted = [2, latent_dim if method == "encode" else signal_length]
            if (got := list(values.shape[1:])) != wanted:
                raise ValueError(f"{type(network).__name__}.{method} gives shape {got} for two signals; it must give {wanted}")
        losses = ensemble.apply_to_members(partial(_loss_from, loss), signals)
        if losses.dim() != 1:
            raise ValueError(f"the loss gives shape {list(losses.shape[1:])} for a batch; it must give one number")
        if not losses.requires_grad:
            raise ValueError("the loss has no gradient with respect to the parameters, so nothing can be trained")
        if len(seeds) > 1:
            _refuse_changing_buffers(make_network, loss, signals[0])


def _loss_from(loss: Loss, network: nn.Module, signals: Tensor) -> Tensor:
    result = loss_of(network, loss, signals, signals)
    if not isinstance(result, Tensor):
        raise ValueError(f"the loss gives a {type(result).__name__}; it must give a tensor")
    return result


def _refuse_changing_buffers(make_network: Callable[[], nn.Module], loss: Loss, signals: Tensor) -> None:
    """Refuse a network that keeps statistics of its own: `vmap` forgets what a member writes into its buffers."""
    alone = Ensemble(make_network, [0])
    before = {name: values.clone() for name, values in alone.network.named_buffers()}
    for function in (partial(_tensor_from, "forward"), partial(_loss_from, loss)):
        alone.apply_to_members(function, signals)
    for name, values in alone.network.named_buffers():
        if values.device.type != "meta" and (name not in before or not torch.equal(values, before[name])):
            raise ValueError(f"changes its buffer {name}, which an ensemble of several members cannot")
